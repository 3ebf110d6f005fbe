"""What a network would do if it were linear in its parameters: its outputs on training and test samples over time.

With J and J_x the Jacobians at an instant on the training inputs X and any others x, M = J J^T, and e0 the error there
(squared losses: e = sqrt(f) (outputs - targets), loss = |e|^2 / 2),

    e(t) = p_t(M) e0          outputs(x, t) = outputs(x, 0) - J_x,net J^T q_t(M) e0,      q_t(M) = (1 - p_t(M)) / M

where p_t is exp(-M t) for gradient flow and a polynomial for updates (`training`). No mode is divided by its
eigenvalue. Other losses follow s' = r(z), z = z0 - J_net J_net^T s. This is the lazy limit of training
([@jacot2018neural], [@chizat2018lazy]), exact for a model that is linear in its parameters.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from eigenflow.core.checks import check_choice, check_kind, check_number, check_whole
from eigenflow.core.display import AbstractPrinted, Card, figure, span
from eigenflow.core.errors import ArgumentError
from eigenflow.tangent.checks import checked_outputs
from eigenflow.tangent.cost import physical_bytes
from eigenflow.tangent.linearised.solving import Driven, largest_eigenvalue, solve_dense, solve_krylov, solve_steps
from eigenflow.tangent.linearised.training import make_training
from eigenflow.tangent.loss.base import AbstractLoss, SquaredLoss
from eigenflow.tangent.model.evaluation import undisturbed
from eigenflow.tangent.model.samples import Inputs, checked_inputs
from eigenflow.tangent.point import TangentPoint
from eigenflow.tangent.probe import Probe

__all__ = ["LazyPrediction", "LazyStatus", "lazy_prediction"]

METHODS = ("auto", "dense", "krylov")
# Rows up to which all eigenpairs cost less than the calls of an iteration, on two cores.
DENSE_ROWS = 2000
# What parameter directions of several times may hold at once.
DIRECTION_BYTES = 256 * 2**20


class LazyStatus(StrEnum):
    """Whether a prediction is as accurate as was asked for."""

    CONVERGED = "converged"
    NOT_CONVERGED = "not converged"


@dataclass(frozen=True, repr=False)
class LazyPrediction(AbstractPrinted):
    """The linearised network at the times asked for.

    Attributes:
        times: Since the instant; the sum of learning rates, over 1 - momentum.
        outputs: On the training samples.
        loss: The probe's loss of them.
        test_outputs: On the test samples; None without any.
        test_loss: Their loss, with the test set's normalisation; None without targets.
        error: What `outputs` may be off, as a Euclidean norm over samples and outputs.
        test_error: The same of `test_outputs`.
        is_bound: Whether errors are bounds in exact arithmetic, as for flow and stable plain descent of squared losses;
            else they are estimates: what a quarter of Krylov's steps, or an integration ten times as loose, changes.
        status: Whether `error` is below the tolerance times the norm of the first error (of the largest change of the
            outputs, for losses that are not squared), at all times.
        method: How it was found, in words.
        products: Products with the operator on the way.
        wall_s: Seconds it took.
    """

    times: Float[np.ndarray, " time"]
    outputs: Float[Tensor, "time samples outputs"]
    loss: Float[np.ndarray, " time"]
    test_outputs: Float[Tensor, "time tests outputs"] | None
    test_loss: Float[np.ndarray, " time"] | None
    error: Float[np.ndarray, " time"]
    test_error: Float[np.ndarray, " time"] | None
    is_bound: bool
    status: LazyStatus
    method: str
    products: int
    wall_s: float

    def _card(self) -> Card:
        kind = "at most" if self.is_bound else "about"
        rows = [
            ("times", f"{len(self.times)}, {span(self.times)}"),
            ("outputs", f"{' x '.join(map(str, self.outputs.shape[1:]))} off by {kind} {figure(self.error.max(), 2)}"),
            ("loss", span(self.loss, 4)),
        ]
        if self.test_outputs is not None and self.test_error is not None:
            shape = " x ".join(map(str, self.test_outputs.shape[1:]))
            rows.append(("test outputs", f"{shape} off by {kind} {figure(self.test_error.max(), 2)}"))
        if self.test_loss is not None:
            rows.append(("test loss", span(self.test_loss, 4)))
        rows += [("status", self.status.value), ("method", f"{self.method}; {self.products} products")]
        return Card("LazyPrediction of the linearised network", rows)


@dataclass(frozen=True)
class _Tests:
    """Test samples, and their loss where targets are known."""

    inputs: Inputs
    loss: AbstractLoss | None
    targets: Tensor | None


@undisturbed()
@torch.no_grad()
def lazy_prediction(
    probe: Probe,
    times: Sequence[float] | np.ndarray | None = None,
    *,
    learning_rates: Sequence[float] | np.ndarray | None = None,
    momentum: float | int = 0.0,
    steps: Sequence[int] | np.ndarray | None = None,
    inputs: Any = None,
    targets: Tensor | None = None,
    at: TangentPoint | None = None,
    method: str = "auto",
    tolerance: float | int = 1e-6,
    most_products: int = 2000,
) -> LazyPrediction:
    """Train the network linearised at an instant, exactly, on the probe set, and evaluate it there and elsewhere.

    Cost: forming M and n^3 for n = samples * outputs rows ("dense"), or some hundred products ("krylov", about
    sqrt(largest eigenvalue * last time)); and one product of J_x J^T for each time.

    Args:
        probe: Whose samples are trained on. Batch normalisation and dropout stand as they do in the probe.
        times: Of gradient flow, since the instant, increasing; 0 is allowed.
        learning_rates: Instead of `times`: one for each update of gradient descent on the whole probe set.
        momentum: Heavy ball, as in `torch.optim.SGD`.
        steps: Completed updates at which to predict; None: after each, and before the first.
        inputs: Test inputs; None: those of the probe's holdout set, if it has one.
        targets: Of `inputs`, for their loss.
        at: Instant, as from `probe.at(...)`; None: the model as it is. One with a preconditioner, held fixed, gives
            the preconditioned linear network.
        method: "dense", "krylov" (products only, whatever the size), or "auto": dense up to 2,000 rows.
        tolerance: Of the outputs on the probe set, relative to the norm of the first error.
        most_products: Steps of Lanczos after which it ends, with status "not converged" and a warning.

    Returns:
        Outputs and losses, with bounds or estimates of their errors.

    Raises:
        ArgumentError: If both or neither of `times` and `learning_rates` are given, or an argument is not as above.
        NonFiniteError: If learning rates make the linear network diverge.
        ConvergenceError: If a loss that is not squared needs more than 200,000 products.
        ModelError: If no way of differentiating the model is confirmed by plain reverse mode.
    """
    began = time.perf_counter()
    check_kind("probe", probe, Probe, "a Probe(model, inputs, targets, loss)")
    check_choice("method", method, METHODS)
    tolerance = check_number("tolerance", tolerance, 1e-14, 1.0)
    most = check_whole("most_products", most_products, 2, what="number of products")
    training = make_training(times, learning_rates, momentum, steps)
    check_kind("at", at, (TangentPoint, type(None)), "an instant, as from `probe.at()`")
    point = probe.at() if at is None else at
    if not point.objective.is_whole:
        raise ArgumentError(
            f"The linearised network follows all of the error, but `loss` is '{point.objective.name}'. Make the probe "
            f"with the loss itself."
        )
    tests = _tests(probe, point, inputs, targets)
    is_dense = method == "dense" or (method == "auto" and point.outputs.numel() <= DENSE_ROWS)
    if is_dense:
        point.dense_plan(drift=False)  # refuses what cannot fit
    if not point.objective.is_quadratic:
        plain = _plain(point)
        driven = solve_steps(plain, point.objective, point.targets, training, tolerance, is_dense)
        changes, factor, pulled = driven.left, 1.0, plain
    else:
        driven = solve_dense(point, training) if is_dense else solve_krylov(point, training, tolerance, most)
        factor = point.objective.factor**0.5
        changes, pulled = (driven.left - point.error.to(torch.float64)) / factor, point
    outputs = point.outputs.to(torch.float64) + changes.reshape(-1, *point.outputs.shape)
    losses = _losses(outputs, point.objective, point.targets, point.network.dtype)
    shown, test_loss, test_error = _on_tests(pulled, driven, tests)
    return LazyPrediction(
        np.array(training.times),
        outputs,
        losses,
        shown,
        test_loss,
        driven.error / factor,
        test_error,
        driven.is_bound,
        LazyStatus.CONVERGED if driven.is_converged else LazyStatus.NOT_CONVERGED,
        driven.method,
        driven.products,
        time.perf_counter() - began,
    )


def _tests(probe: Probe, point: TangentPoint, inputs: Any, targets: Tensor | None) -> _Tests | None:
    if inputs is None:
        if targets is not None:
            raise ArgumentError(
                "`targets` are those of `inputs`, which are missing. Give both, or make the probe with "
                "holdout=(test_inputs, test_targets)."
            )
        if probe.holdout is None:
            return None
        return _Tests(probe.holdout[0], probe.holdout_objective, probe.holdout[1])
    found = checked_inputs(inputs, "inputs", probe.network.dtype)
    outputs = checked_outputs(probe.network, point.parameters, point.rest, found, check_determinism=False)
    if targets is None:
        return _Tests(found, None, None)
    if len(targets) != len(found):
        raise ArgumentError(f"`targets` must be one for each of the {len(found)} `inputs`, but are {len(targets)}.")
    loss, bound = probe.loss.bind(targets, outputs.shape, probe.network.dtype, "targets")
    return _Tests(found, loss, bound)


def _plain(point: TangentPoint, inputs: Inputs | None = None) -> TangentPoint:
    """The point, or one on other inputs, under half the sum of squares: then J is that of the outputs."""
    is_same = inputs is None
    samples = point.inputs if inputs is None else inputs
    return TangentPoint(
        point.network,
        point.structure if is_same else None,
        point.parameters,
        point.rest,
        samples,
        torch.zeros_like(point.outputs) if is_same else torch.zeros(len(samples), 1),
        SquaredLoss(kind="half_sum"),
        memory_budget=point.memory_budget,
        preconditioner=point.preconditioner,
        reverse_only=point.reverse_only,
        reason=point.reason,
    )


def _losses(outputs: Tensor, loss: AbstractLoss, targets: Tensor, dtype: torch.dtype) -> np.ndarray:
    return np.array([float(loss.value(one.to(dtype), targets)) for one in outputs])


def _on_tests(
    point: TangentPoint, driven: Driven, tests: _Tests | None
) -> tuple[Tensor | None, np.ndarray | None, np.ndarray | None]:
    """Outputs, losses and errors of the outputs on the test samples."""
    if tests is None:
        return None, None, None
    there = _plain(point, tests.inputs)
    dtype = point.network.dtype
    entries = sum(p.numel() for p in point.parameters.values()) + point.size + there.outputs.numel()
    budget = min(DIRECTION_BYTES, (point.memory_budget or physical_bytes()) // 4)
    at_once = max(1, budget // (4 * entries * there.outputs.element_size()))
    changes = []
    for rows in driven.driven.split(at_once):
        directions = point.pull(rows.to(dtype))
        if point.preconditioner is not None:
            directions = {name: point.preconditioner[name] * d for name, d in directions.items()}
        changes.append(there.push_all(directions).to(torch.float64))
    outputs = there.outputs.to(torch.float64) - torch.cat(changes).reshape(-1, *there.outputs.shape)
    error = math.sqrt(largest_eigenvalue(there)) * driven.reached
    if tests.loss is None or tests.targets is None:
        return outputs, None, error
    return outputs, _losses(outputs, tests.loss, tests.targets, dtype), error
