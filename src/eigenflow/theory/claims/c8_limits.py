"""C8: lazy (v = 0) and feature-learning (v != 0) training are limits of one equation.

Where a run lies decides which rows it has: C8.lazy and C8.still, or C8.rich and C8.moving; between them, C8.limit.
"""

import numpy as np

from eigenflow.closure import ForwardTest
from eigenflow.core.errors import ArgumentError, RunFolderError
from eigenflow.core.resampling import correlated_interval
from eigenflow.core.rounding import above_rounding
from eigenflow.theory.claims.assertions import DESCENT, NO_BAND, RECORD, Assertion, ClaimTest, asserts, median_interval
from eigenflow.theory.claims.evidence import Evidence
from eigenflow.theory.lazy_rich import LAZY, RICH, LazyRich, LossPredictions, Regime
from eigenflow.theory.modes.initial_basis import why_initial_basis_is_unknown
from eigenflow.theory.self_similarity.resampled import mode_counts
from eigenflow.theory.verdicts import Claim

__all__ = ["CLAIM"]

FEWEST_CUTS = 3
FEWEST_TIMES = 6  # a bootstrap of fewer has no width to speak of
# A loss that is predicted to 10 % over the whole run counts as predicted. Relative distances of the operator below
# .1 (lazy) and above 1 (rich) choose the row; between them neither limit is claimed.
RIGHT = 0.1
ALIKE = 0.02  # forecasts that miss by less are alike


@asserts(
    "C8.equation",
    "with the eigenvalues as they moved, and nothing else, the equation gives the loss of the whole run",
    band=(None, RIGHT),
    decides=False,
)
def equation(this: Assertion, evidence: Evidence, rng: np.random.Generator) -> Claim:
    """The error of the loss predicted with the measured eigenvalues."""
    predictions = evidence.predictions
    if len(predictions.times) < FEWEST_TIMES:
        return _too_few(this, predictions)
    errors = _errors(predictions.moving, predictions.truth)
    lazy, moving = predictions.lazy_score, predictions.moving_score
    return this.row(
        moving.rms_log_ratio,
        _interval(evidence, errors, is_frozen=False),
        f"RMS of ln(predicted / true) over {len(errors)} measurements, from the energies of the first one; with the "
        f"first operator frozen (lazy) it is {lazy.rms_log_ratio:.3g}; at the end {moving.final_log_ratio:+.3g} and "
        f"{lazy.final_log_ratio:+.3g}. What is missing is rotation, the optimizer and the step size",
        # Where the frozen operator is right too, neither needs to be the better one.
        beats_alternatives=lazy.rms_log_ratio <= RIGHT or moving.rms_log_ratio <= lazy.rms_log_ratio,
    )


