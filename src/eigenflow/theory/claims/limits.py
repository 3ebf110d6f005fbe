"""C8: lazy (v = 0) and feature-learning (v != 0) training are limits of one equation."""

import numpy as np

from eigenflow.core.errors import ArgumentError, RunFolderError
from eigenflow.core.resampling import block_interval
from eigenflow.theory.claims.descent import why_not_descent
from eigenflow.theory.claims.evidence import Evidence
from eigenflow.theory.claims.rows import make_claim, make_row, undecided
from eigenflow.theory.lazy_rich import LAZY, RICH, LazyRich, LossPredictions, Regime, lazy_rich, predict_from_start
from eigenflow.theory.verdicts import Claim

__all__ = ["limits"]

FEWEST_CUTS = 3
FEWEST_TIMES = 6  # a bootstrap of fewer has no width to speak of
RIGHT = 0.1  # the upper ends of the bands of C8.equation and C8.lazy


def limits(evidence: Evidence) -> list[Claim]:
    """C8 and its assertions."""
    statement = "Lazy (v = 0) and feature-learning (v != 0) are limits of one equation"
    why = why_not_descent(evidence)
    if why is not None:
        return [
            undecided("C8", statement, why, "a run trained by gradient descent, with or without batches and momentum")
        ]
    predictions = predict_from_start(evidence.data)
    equation = _equation_row(predictions, evidence)
    place, missing = _place(evidence)
    rows = [equation, _limit_row(predictions, place, missing, evidence), _forward_row(place, evidence)]
    return make_claim("C8", statement, rows, equation)


def _errors(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    tiny = np.finfo(np.float64).tiny
    return np.log(np.maximum(predicted, tiny) / np.maximum(true, tiny))


def _rms(errors: np.ndarray) -> float:
    return float(np.sqrt(np.mean(errors**2)))


def _too_few(key: str, statement: str, count: int) -> Claim:
    reason = f"{count} measurements after the first, and {FEWEST_TIMES} are needed"
    return undecided(key, statement, reason, "a run with more measurements")


def _equation_row(predictions: LossPredictions, evidence: Evidence) -> Claim:
    statement = "with the eigenvalues as they moved, and nothing else, the equation gives the loss of the whole run"
    if len(predictions.times) < FEWEST_TIMES:
        return _too_few("C8.equation", statement, len(predictions.times))
    errors = _errors(predictions.moving, predictions.truth)
    lazy, moving = predictions.lazy_score, predictions.moving_score
    return make_row(
        "C8.equation",
        statement,
        moving.rms_log_ratio,
        block_interval(errors, _rms, evidence.rng()),
        f"RMS of ln(predicted / true) over {len(errors)} measurements, from the energies of the first one; with the "
        f"first operator frozen (lazy) it is {lazy.rms_log_ratio:.3g}; at the end {moving.final_log_ratio:+.3g} and "
        f"{lazy.final_log_ratio:+.3g}. What is missing is rotation, the optimizer and the step size",
        # Where the frozen operator is right too, neither needs to be the better one.
        beats_alternatives=lazy.rms_log_ratio <= RIGHT or moving.rms_log_ratio <= lazy.rms_log_ratio,
    )


def _place(evidence: Evidence) -> tuple[LazyRich | None, str]:
    try:
        return lazy_rich(evidence.data, evidence.budget), ""
    except ArgumentError as problem:
        return None, str(problem)


def _limit_row(predictions: LossPredictions, place: LazyRich | None, missing: str, evidence: Evidence) -> Claim:
    statement = "the frozen operator predicts the loss where the operator stays, and fails where it moves"
    if len(predictions.times) < FEWEST_TIMES:
        return _too_few("C8.limit", statement, len(predictions.times))
    if place is None:
        return undecided("C8.limit", statement, missing, "a run that records `initial_distance`")
    told = (
        f"the operator went {'at least ' if place.is_lower_bound else ''}{place.coordinate:.3g} of its norm (growth "
        f"{place.growth[-1]:.3g}"
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


def _forward_row(place: LazyRich | None, evidence: Evidence) -> Claim:
    is_still = place is not None and place.regime is Regime.LAZY
    statement = (
        "where the operator stays, both limits forecast the rest of the run"
        if is_still
        else "where the operator moves, transport forecasts the rest of the run better than the lazy limit"
    )
    key = "C8.still" if is_still else "C8.moving"
    try:
        cuts = evidence.forward.cuts
    except RunFolderError as problem:
        return undecided(key, statement, str(problem), "a run with a squared loss")
    except ArgumentError as problem:
        return undecided(key, statement, str(problem), "a run whose eigenvalues move, measured more often")
    if len(cuts) < FEWEST_CUTS:
        reason = f"only {len(cuts)} cuts allow a forecast, of {FEWEST_CUTS} that are needed"
        return undecided(key, statement, reason, "a longer run with more measurements")
    rms = {name: np.array([cut.forecasts[name].score.rms_log_ratio for cut in cuts]) for name in ("lazy", "closure")}
    told = "; ".join(
        f"{cut.cut:.1%}: {lazy:.3g}, {moving:.3g}"
        for cut, lazy, moving in zip(cuts, rms["lazy"], rms["closure"], strict=True)
    )
    told = f"RMS of ln(predicted / true) after each cut, lazy and closure: {told}"
    if is_still:
        values = np.maximum(rms["lazy"], rms["closure"])
        told = f"median over cuts of the worse of the two; {told}"
    else:
        tiny = np.finfo(np.float64).tiny
        values = np.log(np.maximum(rms["lazy"], tiny) / np.maximum(rms["closure"], tiny))
        told = f"median over cuts of ln(lazy / closure); {told}"
    return make_row(key, statement, _median(values), block_interval(values, _median, evidence.rng()), told)


def _median(values: np.ndarray) -> float:
    return float(np.median(values))
