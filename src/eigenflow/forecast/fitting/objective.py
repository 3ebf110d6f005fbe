"""The cost of a fit: robust residuals of ln(loss) over all curves, and the prior; analytic derivatives."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.optimize import OptimizeResult, least_squares

from eigenflow.forecast.fitting.covariates import SIZE_EXPONENT_GUARDS, Covariates

__all__ = ["FitSettings", "FittedCurve", "Objective", "allowed_misfit"]

Points = Float[np.ndarray, " point"]
Theta = Float[np.ndarray, " parameter"]


@dataclass(frozen=True)
class FitSettings:
    """What a fit takes for granted. The values were chosen on held-out schedules, horizons and rests of runs.

    Attributes:
        first_share: Points before this share of a run are left out: no law holds during warm-up and just after.
        points: A curve is averaged in at most this many windows.
        independent: A curve counts as at most this many independent points, for its residuals are correlated.
        discrepancy: Relative error that the law is allowed in what a curve still has to lose: a point at which
            ln(loss) is D above the lowest may miss the law by discrepancy D. It is the early part that a power law
            misses, and the late part that a forecast needs.
        smallest_noise: Standard deviation of ln(loss) that the law is allowed everywhere.
        prior_reach: Standard deviations within which a prior is Gaussian; beyond it costs in proportion.
    """

    first_share: float = 0.03
    points: int = 100
    independent: float = 30.0
    discrepancy: float = 0.02
    smallest_noise: float = 6e-4
    prior_reach: float = 2.0


@dataclass(frozen=True)
class FittedCurve:
    """One curve as the objective sees it.

    Attributes:
        prepared: The law's own form of it.
        log_losses: ln(loss), the means of windows.
        size: Of its model, None if unknown.
        peak: Its peak rate.
        white: Standard deviation of each mean from noise that is independent from point to point.
        allowed: What the law may miss of what is still to be lost there, in ln(loss).
    """

    prepared: Any
    log_losses: Points
    size: float | None
    peak: float
    white: Points
    allowed: Points


def allowed_misfit(
    log_losses: Sequence[Float[np.ndarray, " _"]], sizes: Sequence[float | None], settings: FitSettings
) -> list[Float[np.ndarray, " _"]]:
    """Give what the law may miss at every point; what is left to lose is counted from the lowest loss of its size."""
    lowest: dict[float | None, float] = {}
    for values, size in zip(log_losses, sizes, strict=True):
        lowest[size] = min(lowest.get(size, np.inf), float(values.min()))
    return [settings.discrepancy * (values - lowest[size]) for values, size in zip(log_losses, sizes, strict=True)]


@dataclass(frozen=True)
class Objective:
    """Residuals, prior and bounds of one fit.

    A residual's variance is white^2 + k (noise^2 + allowed^2): independent noise of the points, and the law's own
    misfit, which is correlated along a curve, so that n points of it count as n / k.

    Attributes:
        covariates: Law and slopes.
        curves: The data.
        mean: Of the prior.
        root: A matrix R with R'R = the prior's precision; it may have no rows.
        noise: Standard deviation of the law's misfit late in a run.
        settings: What the fit takes for granted.
    """

    covariates: Covariates
    curves: tuple[FittedCurve, ...]
    mean: Theta
    root: Float[np.ndarray, "row parameter"]
    noise: float
    settings: FitSettings

    def with_noise(self, noise: float) -> "Objective":
        """The same with another standard deviation."""
        return replace(self, noise=noise)

    def bounds(self) -> tuple[Theta, Theta]:
        """Guards of the law's own parameters and of nu; slopes have none."""
        lower, upper = np.full(self.covariates.count, -np.inf), np.full(self.covariates.count, np.inf)
        for k, parameter in enumerate(self.covariates.law.parameters):
            lower[k], upper[k] = float(parameter.to_theta(parameter.lower)), float(parameter.to_theta(parameter.upper))
        if self.covariates.has_size_exponent:
            lower[-1], upper[-1] = SIZE_EXPONENT_GUARDS
        return lower, upper

    def parts(self, theta: Theta) -> list[tuple[Float[np.ndarray, " _"], Float[np.ndarray, "_ parameter"]]]:
        """Give ln(law) - ln(loss) of every curve, and its derivatives."""
        found = []
        for curve in self.curves:
            own, by_theta = self.covariates.own(theta, curve.size, curve.peak)
            value, jacobian = self.covariates.law.evaluate(own, curve.prepared)
            found.append((value - curve.log_losses, jacobian @ by_theta))
        return found

    def deviations(self, curve: FittedCurve) -> Points:
        """Standard deviation of each residual of a curve, as it counts."""
        return np.sqrt(curve.white**2 + self._repeats(curve) * (self.noise**2 + curve.allowed**2))

    def log_scale(self) -> float:
        """Sum of ln(standard deviation) over all points, each as often as it counts: what normalises the likelihood."""
        found = 0.0
        for curve in self.curves:
            single = curve.white**2 + self.noise**2 + curve.allowed**2
            found += float((0.5 * np.log(single) * single / self.deviations(curve) ** 2).sum())
        return found

    def _repeats(self, curve: FittedCurve) -> float:
        """How many points along a curve share one misfit."""
        return max(1.0, len(curve.log_losses) / self.settings.independent)

    def scaled(self, theta: Theta) -> tuple[Float[np.ndarray, " row"], Float[np.ndarray, "row parameter"]]:
        """Give the rows whose squares add up to the cost (twice): soft absolute residuals, then the prior.

        The soft absolute value is 2 t^2 (sqrt(1 + (z / t)^2) - 1) of each row z, written as the square of a row with a
        derivative of its own; t = 1 for residuals. Priors were learned from a few families of runs and have long tails
        too: t = `prior_reach`.
        """
        rows, gradients = [], []
        for curve, (residual, jacobian) in zip(self.curves, self.parts(theta), strict=True):
            scale = 1.0 / self.deviations(curve)
            row, slope = _soft(residual * scale, 1.0)
            rows.append(row)
            gradients.append(jacobian * (scale * slope)[:, None])
        row, slope = _soft(self.root @ (theta - self.mean), self.settings.prior_reach)
        rows.append(row)
        gradients.append(self.root * slope[:, None])
        return np.concatenate(rows), np.concatenate(gradients)

    def minimise(self, start: Theta, evaluations: int, *, fixed: dict[int, float] | None = None) -> OptimizeResult:
        """Minimise from a start; `fixed` holds parameters at given values. `x` has all parameters."""
        held = fixed or {}
        free = np.array([k for k in range(self.covariates.count) if k not in held])
        whole = start.copy()
        for k, value in held.items():
            whole[k] = value
        memory: dict[bytes, tuple[np.ndarray, np.ndarray]] = {}

        def at(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            key = x.tobytes()
            if key not in memory:
                memory.clear()
                theta = whole.copy()
                theta[free] = x
                memory[key] = self.scaled(theta)
            return memory[key]

        lower, upper = self.bounds()
        room = 1e-9 * np.maximum(np.minimum(upper - lower, 1.0), 1e-3)
        begin = np.clip(whole, lower + room, upper - room)[free]
        found = least_squares(
            lambda x: at(x)[0],
            begin,
            jac=lambda x: at(x)[1][:, free],  # pyright: ignore[reportArgumentType]
            bounds=(lower[free], upper[free]),
            x_scale="jac",
            max_nfev=evaluations,
            ftol=1e-7,
            xtol=1e-7,
            gtol=1e-9,
        )
        whole[free] = found.x
        found.x = whole
        return found


def _soft(z: Float[np.ndarray, " row"], reach: float) -> tuple[Float[np.ndarray, " row"], Float[np.ndarray, " row"]]:
    """A row whose square is the soft absolute value of z, quadratic within `reach`; and its derivative."""
    root = np.sqrt(1.0 + (z / reach) ** 2)
    # sqrt(2 (root - 1)) without cancellation.
    return z * np.sqrt(2.0 / (root + 1.0)), np.sqrt((root + 1.0) / 2.0) / root
