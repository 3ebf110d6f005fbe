"""How the parameters of one curve follow from those of a whole fit: shared, or moving with size and peak rate.

theta(curve) = theta + sum over slopes of slope * x(curve), with two kinds of x:

    size   phi(N) = [1 - (N / N0)^-nu] / nu, nearly ln(N / N0), but saturating: losses of larger models approach a limit
    rate   ln(peak rate / peak rate of the reference)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from eigenflow.forecast.laws.protocol import Law

__all__ = ["Covariates", "Slope", "size_coordinate"]

# Exponent of the loss in the size; Chinchilla's 0.35 [@hoffmann2022training], which also wins leave-one-size-out.
SIZE_EXPONENT = 0.35


@dataclass(frozen=True)
class Slope:
    """One parameter's slope in one coordinate.

    Attributes:
        parameter: Index into the law's parameters.
        kind: "size" or "rate".
    """

    parameter: int
    kind: Literal["size", "rate"]


def size_coordinate(size: float, reference: float) -> float:
    """Evaluate phi(N)."""
    return float((1.0 - (size / reference) ** -SIZE_EXPONENT) / SIZE_EXPONENT)


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
    def count(self) -> int:
        """Number of parameters in all."""
        return len(self.law.parameters) + len(self.slopes)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all parameters; a slope is "L_inf | size"."""
        own = [parameter.name for parameter in self.law.parameters]
        return (*own, *(f"{own[slope.parameter]} | {slope.kind}" for slope in self.slopes))

    def meaning(self, k: int) -> str:
        """What parameter k of the fit is, in words: the law's own meaning, or of what a slope is the change."""
        own = len(self.law.parameters)
        if k < own:
            return self.law.parameters[k].meaning
        slope = self.slopes[k - own]
        parameter = self.law.parameters[slope.parameter]
        moving = f"ln {parameter.name}" if parameter.scale == "log" else parameter.name
        along = "the peak rate" if slope.kind == "rate" else "the model size, at the fit's mean size"
        return f"change of {moving} per e-fold of {along}"

    def design(self, size: float | None, peak: float) -> Float[np.ndarray, "own parameter"]:
        """Give d theta(curve) / d theta; a curve without a size stands at the reference."""
        own = len(self.law.parameters)
        matrix = np.zeros((own, self.count))
        matrix[:, :own] = np.eye(own)
        along = {"size": 0.0, "rate": float(np.log(peak / self.reference_rate))}
        if size is not None and self.reference_size is not None:
            along["size"] = size_coordinate(size, self.reference_size)
        for column, slope in enumerate(self.slopes, own):
            matrix[slope.parameter, column] = along[slope.kind]
        return matrix
