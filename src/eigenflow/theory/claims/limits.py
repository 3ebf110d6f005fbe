"""C8: lazy (v = 0) and feature-learning (v != 0) training are limits of one equation."""

import numpy as np

from eigenflow.core.resampling import block_indices
from eigenflow.core.scores import score_curve
from eigenflow.theory.claims.evidence import Evidence
from eigenflow.theory.claims.rows import make_claim, make_row
from eigenflow.theory.limits import lazy_forecast, transport_forecast
from eigenflow.theory.observed import CUTS, observe_until
from eigenflow.theory.verdicts import Claim

__all__ = ["limits"]

# |gamma| below this counts as an operator that stands still.
STILL = 0.02


def limits(evidence: Evidence) -> list[Claim]:
    """C8 and its assertions."""
    run, seed = evidence.run, evidence.seed
    lazy_errors, moving_errors, told, gammas = [], [], [], []
    for cut in CUTS:
        observed = observe_until(run, cut)
        lazy, moving = lazy_forecast(observed), transport_forecast(observed, seed=seed)
        truth = observed.later_losses
        lazy_errors.append(np.log(lazy.loss / truth) ** 2)
        moving_errors.append(np.log(moving.loss / truth) ** 2)
        gammas.append(moving.gamma)
        scores = [score_curve(f.loss, truth).rms_log_ratio for f in (lazy, moving)]
        told.append(f"{cut:.0%}: lazy {scores[0]:.3g}, transport {scores[1]:.3g}")
    rng = np.random.default_rng(seed)
    advantage = float(np.mean([_advantage(a, b) for a, b in zip(lazy_errors, moving_errors, strict=True)]))
    draws = [
        np.mean([_advantage(a[i], b[i]) for a, b, i in zip(lazy_errors, moving_errors, index, strict=True)])
        for index in zip(*(block_indices(len(a), rng) for a in lazy_errors), strict=True)
    ]
    interval = (float(np.quantile(draws, 0.05)), float(np.quantile(draws, 0.95)))
    is_still = all(abs(gamma) < STILL for gamma in gammas)
    row = make_row(
        "C8.still" if is_still else "C8.moving",
        "where eigenvalues stand still, both limits forecast alike"
        if is_still
        else "where eigenvalues move, transport forecasts the rest of the run better than the lazy limit",
        advantage,
        interval,
        f"mean over cuts of ln(RMS log error lazy / transport), gamma = {', '.join(f'{g:.2g}' for g in gammas)}; "
        + "; ".join(told),
    )
    return make_claim("C8", "Lazy (v = 0) and feature-learning (v != 0) are limits of one equation", [row], row)


def _advantage(lazy: np.ndarray, moving: np.ndarray) -> float:
    tiny = np.finfo(np.float64).tiny
    return 0.5 * float(np.log(max(lazy.sum(), tiny) / max(moving.sum(), tiny)))
