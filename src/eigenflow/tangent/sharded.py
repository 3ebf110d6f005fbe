"""A probe set whose samples are spread over processes, by `torch.distributed`.

Every process holds the whole network and a part of the samples. A row over all outputs is the parts of the processes
one after another, in the order of their ranks. Products meet in the space of parameters: with J_r the rows of
process r,

    M v = J (sum_r J_r' v_r)        one all-reduce of P numbers for each vector,

and inner products of rows are summed. Solvers then take the same decisions everywhere, because they see the same
numbers everywhere: all calls here and on what is made from it are collective, in the same order on all processes.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import jvp, vjp, vmap

from eigenflow.core.errors import ArgumentError
from eigenflow.linalg import AbstractRowSpace, SymmetricOperator
from eigenflow.tangent.network import Parameters
from eigenflow.tangent.point import TangentPoint
from eigenflow.tangent.probe import Probe

__all__ = ["ShardedJacobian", "ShardedProbe", "ShardedSpace"]

# Gradients of a group of vectors that are held at once, in bytes.
GROUP_BYTES = 256 * 2**20


class ShardedSpace(AbstractRowSpace):
    """Rows of which this process holds `local_size` entries.

    Args:
        local_sizes: Entries of every process, in the order of ranks.
        group: The processes; None takes all.
        device: Where this process's entries live.
    """

    def __init__(self, local_sizes: list[int], group: Any = None, device: torch.device | str = "cpu"):
        self.group, rank = group, dist.get_rank(group)
        self.size, self.local_size = sum(local_sizes), local_sizes[rank]
        self.start = sum(local_sizes[:rank])
        self.device = torch.device(device)

    def inner(self, left: Float[Tensor, "left local"], right: Float[Tensor, "right local"]) -> Float[Tensor, "l r"]:
        """Inner products of all pairs of rows, summed over the processes."""
        return self.sum(left @ right.T)

    def draw(self, count: int, generator: torch.Generator) -> Float[Tensor, "count local"]:
        """This process's part of the same whole rows that one process would draw."""
        whole = torch.randn(count, self.size, generator=generator, dtype=torch.float64)
        return whole[:, self.start : self.start + self.local_size].to(self.device)

    def sum(self, tensor: Tensor) -> Tensor:
        """Sum over the processes."""
        tensor = tensor.contiguous()
        dist.all_reduce(tensor, group=self.group)
        return tensor

    def largest(self, value: float) -> float:
        """Largest over the processes."""
        found = torch.tensor([value], dtype=torch.float64, device=self.device)
        dist.all_reduce(found, op=dist.ReduceOp.MAX, group=self.group)
        return float(found)


