"""The cost of a fit: robust residuals of ln(loss) over all curves, and the prior; analytic derivatives."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.optimize import OptimizeResult, least_squares

from eigenflow.forecast.fitting.covariates import Covariates

__all__ = ["FitSettings", "FittedCurve", "Objective", "observation_weights"]

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
            ln(loss) is D above the lowest counts with standard deviation sqrt(noise^2 + (discrepancy D)^2).
            It is the early part that a power law misses, and the late part that a forecast needs.
        smallest_noise: Standard deviation of ln(loss) below which no residual counts for more.
    """

    first_share: float = 0.03
    points: int = 100
    independent: float = 30.0
    discrepancy: float = 0.02
    smallest_noise: float = 6e-4


@dataclass(frozen=True)
class FittedCurve:
    """One curve as the objective sees it.

    Attributes:
        prepared: The law's own form of it.
        log_losses: ln(loss).
        design: d theta(curve) / d theta.
        weights: Of each residual, in (0, 1]; 1 / standard deviation in units of the noise.
    """

    prepared: Any
    log_losses: Points
    design: Float[np.ndarray, "own parameter"]
    weights: Points


def observation_weights(
    log_losses: Sequence[Float[np.ndarray, " _"]], sizes: Sequence[float | None], settings: FitSettings
) -> list:
    """Give the weights of every curve's points; what is left to lose is counted from the lowest loss of its size."""
    lowest: dict[float | None, float] = {}
    for values, size in zip(log_losses, sizes, strict=True):
        lowest[size] = min(lowest.get(size, np.inf), float(values.min()))
    return [
        1.0 / np.sqrt(1.0 + (settings.discrepancy / settings.smallest_noise * (values - lowest[size])) ** 2)
        for values, size in zip(log_losses, sizes, strict=True)
    ]


@dataclass(frozen=True)
class Objective:
    """Residuals, prior and bounds of one fit.

    Attributes:
        covariates: Law and slopes.
        curves: The data.
        mean: Of the prior.
        root: A matrix R with R'R = the prior's precision; it may have no rows.
        noise: Standard deviation of a residual of weight 1.
        independent: As in `FitSettings`.
    """

    covariates: Covariates
    curves: tuple[FittedCurve, ...]
    mean: Theta
    root: Float[np.ndarray, "row parameter"]
    noise: float
    independent: float

    def with_noise(self, noise: float) -> "Objective":
        """The same with another standard deviation."""
        return replace(self, noise=noise)

    def bounds(self) -> tuple[Theta, Theta]:
        """Guards of the law's own parameters; slopes have none."""
        lower, upper = np.full(self.covariates.count, -np.inf), np.full(self.covariates.count, np.inf)
        for k, parameter in enumerate(self.covariates.law.parameters):
            lower[k], upper[k] = float(parameter.to_theta(parameter.lower)), float(parameter.to_theta(parameter.upper))
        return lower, upper

    def parts(self, theta: Theta) -> list[tuple[Float[np.ndarray, " _"], Float[np.ndarray, "_ parameter"]]]:
        """Give ln(law) - ln(loss) of every curve, and its derivatives."""
        found = []
        for curve in self.curves:
            value, jacobian = self.covariates.law.evaluate(curve.design @ theta, curve.prepared)
            found.append((value - curve.log_losses, jacobian @ curve.design))
        return found

    def scaled(self, theta: Theta) -> tuple[Float[np.ndarray, " row"], Float[np.ndarray, "row parameter"]]:
        """Give the rows whose squares add up to the cost (twice): soft absolute residuals, then the prior.

        The soft absolute value is 2 (sqrt(1 + z^2) - 1) of each residual z, written as the square of a row with a
        derivative of its own, so that the prior's rows stay quadratic.
        """
        rows, gradients = [], []
        for curve, (residual, jacobian) in zip(self.curves, self.parts(theta), strict=True):
            scale = curve.weights / (self.noise * max(1.0, np.sqrt(len(residual) / self.independent)))
            z = residual * scale
            root = np.sqrt(1.0 + z * z)
            # sqrt(2 (root - 1)) without cancellation.
            row = z * np.sqrt(2.0 / (root + 1.0))
            slope = np.sqrt((root + 1.0) / 2.0) / root
            rows.append(row)
            gradients.append(jacobian * (scale * slope)[:, None])
        rows.append(self.root @ (theta - self.mean))
        gradients.append(self.root)
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
