"""Wrappers of a process group of one: data parallel, and parameters that are spread out."""

import torch.distributed as dist
from torch import nn

from zoo.architecture import add
from zoo.families.parts import points


def alone() -> None:
    """A group of one process, if there is none."""
    if not dist.is_initialized():
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)


def _net():
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 3))


def _ddp():
    alone()
    return nn.parallel.DistributedDataParallel(_net()), points()


def _fully_sharded():
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    alone()
    net = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))
    fully_shard(net, mesh=init_device_mesh("cpu", (1,)))
    return net, points()


def _tensor_parallel():
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

    alone()
    net = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))
    return parallelize_module(
        net, init_device_mesh("cpu", (1,)), {"0": ColwiseParallel(), "2": RowwiseParallel()}
    ), points()


add("distributed-data-parallel", _ddp, family=__name__)
REASON = "parameters are DTensors"
add("fully-sharded", _fully_sharded, family=__name__, losses=("mse",), refusal=REASON)
add("tensor-parallel", _tensor_parallel, family=__name__, losses=("mse",), refusal=REASON)
