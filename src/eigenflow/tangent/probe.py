"""The probe: a network, a fixed set of samples, and the loss, ready to be measured."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from eigenflow.core.checks import check_kind
from eigenflow.core.display import Card, figure
from eigenflow.core.errors import ArgumentError
from eigenflow.linalg import ModeTracker, RowSpace
from eigenflow.tangent.audit import OPERATOR_TOLERANCE as OPERATOR_TOLERANCE
from eigenflow.tangent.checks import checked_direction, checked_modes, checked_outputs, checked_pair
from eigenflow.tangent.choice import choose_method
from eigenflow.tangent.cost import MeasureCost, dense_cost, physical_bytes, plan_dense, product_flops, require_memory
from eigenflow.tangent.holdout import HoldoutPoint, holdout_point
from eigenflow.tangent.loss.names import LossLike, make_loss
from eigenflow.tangent.measuring import Attempt, attempt_dense, attempt_products, next_way
from eigenflow.tangent.model.evaluation import undisturbed
from eigenflow.tangent.model.failures import in_our_words
from eigenflow.tangent.model.network import Network, Parameters
from eigenflow.tangent.model.outputs import Output, described_output
from eigenflow.tangent.model.samples import named_tensors
from eigenflow.tangent.point import TangentPoint
from eigenflow.tangent.preconditioner import checked_preconditioner
from eigenflow.tangent.processes import OneProcess
from eigenflow.tangent.rules.groups import describe_structure
from eigenflow.tangent.rules.layers import Structure, find_structure
from eigenflow.tangent.snapshot import Snapshot
from eigenflow.tangent.two_cores import both, is_core_free

__all__ = ["Probe"]


class Probe:
    """Measures the operator M = J J^T of a network on fixed samples.

    The probe refers to the live model: after a training step, `measure()` sees the new weights. The
    exact equations of the theory hold when the probe set is the training set.

    Args:
        model: Any `torch.nn.Module` that can be trained. Random layers must be off (model.eval()) when the probe is
            made. It is never changed.
        inputs: A tensor, a tuple of tensors (forward(*inputs)) or a mapping (forward(**inputs)), sample axis first.
        targets: Same number of samples; the shape and dtype of the model's outputs, or class labels.
        loss: "mse" (as in `torch.nn.MSELoss`), "half_mean" or "half_sum", "cross_entropy", a loss of PyTorch, a loss
            object, or a function of outputs and targets; see `make_loss` and `tangent.losses`.
        holdout: Test inputs and targets, or None. Their loss is recorded beside the probe's.
        output: Key, index or function that takes the outputs out of what the model returns; None: the obvious one.
        class_axis: Axis of the classes in the model's outputs, for cross-entropy; None: axis 1 or the last, as the
            targets fit.
        dtype: Type in which the operator is evaluated, whatever the model's own type is.
        check_determinism: Evaluate the model twice and refuse it if the outputs differ.
        memory_budget: Bytes that a measurement may hold beyond the model; None: this machine's memory. Samples are
            taken in chunks so that it fits, and a measurement that cannot fit is refused before it starts.

    Raises:
        ShapeError, NonFiniteError, ArgumentError: For bad inputs or targets.
        ModelError: For a model that cannot be measured as it is.
    """

    @undisturbed()
    def __init__(
        self,
        model: nn.Module,
        inputs: Any,
        targets: Tensor,
        loss: LossLike = "mse",
        holdout: tuple[Any, Tensor] | None = None,
        *,
        output: Output = None,
        class_axis: int | None = None,
        dtype: torch.dtype = torch.float64,
        check_determinism: bool = True,
        memory_budget: int | None = None,
    ):
        if not isinstance(model, nn.Module):
            raise ArgumentError(f"`model` must be a torch.nn.Module, but is {type(model).__name__}.")
        if dtype not in (torch.float32, torch.float64):
            raise ArgumentError(f"`dtype` must be torch.float64 or torch.float32, but is {dtype}.")
        self.processes = OneProcess()
        self.network = Network(model, dtype, output)
        _require_same_dtype(self.network, inputs, targets)
        self.memory_budget = _checked_budget(memory_budget)
        unbound = make_loss(loss, class_axis=class_axis)
        self.inputs, targets = checked_pair(inputs, targets, ("inputs", "targets"), dtype)
        parameters, rest = self.network.state()
        outputs = checked_outputs(self.network, parameters, rest, self.inputs, check_determinism)
        self.loss, self.targets = unbound.bind(targets, outputs.shape, dtype, "targets")
        self.outputs = outputs[0].numel()
        budget = self.memory_budget or physical_bytes()
        self.loss.require_memory(self.samples, self.outputs, dtype.itemsize, budget, drift=False)
        self.loss.require_usable(outputs.reshape(len(outputs), -1), self.targets)
        self.holdout = None
        if holdout is not None:
            if not isinstance(holdout, tuple | list) or len(holdout) != 2:
                raise ArgumentError("`holdout` must be a pair: holdout=(test_inputs, test_targets).")
            names = ("holdout[0]", "holdout[1]")
            holdout_inputs, holdout_targets = checked_pair(*holdout, names, dtype)
            outputs = checked_outputs(self.network, parameters, rest, holdout_inputs, check_determinism=False)
            self.holdout_objective, holdout_targets = unbound.bind(holdout_targets, outputs.shape, dtype, names[1])
            self.holdout = holdout_inputs, holdout_targets
        self.structure: Structure | None
        self.structure, self.reason = find_structure(self.network, parameters, rest, self.inputs)
        self.reverse_only = self.rate_by_differences = False

    def __repr__(self) -> str:
        return self._card().text()

    def _repr_html_(self) -> str:
        return self._card().html()

    def _card(self) -> Card:
        """Nothing is evaluated for it."""
        count = sum(parameter.numel() for parameter in self._trainable().values())
        held_out = "none" if self.holdout is None else f"{len(self.holdout[1])} samples"
        rows = [
            (
                "rows of M",
                f"{self.size}: {self.samples} samples x {self.outputs} output{'s' if self.outputs != 1 else ''}",
            ),
            ("network", f"{type(self.network.model).__name__}, {count:,} trainable parameters"),
            ("loss", f"{self.loss.describe()['loss']}, factor {figure(self.factor)}"),
            ("holdout", held_out),
            ("dtype", str(self.network.dtype)),
            ("method", self.method),
        ]
        return Card("Probe", rows)

    @property
    def size(self) -> int:
        """Rows of M: samples * outputs."""
        return len(self.inputs) * self.width

    @property
    def samples(self) -> int:
        """Samples of the probe set."""
        return len(self.inputs)

    @property
    def space(self) -> RowSpace:
        """The space of the error, in which M acts."""
        return RowSpace(self.size, self.inputs.device)

    @property
    def width(self) -> int:
        """Rows of M per sample: entries of the error."""
        return self.loss.width(self.outputs)

    @property
    def factor(self) -> float:
        """The loss's own normalisation; for squared losses the f of e = sqrt(f) (network - targets)."""
        return self.loss.factor

    def state(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Copy the model's trainable parameters, and the rest of its tensors, as they are now."""
        return self.network.state()

    @undisturbed()
    def at(
        self,
        state: tuple[Parameters, Parameters] | None = None,
        *,
        preconditioner: Mapping[str, Tensor] | torch.optim.Optimizer | None = None,
    ) -> TangentPoint:
        """The linearised network at a state, or at the model's present one.

        Args:
            state: From `state()`.
            preconditioner: Makes M the operator J P^(-1) J^T of a preconditioned optimizer: Adam, AdamW, RMSprop or SGD
                with momentum after a step, or the diagonal of P^(-1) by parameter name. Measure with `measure(at=...)`.
        """
        parameters, rest = self.state() if state is None else _checked_state(state)
        parameters = self.network.settled(parameters, rest, self.inputs)
        return TangentPoint(
            self.network,
            self.structure,
            parameters,
            rest,
            self.inputs,
            self.targets,
            self.loss,
            memory_budget=self.memory_budget,
            preconditioner=None
            if preconditioner is None
            else checked_preconditioner(preconditioner, self.network.model, parameters),
            reverse_only=self.reverse_only,
            rate_by_differences=self.rate_by_differences,
            reason=self.reason,
        )

    @undisturbed()
    def holdout_at(self, state: tuple[Parameters, Parameters] | None = None) -> HoldoutPoint:
        """Probe and holdout set at a state, or at the model's present one: the test error and what drives it.

        Raises:
            ArgumentError: If the probe has no holdout set.
        """
        return holdout_point(self, state)

    def cost(self, *, drift: bool = True) -> MeasureCost:
        """Estimate one measurement before it is made."""
        # The budget is checked when it comes to measuring: a cost can be asked for at any time.
        parameters = self._trainable()
        itemsize = self.network.dtype.itemsize
        plan = plan_dense(self.structure, parameters, len(self.inputs), self.width, itemsize, drift=drift, budget=2**62)
        return dense_cost(self.size, sum(p.numel() for p in parameters.values()), drift, plan.cost.flops)

    def _trainable(self) -> dict[str, Tensor]:
        return self.network.parameters()

    @undisturbed()
    @torch.no_grad()
    def measure(
        self,
        modes: int | None = None,
        drift: bool = True,
        direction: Mapping[str, Tensor] | None = None,
        *,
        at: TangentPoint | None = None,
        method: str = "auto",
        tolerance: float | None = None,
        product_dtype: torch.dtype | None = None,
        tracker: ModeTracker | None = None,
        require_converged: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> Snapshot:
        """Measure the largest eigenpairs of M, the error in their basis, and how they move.

        Args:
            modes: How many eigenpairs to keep, largest first; None keeps all, or as many as the tracker follows.
                Where M has fewer, all are kept, with a warning.
            drift: Whether to compute the exact Mdot, and from it the eigenvalues' rates and couplings.
            direction: dtheta/dt by parameter name, along which M moves. None: minus the gradient of the
                probe loss, which is gradient flow.
            at: Instant to measure; None: the model's present state.
            method: "dense" forms M and diagonalises it, "products" makes products with it in blocks, "auto" takes the
                one that is estimated to be cheaper and fits the memory.
            tolerance: Relative accuracy of the eigenvalues asked of "products"; None: 1e-8, or 1e-6 in float32.
            product_dtype: Arithmetic of "products"; None: the probe's. torch.float32 halves their cost; vectors and
                everything small stay in float64.
            tracker: Follows the modes from one call to the next: cheaper than solving anew, and modes keep labels. It
                brings its own tolerance.
            require_converged: Raise, rather than mark, if a pair misses the tolerance.
            progress: Called with (products made, pairs converged) while "products" solves.

        Returns:
            A snapshot with its certificates.

        Raises:
            ArgumentError: If `modes` is out of range, `direction` misses a parameter, options contradict each other, or
                the dense operator cannot fit in memory.
            NonFiniteError: If the network's outputs or the operator are not finite.
            ModelError: If other parameters are trainable than when the probe was made, or what is found cannot be
                confirmed by plain reverse mode, whichever way it is made.
            ConvergenceError: With `require_converged`, if pairs missed the tolerance.
        """
        modes = checked_modes(modes, tracker, self.size)
        cost = self.cost(drift=drift)
        flops = product_flops(self.structure, self._trainable(), len(self.inputs))
        chosen = choose_method(
            method, self.size, modes, tracker is not None, drift, cost, flops, self.memory_budget or physical_bytes()
        )
        if chosen == "dense":
            require_memory(cost, self.size, self.memory_budget)
        self._require_memory_for_loss(drift=drift)
        check_kind("at", at, (TangentPoint, type(None)), "an instant, as from `probe.at()`")
        point = self.at() if at is None else at
        point.error  # noqa: B018 - raises before the expensive part if the network has diverged
        along = checked_direction(direction, point) if drift else None
        if chosen == "dense":
            return self._dense(point, along, modes)()
        assert modes is not None
        return self._measured(
            point,
            lambda: attempt_products(
                point,
                modes,
                along,
                tolerance=tolerance,
                product_dtype=product_dtype,
                tracker=tracker,
                require_converged=require_converged,
                progress=progress,
            ),
        )()

    @undisturbed()
    @torch.no_grad()
    def measure_update(
        self, before: TangentPoint, after: TangentPoint, direction: Mapping[str, Tensor]
    ) -> tuple[Snapshot, Snapshot]:
        """Measure all modes at two instants, with Mdot along `direction` (dtheta/dt by name) at the first one.

        As `measure` does, with its errors. Where PyTorch computes on one thread and the machine has another core, both
        eigenproblems are solved at once.
        """
        require_memory(self.cost(drift=True), self.size, self.memory_budget)
        self._require_memory_for_loss(drift=True)
        along = checked_direction(direction, before)
        if not is_core_free(self.size):  # one after the other, so that the first one's matrices are gone by then
            return self._dense(before, along)(), self._dense(after, None)()
        return both(self._dense(before, along), self._dense(after, None))

    def _dense(self, point: TangentPoint, along: Parameters | None, modes: int | None = None) -> Callable[[], Snapshot]:
        """Form M, and Mdot along a direction, and audit them; what is returned finds the modes, without the model."""
        point.error  # noqa: B018 - raises before the expensive part if the network has diverged
        return self._measured(point, lambda: attempt_dense(point, along, modes, lambda: self._described(point)))

    def _require_memory_for_loss(self, *, drift: bool) -> None:
        budget = self.memory_budget or physical_bytes()
        self.loss.require_memory(self.samples, self.outputs, self.network.dtype.itemsize, budget, drift=drift)

    def _measured(self, point: TangentPoint, attempt: Callable[[], Attempt]) -> Callable[[], Snapshot]:
        """By the first way that the audit confirms; the probe stays with it."""
        ours = partial(in_our_words, self.network.model, "be measured", self.network.dtype)
        with ours():
            while True:
                found, finish = attempt()
                if found.holds:
                    break
                next_way(point, found)
            self.structure, self.reverse_only, self.reason = point.structure, point.reverse_only, point.reason
            self.rate_by_differences = point.rate_by_differences

        def finished() -> Snapshot:
            with ours():
                return finish()

        return finished

    @property
    def method(self) -> str:
        """How the dense operator is formed, in words."""
        return self._described(self)

    def holdout_loss(self, point: TangentPoint) -> float | None:
        """The loss on the holdout set at an instant, with the same normalisation per sample and output."""
        if self.holdout is None:
            return None
        inputs, targets = self.holdout
        with torch.no_grad(), in_our_words(self.network.model, "be evaluated on the holdout set", self.network.dtype):
            outputs = self.network.apply(point.parameters, point.rest, inputs)
        return float(self.holdout_objective.value(outputs, targets))

    def describe(self) -> dict[str, Any]:
        """What a run folder stores about the probe, with a checksum of its samples."""
        digest = hashlib.sha256()
        for tensor in (*(t for _, t in named_tensors(self.inputs, "inputs")), self.targets):
            digest.update(str(tuple(tensor.shape)).encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return {
            "samples": len(self.inputs),
            "outputs": self.outputs,
            "output": described_output(self.network.output),
            **self.loss.describe(),
            "holdout_samples": 0 if self.holdout is None else len(self.holdout[1]),
            "dtype": str(self.network.dtype),
            "method": self.method,
            "parameters": sum(p.numel() for p in self._trainable().values()),
            "cost": asdict(self.cost()),
            "checksum": digest.hexdigest(),
        }

    def _described(self, point: "TangentPoint | Probe") -> str:
        return describe_structure(point.structure, self.network.trainable, point.reason, by_rows=point.reverse_only)


def _checked_budget(budget: int | None) -> int | None:
    if budget is not None and (not isinstance(budget, int) or budget <= 0):
        raise ArgumentError(
            f"`memory_budget` must be a number of bytes > 0, or None for this machine's memory, but is {budget!r}."
        )
    return budget


def _require_same_dtype(network: Network, inputs: Any, targets: Tensor) -> None:
    types = {t.dtype for t in network.slots.tensors().values() if t.is_floating_point()}
    own = next(iter(network.parameters().values())).dtype
    for name, tensor in (("inputs", inputs), ("targets", targets)):
        if isinstance(tensor, Tensor) and tensor.is_floating_point() and tensor.dtype not in types:
            raise ArgumentError(
                f"`{name}` must have the dtype of the model's parameters, {own}, but has {tensor.dtype}. "
                f"Convert one of them: {name}.to({own}) or model.to({tensor.dtype})."
            )


def _checked_state(state: Any) -> tuple[Parameters, Parameters]:
    is_pair = isinstance(state, tuple | list) and len(state) == 2 and all(isinstance(one, Mapping) for one in state)
    if not is_pair:
        raise ArgumentError(
            f"`state` must come from `probe.state()`, which gives two mappings, but is a {type(state).__name__}. For a "
            f"`state_dict`: model.load_state_dict(...), then probe.at()."
        )
    return state[0], state[1]
