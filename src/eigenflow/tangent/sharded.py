"""A probe set whose samples are spread over processes, by `torch.distributed`.

Every process holds the whole network and a part of the samples. A row over all outputs is the parts of the processes
one after another, in the order of their ranks. Products meet in the space of parameters: with J_r the rows of
process r,

    M v = J (sum_r J_r' v_r)        one all-reduce of P numbers for each vector,

and inner products of rows are summed. Solvers then take the same decisions everywhere, because they see the same
numbers everywhere: all calls here and on what is made from it are collective, in the same order on all processes.
"""

import hashlib
from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import jvp, vjp, vmap

from eigenflow.core.errors import ArgumentError, ModelError, NonFiniteError
from eigenflow.linalg import AbstractRowSpace, SymmetricOperator
from eigenflow.tangent.audit import audit
from eigenflow.tangent.loss.names import LossLike
from eigenflow.tangent.measuring import audit_products
from eigenflow.tangent.model.network import Parameters
from eigenflow.tangent.model.samples import named_tensors
from eigenflow.tangent.point import TangentPoint
from eigenflow.tangent.probe import Probe
from eigenflow.tangent.processes import ProcessGroup
from eigenflow.tangent.products import CachedJacobian
from eigenflow.tangent.rules.norms import PlainNorms

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
        return self.part(whole).to(self.device)

    def sum(self, part: Tensor) -> Tensor:
        """Sum over the processes."""
        part = part.contiguous()
        dist.all_reduce(part, group=self.group)
        return part

    def whole(self, rows: Float[Tensor, "block local"]) -> Float[Tensor, "block size"]:
        """The parts of all processes, one after another, on each of them."""
        whole = torch.zeros(len(rows), self.size, dtype=rows.dtype, device=self.device)
        whole[:, self.start : self.start + self.local_size] = rows
        return self.sum(whole)

    def part(self, whole: Float[Tensor, "block size"]) -> Float[Tensor, "block local"]:
        """This process's part of whole rows."""
        return whole[:, self.start : self.start + self.local_size].contiguous()

    def is_any(self, here: bool) -> bool:
        """Whether it is so on any process."""
        count = self.sum(torch.tensor([float(here)], dtype=torch.float64, device=self.device))
        return float(count) > 0


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
            return self._push(self.point.parameters, gradients)

        found = self._in_groups(rows, images)
        if self.space.is_any(not bool(torch.isfinite(found).all())):
            raise NonFiniteError(
                "A product with the operator M is NaN or infinite on at least one process. The network has diverged "
                "or holds bad weights: look at the step before."
            )
        return found

    def rate_product(self, rows: Float[Tensor, "block local"]) -> Float[Tensor, "block local"]:
        """Mdot times each row: J and J^T are differentiated along the direction, with the sums between them."""
        assert self.direction is not None
        direction = dict(self.direction)

        def images(part: Tensor) -> Tensor:
            parameters = dict(self.point.parameters)
            gradients, moved, *_ = jvp(lambda p: self._pull(p, part), (parameters,), (direction,))
            summed, summed_dots = (
                {n: self.space.sum(g.detach().clone()) for n, g in both.items()} for both in (gradients, moved)
            )
            return jvp(self._push, (parameters, summed), (direction, summed_dots))[1].detach()

        with PlainNorms(), torch.enable_grad():
            return self._in_groups(rows, images)

    def operator(self) -> SymmetricOperator:
        """M as the solvers take it."""
        return SymmetricOperator(self.product, self.space, 0.5 * torch.finfo(self.point.network.dtype).eps)

    def trace(self) -> float | None:
        """Tr M, exactly, from each process's own rows; None if some parameters have no layer rule."""
        return self._traces[0]

    def trace_rate(self) -> float | None:
        """Tr Mdot, exactly; None if some parameters have no layer rule."""
        return self._traces[1]

    @cached_property
    def _traces(self) -> tuple[float | None, float | None]:
        def own() -> tuple[float | None, float | None]:
            jacobian = CachedJacobian(self.point, self.direction)
            if jacobian.uncovered or not audit_products(jacobian)[0].holds:
                return None, None
            return jacobian.trace(), None if self.direction is None else jacobian.trace_rate()

        processes = ProcessGroup(self.space.group)
        traces, rates = zip(*processes.gathered(processes.each(own)), strict=True)
        return tuple(None if None in some else sum(some) for some in (traces, rates))  # pyright: ignore

    def _pull(self, parameters: Parameters, rows: Tensor) -> dict[str, Tensor]:
        point = self.point
        outputs, pull_back, *_ = vjp(self._outputs, dict(parameters))
        cotangents = point.objective.spread(outputs, point.targets, rows.reshape(len(rows), *outputs.shape))
        return vmap(pull_back)(cotangents)[0]

    def _push(self, parameters: Parameters, gradients: Parameters) -> Tensor:
        point = self.point
        outputs, pull_back, *_ = vjp(self._outputs, dict(parameters))
        _, push, *_ = vjp(lambda cotangent: pull_back(cotangent)[0], torch.zeros_like(outputs))
        changes = vmap(lambda tangent: push(tangent)[0])(dict(gradients))
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
        loss: LossLike = "mse",
        *,
        group: Any = None,
        dtype: torch.dtype = torch.float64,
    ):
        if not dist.is_initialized():
            raise ArgumentError(
                "A ShardedProbe needs a process group. Call torch.distributed.init_process_group(backend='gloo') "
                "first, and start the script with torchrun; in one process, use Probe."
            )
        self.processes = ProcessGroup(group)
        # Before anything that may raise on one process alone and leave the others waiting.
        self.counts = self.processes.gathered(len(inputs))
        if 0 in self.counts:
            raise ArgumentError(
                f"`inputs` must hold at least one sample on every process, but rank {self.counts.index(0)} of "
                f"{len(self.counts)} has none (samples per rank: {self.counts}). Use fewer processes, or share the "
                f"samples out evenly."
            )
        self.local = self.processes.each(lambda: _whole_probe(model, inputs, targets, loss, dtype))
        self.processes.require_same(_alike(self.local))
        outputs = self.processes.gathered(self.local.outputs)
        if len(set(outputs)) > 1:
            raise ArgumentError(
                f"`model` must return as many outputs on every process, but returns {outputs}, in the order of ranks."
            )
        _require_same_parameters(self.local, self.processes)
        own = self.processes.each(lambda: self.local.loss.counted(self.local.targets))
        counted = self.processes.gathered(own)
        self.processes.require_same({"loss": "a sum" if own is None else "a mean"})
        if own is not None:
            self.local.loss = self.local.loss.scaled(own / sum(counted))
        self.loss, self.network = self.local.loss, self.local.network
        self.space = ShardedSpace([count * outputs[0] for count in self.counts], group, self.local.inputs.device)

    @property
    def samples(self) -> int:
        """Samples of all processes."""
        return sum(self.counts)

    @property
    def targets(self) -> Tensor:
        """Of this process's samples."""
        return self.local.targets

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
        """Products over all processes at a point.

        Raises:
            NonFiniteError: On all processes, if the error of one is not finite.
        """
        self.processes.each(lambda: point.error)
        return ShardedJacobian(point, self.space, direction)

    def audited_jacobian(
        self, point: TangentPoint, direction: Parameters | None = None
    ) -> tuple[ShardedJacobian, float]:
        """Products over all processes, held against plain reverse mode on each.

        Returns:
            The products, and their largest relative difference to it.

        Raises:
            NonFiniteError, ModelError: On all processes, if the error of one is not finite, or products do not hold.
        """
        jacobian = self.jacobian(point, direction)
        rows = torch.cat([self.space.draw(2, torch.Generator().manual_seed(0)), point.error.to(torch.float64)[None]])
        images = jacobian.product(rows)
        rates = None if direction is None else jacobian.rate_product(rows[:2])
        found = audit(point, images, rates, direction, rows=rows, space=self.space)
        if not found.holds:
            raise ModelError(
                f"`model` cannot be measured over several processes: {found.reason}. Measure it in one process, which "
                f"has other ways."
            )
        return jacobian, found.error

    def gradient(self, point: TangentPoint) -> dict[str, Tensor]:
        """Gradient of the whole loss."""
        return {name: self.space.sum(g.clone()) for name, g in point.gradient().items()}

    def describe(self) -> dict[str, Any]:
        """What a run folder stores about the probe; the checksum is that of one process with all samples."""
        own = self.local.describe()
        del own["cost"]  # of a dense M, which is not formed here
        return {
            **own,
            "samples": self.samples,
            "method": "products by automatic differentiation",
            "samples_by_process": self.counts,
            "checksum": self._checksum(),
        }

    def _checksum(self) -> str:
        """Every process's samples pass by all others, so that no process holds more than one part beside its own."""
        digest, group = hashlib.sha256(), self.processes.group
        for tensor in (*(t for _, t in named_tensors(self.local.inputs, "inputs")), self.local.targets):
            digest.update(str((self.samples, *tensor.shape[1:])).encode())
            for rank, count in enumerate(self.counts):
                is_here = rank == dist.get_rank(group)
                part = tensor.detach().contiguous() if is_here else tensor.new_empty(count, *tensor.shape[1:])
                dist.broadcast(part, src=rank if group is None else dist.get_global_rank(group, rank), group=group)
                digest.update(part.cpu().numpy().tobytes())
        return digest.hexdigest()


