"""Drifts that are not one power of the eigenvalue: tables and functions.

Both are read as logarithmic velocities w = v / lambda = d ln(lambda) / dt. Source of the equation:
equations.md#eq-transport; v has either sign and is positive upwards (growth).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from jaxtyping import Float

from eigenflow.core.errors import ArgumentError, NonFiniteError, ShapeError
from eigenflow.transport.flows.paths import Values

__all__ = ["CallableDrift", "TabulatedDrift"]

Array = Float[np.ndarray, "..."]


@dataclass(frozen=True)
class CallableDrift:
    """Drift of eigenvalues given as a function.

    Attributes:
        function: v(lambda, t) in eigenvalue per time, positive upwards. It takes two arrays of one
            shape and returns as many values (or one number), works element by element, and must be
            Lipschitz in lambda, so that paths do not cross. Solvers call it up to a factor e
            outside the domain. Steps are long where it is smooth and short at a kink or a jump.
    """

    function: Callable

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise ArgumentError(
                f"`function` must be a function v(eigenvalues, times), but is a "
                f"{type(self.function).__name__}. For measured values use `TabulatedDrift`."
            )

    def velocity(self, eigenvalues: Values, times: Values = 0.0) -> Array:
        """Evaluate v on broadcast arrays, in eigenvalue per time; positive upwards.

        Raises:
            ShapeError: If the function returns another number of values.
            NonFiniteError: If it returns NaN or inf.
        """
        eigenvalues, times = np.broadcast_arrays(
            np.asarray(eigenvalues, dtype=np.float64), np.asarray(times, dtype=np.float64)
        )
        values = np.asarray(self.function(eigenvalues.ravel(), times.ravel()), dtype=np.float64)
        if values.shape not in ((), (eigenvalues.size,)):
            raise ShapeError(
                f"`function` must return one velocity per eigenvalue, shape {(eigenvalues.size,)}, but "
                f"returned shape {values.shape}. Write it with numpy functions that work by element."
            )
        values = np.broadcast_to(values, (eigenvalues.size,))
        if not np.all(np.isfinite(values)):
            bad = np.flatnonzero(~np.isfinite(values))[0]
            raise NonFiniteError(
                f"`function` must be finite, but is not at eigenvalue {eigenvalues.flat[bad]:g}, "
                f"t = {times.flat[bad]:g}. If it diverges at t = 0, shift it, as in c / (t + t0)."
            )
        return np.asarray(values.reshape(eigenvalues.shape))


@dataclass(frozen=True)
class TabulatedDrift:
    """Drift of eigenvalues given by values on a grid, such as measured ones.

    Between the eigenvalues w = v / lambda is the monotone cubic in ln(lambda) of Fritsch and Butland
    (1984, SIAM J. Sci. Stat. Comput. 5, 300): no new extrema, no change of sign that is not in the
    table. Between the times it is linear in t, so a drift like 1/t needs close early times.
    Outside the table, in both directions, w keeps its last value: beyond the ends all modes move by
    the same factor (b = 1).

    Attributes:
        eigenvalues: Positive, increasing, at least two, shape (lambda,), in 1 / time.
        velocities: v, positive upwards, in eigenvalue per time; shape (lambda,), or (time, lambda).
        times: Increasing, not negative, shape (time,); None for a drift that does not change.
    """

    eigenvalues: Values
    velocities: Values
    times: Values | None = None
    knots: Float[np.ndarray, " knot"] = field(init=False, repr=False, compare=False)
    breaks: Float[np.ndarray, " break"] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        eigenvalues = _checked_axis("eigenvalues", self.eigenvalues)
        if eigenvalues[0] <= 0 or len(eigenvalues) < 2:
            raise ArgumentError(
                f"`eigenvalues` must be at least two and positive, but are {len(eigenvalues)} from "
                f"{eigenvalues[0]:g} on. Leave out modes of eigenvalue 0, which never move."
            )
        times = None if self.times is None else _checked_axis("times", self.times)
        if times is not None and times[0] < 0:
            raise ArgumentError(f"`times` must not be negative, but begin at {times[0]:g}. Shift them to start at 0.")
        velocities = _checked_velocities(self.velocities, len(eigenvalues), None if times is None else len(times))
        for name, value in (("eigenvalues", eigenvalues), ("velocities", velocities), ("times", times)):
            if value is not None:
                value.flags.writeable = False
            object.__setattr__(self, name, value)
        object.__setattr__(self, "knots", np.log(eigenvalues))
        object.__setattr__(self, "breaks", np.zeros(0) if times is None else times)

    def velocity(self, eigenvalues: Values, times: Values = 0.0) -> Array:
        """Evaluate v on broadcast arrays, in eigenvalue per time; positive upwards."""
        eigenvalues, times = np.broadcast_arrays(
            np.asarray(eigenvalues, dtype=np.float64), np.asarray(times, dtype=np.float64)
        )
        x = np.log(eigenvalues.ravel())
        panel = np.searchsorted(self.knots, x, side="right")
        return np.asarray((self.log_velocity(x, times.ravel(), panel) * eigenvalues.ravel()).reshape(eigenvalues.shape))

    def log_velocity(self, x: Array, times: Array, panel: np.ndarray) -> Array:
        """Evaluate w = v / lambda on the polynomial of one panel, also beyond that panel.

        Args:
            x: ln(lambda), one axis.
            times: Of the same shape.
            panel: Number of knots below; 0 and len(knots) are the constant ends.
        """
        coefficients, left = self._pieces
        y = x - left[panel]
        if not len(self.breaks):
            c = coefficients[:, 0, panel]
        else:
            row = np.clip(np.searchsorted(self.breaks, times, side="right") - 1, 0, max(len(self.breaks) - 2, 0))
            after = np.minimum(row + 1, len(self.breaks) - 1)
            width = np.where(after > row, self.breaks[after] - self.breaks[row], 1.0)
            share = np.clip((times - self.breaks[row]) / width, 0.0, 1.0)
            c = coefficients[:, row, panel] * (1.0 - share) + coefficients[:, after, panel] * share
        return ((c[0] * y + c[1]) * y + c[2]) * y + c[3]

    @cached_property
    def _pieces(self) -> tuple[Array, Array]:
        """Polynomials in x - left, highest power first, shape (4, time, panel), and `left`."""
        from scipy.interpolate import PchipInterpolator

        w = np.atleast_2d(np.asarray(self.velocities)) / np.asarray(self.eigenvalues)
        # Butland's harmonic mean underflows where neighbouring values are denormal and is then 0.
        with np.errstate(all="ignore"):
            inner = np.moveaxis(PchipInterpolator(self.knots, w, axis=1).c, 2, 1)
        coefficients = np.zeros((4, w.shape[0], w.shape[1] + 1))
        coefficients[:, :, 1:-1] = inner
        coefficients[3, :, 0], coefficients[3, :, -1] = w[:, 0], w[:, -1]
        return coefficients, np.concatenate([self.knots[:1], self.knots])


def _checked_axis(name: str, values: Values) -> Float[np.ndarray, " entry"]:
    array = np.array(values, dtype=np.float64)
    if array.ndim != 1 or not len(array):
        raise ShapeError(f"`{name}` must be one-dimensional and not empty, but has shape {array.shape}. Pass one row.")
    if not np.all(np.isfinite(array)):
        raise NonFiniteError(f"`{name}` must be finite, but holds NaN or inf. Drop those entries.")
    if np.any(np.diff(array) <= 0):
        raise ArgumentError(f"`{name}` must be increasing. Sort the table along that axis and drop repeated entries.")
    return array


def _checked_velocities(values: Values, num_eigenvalues: int, num_times: int | None) -> Array:
    array = np.array(values, dtype=np.float64)
    expected = (num_eigenvalues,) if num_times is None else (num_times, num_eigenvalues)
    if array.shape != expected:
        words = "(lambda,)" if num_times is None else "(time, lambda)"
        raise ShapeError(
            f"`velocities` must have shape {expected} {words}, but has {array.shape}. "
            f"A drift that changes in time needs `times`, one per row."
        )
    if not np.all(np.isfinite(array)):
        raise NonFiniteError(
            "`velocities` must be finite, but hold NaN or inf. Drop those eigenvalues, or fill in a value."
        )
    return array
