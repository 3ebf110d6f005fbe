"""The residual bootstrap, the usual interval of a fitted curve: the baseline that ours is compared with.

Residuals are drawn in blocks, put on the fitted curves, the law is refitted, and what the refits forecast spreads by
the uncertainty of the parameters; one residual more stands for noise. It takes the law to be true, so it knows nothing
of misfit ahead.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float
from scipy import stats

from eigenflow.core.resampling import LEVEL, block_indices
from eigenflow.forecast.curves import Curve
from eigenflow.forecast.fitting.pooled import PooledFit, refit
from eigenflow.forecast.laws.protocol import History

__all__ = ["bootstrap_intervals"]

MOST_HALF_WIDTH = 20.0

Interval = tuple[Float[np.ndarray, " point"], Float[np.ndarray, " point"]]


def bootstrap_intervals(
    fit: PooledFit,
    known: Sequence[Curve],
    targets: Sequence[tuple[History, float | None]],
    rng: np.random.Generator,
    *,
    draws: int = 20,
) -> list[Interval]:
    """Give 90 % intervals of the loss at every target, from refits to resampled residuals.

    Args:
        fit: The fit to `known`.
        known: Its curves.
        targets: Histories and sizes to forecast.
        rng: Draws the blocks.
        draws: Refits; their standard deviation is used, so that few are enough.
    """
    forecasts: list[list[np.ndarray]] = [[] for _ in targets]
    for _ in range(draws):
        moved = []
        for curve, residual in zip(known, fit.residuals, strict=True):
            # fit.residuals are ln(law) - ln(loss); the fitted curve is ln(loss) + residual.
            drawn = residual[block_indices(len(residual), rng, draws=1)[0]]
            moved.append(replace(curve, losses=np.exp(np.log(curve.losses) + residual - drawn)))
        again = refit(fit, moved)
        for target, (history, size) in zip(forecasts, targets, strict=True):
            target.append(again.log_prediction(history, size)[0])
    noise = float(np.mean(np.concatenate(list(fit.residuals)) ** 2))
    found = []
    for (history, size), drawn in zip(targets, forecasts, strict=True):
        centre = fit.log_prediction(history, size)[0]
        half = stats.norm.ppf((1 + LEVEL) / 2) * np.sqrt(np.var(drawn, axis=0) + noise)
        # A factor of e^20 either way says that nothing is known; refits of a law that is not identified go further.
        half = np.minimum(half, MOST_HALF_WIDTH)
        found.append((np.exp(centre - half), np.exp(centre + half)))
    return found
