"""A probe set of which every process holds a part."""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from eigenflow.core.display import Card, figure
from eigenflow.core.errors import ArgumentError, ModelError
from eigenflow.linalg import ModeTracker
from eigenflow.tangent.audit import Audit, audit
from eigenflow.tangent.holdout import HoldoutPoint
from eigenflow.tangent.loss.general import GeneralLoss
from eigenflow.tangent.loss.names import LossLike
from eigenflow.tangent.model.network import Parameters
from eigenflow.tangent.model.outputs import Output
from eigenflow.tangent.model.samples import count_samples, named_tensors
from eigenflow.tangent.point import TangentPoint
from eigenflow.tangent.probe import Probe
from eigenflow.tangent.processes import ProcessGroup
from eigenflow.tangent.sharded.agreement import (
    DRIFTED,
    alike,
    require_same_tensors,
    share_of_loss,
    shared_buffers,
)
from eigenflow.tangent.sharded.holdout import ShardedHoldout
from eigenflow.tangent.sharded.measuring import measure
from eigenflow.tangent.sharded.products import ShardedJacobian
from eigenflow.tangent.sharded.space import ShardedSpace
from eigenflow.tangent.snapshot import Snapshot

__all__ = ["ShardedProbe"]

SAME_PARAMETERS = "`model` must have the same parameters"
SAME_P = "`preconditioner` must be the same"
LOAD_ONE = "Load or broadcast one state before the probe is made."
DRIFTED_APART = (
    "The processes have trained apart: wrap the model in DistributedDataParallel, or broadcast its parameters before "
    "each measurement."
)


