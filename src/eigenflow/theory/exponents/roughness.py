"""Is the error rough? The source exponent of the first error, and whether a power describes its energies at all.

A function of finite regularity has energies that fall as a power of the eigenvalue. A smooth one, whose regularity has
no end, has energies that fall faster than any power: exponentially in the rank, or in the inverse eigenvalue. All three
have two numbers and are compared by their likelihood, with coefficients Gaussian and, where they scatter more than
that, with the difference divided by how much more.
"""

from dataclasses import dataclass

import numpy as np
import xarray as xr

from eigenflow.core.errors import ArgumentError
from eigenflow.theory.exponents.power_spectrum import MIN_MODES, fitted_means, spectrum_power

__all__ = ["Roughness", "roughness"]

ROUNDING = 1e-13  # of the largest eigenvalue: below, modes do not learn


@dataclass(frozen=True)
class Roughness:
    """Regularity of the first error.

    Attributes:
        source: Exponent sigma of the energy below lambda.
        interval: Its 90 % interval, jackknife over blocks of modes.
        margin: AIC of the better of both smooth forms less that of the power: positive if the power is better.
        modes: Modes behind it.
    """

    source: float
    interval: tuple[float, float]
    margin: float
    modes: int


def roughness(data: xr.Dataset) -> Roughness:
    """Fit the energies of the first measurement.

    Args:
        data: `run.measurements`, with modes stored one by one.

    Returns:
        The exponent, and how the power does against smooth forms.

    Raises:
        ArgumentError: If fewer than 30 modes learn.
    """
    if "eigenvalue" not in data or data.sizes["step"] == 0:
        raise ArgumentError("`data` holds no eigenvalues of single modes. Record the run with modes.")
    lam, squares = data["eigenvalue"].values[0], data["coefficient"].values[0] ** 2
    kept = (lam > ROUNDING * lam.max()) & (squares > 0)
    if kept.sum() < MIN_MODES:
        raise ArgumentError(f"`data` has {int(kept.sum())} modes that learn; a source exponent needs {MIN_MODES}.")
    ranks = np.flatnonzero(kept) + 1.0
    lam, squares = lam[kept], squares[kept]
    power = spectrum_power(ranks, lam, squares)
    deviances, excess = [], 1.0
    for place, shape in enumerate((np.log(lam), -ranks / ranks[-1], -lam[-1] / lam)):
        means = fitted_means(shape, squares)
        ratio = squares / means
        deviances.append(float((ratio + np.log(means)).sum()))
        if place == 0:
            excess = max(1.0, float(((ratio - 1.0) ** 2).mean() / 2.0))
    margin = (min(deviances[1:]) - deviances[0]) / excess
    return Roughness(power.source, power.source_interval, margin, len(ranks))