def _whole_probe(model: nn.Module, inputs: Tensor, targets: Tensor, loss: LossLike, dtype: torch.dtype) -> Probe:
    probe = Probe(model, inputs, targets, loss=loss, dtype=dtype)
    if not probe.loss.is_whole:
        raise ArgumentError(
            f"`loss` '{probe.loss.name}' is a sketch, which is not spread over processes. Use Probe in one process, or "
            f"the loss itself."
        )
    return probe


def _alike(probe: Probe) -> dict[str, Any]:
    """What must not differ between processes, as the user knows it."""
    return {
        "loss": probe.loss.name,
        "dtype": str(probe.network.dtype),
        **{f"{n}.dtype": str(t.dtype) for n, t in named_tensors(probe.inputs, "inputs")},
        **{f"{n}.shape[1:]": tuple(t.shape[1:]) for n, t in named_tensors(probe.inputs, "inputs")},
        "targets.dtype": str(probe.targets.dtype),
        "targets.shape[1:]": tuple(probe.targets.shape[1:]),
    }


def _require_same_parameters(probe: Probe, processes: ProcessGroup) -> None:
    parameters, _ = probe.state()
    sums = torch.stack([p.double().sum() + p.double().square().sum() for p in parameters.values()]).cpu()
    others = processes.gathered(sums.tolist())
    for rank, other in enumerate(others):
        differing = [name for name, a, b in zip(parameters, others[0], other, strict=True) if a != b]
        if differing:
            raise ArgumentError(
                f"`model` must have the same parameters on every process, but '{differing[0]}' differs between rank 0 "
                f"and rank {rank}. Load or broadcast one state before the probe is made."
            )
