"""A network and a probe set at one instant: the error, and products with J, J^T and M."""

from collections.abc import Callable, Collection
from functools import cached_property, partial
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import jvp, vjp, vmap

from eigenflow.core.errors import EigenflowError, NonFiniteError, ShapeError
from eigenflow.tangent.cost import DensePlan, plan_dense
from eigenflow.tangent.dense import DenseTask, dense_kernel, dense_kernel_and_rate
from eigenflow.tangent.differences import difference, difference_step
from eigenflow.tangent.factors import FactorSum, point_factors
from eigenflow.tangent.loss.base import AbstractLoss
from eigenflow.tangent.model.failures import explained, in_our_words, require_memory_left
from eigenflow.tangent.model.network import Network, Parameters
from eigenflow.tangent.model.samples import Inputs
from eigenflow.tangent.rules.layers import Structure
from eigenflow.tangent.rules.norms import PlainNorms
from eigenflow.tangent.tape import Tape, tape_kernel

__all__ = ["TangentPoint"]

Result = TypeVar("Result")

# What products by automatic differentiation may hold at once.
PRODUCT_BYTES = 512 * 2**20


class TangentPoint:
    """The linearised network at fixed parameters, in units of the loss's error e.

    J = B^T J_net with the root B of the loss's curvature and M = J J^T. For squared losses e = sqrt(f) (network -
    targets), B = sqrt(f), and J is the Jacobian of e; see `tangent.losses` for the others. Vectors over the
    outputs are rows of length samples * outputs, sample-major; vectors over the parameters are dicts of tensors.

    Args:
        network: The module as a pure function.
        structure: Where layer rules hold; None if outputs depend on other samples' inputs.
        parameters: Trainable parameters, by name.
        rest: Frozen parameters and buffers, by name.
        inputs: Probe inputs, sample axis first.
        targets: Probe targets, as the loss takes them.
        objective: The loss, bound to these samples.
        memory_budget: Bytes that forming M may hold; None: this machine's memory.
        preconditioner: Diagonal of P^(-1) by parameter name, which makes M = J P^(-1) J^T; None: the identity.
        reverse_only: Whether all derivatives are taken by plain reverse mode (`tape`), for models that `torch.func`
            cannot follow. A derivative that fails there sets it.
        rate_by_differences: Whether Mdot is a central difference of M (`differences`).
        reason: Why layer rules, or torch.func, are not used, in words.
    """

    def __init__(
        self,
        network: Network,
        structure: Structure | None,
        parameters: Parameters,
        rest: Parameters,
        inputs: Inputs,
        targets: Tensor,
        objective: AbstractLoss,
        memory_budget: int | None = None,
        preconditioner: Parameters | None = None,
        reverse_only: bool = False,
        rate_by_differences: bool = False,
        reason: str = "",
    ):
        self.network = network
        self.structure = structure
        self.parameters = dict(parameters)
        self.rest = dict(rest)
        self.inputs = inputs
        self.targets = targets
        self.objective = objective
        self.memory_budget = memory_budget
        self.preconditioner = preconditioner
        self.reverse_only = reverse_only
        self.rate_by_differences = rate_by_differences
        self.reason = reason

    def moved(self, parameters: Parameters) -> "TangentPoint":
        """The same probe and loss at other parameters."""
        return TangentPoint(
            self.network,
            self.structure,
            parameters,
            self.rest,
            self.inputs,
            self.targets,
            self.objective,
            memory_budget=self.memory_budget,
            preconditioner=self.preconditioner,
            reverse_only=self.reverse_only,
            rate_by_differences=self.rate_by_differences,
            reason=self.reason,
        )

    def part(self, samples: slice) -> "TangentPoint":
        """Some of the samples, with the normalisation of all; for networks in which no sample meets another."""
        some = self.moved(self.parameters)
        some.inputs, some.targets = self.inputs[samples], self.targets[samples]
        some.objective = self.objective.part(samples, len(self.inputs))
        return some

    @property
    def size(self) -> int:
        """Rows of M: samples * entries of the error per sample (the outputs, unless the loss is sketched)."""
        return len(self.outputs) * self.objective.width(self.outputs.shape[1])

    @cached_property
    def outputs(self) -> Float[Tensor, "samples outputs"]:
        """What the network returns on the probe inputs."""
        with torch.no_grad(), in_our_words(self.network.model, "be evaluated on the probe set", self.network.dtype):
            outputs = self.network.apply(self.parameters, self.rest, self.inputs)
        if not torch.isfinite(outputs).all():
            raise NonFiniteError(
                "The network's outputs on the probe set are NaN or infinite. The run has diverged, or the "
                "model holds bad weights: look at the step before, or lower the learning rate."
            )
        return outputs

    @cached_property
    def error(self) -> Float[Tensor, " size"]:
        """e, with B e = the gradient of the loss by the outputs."""
        with torch.no_grad():
            self.objective.require_valid(self.outputs, self.targets)
            error = self.objective.error(self.outputs, self.targets).reshape(-1)
        if not torch.isfinite(error).all():
            raise NonFiniteError(
                f"The error of loss '{self.objective.name}' overflows on "
                f"{int((~torch.isfinite(error)).sum())} outputs. "
                f"Samples are wrong by an extreme margin: lower the scale of the outputs, or measure in float64."
            )
        return error

    @cached_property
    def loss(self) -> float:
        """The loss itself. For squared losses it is ||e||^2 / 2."""
        return float(self.objective.value(self.outputs, self.targets))

    @torch.no_grad()
    def push(self, direction: Parameters) -> Float[Tensor, " size"]:
        """J times one parameter direction: B^T times how fast the outputs change along it."""
        return self.weigh(self.output_change(direction))

    def output_change(self, direction: Parameters) -> Float[Tensor, "samples outputs"]:
        """J_net times one parameter direction: how fast the outputs change along it."""
        direction = dict(direction)
        return self._either(
            lambda: jvp(self._outputs, (self.parameters,), (direction,))[1], lambda: self.tape.push_outputs(direction)
        )

    def push_all(self, directions: Parameters) -> Float[Tensor, "block size"]:
        """J times each direction of a block, along the leading axis of every tensor."""
        directions = dict(directions)

        def one_by_one() -> Tensor:
            count = len(next(iter(directions.values())))
            return torch.stack([self.push({name: d[i] for name, d in directions.items()}) for i in range(count)])

        return self._either(lambda: vmap(self._pushed)(directions), one_by_one)

    def _pushed(self, direction: Parameters) -> Tensor:
        return self.weigh(jvp(self._outputs, (self.parameters,), (direction,))[1])

    @torch.no_grad()
    def weigh(self, change: Float[Tensor, "samples outputs"]) -> Float[Tensor, " size"]:
        """B^T times a change of the outputs."""
        return self.objective.weigh(self.outputs, self.targets, change).reshape(-1)

    @torch.no_grad()
    def error_after(self, change: Float[Tensor, "samples outputs"]) -> Float[Tensor, " size"]:
        """e of the changed outputs, not to first order: what the error would be if the network were linear.

        Raises:
            NonFiniteError: If it overflows.
        """
        error = self.objective.error(self.outputs + change, self.targets).reshape(-1)
        if not torch.isfinite(error).all():
            raise NonFiniteError(
                f"To first order in the parameters, the update changes outputs by up to {float(change.abs().max()):.3g}"
                f", and the error of loss '{self.objective.name}' overflows there. Lower the learning rate."
            )
        return error

    @torch.no_grad()
    def loss_after(self, change: Float[Tensor, "samples outputs"]) -> float:
        """The loss of the changed outputs."""
        return float(self.objective.value(self.outputs + change, self.targets))

    def anchor(self, other: "TangentPoint") -> "TangentPoint":
        """Take the frame of the loss's root from another point, before anything is computed here; returns itself."""
        self.objective = other.objective.anchored(other.outputs, other.targets)
        return self

    def pull(self, rows: Float[Tensor, "block size"]) -> dict[str, Tensor]:
        """J^T times each row; parameter tensors come back with a leading block axis."""
        self._require_rows(rows)

        def batched() -> dict[str, Tensor]:
            _, pull_back, *_ = vjp(self._outputs, self.parameters)
            return vmap(pull_back)(self.spread(self.outputs, self._unstacked(rows)))[0]

        def one_by_one() -> dict[str, Tensor]:
            found = [self.tape.pull(row) for row in rows]
            return {name: torch.stack([one[name] for one in found]) for name in self.parameters}

        return self._either(batched, one_by_one)

    def product(
        self, rows: Float[Tensor, "block size"], names: Collection[str] | None = None
    ) -> Float[Tensor, "block size"]:
        """M times each row, without forming M, by reverse mode and its transpose.

        Args:
            rows: Vectors over the error.
            names: Parameters to count, or None for all: their part of M.
        """
        self._require_rows(rows)

        def batched() -> Tensor:
            groups = rows.split(self._rows_at_once(names))
            return torch.cat([self._images(self.parameters, part, names).detach() for part in groups])

        return self._either(batched, lambda: torch.stack([self.tape.product(row) for row in rows]))

    def rate_product(
        self, rows: Float[Tensor, "block size"], direction: Parameters, names: Collection[str] | None = None
    ) -> Float[Tensor, "block size"]:
        """Mdot times each row: the derivative of M v when the parameters move along `direction`, by forward mode.

        For networks with kinks (ReLU) this is the derivative inside the activation pattern at the point, where M is
        smooth; a unit exactly at zero counts as PyTorch counts it, inactive. Jumps of M where the pattern changes are
        in no derivative: they show as the difference between M's change and the integral of Mdot.
        """
        self._require_rows(rows)
        if self.rate_by_differences:
            step = difference_step(self, direction)
            return difference(lambda p: self.moved(p).product(rows), self.parameters, direction, step)

        def batched() -> Tensor:
            parts = []
            for part in rows.split(self._rows_at_once(names)):
                images = partial(self._images, rows=part, names=names)
                # PyTorch skips terms of second derivatives, or lacks them, where gradients are switched off.
                with PlainNorms(), torch.enable_grad():
                    parts.append(jvp(images, (self.parameters,), (dict(direction),))[1].detach())
            return torch.cat(parts)

        return self._either(batched, lambda: torch.stack([self.tape.rate_product(row, direction) for row in rows]))

    def gradient(self) -> dict[str, Tensor]:
        """The gradient of the probe loss. It is J^T e wherever e exists."""
        by_outputs = self.objective.gradient(self.outputs, self.targets).detach()

        def functional() -> dict[str, Tensor]:
            _, pull_back, *_ = vjp(self._outputs, self.parameters)
            return pull_back(by_outputs)[0]

        return self._either(functional, lambda: self.tape.pull_outputs(by_outputs))

    def descent(self) -> dict[str, Tensor]:
        """-P^(-1) times the gradient: dtheta/dt of gradient flow, or of the preconditioned one."""
        gradient = self.gradient()
        if self.preconditioner is None:
            return {name: -g for name, g in gradient.items()}
        return {name: -self.preconditioner[name] * g for name, g in gradient.items()}

    def dense(self) -> Float[Tensor, "size size"]:
        """M as a matrix."""
        return self._either(
            lambda: dense_kernel(self.dense_task(drift=False)), lambda: tape_kernel(self, None)[0], uses_rules=True
        )

    def dense_and_rate(self, direction: Parameters) -> tuple[Float[Tensor, "size size"], Float[Tensor, "size size"]]:
        """M, and Mdot: its exact derivative when the parameters move along `direction`."""
        if self.rate_by_differences:
            step = difference_step(self, direction)
            return self.dense(), difference(lambda p: self.moved(p).dense(), self.parameters, direction, step)

        def by_tape() -> tuple[Tensor, Tensor]:
            kernel, rate = tape_kernel(self, direction)
            assert rate is not None
            return kernel, rate

        return self._either(
            lambda: dense_kernel_and_rate(self.dense_task(drift=True), direction), by_tape, uses_rules=True
        )

    def dense_plan(self, *, drift: bool) -> DensePlan:
        """How the dense operator is cut so that it fits the memory, and what forming it costs.

        Raises:
            ArgumentError: If it cannot fit.
        """
        samples = len(self.inputs)
        return plan_dense(
            self.structure,
            self.parameters,
            samples,
            self.size // samples,
            self.network.dtype.itemsize,
            drift=drift,
            budget=self.memory_budget,
            has_weights=self.preconditioner is not None,
            root_bytes=self.objective.root_bytes(
                samples, self.outputs.shape[1], self.network.dtype.itemsize, drift=drift
            ),
        )

    def dense_task(self, *, drift: bool) -> DenseTask:
        """How the dense operator is formed."""
        samples = len(self.inputs)
        plan = self.dense_plan(drift=drift)

        def spread(outputs: Tensor, rows: Tensor, part: slice) -> Tensor:
            objective = self.objective.part(part, samples)
            return objective.spread(outputs, self.targets[part], rows)

        return DenseTask(
            self.network,
            self.structure,
            self.parameters,
            self.rest,
            self.inputs,
            spread,
            width=self.size // samples,
            chunk=plan.chunk,
            row_bytes=plan.row_bytes,
            weights=self.preconditioner,
        )

    def spread(self, outputs: Tensor, rows: Tensor) -> Tensor:
        """B times rows (block, samples, entries of the error), at given outputs."""
        return self.objective.spread(outputs, self.targets, rows)

    def _images(self, parameters: Parameters, rows: Tensor, names: Collection[str] | None) -> Tensor:
        """M v at any parameters, as a function that can be differentiated again.

        J is applied as the transpose of J^T: forward mode on top of forward mode is wrong for some operations
        (pytorch#198017), and others have none.
        """
        fixed = {} if names is None else {name: p for name, p in parameters.items() if name not in names}
        free = {name: p for name, p in parameters.items() if name not in fixed}

        def apply(some: Parameters) -> Tensor:
            return self._outputs({**fixed, **some})

        outputs, pull_back, *_ = vjp(apply, free)
        (gradients,) = vmap(pull_back)(self.spread(outputs, self._unstacked(rows)))
        if self.preconditioner is not None:
            gradients = {name: self.preconditioner[name] * g for name, g in gradients.items()}
        _, push, *_ = vjp(lambda cotangent: pull_back(cotangent)[0], torch.zeros_like(outputs))
        changes = vmap(lambda tangent: push(tangent)[0])(gradients)
        return self.objective.weigh(outputs, self.targets, changes).reshape(len(rows), -1)

    @cached_property
    def tape(self) -> Tape:
        """One recorded pass, for plain reverse mode."""
        return Tape(self)

    def _either(
        self, functional: Callable[[], Result], plain: Callable[[], Result], *, uses_rules: bool = False
    ) -> Result:
        """By torch.func, or by plain reverse mode where it cannot follow the model; what was tried last is kept.

        Raises:
            ModelError: If neither can, with the layer and the operation.
        """
        while not self.reverse_only:
            try:
                with torch.no_grad():
                    return functional()
            except EigenflowError:
                raise
            except Exception as error:
                require_memory_left(error)
                reason = explained(error, self.network.model)
                if uses_rules and self.structure is not None:
                    self.structure, self.reason = None, f"layer rules do not hold: {reason}"
                else:
                    self.structure, self.reverse_only = None, True
                    self.reason = f"torch.func cannot follow it: {reason}"
        with in_our_words(self.network.model, "be differentiated", self.network.dtype):
            return plain()

    def factors(self, direction: Parameters | None, dtype: torch.dtype) -> tuple[list[FactorSum], tuple[str, ...]]:
        """Factors of J where layer rules hold, and the parameters that they leave out."""
        return self._either(
            lambda: point_factors(self, direction, dtype), lambda: ([], tuple(self.parameters)), uses_rules=True
        )

    def _unstacked(self, rows: Tensor) -> Tensor:
        return rows.reshape(len(rows), len(self.inputs), -1)

    def _rows_at_once(self, names: Collection[str] | None) -> int:
        """Rows whose gradients and images, and the activations on the way, fit the working memory."""
        counted = self.parameters if names is None else {name: self.parameters[name] for name in names}
        entries = sum(p.numel() for p in counted.values()) + self.size
        return max(1, PRODUCT_BYTES // (4 * entries * self.outputs.element_size()))

    def _outputs(self, parameters: Parameters) -> Tensor:
        return self.network.apply(parameters, self.rest, self.inputs)

    def _require_rows(self, rows: Tensor) -> None:
        if rows.ndim != 2 or rows.shape[1] != self.size:
            raise ShapeError(
                f"`rows` must have shape (block, {self.size}): vectors as rows over the stacked outputs. "
                f"It has shape {tuple(rows.shape)}. For a single vector, pass vector[None]."
            )