def _errors(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    tiny = np.finfo(np.float64).tiny
    return np.log(np.maximum(predicted, tiny) / np.maximum(true, tiny))


def _interval(evidence: Evidence, errors: np.ndarray, *, is_frozen: bool) -> tuple[float, float]:
    """Of the RMS error: with other modes of the same kind; over times, where the first eigenbasis was not followed."""
    data, clocks = evidence.data, evidence.operator_clocks
    if why_initial_basis_is_unknown(data) is not None or "cut" in data:
        return correlated_interval(np.abs(errors), _rms, evidence.rng(), is_inside=True)
    later = clocks.times[:, None] if is_frozen else clocks.taus
    predicted = clocks.modes.energies * np.exp(-2 * clocks.rates * later)
    count = len(clocks.rates)
    true = data["initial_coefficient"].values[1:] ** 2
    counts = mode_counts(count, evidence.seed)
    rest = true[:, count:].sum(1)  # of modes that do not learn
    kept = above_rounding(true.sum(1))
    sums = (counts @ predicted.T + true[0, count:].sum(), counts @ true[:, :count].T + rest)
    found = _errors(*(np.asarray(one)[:, kept] for one in sums))
    low, high = np.quantile(np.sqrt((found**2).mean(1)), [0.05, 0.95])
    return min(float(low), _rms(errors)), max(float(high), _rms(errors))


def _rms(errors: np.ndarray) -> float:
    return float(np.sqrt(np.mean(errors**2)))


def _too_few(this: Assertion, predictions: LossPredictions) -> Claim:
    reason = f"{len(predictions.times)} measurements after the first, and {FEWEST_TIMES} are needed"
    return this.undecided(reason, "a run with more measurements")


def _place(evidence: Evidence) -> LazyRich | None:
    try:
        return evidence.place
    except ArgumentError:
        return None


def _is_still(evidence: Evidence) -> bool:
    place = _place(evidence)
    return place is not None and place.regime is Regime.LAZY


def _told(place: LazyRich) -> str:
    """Where a run went, in words."""
    return (
        f"the operator went {'at least ' if place.is_lower_bound else ''}{place.coordinate:.3g} of its norm (growth "
        f"{place.growth[-1]:.3g}"
        + ("" if place.alignment is None else f", alignment {place.alignment[-1]:.3g}")
        + ")"
        + (
            ""
            if place.flux_share is None
            else f", {place.flux_share[-1]:.2g} of the energy that left its shell went to another one"
        )
    )


@asserts(
    "C8.limit",
    "the frozen operator predicts the loss where the operator stays, and fails where it moves",
    band=NO_BAND,
)
def neither_limit(this: Assertion, evidence: Evidence, rng: np.random.Generator) -> Claim | None:
    """Why a run says nothing of either limit, if it does not."""
    if len(evidence.predictions.times) < FEWEST_TIMES:
        return _too_few(this, evidence.predictions)
    try:
        place = evidence.place
    except ArgumentError as problem:
        return this.undecided(str(problem), "a run that records `initial_distance`")
    if place.regime is not Regime.BETWEEN:
        return None
    change = f"a run that ends below {LAZY:g} or above {RICH:g}, for instance with another output scale"
    return this.undecided(f"{_told(place)}: between the limits", change)


@asserts(
    "C8.lazy",
    "the operator stays, and frozen it predicts the loss of the whole run",
    band=(None, RIGHT),
)
def lazy_limit(this: Assertion, evidence: Evidence, rng: np.random.Generator) -> Claim | None:
    """The error of the frozen operator, where it stays."""
    return _frozen(this, evidence, Regime.LAZY)


@asserts(
    "C8.rich",
    "the operator moves, and frozen it fails to predict the loss of the run",
    band=(RIGHT, None),
)
def rich_limit(this: Assertion, evidence: Evidence, rng: np.random.Generator) -> Claim | None:
    """The error of the frozen operator, where it moves."""
    return _frozen(this, evidence, Regime.RICH)


def _frozen(this: Assertion, evidence: Evidence, regime: Regime) -> Claim | None:
    place, predictions = _place(evidence), evidence.predictions
    if place is None or place.regime is not regime or len(predictions.times) < FEWEST_TIMES:
        return None
    errors = _errors(predictions.lazy, predictions.truth)
    return this.row(
        _rms(errors),
        _interval(evidence, errors, is_frozen=True),
        f"RMS of ln(lazy / true) over {len(errors)} measurements; {_told(place)}",
    )


@asserts(
    "C8.still",
    "where the operator stays, both limits forecast the rest of the run",
    band=(None, 0.1),
    needs=[RECORD],
    decides=False,
)
def both_forecast(this: Assertion, evidence: Evidence, rng: np.random.Generator) -> Claim | None:
    """The error of the worse forecast, where the operator stays."""
    if not _is_still(evidence):
        return None
    test = _cuts(this, evidence)
    if isinstance(test, Claim):
        return test
    lazy, moving, told = _scores(test)
    values = np.maximum(lazy, moving)
    told = f"median over cuts of the worse of the two; {told}"
    return this.row(_median(values), median_interval(values, evidence.rng()), told)


@asserts(
    "C8.moving",
    "where the operator moves, transport forecasts the rest of the run better than the lazy limit",
    band=(0.0, None),
    needs=[RECORD],
    decides=False,
)
def transport_forecasts(this: Assertion, evidence: Evidence, rng: np.random.Generator) -> Claim | None:
    """The gain of transport over the lazy limit, where the operator moves."""
    if _is_still(evidence):
        return None
    test = _cuts(this, evidence)
    if isinstance(test, Claim):
        return test
    lazy, moving, told = _scores(test)
    values = np.log(np.maximum(lazy, ALIKE) / np.maximum(moving, ALIKE))
    told = f"median over cuts of ln(lazy / closure); {told}"
    gain = _median(values)
    return this.row(gain, median_interval(values, evidence.rng()), told, beats_alternatives=gain > 0)


def _cuts(this: Assertion, evidence: Evidence) -> ForwardTest | Claim:
    """The forecasts, or the row that says why there are too few."""
    try:
        test = evidence.forward
    except RunFolderError as problem:
        return this.undecided(str(problem), "a run with a squared loss")
    except ArgumentError as problem:
        return this.undecided(str(problem), "a run whose eigenvalues move, measured more often")
    if len(test.cuts) < FEWEST_CUTS:
        reason = f"only {len(test.cuts)} cuts allow a forecast, of {FEWEST_CUTS} that are needed"
        return this.undecided(reason, "a longer run with more measurements")
    return test


def _scores(test: ForwardTest) -> tuple[np.ndarray, np.ndarray, str]:
    """Errors of the lazy limit and of the closure at each cut, and both in words."""
    lazy, moving = (
        np.array([cut.forecasts[name].score.rms_log_ratio for cut in test.cuts]) for name in ("lazy", "closure")
    )
    rows = zip(test.cuts, lazy, moving, strict=True)
    listed = "; ".join(f"{cut.cut:.1%}: {one:.3g}, {other:.3g}" for cut, one, other in rows)
    return lazy, moving, f"RMS of ln(predicted / true) after each cut, lazy and closure: {listed}"


def _median(values: np.ndarray) -> float:
    return float(np.median(values))


CLAIM = ClaimTest(
    "C8",
    "Lazy (v = 0) and feature-learning (v != 0) are limits of one equation",
    (equation, neither_limit, lazy_limit, rich_limit, both_forecast, transport_forecasts),
    needs=[DESCENT],
    change="a run trained by gradient descent, with or without batches and momentum",
    requires=lambda evidence: evidence.predictions,
)
