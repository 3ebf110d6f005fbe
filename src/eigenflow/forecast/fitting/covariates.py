"""How the parameters of one curve follow from those of a whole fit: shared, or moving with size and peak rate.

theta(curve) = theta + sum over slopes of slope * x(curve), with two kinds of x:

    size   phi(N) = [1 - (N / N0)^-nu] / nu, nearly ln(N / N0), but saturating: losses of larger models approach a limit
    rate   ln(peak rate / peak rate of the reference)

nu is the last parameter of a fit with slopes in the size. Two sizes say nothing of it and three say little, so it has a
prior of its own, which is learned from ladders of sizes; its spread counts in every forecast of another size.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from eigenflow.forecast.laws.protocol import Law

__all__ = ["Covariates", "Slope", "size_coordinate"]

# Exponent of the size: mean and standard deviation over ladders of sizes (benchmarks/size_exponents.py).
SIZE_EXPONENT, SIZE_EXPONENT_SD = 0.14, 0.15
SIZE_EXPONENT_GUARDS = (-0.5, 1.5)
SIZE_EXPONENT_NAME = "nu | size"
# Below this nu * ln(N / N0) phi is a series.
SMALL = 1e-4


@dataclass(frozen=True)
class Slope:
    """One parameter's slope in one coordinate.

    Attributes:
        parameter: Index into the law's parameters.
        kind: "size" or "rate".
    """

    parameter: int
    kind: Literal["size", "rate"]


def size_coordinate(size: float, reference: float, exponent: float = SIZE_EXPONENT) -> tuple[float, float]:
    """Evaluate phi(N), and its derivative with respect to nu."""
    x = float(np.log(size / reference))
    z = exponent * x
    if abs(z) < SMALL:
        return x * (1.0 - z / 2 + z * z / 6), x * x * (-0.5 + z / 3)
    value = float(-np.expm1(-z)) / exponent
    return value, (x * float(np.exp(-z)) - value) / exponent


@dataclass(frozen=True)
class Covariates:
    """The parameters of a fit and where its coordinates are zero.

    Attributes:
        law: Gives the first parameters.
        slopes: The parameters after those.
        reference_size: N0, None if no curve has a size.
        reference_rate: Peak rate at which the rate coordinate is 0.
    """

    law: Law
    slopes: tuple[Slope, ...]
    reference_size: float | None
    reference_rate: float

    @classmethod
    def choose(
        cls, law: Law, sizes: Sequence[float | None], peaks: Sequence[float], *, rate_slopes: Sequence[str]
    ) -> "Covariates":
        """Take slopes in the size where two sizes are given, or a prior knows them; in the rate where a prior does.

        Args:
            law: The law.
            sizes: Of each curve.
            peaks: Peak rate of each curve.
            rate_slopes: Names of the parameters that the prior lets move with the peak rate.
        """
        known = [size for size in sizes if size is not None]
        names = [parameter.name for parameter in law.parameters]
        slopes: list[Slope] = []
        if known and (len(set(known)) > 1 or rate_slopes):
            slopes += [Slope(k, "size") for k, parameter in enumerate(law.parameters) if parameter.moves_with_size]
        slopes += [Slope(names.index(name), "rate") for name in rate_slopes]
        reference = float(np.exp(np.mean(np.log(known)))) if known else None
        return cls(law, tuple(slopes), reference, float(np.exp(np.mean(np.log(peaks)))))

    @property
    def has_size_exponent(self) -> bool:
        """Whether the last parameter is nu."""
        return any(slope.kind == "size" for slope in self.slopes)

    @property
    def count(self) -> int:
        """Number of parameters in all."""
        return len(self.law.parameters) + len(self.slopes) + self.has_size_exponent

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all parameters; a slope is "L_inf | size"."""
        own = [parameter.name for parameter in self.law.parameters]
        slopes = [f"{own[slope.parameter]} | {slope.kind}" for slope in self.slopes]
        return (*own, *slopes, *([SIZE_EXPONENT_NAME] if self.has_size_exponent else []))

    def meaning(self, k: int) -> str:
        """What parameter k of the fit is, in words: the law's own meaning, or of what a slope is the change."""
        own = len(self.law.parameters)
        if k < own:
            return self.law.parameters[k].meaning
        if self.has_size_exponent and k == self.count - 1:
            return "exponent nu at which trends in the model size saturate, as N^-nu"
        slope = self.slopes[k - own]
        parameter = self.law.parameters[slope.parameter]
        moving = f"ln {parameter.name}" if parameter.scale == "log" else parameter.name
        along = "the peak rate" if slope.kind == "rate" else "the model size, at the fit's mean size"
        return f"change of {moving} per e-fold of {along}"

    def own(
        self, theta: Float[np.ndarray, " all"], size: float | None, peak: float
    ) -> tuple[Float[np.ndarray, " own"], Float[np.ndarray, "own all"]]:
        """Give a curve's own parameters of the law, and their derivatives with respect to `theta`.

        A curve without a size stands at the reference.
        """
        first = len(self.law.parameters)
        moved, slope_of_phi = 0.0, 0.0
        if size is not None and self.reference_size is not None and self.has_size_exponent:
            moved, slope_of_phi = size_coordinate(size, self.reference_size, float(theta[-1]))
        along = {"size": moved, "rate": float(np.log(peak / self.reference_rate))}
        matrix = np.zeros((first, self.count))
        matrix[:, :first] = np.eye(first)
        for column, slope in enumerate(self.slopes, first):
            matrix[slope.parameter, column] = along[slope.kind]
        value = matrix @ theta
        if self.has_size_exponent:
            for column, slope in enumerate(self.slopes, first):
                matrix[slope.parameter, -1] += theta[column] * slope_of_phi if slope.kind == "size" else 0.0
        return value, matrix
