"""The integral of a time-dependent drift strength, accurate from the first moment to the last.

c(t) may vary over many decades of time, so panels are bisected until the Legendre series of c
on each of them has converged; C(t) is then the integral of that series, evaluated anywhere.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float
from numpy.polynomial import legendre

from eigenflow.core.errors import ArgumentError, NonFiniteError
from eigenflow.transport.calls import on_arrays
from eigenflow.transport.flows.paths import panel_rule
from eigenflow.transport.narrow import graded_edges

__all__ = ["TimeIntegral", "integrate_panels", "integrate_strength", "panel_nodes"]

Array = Float[np.ndarray, "..."]
TimeFunction = Callable[[np.ndarray], object]

_NODES, _WEIGHTS = panel_rule(14)
# Legendre coefficients of the interpolant through the nodes, from the values there.
_TO_COEFFICIENTS = (legendre.legvander(_NODES, len(_NODES) - 1) * _WEIGHTS[:, None] * (np.arange(len(_NODES)) + 0.5)).T
# From a series to that of its integral from the left end of [-1, 1].
_INTEGRAL = legendre.legint(np.eye(len(_NODES)), lbnd=-1, axis=1)
_TO_POWERS = np.zeros((len(_NODES) + 1, len(_NODES) + 1))
for _degree in range(len(_NODES) + 1):
    _TO_POWERS[: _degree + 1, _degree] = legendre.leg2poly(np.eye(_degree + 1)[-1])
_CONVERGED = 1e-14
_SMOOTH = 1e-9
# Some roundings of the time, through slopes of some ranges of c per half panel.
_BLUR = 16 * np.finfo(np.float64).eps
# c often varies over decades of time, so the first panels halve towards zero.
_HALVINGS = 30
# A time function is looked at so often in every doubling of the time.
LOOKS = 1024
_MAX_DEPTH = 70
# Panels shorter than this share of the time stand at a jump or kink of c.
_KINK = 1e-12
_MAX_PANELS = 20_000
# Share of the whole integral that unresolved panels may carry.
_UNRESOLVED_SHARE = 1e-10


@dataclass(frozen=True)
class TimeIntegral:
    """C(t) on [0, horizon], with the panels on which c is smooth and the times it changes sign."""

    edges: Float[np.ndarray, " edge"]
    at_edges: Float[np.ndarray, " edge"]
    coefficients: Float[np.ndarray, "panel coefficient"]
    turning_times: Float[np.ndarray, " turn"]
    given: TimeFunction | None = None

    def __call__(self, times: Array) -> Array:
        """Evaluate C, shape of `times`, in units of c times time."""
        if self.given is not None:
            return evaluate("integral", self.given, times)
        flat = np.ravel(times)
        last = len(self.edges) - 2
        panel = np.minimum(np.searchsorted(self.edges, flat, side="right") - 1, last)
        left = self.edges[panel]
        local = 2.0 * (flat - left) / (self.edges[panel + 1] - left) - 1.0
        powers = np.take(self._powers, panel, axis=1)
        value = powers[-1]
        for power in powers[-2::-1]:
            value = value * local
            value += power
        # Zero at t = 0 is exact, so that nothing seems to leave the domain at once.
        return np.where(flat == 0, 0.0, self.at_edges[panel] + value).reshape(np.shape(times))

    @cached_property
    def _powers(self) -> Float[np.ndarray, "power panel"]:
        # Where a series converges as fast as here, powers lose no digits and take half the operations.
        return _TO_POWERS @ self.coefficients.T

    @property
    def kinks(self) -> Float[np.ndarray, " kink"]:
        """Times around which panels had to be bisected down to the spacing of floats."""
        inner = self.edges[1:-1]
        return inner[np.diff(self.edges)[:-1] < _KINK * inner]


def evaluate(name: str, function: TimeFunction, times: Array) -> Array:
    """Call a user's function of time and check what comes back."""
    flat = np.ravel(times)
    values = on_arrays(name, function, flat)
    # These lines are run some twenty times a solve: the sum is finite unless a value is not, or it overflows.
    if values.shape == flat.shape and math.isfinite(values.sum()):
        return values.reshape(np.shape(times))
    if values.shape not in ((), flat.shape):
        raise ArgumentError(
            f"`{name}` must return one value per time, shape {flat.shape}, but returned shape "
            f"{values.shape}. Write it with numpy functions that work element by element."
        )
    values = np.broadcast_to(values, flat.shape)
    if not np.all(np.isfinite(values)):
        where = flat[np.flatnonzero(~np.isfinite(values))[0]]
        raise NonFiniteError(
            f"`{name}` must be finite at every time in the solved range, but is not at t = {where:g}. "
            f"If it diverges at t = 0, shift it, as in c / (t + t0)."
        )
    return values.reshape(np.shape(times))


