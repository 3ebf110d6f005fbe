"""The plain twin of a model that FSDP or a tensor-parallel plan has spread out: the unsharded model, bit for bit.

Full batches that are the same on both processes make FSDP's mean of gradients exact, and Adam works entry by entry, so
that training leaves the same bits in the sharded and in the plain model.
"""

import json
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from torch.nn import functional

import eigenflow as ef
from eigenflow.core.errors import ArgumentError, ModelError
from eigenflow.integrations.unsharded import unsharded_twin
from eigenflow.tangent.preconditioner import inverse_preconditioner
from two_processes import on_two_processes

SYMBOLS = 7


class Tied(nn.Module):
    """A table that is the head too, buffers, and a frozen layer."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(SYMBOLS, 6)
        self.body = nn.Sequential(nn.Linear(6, 9), nn.BatchNorm1d(9), nn.Tanh(), nn.Linear(9, 6))
        self.head = nn.Linear(6, SYMBOLS, bias=False)
        self.head.weight = self.table.weight
        self.body[3].bias.requires_grad_(False)

    def forward(self, tokens):
        return self.head(self.body(self.table(tokens).mean(1)))


def batch():
    generator = torch.Generator().manual_seed(5)
    tokens = torch.randint(0, SYMBOLS, (8, 4), generator=generator)
    return tokens, torch.randint(0, SYMBOLS, (8,), generator=generator)


def sharded():
    model = Tied()
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    fully_shard(model.body, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def train(model, optimizer, steps):
    tokens, labels = batch()
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        functional.cross_entropy(model(tokens), labels).backward()
        optimizer.step()


def probe_of(model):
    tokens, labels = batch()
    return ef.Probe(model.eval(), tokens, labels, "cross_entropy")


def assert_same_bits(found, expected):
    named = dict(expected.named_parameters()), dict(expected.named_buffers())
    for side, own in zip(named, (dict(found.named_parameters()), dict(found.named_buffers())), strict=True):
        assert list(side) == list(own)
        for name, tensor in side.items():
            assert type(own[name]) is type(tensor) and own[name].requires_grad == tensor.requires_grad
            assert torch.equal(own[name], tensor), name


def follow(build=None):
    """Train both, look at the twin twice; the numbers that tell that all was well."""
    live, plain = sharded(), Tied()
    optimizers = [torch.optim.Adam(model.parameters(), lr=0.01) for model in (live, plain)]
    kinds, hooks = ([type(m) for m in live.modules()], [len(m._forward_pre_hooks) for m in live.modules()])
    twin = unsharded_twin(live, device="cpu", build=build)
    assert type(twin.module) is Tied and twin.module.head.weight is twin.module.table.weight
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in twin.module.modules())
    for _ in range(2):
        for model, optimizer in zip((live, plain), optimizers, strict=True):
            train(model, optimizer, 2)
        assert_same_bits(twin.refresh().module, plain)
        found, expected = probe_of(twin.module), probe_of(plain)
        one, two = found.measure(), expected.measure()
        assert torch.equal(one.eigenvalues, two.eigenvalues) and one.loss == two.loss
        inverse = twin.inverse_preconditioner(optimizers[0])
        for name, scale in inverse_preconditioner(optimizers[1], plain).items():
            assert torch.equal(inverse[name], scale), name
        shot = found.measure(4, at=found.at(preconditioner=inverse))
        torch.testing.assert_close(
            shot.eigenvalues, expected.measure(4, at=expected.at(preconditioner=optimizers[1])).eigenvalues
        )
    assert kinds == [type(m) for m in live.modules()]
    assert hooks == [len(m._forward_pre_hooks) for m in live.modules()] and any(hooks)
    return [float(value) for value in one.eigenvalues]


@pytest.fixture
def alone(tmp_path):
    """A group of this process only."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize("build", [None, Tied])
def test_twin_of_one_process(alone, build):
    assert len(follow(build)) == 8 * SYMBOLS


def test_twin_of_a_tensor_parallel_plan(alone):
    """Its hooks would distribute the inputs."""
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))
    inputs, targets = torch.randn(5, 4), torch.randn(5, 3)
    expected = ef.Probe(plain, inputs, targets).measure().eigenvalues
    mesh = init_device_mesh("cpu", (1,))
    live = parallelize_module(plain, mesh, {"0": ColwiseParallel(), "2": RowwiseParallel()})
    with pytest.raises(ModelError, match="unsharded_twin"):
        ef.Probe(live, inputs, targets)
    assert torch.equal(ef.Probe(unsharded_twin(live).module, inputs, targets).measure().eigenvalues, expected)


def work(rank, folder):
    Path(f"{folder}/{rank}.json").write_text(json.dumps(follow()))


@pytest.mark.slow
def test_twins_on_two_processes(tmp_path):
    """Each process has the whole model, of which it holds a half in training."""
    on_two_processes(__file__, "work", tmp_path)
    plain = Tied()
    train(plain, torch.optim.Adam(plain.parameters(), lr=0.01), 4)
    expected = probe_of(plain).measure().eigenvalues.tolist()
    for rank in (0, 1):
        assert json.loads((tmp_path / f"{rank}.json").read_text()) == expected


@pytest.mark.rejects
def test_what_has_no_twin(alone):
    class Stubborn(nn.Linear):
        def __deepcopy__(self, memo):
            raise TypeError("holds a lock")

    with pytest.raises(ModelError, match=r"cannot be copied \(TypeError: holds a lock\).*build="):
        unsharded_twin(Stubborn(2, 2))
    twin = unsharded_twin(Stubborn(2, 2), build=lambda: nn.Linear(2, 2))
    twin.module = nn.Linear(2, 3)
    with pytest.raises(ModelError, match=r"shape \(2, 2\), but its unsharded twin \(3, 2\)"):
        twin.refresh()
    with pytest.raises(ModelError, match=r"must have the same parameters and buffers, but \['bias'\]"):
        unsharded_twin(nn.Linear(2, 2), build=lambda: nn.Linear(2, 2, bias=False))
    with pytest.raises(ArgumentError, match=r"`model` must be a torch.nn.Module"):
        unsharded_twin(None)
