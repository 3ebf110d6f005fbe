"""The test side: the error on held-out samples x, which K(x, X) drives.

With J_x and J_X the Jacobians of the test and the probe error at the same parameters and K = J_x J_X^T,

    de_x/dt = -K(x, X) e_X        under gradient flow on the probe loss,
    e'_x - e_x = (path average of J_x) dtheta        for any update, exactly,
    e'_x - e_x = -eta (path average of J_x) J_X^T e_X        for a step of gradient descent.

The test error is driven, not autonomous: its energy may rise. Each error carries its own set's normalisation, so
that both squared losses are ||e||^2 / 2. For other losses these lines hold for the outputs z_x and J_net in place of
e_x and J_x, and there the exact parts of the test loss's change are taken (`holdout_step`). A product with K costs one
reverse pass on the probe samples and one forward pass on the test samples, whatever their numbers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from eigenflow.core.display import FieldsPrinted
from eigenflow.core.errors import ArgumentError, ShapeError
from eigenflow.linalg.krylov import lanczos
from eigenflow.linalg.operator import AbstractRowSpace, RowSpace, SymmetricOperator
from eigenflow.tangent.empty import EmptyPoint
from eigenflow.tangent.model.network import Parameters
from eigenflow.tangent.point import TangentPoint

if TYPE_CHECKING:
    from eigenflow.tangent.probe import Probe
    from eigenflow.tangent.sharded.probe import ShardedProbe

__all__ = ["HoldoutPoint", "HoldoutStep", "LazyHoldout", "holdout_step", "lazy_holdout"]

State = tuple[Mapping[str, Tensor], Mapping[str, Tensor]]

# Gauss-Legendre nodes for the path average of the Jacobian: exact for polynomials of degree 15.
PATH_NODES = 8


class HoldoutPoint:
    """Probe set and holdout set at one instant, and K(x, X) between them.

    Args:
        train: The probe set's tangent point (X).
        test: The holdout set's (x), at the same parameters.
        train_space: Where rows over the probe set live; None: in this process. Where they are spread over processes,
            both points are of this process's samples, rows are its parts of them, and all processes call together.
        test_space: The same for the holdout set.
    """

    def __init__(
        self,
        train: TangentPoint,
        test: TangentPoint | EmptyPoint,
        train_space: AbstractRowSpace | None = None,
        test_space: AbstractRowSpace | None = None,
    ):
        self.train, self.test = train, test
        self._spaces = train_space, test_space

    # Made when they are asked for, as both evaluate the network: on the way of an update only test outputs are wanted.
    @cached_property
    def train_space(self) -> AbstractRowSpace:
        """Where rows over the probe set live."""
        return self._spaces[0] or RowSpace(self.train.size, self.train.error.device)

    @cached_property
    def test_space(self) -> AbstractRowSpace:
        """Where rows over the holdout set live."""
        return self._spaces[1] or RowSpace(self.test.size, self.test.error.device)

    @property
    def error(self) -> Float[Tensor, " tests"]:
        """The test error, stacked like the probe's (sample * outputs + output)."""
        return self.test.error

    @cached_property
    def loss(self) -> float:
        """The test loss."""
        return _total(self.test_space, [self.test.loss])[0]

    @torch.no_grad()
    def product(self, rows: Float[Tensor, "block size"]) -> Float[Tensor, "block tests"]:
        """K(x, X) times each row: vectors over the probe's outputs in, over the test outputs out."""
        return self.test.push_all(self.train_space.sums(self.train.pull(rows)))

    @torch.no_grad()
    def transposed(self, rows: Float[Tensor, "block tests"]) -> Float[Tensor, "block size"]:
        """K(X, x) times each row: vectors over the test outputs in, over the probe's outputs out."""
        return self.train.push_all(self.pulled(rows))

    def pulled(self, rows: Float[Tensor, "block tests"]) -> dict[str, Tensor]:
        """J_x^T times each row over the test outputs."""
        if rows.ndim != 2 or rows.shape[1] != self.test.size:
            raise ShapeError(
                f"`rows` must have shape (block, {self.test.size}): vectors as rows over the stacked outputs of the "
                f"holdout set. It has shape {tuple(rows.shape)}. For a single vector, pass vector[None]."
            )
        return self.test_space.sums(self.test.pull(rows))

    def gradient(self) -> dict[str, Tensor]:
        """The gradient of the probe loss."""
        summed = self.train_space.sums({name: g.clone()[None] for name, g in self.train.gradient().items()})
        return {name: g[0] for name, g in summed.items()}

    def columns(self, indices: Sequence[int]) -> Float[Tensor, "columns tests"]:
        """Columns of K(x, X), as rows: how the test outputs answer to single probe outputs.

        Args:
            indices: Stacked probe outputs, sample * outputs + output.
        """
        size = self.train_space.size
        wrong = [index for index in indices if not 0 <= index < size]
        if wrong or len(indices) == 0:
            came = f"holds {wrong[0]}" if wrong else "is empty"
            raise ArgumentError(f"`indices` must be stacked probe outputs in [0, {size - 1}], but {came}.")
        rows = torch.zeros(len(indices), size, dtype=self.error.dtype, device=self.error.device)
        rows[torch.arange(len(indices)), torch.as_tensor(indices)] = 1.0
        return self.product(self.train_space.part(rows))

    def rate(self) -> Float[Tensor, " tests"]:
        """-K e: how fast the test error changes under gradient flow on the probe loss."""
        return -self.product(self.train.error[None])[0]

    def loss_gradient(self) -> Float[Tensor, " size"]:
        """K(X, x) e_x.

        Minus its inner product with a part of the probe's error is that part's share of the rate of the test loss:
        -<K(X, x) e_x, P_B e> for the modes in a shell B, the same for any choice of eigenvectors.
        """
        return self.transposed(self.error[None])[0]


