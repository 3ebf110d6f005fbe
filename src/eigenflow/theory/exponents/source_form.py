"""Is what a run has to learn a power of lambda? How much the source exponent changes over the modes that it sweeps.

A loss falls as a power of time if the energy per e-fold of lambda, of what is to be learned, is a power lambda^sigma
(equations/exponents.md#lazy-exponent). Spectra of networks on small data bend: their exponent near the largest
eigenvalues is another one than near the smallest, and a loss has an exponent for a while only. So the logarithm of
that energy gets a quadratic term in ln(lambda), and the number is the change of sigma over a decade of lambda.

Energies of modes scatter by their own size, and neighbours are alike (the outputs of one feature): quasi-likelihood
with the variance in proportion to the squared mean, its factor from sums over neighbours.
"""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float
from scipy.special import stdtrit

from eigenflow.core.errors import ArgumentError
from eigenflow.core.resampling import LEVEL
from eigenflow.theory.exponents.bends import gamma_curve
from eigenflow.theory.exponents.power_spectrum import MIN_MODES
from eigenflow.theory.exponents.regularity import dissipated_exponent

__all__ = ["SourceForm", "source_form", "swept_modes"]

NEIGHBOURS = 10
# 2 times the integral of lambda: at most at the first time that the spectrum resolves, and at least at the end.
LEARNED, UNTOUCHED = 2.0, 0.05
ROUNDING = 1e-13


@dataclass(frozen=True)
class SourceForm:
    """The source exponent of the first error over the modes that a run sweeps. Half-widths are of 90 % intervals.

    Attributes:
        source: sigma of the best single power.
        change: d sigma / d log10(lambda); 0 for a power law, negative where the small modes hold less than a power.
        change_half_width: Of `change`.
        decades: Of lambda that are swept.
        modes: Modes swept.
    """

    source: float
    change: float
    change_half_width: float
    decades: float
    modes: int


def source_form(data: xr.Dataset) -> SourceForm:
    """Fit one exponent, and one that changes, to the first measured error.

    Args:
        data: Measurements of a run.

    Raises:
        ArgumentError: If the run sweeps fewer than 30 modes, or less than half a decade of eigenvalues.
    """
    swept = np.flatnonzero(swept_modes(data))
    eigenvalues, squares = data["eigenvalue"].values[0, swept], data["coefficient"].values[0, swept] ** 2
    order = np.argsort(-eigenvalues, kind="stable")
    decades = float(np.log10(eigenvalues[order[0]] / eigenvalues[order[-1]])) if len(swept) else 0.0
    if len(swept) < MIN_MODES or decades < 0.5 or not squares.any():
        raise ArgumentError(
            f"`data` sweeps {len(swept)} modes over {decades:.2g} decades of eigenvalues; the form of its source "
            f"needs {MIN_MODES} over half a decade. Train longer, or use more probe samples."
        )
    return _form(swept[0] + 1.0 + np.arange(len(swept)), np.log(eigenvalues[order]), squares[order])


def swept_modes(data: xr.Dataset) -> Bool[np.ndarray, " mode"]:
    """Modes that are not learned yet when the spectrum first resolves the time, and that are felt by the end."""
    times, eigenvalue = data["time"].values, data["eigenvalue"].values
    spent = dissipated_exponent(data)
    resolved = np.flatnonzero((times > 0) & (eigenvalue.max(1) * times >= 1.0))
    if not len(resolved):
        return np.zeros(eigenvalue.shape[1], dtype=bool)
    positive = eigenvalue[0] > ROUNDING * eigenvalue[0].max()
    return (spent[resolved[0]] <= LEARNED) & (spent[-1] >= UNTOUCHED) & positive


def _form(ranks: np.ndarray, x: Float[np.ndarray, " mode"], squares: Float[np.ndarray, " mode"]) -> SourceForm:
    # A mode's energy times the modes beside it, per e-fold, has the mean of the energy per e-fold. 14 digits down is
    # rounding.
    response = np.maximum(squares, squares.max() * 1e-14) * _modes_per_fold(ranks, x)
    half = 0.5 * (x[0] - x[-1])
    z = (x - 0.5 * (x[0] + x[-1])) / half
    design = np.stack([np.ones_like(z), z, z**2])
    curve = gamma_curve(design, response)
    ratio = response / response.mean() * np.exp(-np.clip(curve @ design, -700, 700))
    freedom = len(z) - len(design)
    sums = np.add.reduceat(ratio - 1.0, np.arange(0, len(z), NEIGHBOURS))
    spread = max(float((sums**2).sum()), float(((ratio - 1.0) ** 2).sum())) / freedom
    error = np.sqrt(spread * np.linalg.inv(design @ design.T)[2, 2])
    per_decade = 2.0 * np.log(10.0) / half**2
    quantile = float(stdtrit(max(1, len(sums) - len(design)), (1 + LEVEL) / 2))
    return SourceForm(
        source=float(gamma_curve(design[:2], response)[1] / half),
        change=float(per_decade * curve[2]),
        change_half_width=float(quantile * per_decade * error),
        decades=float((x[0] - x[-1]) / np.log(10.0)),
        modes=len(x),
    )


def _modes_per_fold(ranks: np.ndarray, x: Float[np.ndarray, " mode"]) -> Float[np.ndarray, " mode"]:
    """d rank / d ln(lambda), from a third of the rank below to a third above, or to the ends where they are nearer.

    Windows in proportion to the rank leave a power law a power law.
    """
    middles = 0.5 * (x[1:] + x[:-1])
    # Ends of the outermost modes, half a rank on: as far as a power law from rank 1 says, and as far as inside.
    above = x[0] + (x[0] - middles[0]) * np.log1p(-0.5 / ranks[0]) / np.log(ranks[0] / (ranks[0] + 0.5))
    edges = np.concatenate([[above], middles, [2.0 * x[-1] - middles[-1]]])
    places = np.append(ranks - 0.5, ranks[-1] + 0.5)
    half = np.minimum(ranks / 3.0, np.minimum(ranks - places[0], places[-1] - ranks))
    widths = np.interp(ranks - half, places, edges) - np.interp(ranks + half, places, edges)
    return 2.0 * half / np.maximum(widths, 1e-9)