class ShardedJacobian:
    """Products with M and Mdot over all processes, by automatic differentiation on each.

    Args:
        point: This process's samples.
        space: The rows' space.
        direction: dtheta/dt along which Mdot is taken, or None.
    """

    def __init__(self, point: TangentPoint, space: ShardedSpace, direction: Parameters | None = None):
        self.point, self.space, self.direction = point, space, direction

    @torch.no_grad()
    def product(self, rows: Float[Tensor, "block local"]) -> Float[Tensor, "block local"]:
        """M times each row."""

        def images(part: Tensor) -> Tensor:
            gradients = {name: self.space.sum(g) for name, g in self.point.pull(part).items()}
            return vmap(self.point.push)(gradients)

        return self._in_groups(rows, images)

    @torch.no_grad()
    def rate_product(self, rows: Float[Tensor, "block local"]) -> Float[Tensor, "block local"]:
        """Mdot times each row: J and J^T are differentiated along the direction, with the sums between them."""
        assert self.direction is not None
        direction = dict(self.direction)

        def images(part: Tensor) -> Tensor:
            parameters = dict(self.point.parameters)
            gradients, moved, *_ = jvp(lambda p: self._pull(p, part), (parameters,), (direction,))
            summed, summed_dots = (
                {n: self.space.sum(g.clone()) for n, g in both.items()} for both in (gradients, moved)
            )
            return jvp(self._push, (parameters, summed), (direction, summed_dots))[1]

        return self._in_groups(rows, images)

    def operator(self) -> SymmetricOperator:
        """M as the solvers take it."""
        return SymmetricOperator(self.product, self.space, 0.5 * torch.finfo(self.point.network.dtype).eps)

    def trace(self) -> float | None:
        """Not known without the rows' norms; estimated from random directions where it is needed."""
        return None

    def trace_rate(self) -> float | None:
        """Not known."""
        return None

    def _pull(self, parameters: Parameters, rows: Tensor) -> dict[str, Tensor]:
        point = self.point
        outputs, pull_back, *_ = vjp(self._outputs, dict(parameters))
        cotangents = point.objective.spread(outputs, point.targets, rows.reshape(len(rows), *outputs.shape))
        return vmap(pull_back)(cotangents)[0]

    def _push(self, parameters: Parameters, gradients: Parameters) -> Tensor:
        point = self.point
        outputs = self._outputs(parameters)
        changes = vmap(lambda tangent: jvp(self._outputs, (dict(parameters),), (tangent,))[1])(dict(gradients))
        weighed = point.objective.weigh(outputs, point.targets, changes)
        return weighed.reshape(weighed.shape[0], -1)

    def _outputs(self, parameters: Parameters) -> Tensor:
        return self.point.network.apply(parameters, self.point.rest, self.point.inputs)

    def _in_groups(self, rows: Tensor, images: Callable[[Tensor], Tensor]) -> Tensor:
        row_bytes = sum(p.numel() * p.element_size() for p in self.point.parameters.values())
        parts = rows.to(self.point.network.dtype).split(max(1, GROUP_BYTES // (4 * row_bytes)))
        return torch.cat([images(part) for part in parts]).to(rows.dtype)


class ShardedProbe:
    """A probe set of which every process holds a part. Made by all processes of a group together.

    The loss is that of all samples: each process's part carries the normalisation of the whole set.

    Args:
        model: The same network, with the same parameters, on every process.
        inputs: This process's samples, at least one.
        targets: Their targets.
        loss: As for `Probe`.
        group: The processes; None takes all.
        dtype: As for `Probe`.

    Raises:
        ArgumentError: On all processes alike, if one of them holds no sample, if outputs differ in number, or if
            parameters differ.
    """

    holdout = None

    def __init__(
        self,
        model: nn.Module,
        inputs: Tensor,
        targets: Tensor,
        loss: Any = "mse",
        *,
        group: Any = None,
        dtype: torch.dtype = torch.float64,
    ):
        if not dist.is_initialized():
            raise ArgumentError(
                "A ShardedProbe needs a process group. Call torch.distributed.init_process_group(backend='gloo') "
                "first, and start the script with torchrun; in one process, use Probe."
            )
        # Before anything that may raise on one process alone and leave the others waiting.
        samples = _gathered(len(inputs), group)
        if 0 in samples:
            raise ArgumentError(
                f"`inputs` must hold at least one sample on every process, but rank {samples.index(0)} of "
                f"{len(samples)} has none (samples per rank: {samples}). Use fewer processes, or share the samples "
                f"out evenly."
            )
        self.local = Probe(model, inputs, targets, loss=loss, dtype=dtype)
        outputs = _gathered(self.local.outputs, group)
        if len(set(outputs)) > 1:
            raise ArgumentError(
                f"`model` must return as many outputs on every process, but returns {outputs}, in the order of ranks."
            )
        _require_same_parameters(self.local, group)
        self.local.loss = self.local.loss.scaled(len(inputs) / sum(samples))
        self.loss, self.network = self.local.loss, self.local.network
        self.space = ShardedSpace([count * outputs[0] for count in samples], group, self.local.inputs.device)

    @property
    def size(self) -> int:
        """Rows of M: all samples * outputs."""
        return self.space.size

    def state(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """As for `Probe`; the same on every process."""
        return self.local.state()

    def at(self, state: tuple[Parameters, Parameters] | None = None) -> TangentPoint:
        """This process's samples at a state; `loss` and `error` are this process's part."""
        return self.local.at(state)

    def jacobian(self, point: TangentPoint, direction: Parameters | None = None) -> ShardedJacobian:
        """Products over all processes at a point."""
        return ShardedJacobian(point, self.space, direction)

    def gradient(self, point: TangentPoint) -> dict[str, Tensor]:
        """Gradient of the whole loss."""
        return {name: self.space.sum(g.clone()) for name, g in point.gradient().items()}


def _gathered(value: int, group: Any) -> list[int]:
    found: list[Any] = [None] * dist.get_world_size(group)
    dist.all_gather_object(found, value, group=group)
    return found


def _require_same_parameters(probe: Probe, group: Any) -> None:
    parameters, _ = probe.state()
    sums = torch.stack([p.double().sum() + p.double().square().sum() for p in parameters.values()]).cpu()
    others: list[Any] = [None] * dist.get_world_size(group)
    dist.all_gather_object(others, sums.tolist(), group=group)
    for rank, other in enumerate(others):
        differing = [name for name, a, b in zip(parameters, others[0], other, strict=True) if a != b]
        if differing:
            raise ArgumentError(
                f"`model` must have the same parameters on every process, but '{differing[0]}' differs between rank 0 "
                f"and rank {rank}. Load or broadcast one state before the probe is made."
            )