@dataclass(frozen=True, repr=False)
class HoldoutStep(FieldsPrinted):
    """One update, seen by the holdout set.

    The test loss changes by exactly gradient + optimizer + remainder: the first two are what it would do if the network
    were linear in its parameters, with the loss itself, so that for every loss the last is the network's alone.

    Attributes:
        loss: Test loss before the update.
        loss_after: After it.
        error: e_x before the update.
        error_after: e_x after it.
        gradient_error: e_x of the linearised network after a gradient-descent step on the probe loss; for squared
            losses e_x - dt K(x, X) e_X.
        linear_error: e_x of the linearised network after the update; for squared losses e_x + J_x dtheta.
        gradient: Change of the test loss by the gradient-descent step.
        optimizer: By what the optimizer did beyond it.
        remainder: By the nonlinearity of the network.
        identity_residual: ||z'_x - z_x - (path average of J_net) dtheta|| of the outputs, relative to their size.
    """

    loss: float
    loss_after: float
    error: Float[Tensor, " tests"]
    error_after: Float[Tensor, " tests"]
    gradient_error: Float[Tensor, " tests"]
    linear_error: Float[Tensor, " tests"]
    gradient: float
    optimizer: float
    remainder: float
    identity_residual: float


@torch.no_grad()
def holdout_step(probe: "Probe | ShardedProbe", before: State, after: State, step_size: float) -> HoldoutStep:
    """Split the change of the test error over one update.

    Args:
        probe: With a holdout set.
        before: State before the update, as from `probe.state()`.
        after: State after it.
        step_size: Length of the update in time.

    Raises:
        ArgumentError: If the probe has no holdout set, or its loss is sketched.
    """
    if not probe.loss.is_whole:
        raise ArgumentError(
            f"The exact one-step change of the test error needs all of the error, but `loss` is '{probe.loss.name}'. "
            f"Take the loss itself; HoldoutPoint.product works for sketches too."
        )
    each = probe.processes.each
    point, new = each(lambda: (probe.holdout_at(before), probe.holdout_at(after).test))
    test = each(lambda: point.test)
    update = {name: new.parameters[name] - p for name, p in test.parameters.items()}
    descent = {name: -step_size * g for name, g in point.gradient().items()}

    def here() -> tuple[list[Tensor], list[float], Tensor]:
        """Changes of this process's test outputs, its part of the losses, and the path average."""
        changes = [test.output_change(direction) for direction in (descent, update)]
        losses = [test.loss, *(test.loss_after(change) for change in changes), new.loss]
        path = torch.zeros_like(test.outputs)
        for node, weight in zip(*np.polynomial.legendre.leggauss(PATH_NODES), strict=True):
            moved = {name: p + 0.5 * (float(node) + 1.0) * update[name] for name, p in test.parameters.items()}
            path += 0.5 * float(weight) * probe.holdout_at((moved, test.rest)).test.output_change(update)
        return changes, losses, path

    changes, own, path = each(here)
    squares = [float(x.square().sum()) for x in (test.outputs, new.outputs, new.outputs - test.outputs - path)]
    loss, descended, linear, loss_after, start, end, miss = _total(point.test_space, [*own, *squares])
    scale = start**0.5 + end**0.5
    errors = each(lambda: [test.error, new.error, *(test.error_after(change) for change in changes)])
    return HoldoutStep(
        loss=loss,
        loss_after=loss_after,
        error=errors[0],
        error_after=errors[1],
        gradient_error=errors[2],
        linear_error=errors[3],
        gradient=descended - loss,
        optimizer=linear - descended,
        remainder=loss_after - linear,
        identity_residual=miss**0.5 / scale if scale > 0 else 0.0,
    )


