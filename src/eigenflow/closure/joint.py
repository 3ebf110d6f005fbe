"""The drift law fitted jointly over shells and times, with c(t) one curve instead of free at each time."""

from dataclasses import dataclass

import numpy as np

from eigenflow.closure.law import Scaled, quantiles
from eigenflow.closure.strength import Form, Strength, fit_strength
from eigenflow.closure.velocities import Kind, Velocities
from eigenflow.core.display import FieldsPrinted
from eigenflow.core.errors import ArgumentError
from eigenflow.core.resampling import block_indices
from eigenflow.transport.flows.drift import PowerDrift

__all__ = ["DriftLaw", "fit_drift_law"]

COARSE = np.linspace(-1.0, 4.0, 101)
NEAR = 10  # grid points on either side of the best exponent that bootstrap draws may reach
DRAWS = 100
MIN_FITTED = 3  # measured times; a strength that changes in time takes two


@dataclass(frozen=True, repr=False)
class DriftLaw(FieldsPrinted):
    """v = -c(t) lambda^b with one exponent and one curve c(t).

    Attributes:
        b: Exponent.
        b_interval: Its 90 % interval, block bootstrap over times.
        reference: lambda_ref of the strength kappa(t) = c(t) lambda_ref^(b - 1), 1 / time.
        strength: kappa as a curve, with its parameters.
        parameter_intervals: 90 % intervals of the strength's parameters, by name.
        explained: Share of the squared scaled logarithmic velocity that the law explains; negative: worse than none.
        kind: Which velocity it was fitted to.
        fixed_b: Whether b was given.
    """

    b: float
    b_interval: tuple[float, float]
    reference: float
    strength: Strength
    parameter_intervals: dict[str, tuple[float, float]]
    explained: float
    kind: Kind
    fixed_b: bool

    def c(self, times: np.ndarray) -> np.ndarray:
        """c(t), in eigenvalue^(1 - b) / time; positive moves modes down."""
        return self.strength(times) * self.reference ** (1.0 - self.b)

    def drift(self, start: float) -> PowerDrift:
        """The law as a drift for `solve`, whose time begins at `start`."""
        parameters = self.strength.parameters
        if "p" not in parameters or parameters["t0"] + start <= 0:
            return PowerDrift(c=lambda s: self.c(start + np.asarray(s)), b=self.b)
        # From any start on a power of time is (1 + s / onset)^-p again, and its integral is elementary.
        first, onset = float(self.c(np.array([start]))[0]), parameters["t0"] + start
        left = 1.0 - parameters["p"]

        def integral(s: np.ndarray) -> np.ndarray:
            passed = np.log1p(np.asarray(s) / onset)
            return first * onset * (np.expm1(left * passed) / left if left else passed)

        return PowerDrift(
            c=lambda s: first * (1.0 + np.asarray(s) / onset) ** (left - 1.0), b=self.b, integral=integral
        )


@dataclass(frozen=True)
class _Profile:
    """Best strength per time, its weight, and the squared error left, at each exponent of the grid."""

    exponents: np.ndarray
    best: np.ndarray
    weight: np.ndarray
    left: np.ndarray

    @classmethod
    def of(cls, data: Scaled, exponents: np.ndarray) -> "_Profile":
        terms = [data.shape_terms(float(b)) for b in exponents]
        best = np.stack([-factor * data.scale for _, factor in terms])
        weight = np.stack([(shape**2).sum(1) / data.scale**2 for shape, _ in terms])
        return cls(exponents, best, weight, np.stack([data.errors(float(b)) for b in exponents]))

    def fit(self, form: Form, times: np.ndarray, counts: np.ndarray) -> tuple[int, list[float], Strength]:
        """The best exponent's position, all errors, and the strength there, with times counted as given."""
        found = [
            fit_strength(form, times, best, weight * counts, float(b))
            for best, weight, b in zip(self.best, self.weight, self.exponents, strict=True)
        ]
        errors = [float(left @ counts) + one.distance for left, one in zip(self.left, found, strict=True)]
        place = int(np.argmin(errors))
        return place, errors, found[place]

    def near(self, place: int) -> "_Profile":
        rows = slice(max(0, place - NEAR), place + NEAR + 1)
        return _Profile(self.exponents[rows], self.best[rows], self.weight[rows], self.left[rows])


def fit_drift_law(
    velocities: Velocities, strength: Form = "power", *, b: float | None = None, draws: int = DRAWS, seed: int = 0
) -> DriftLaw:
    """Fit exponent and strength together, by least squares of the scaled logarithmic velocity.

    Args:
        velocities: As from `shell_velocities` or `rank_velocities`.
        strength: Form of c(t): "power", "fading", "self-similar", "monotone", "piecewise" or "free", see `Strength`.
        b: A given exponent, or None to fit it between -1 and 4.
        draws: Bootstrap draws behind the intervals; 0 leaves them empty, both ends at the estimate.
        seed: Of the bootstrap.

    Returns:
        The law; its strength can be continued to later times.

    Raises:
        ArgumentError: If fewer than 3 times were measured, or `strength` is unknown.
    """
    if len(velocities.times) < MIN_FITTED:
        raise ArgumentError(
            f"`velocities` has {len(velocities.times)} measured times; a law of lambda and t needs {MIN_FITTED}. "
            f"Measure more steps, or cut later."
        )
    data = Scaled.of(velocities)
    ones = np.ones(len(data.times))
    if b is None:
        coarse = _Profile.of(data, COARSE)
        place, _, _ = coarse.fit(strength, data.times, ones)
        fine = _Profile.of(data, COARSE[place] + np.linspace(-1.0, 1.0, 11) * (COARSE[1] - COARSE[0]))
        exact, errors, curve = fine.fit(strength, data.times, ones)
        exponent, error, local = float(fine.exponents[exact]), errors[exact], coarse.near(place)
    else:
        local = _Profile.of(data, np.array([b]))
        _, errors, curve = local.fit(strength, data.times, ones)
        exponent, error = float(b), errors[0]

    drawn_b, drawn = [exponent], [curve.parameters]
    for index in block_indices(len(data.times), np.random.default_rng(seed), draws=draws) if draws else []:
        # A time that was not drawn keeps a vanishing weight, so that no form loses its support.
        counts = np.bincount(index, minlength=len(data.times)) + 1e-9
        place, errors, one = local.fit(strength, data.times, counts)
        drawn_b.append(_vertex(local.exponents, errors, place))
        drawn.append(one.parameters)
    intervals = {name: quantiles(np.array([one[name] for one in drawn])) for name in curve.parameters}
    return DriftLaw(
        exponent,
        quantiles(np.array(drawn_b)),
        velocities.reference,
        curve,
        intervals,
        float(1.0 - error / (data.scaled**2).sum()),
        velocities.kind,
        b is not None,
    )


def _vertex(exponents: np.ndarray, errors: list[float], place: int) -> float:
    """Where the parabola through the least error and its neighbours has its minimum."""
    if not 0 < place < len(exponents) - 1:
        return float(exponents[place])
    low, middle, high = errors[place - 1 : place + 2]
    bend = low - 2.0 * middle + high
    shift = 0.5 * (low - high) / bend if bend > 0 else 0.0
    return float(exponents[place] + shift * (exponents[1] - exponents[0]))
