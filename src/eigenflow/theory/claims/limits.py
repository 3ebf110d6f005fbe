"""C8: lazy (v = 0) and feature-learning (v != 0) training are limits of one equation."""

import numpy as np

from eigenflow.core.errors import ArgumentError, RunFolderError
from eigenflow.core.resampling import block_indices, block_interval
from eigenflow.core.scores import score_curve
from eigenflow.theory.claims.evidence import Evidence
from eigenflow.theory.claims.rows import make_claim, make_row, undecided
from eigenflow.theory.lazy_rich import LAZY, RICH, LossPredictions, Regime, lazy_rich, predict_from_start
from eigenflow.theory.limits import lazy_forecast, transport_forecast
from eigenflow.theory.observed import CUTS, observe_until
from eigenflow.theory.verdicts import Claim

__all__ = ["limits"]

# |gamma| below this counts as an operator that stands still.
STILL = 0.02
RIGHT = 0.1  # the upper ends of the bands of C8.equation and C8.lazy


def limits(evidence: Evidence) -> list[Claim]:
    """C8 and its assertions."""
    predictions = predict_from_start(evidence.data)
    equation = _equation_row(predictions, evidence)
    rows = [equation, _limit_row(predictions, evidence), _forward_row(evidence)]
    return make_claim("C8", "Lazy (v = 0) and feature-learning (v != 0) are limits of one equation", rows, equation)


def _errors(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    tiny = np.finfo(np.float64).tiny
    return np.log(np.maximum(predicted, tiny) / np.maximum(true, tiny))


def _rms(errors: np.ndarray) -> float:
    return float(np.sqrt(np.mean(errors**2)))


def _equation_row(predictions: LossPredictions, evidence: Evidence) -> Claim:
    errors = _errors(predictions.moving, predictions.truth)
    lazy, moving = predictions.lazy_score, predictions.moving_score
    return make_row(
        "C8.equation",
        "with the eigenvalues as they moved, and nothing else, the equation gives the loss of the whole run",
        moving.rms_log_ratio,
        block_interval(errors, _rms, evidence.rng()),
        f"RMS of ln(predicted / true) over {len(errors)} measurements, from the energies of the first one; with the "
        f"first operator frozen (lazy) it is {lazy.rms_log_ratio:.3g}; at the end {moving.final_log_ratio:+.3g} and "
        f"{lazy.final_log_ratio:+.3g}. What is missing is rotation, the optimizer and the step size",
        # Where the frozen operator is right too, neither needs to be the better one.
        beats_alternatives=lazy.rms_log_ratio <= RIGHT or moving.rms_log_ratio <= lazy.rms_log_ratio,
    )


def _limit_row(predictions: LossPredictions, evidence: Evidence) -> Claim:
    statement = "the frozen operator predicts the loss where the operator stays, and fails where it moves"
    try:
        place = lazy_rich(evidence.data, evidence.budget)
    except ArgumentError as problem:
        return undecided("C8.limit", statement, str(problem), "a run that records `initial_distance`")
    bound = "at least " if place.is_lower_bound else ""
    told = (
        f"the operator went {bound}{place.coordinate:.3g} of its norm (growth {place.growth[-1]:.3g}"
        + ("" if place.alignment is None else f", alignment {place.alignment[-1]:.3g}")
        + f"), {place.flux_share[-1]:.2g} of the energy that left its shell went to another one"
    )
    if place.regime is Regime.BETWEEN:
        change = f"a run that ends below {LAZY:g} or above {RICH:g}, for instance with another output scale"
        return undecided("C8.limit", statement, f"{told}: between the limits", change)
    errors = _errors(predictions.lazy, predictions.truth)
    return make_row(
        f"C8.{place.regime}",
        "the operator stays, and frozen it predicts the loss of the whole run"
        if place.regime is Regime.LAZY
        else "the operator moves, and frozen it fails to predict the loss of the run",
        _rms(errors),
        block_interval(errors, _rms, evidence.rng()),
        f"RMS of ln(lazy / true) over {len(errors)} measurements; {told}",
    )


def _forward_row(evidence: Evidence) -> Claim:
    try:
        return _forecast_row(evidence)
    except RunFolderError as problem:
        statement = "where eigenvalues move, transport forecasts the rest of the run better than the lazy limit"
        return undecided("C8.moving", statement, str(problem), "a longer run with more measurements")


def _forecast_row(evidence: Evidence) -> Claim:
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
    return make_row(
        "C8.still" if is_still else "C8.moving",
        "where eigenvalues stand still, both limits forecast alike"
        if is_still
        else "where eigenvalues move, transport forecasts the rest of the run better than the lazy limit",
        advantage,
        interval,
        f"mean over cuts of ln(RMS log error lazy / transport), gamma = {', '.join(f'{g:.2g}' for g in gammas)}; "
        + "; ".join(told),
    )


def _advantage(lazy: np.ndarray, moving: np.ndarray) -> float:
    tiny = np.finfo(np.float64).tiny
    return 0.5 * float(np.log(max(lazy.sum(), tiny) / max(moving.sum(), tiny)))