def _total(space: AbstractRowSpace, values: Sequence[float]) -> list[float]:
    """Sums over the processes that share the test set."""
    return space.sum(torch.tensor(values, dtype=torch.float64, device=space.device)).tolist()


@dataclass(frozen=True, repr=False)
class LazyHoldout(FieldsPrinted):
    """The test side if the operator stood still from an instant on (lazy limit, gradient flow).

    Attributes:
        times: Time after the instant.
        error: e_x(t), rows over times.
        loss: ||e_x(t)||^2 / 2.
        truncation: Relative change of what drives the test error when a quarter of the Lanczos steps is left out:
            how far the result still depends on their number.
    """

    times: Float[np.ndarray, " times"]
    error: Float[Tensor, "times tests"]
    loss: Float[np.ndarray, " times"]
    truncation: Float[np.ndarray, " times"]


@torch.no_grad()
def lazy_holdout(point: HoldoutPoint, times: Sequence[float], *, steps: int = 64) -> LazyHoldout:
    """Predict the test error with frozen kernels: e_x(t) = e_x - K(x, X) M^(-1) (1 - exp(-M t)) e_X.

    The function of M is taken by Lanczos from e_X, so M is never formed: `steps` products with M and one
    with K per time. Null modes of M do not move the network and drop out by themselves.

    Args:
        point: Probe and holdout set at the instant.
        times: Times after it, >= 0.
        steps: Lanczos steps. Late times need more: about sqrt(largest eigenvalue * time).

    Raises:
        ArgumentError: If a time is negative or not finite, or the loss is not squared.
    """
    at = np.asarray(times, dtype=np.float64)
    if at.ndim != 1 or at.size == 0 or not np.isfinite(at).all() or (at < 0).any():
        raise ArgumentError(f"`times` must be one or more finite numbers >= 0, but is {times}.")
    if not point.train.objective.is_quadratic:
        raise ArgumentError("The lazy limit in closed form needs a squared loss ('mse', 'half_mean', 'half_sum').")
    train, space = point.train, point.train_space

    def product(rows: Tensor) -> Tensor:
        rows = rows.to(train.error.dtype)
        return train.product(rows) if isinstance(space, RowSpace) else train.push_all(space.sums(train.pull(rows)))

    operator = SymmetricOperator(product, space)
    driven = []
    for count in (max(1, (3 * steps) // 4), steps):
        (basis,) = lanczos(operator, train.error[None], count)
        nodes, _ = basis.measure.gauss()
        driven.append(basis.function(_lost(nodes[:, None], at[None])))
    sizes, changes = (_lengths(space, rows) for rows in (driven[1], driven[1] - driven[0]))
    truncation = changes / sizes.clamp(min=1e-300)
    error = point.error[None].to(torch.float64) - point.product(driven[1].to(train.error.dtype)).to(torch.float64)
    loss = 0.5 * _lengths(point.test_space, error).square()
    return LazyHoldout(at, error, loss.cpu().numpy(), truncation.cpu().numpy())


def _lengths(space: AbstractRowSpace, rows: Float[Tensor, "rows local"]) -> Float[Tensor, " rows"]:
    return space.sum(rows.square().sum(1)).sqrt()


def _lost(rate: np.ndarray, time: np.ndarray) -> np.ndarray:
    """(1 - exp(-rate time)) / rate, which is time at rate 0. Rounding may leave Ritz values just below 0."""
    product = np.maximum(rate, 0.0) * time
    small = product < 1e-8
    return np.where(
        small, time * (1 - 0.5 * product), -np.expm1(-product) / np.where(small, 1.0, np.maximum(rate, 1e-300))
    )


def holdout_point(probe: "Probe", state: tuple[Parameters, Parameters] | None = None) -> HoldoutPoint:
    """Both sets of a probe at a state, or at the model's present one. Used by `Probe.holdout_at`."""
    if probe.holdout is None:
        raise ArgumentError("The probe has no `holdout`. Make it with Probe(..., holdout=(test_inputs, test_targets)).")
    train = probe.at(state)
    inputs, targets = probe.holdout
    test = TangentPoint(
        train.network,
        None,
        train.parameters,
        train.rest,
        inputs,
        targets,
        probe.holdout_objective,
        reverse_only=train.reverse_only,
        reason=train.reason,
    )
    return HoldoutPoint(train, test)