class ShardedProbe:
    """A probe set of which every process holds a part. Made by all processes of a group together.

    The loss is that of all samples: each process's part carries the normalisation of the whole set. Buffers that differ
    between processes, such as running statistics, are those of the first one. `factor` is that of all samples.

    Args:
        model: The same network, with the same parameters, on every process.
        inputs: This process's samples, at least one; as for `Probe`.
        targets: Their targets.
        loss: As for `Probe`; sums, means and weighted means of terms of one sample each.
        holdout: This process's part of the test set, which may be empty here (`inputs[:0]`), or None on all.
        group: The processes; None takes all.
        output: As for `Probe`.
        class_axis: As for `Probe`.
        dtype: As for `Probe`.
        check_determinism: As for `Probe`.
        memory_budget: As for `Probe`, for each process.

    Raises:
        ArgumentError: On all processes alike, if one of them holds no sample, if outputs differ in number, or if
            parameters differ.
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: Any,
        targets: Tensor,
        loss: LossLike = "mse",
        holdout: tuple[Any, Tensor] | None = None,
        *,
        group: Any = None,
        output: Output = None,
        class_axis: int | None = None,
        dtype: torch.dtype = torch.float64,
        check_determinism: bool = True,
        memory_budget: int | None = None,
    ):
        if not dist.is_initialized():
            raise ArgumentError(
                "A ShardedProbe needs a process group. Call torch.distributed.init_process_group(backend='gloo') "
                "first, and start the script with torchrun; in one process, use Probe."
            )
        self.processes = ProcessGroup(group)
        # Before anything that may raise on one process alone and leave the others waiting.
        self.counts = self.processes.gathered(self.processes.each(lambda: count_samples(inputs, "inputs")))
        if 0 in self.counts:
            raise ArgumentError(
                f"`inputs` must hold at least one sample on every process, but rank {self.counts.index(0)} of "
                f"{len(self.counts)} has none (samples per rank: {self.counts}). Use fewer processes, or share the "
                f"samples out evenly."
            )
        options = {"output": output, "class_axis": class_axis, "dtype": dtype, "memory_budget": memory_budget}
        options["check_determinism"] = check_determinism
        self.test = ShardedHoldout(holdout, self.processes)
        self.local = self.processes.each(
            lambda: _whole_probe(model, inputs, targets, loss, holdout=self.test.here, **options)
        )
        self.processes.require_same(alike(self.local))
        outputs = self.processes.gathered(self.local.outputs)
        if len(set(outputs)) > 1:
            raise ArgumentError(
                f"`model` must return as many outputs on every process, but returns {outputs}, in the order of ranks."
            )
        require_same_tensors(SAME_PARAMETERS, self.local.state()[0], self.processes, LOAD_ONE)
        share = share_of_loss((self.local.loss, self.local.targets), self.processes)
        # What a function divides by is inside of it: its factor says how much of the mean is here.
        own = self.local.loss.factor
        self.local.loss = self.local.loss.scaled(share)
        self.factor = own if isinstance(self.local.loss, GeneralLoss) else self.local.loss.factor
        self.loss, self.network = self.local.loss, self.local.network
        self.space = ShardedSpace(
            [count * self.local.width for count in self.counts], self.processes, self.local.inputs.device
        )
        self.test.share(self.local)

    def __repr__(self) -> str:
        return self._card().text()

    def _repr_html_(self) -> str:
        return self._card().html()

    def _card(self) -> Card:
        count = sum(parameter.numel() for parameter in self.network.parameters().values())
        rows = [
            ("rows of M", f"{self.size}: {self.samples} samples x {self.outputs} outputs"),
            ("on processes", f"{self.counts}, this is rank {self.processes.rank}"),
            ("network", f"{type(self.network.model).__name__}, {count:,} trainable parameters"),
            ("loss", f"{self.loss.describe()['loss']}, factor {figure(self.factor)}"),
            ("holdout", "none" if self.holdout is None else f"{self.test.counts} samples"),
            ("dtype", str(self.network.dtype)),
        ]
        return Card("ShardedProbe", rows)

    @property
    def holdout(self) -> tuple[Any, Tensor] | None:
        """This process's part of the test set, empty if it has none of it; None if no process has."""
        return self.test.given

    @property
    def samples(self) -> int:
        """Samples of all processes."""
        return sum(self.counts)

    @property
    def inputs(self) -> Any:
        """Of this process's samples."""
        return self.local.inputs

    @property
    def targets(self) -> Tensor:
        """Of this process's samples."""
        return self.local.targets

    @property
    def outputs(self) -> int:
        """Of one sample."""
        return self.local.outputs

    @property
    def width(self) -> int:
        """Rows of M per sample."""
        return self.local.width

    @property
    def memory_budget(self) -> int | None:
        """Of each process."""
        return self.local.memory_budget

    @property
    def size(self) -> int:
        """Rows of M: all samples * outputs."""
        return self.space.size

    @property
    def method(self) -> str:
        """How products are made, in words."""
        return "products by automatic differentiation"

    def state(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """As for `Probe`; buffers are those of the first process."""
        parameters, rest = self.processes.each(self.local.state)
        return parameters, shared_buffers(rest, self.processes)

    def at(
        self,
        state: tuple[Parameters, Parameters] | None = None,
        *,
        preconditioner: Mapping[str, Tensor] | torch.optim.Optimizer | None = None,
    ) -> TangentPoint:
        """This process's samples at a state; `loss` and `error` are this process's part."""
        return self.local.at(self.state() if state is None else state, preconditioner=preconditioner)

    def holdout_at(self, state: tuple[Parameters, Parameters] | None = None) -> HoldoutPoint:
        """As for `Probe`: products with K(x, X), each process with its rows of both sets.

        Raises:
            ArgumentError: If the probe has no holdout set.
        """
        return self.test.at(self.local, self.space, self.state() if state is None else state)

    def holdout_loss(self, point: TangentPoint) -> float | None:
        """The loss of the whole holdout set at an instant."""
        return None if self.holdout is None else self.holdout_at((point.parameters, point.rest)).loss

    def jacobian(
        self, point: TangentPoint, direction: Parameters | None = None, product_dtype: torch.dtype | None = None
    ) -> ShardedJacobian:
        """Products over all processes at a point.

        Raises:
            NonFiniteError: On all processes, if the error of one is not finite.
            ArgumentError: Likewise, if their parameters, or preconditioners, have become different.
        """
        self.processes.each(lambda: point.error)
        require_same_tensors(SAME_PARAMETERS, point.parameters, self.processes, DRIFTED_APART, allowed=DRIFTED)
        if point.preconditioner is not None:
            require_same_tensors(SAME_P, point.preconditioner, self.processes, DRIFTED_APART, allowed=DRIFTED)
        return ShardedJacobian(point, self.space, direction, product_dtype)

    def audited(
        self, point: TangentPoint, direction: Parameters | None = None, product_dtype: torch.dtype | None = None
    ) -> tuple[ShardedJacobian, Audit, Tensor]:
        """Products over all processes, held against plain reverse mode on each.

        Returns:
            The products, how they differ from it, and M e.

        Raises:
            NonFiniteError, ModelError: On all processes, if the error of one is not finite, or products do not hold.
        """
        jacobian = self.jacobian(point, direction, product_dtype)
        rows = torch.cat([self.space.draw(2, torch.Generator().manual_seed(0)), point.error.to(torch.float64)[None]])
        images = jacobian.product(rows)
        rates = None if direction is None else jacobian.rate_product(rows[:2])
        found = audit(point, images, rates, direction, dtype=jacobian.dtype, rows=rows, space=self.space)
        if not found.holds:
            raise ModelError(
                f"`model` cannot be measured over several processes: {found.reason}. Measure it in one process, which "
                f"has other ways."
            )
        return jacobian, found, images[2]

    def audited_jacobian(
        self, point: TangentPoint, direction: Parameters | None = None, product_dtype: torch.dtype | None = None
    ) -> tuple[ShardedJacobian, float]:
        """The products of `audited`, and their largest relative difference to plain reverse mode."""
        jacobian, found, _ = self.audited(point, direction, product_dtype)
        return jacobian, found.error

    def gradient(self, point: TangentPoint) -> dict[str, Tensor]:
        """Gradient of the whole loss."""
        own = self.processes.each(point.gradient)
        return {name: g[0] for name, g in self.space.sums({n: g.clone()[None] for n, g in own.items()}).items()}

    @torch.no_grad()
    def measure(
        self,
        modes: int | None = None,
        drift: bool = True,
        direction: Mapping[str, Tensor] | None = None,
        *,
        at: TangentPoint | None = None,
        tolerance: float | None = None,
        product_dtype: torch.dtype | None = None,
        tracker: ModeTracker | None = None,
        require_converged: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> Snapshot:
        """As `Probe.measure` by products, the whole snapshot on every process; `modes` or `tracker` must be given."""
        return measure(
            self,
            modes,
            drift,
            direction,
            at=at,
            tolerance=tolerance,
            product_dtype=product_dtype,
            tracker=tracker,
            require_converged=require_converged,
            progress=progress,
        )

    def describe(self) -> dict[str, Any]:
        """What a run folder stores about the probe; the checksum is that of one process with all samples."""
        own = self.local.describe()
        del own["cost"]  # of a dense M, which is not formed here
        return {
            **own,
            "factor": self.factor,
            "samples": self.samples,
            "holdout_samples": sum(self.test.counts),
            "method": self.method,
            "samples_by_process": self.counts,
            "checksum": self._checksum(),
        }

    def _checksum(self) -> str:
        """Every process's samples pass by all others, so that no process holds more than one part beside its own."""
        digest = hashlib.sha256()
        for tensor in (*(t for _, t in named_tensors(self.local.inputs, "inputs")), self.local.targets):
            digest.update(str((self.samples, *tensor.shape[1:])).encode())
            for rank, count in enumerate(self.counts):
                is_here = rank == self.processes.rank
                part = tensor.detach().contiguous() if is_here else tensor.new_empty(count, *tensor.shape[1:])
                digest.update(self.processes.broadcast(part, rank).cpu().numpy().tobytes())
        return digest.hexdigest()


def _whole_probe(model: nn.Module, inputs: Any, targets: Tensor, loss: LossLike, **options: Any) -> Probe:
    probe = Probe(model, inputs, targets, loss=loss, **options)
    if not probe.loss.is_whole:
        raise ArgumentError(
            f"`loss` '{probe.loss.name}' is a sketch, which is not spread over processes. Use Probe in one process, or "
            f"the loss itself."
        )
    return probe