def integrate_strength(strength: TimeFunction, horizon: float, given: TimeFunction | None = None) -> TimeIntegral:
    """Integrate c(t) from 0 to the horizon.

    Args:
        strength: c, vectorised over time.
        horizon: Last time of interest, positive.
        given: C itself when the user knows it; panels are still laid for c.

    Raises:
        ArgumentError: If c cannot be resolved, as for c = t^-0.95, and C is not given.
    """
    corners = _first_panels(strength, horizon)
    left, right = corners[:-1], corners[1:]
    done: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    num_panels = 0
    # With a given integral panels only tell where c is smooth and of one sign.
    converged = _CONVERGED if given is None else _SMOOTH
    for depth in range(_MAX_DEPTH + 1):
        half = 0.5 * (right - left)
        values = evaluate("c", strength, left[:, None] + half[:, None] * (1.0 + _NODES))
        series = values @ _TO_COEFFICIENTS.T
        tail = np.abs(series[:, -2:]).max(axis=1)
        # Times are known to a rounding, so a steep c is known no better than its slope allows.
        blurred = _BLUR * right / half * np.ptp(values, axis=1)
        is_done = tail <= converged * np.abs(values).max(axis=1) + blurred
        num_panels += len(left)
        is_last = depth == _MAX_DEPTH or num_panels > _MAX_PANELS
        # Below the spacing of floats a jump of c is as well located as it can be.
        is_done |= half <= 4e-16 * right
        keep = np.ones_like(is_done) if is_last else is_done
        done.append((left[keep], right[keep], np.column_stack([series, values.min(1), values.max(1)])[keep]))
        if is_last:
            _check_resolved(tail * half, is_done, done, given)
            break
        if is_done.all():
            break
        left, right, half = left[~is_done], right[~is_done], half[~is_done]
        left, right = np.concatenate([left, left + half]), np.concatenate([left + half, right])
    return _assemble(strength, done, horizon, given)


def _first_panels(strength: TimeFunction, horizon: float) -> Float[np.ndarray, " edge"]:
    """Halve towards zero, and grade towards where c is narrow."""
    halved = horizon * 2.0 ** -np.arange(_HALVINGS, -1, -1)
    # Evenly spaced in ln(t) down to the first panel.
    looks = horizon * 2.0 ** np.linspace(-_HALVINGS, 0.0, _HALVINGS * LOOKS + 1)
    narrow = graded_edges(lambda times: evaluate("c", strength, times), looks)
    return np.unique(np.concatenate([[0.0], halved, narrow]))


def integrate_panels(edges: Array, values: Array) -> TimeIntegral:
    """Integrate a function of time that is resolved on given panels.

    Args:
        edges: Panel ends from 0 on, increasing, shape (panel + 1,).
        values: The function at `panel_nodes(edges)`, of one shape with them.
    """
    half = 0.5 * np.diff(edges)
    series = values.reshape(len(half), -1) @ _TO_COEFFICIENTS.T
    at_edges = np.concatenate([[0.0], np.cumsum(2.0 * half * series[:, 0])])
    integrated = series @ _INTEGRAL * half[:, None]
    return TimeIntegral(edges, at_edges, integrated, np.zeros(0))


def panel_nodes(edges: Array) -> Array:
    """Give the times at which `integrate_panels` wants its values, in a row."""
    half = 0.5 * np.diff(edges)
    return (edges[:-1, None] + half[:, None] * (1.0 + _NODES)).ravel()


def _check_resolved(errors: Array, is_done: np.ndarray, done: list, given: TimeFunction | None) -> None:
    scale = sum(float(np.sum(np.abs(rows[:, 0]) * (right - left))) for left, right, rows in done)
    if given is None and np.sum(errors[~is_done]) > _UNRESOLVED_SHARE * scale:
        raise ArgumentError(
            "`c` varies too fast to be integrated to 10 digits. "
            "Give its integral from 0 to t in closed form as `integral=`."
        )


def _assemble(strength: TimeFunction, done: list, horizon: float, given: TimeFunction | None) -> TimeIntegral:
    left = np.concatenate([item[0] for item in done])
    right = np.concatenate([item[1] for item in done])
    order = np.argsort(left)
    left, right = left[order], right[order]
    rows = np.concatenate([item[2] for item in done])[order]
    series, least, greatest = rows[:, :-2], rows[:, -2].min(), rows[:, -1].max()
    half = 0.5 * (right - left)
    integrated = series @ _INTEGRAL * half[:, None]
    at_edges = np.concatenate([[0.0], np.cumsum(2.0 * half * series[:, 0])])
    edges = np.append(left, horizon)
    turning = np.zeros(0)
    if least < 0 < greatest:
        turning = _turning_times(strength, (left[:, None] + half[:, None] * (1.0 + _NODES)).ravel())
    return TimeIntegral(edges, at_edges, integrated, turning, given)


def _turning_times(strength: TimeFunction, nodes: Array) -> Array:
    """Locate by bisection the times at which c changes sign."""
    values = evaluate("c", strength, nodes)
    nodes, sign = nodes[values != 0], np.sign(values[values != 0])
    change = np.flatnonzero(np.diff(sign) != 0)
    low, high = nodes[change], nodes[change + 1]
    if len(change):
        for _ in range(60):
            middle = 0.5 * (low + high)
            is_before = np.sign(evaluate("c", strength, middle)) == sign[change]
            low, high = np.where(is_before, middle, low), np.where(is_before, high, middle)
    return high
