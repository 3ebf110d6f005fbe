"""C7: one effective training time tau(t) = t^alpha L(t), with L slowly varying."""

import numpy as np

from eigenflow.core.errors import ArgumentError
from eigenflow.theory.claims.assertions import DESCENT, Assertion, ClaimTest, asserts, median_interval
from eigenflow.theory.claims.evidence import Evidence
from eigenflow.theory.effective_time.bootstrap import draw_clocks
from eigenflow.theory.effective_time.clocks import Clocks
from eigenflow.theory.effective_time.regular_variation import RegularVariationStatus, ratio_ranges
from eigenflow.theory.verdicts import Claim

__all__ = ["CLAIM"]

# Fewer clocks than this do not show a spread.
FEWEST_CLOCKS = 2.0
FEWEST_TIMES = 3
DESCENDING = "a run trained by gradient descent, with or without batches and momentum"
LONGER = "a run whose measured times span 2.9 decades or more after the first update"
# One time in place of many is called one if it is right to 10 %: where the loss falls as t^-1 or slower, it is then
# wrong by 10 % at most. The same 10 % for two ways to read it.
ONE_TIME = (None, 0.1)


@asserts(
    "C7.operator",
    "all eigenvalues scale alike, so that the operator has one clock",
    band=ONE_TIME,
    decides=False,  # the claim is of one time; that it serves all modes needs b = 1
)
def one_of_operator(this: Assertion, evidence: Evidence, rng: np.random.Generator) -> Claim:
    """The spread of the clocks of single modes."""
    return _spread_row(this, evidence.operator_clocks, evidence.rng())


@asserts(
    "C7.error",
    "one effective time says how far every shell has learned",
    band=ONE_TIME,
    needs=[DESCENT],
    change=DESCENDING,
    decides=False,  # the claim is of one time; that it serves all modes needs b = 1
)
def one_of_error(this: Assertion, evidence: Evidence, rng: np.random.Generator) -> Claim:
    """The spread of the clocks of shells."""
    try:
        clocks = evidence.error_clocks
    except ArgumentError as problem:
        return this.undecided(str(problem), "a run recorded by this version")
    return _spread_row(this, clocks, evidence.rng())


def _spread_row(this: Assertion, clocks: Clocks, rng: np.random.Generator) -> Claim:
    unit = "modes" if clocks.kind == "operator" else "shells"
    count = float(np.median(clocks.effective_count[clocks.last_decade]))
    if count < FEWEST_CLOCKS:
        reason = f"only {count:.2g} {unit} learn in the last decade of time, and one clock has no spread"
        return this.undecided(reason, f"a run in which {FEWEST_CLOCKS:g} {unit} or more still learn")
    if clocks.last_decade.sum() < FEWEST_TIMES:
        reason = f"{clocks.last_decade.sum()} measurements in the last decade of time, and {FEWEST_TIMES} are needed"
        return this.undecided(reason, "a run with more measurements")
    low, high = (float(np.median(end[clocks.last_decade])) for end in clocks.extent)
    return this.row(
        _last_spread(clocks),
        _widened(_spread_interval(clocks, rng), clocks),
        f"median over the last decade of time of the root mean square of tau_u / tau - 1, {unit} weighted by what they "
        f"learn then ({count:.3g} count); of all {len(clocks.rates)} {unit} alike, 90 % lie between {low:.3g} and "
        f"{high:.3g} of the common time" + _quadrature_told(clocks),
    )


def _last_quadrature(clocks: Clocks) -> float:
    return float(np.median(clocks.quadrature[clocks.last_decade]))


def _widened(interval: tuple[float, float], clocks: Clocks) -> tuple[float, float]:
    """By what the spacing of measurements leaves open; gaps count."""
    error = _last_quadrature(clocks)
    return (max(0.0, interval[0] - error), interval[1] + error)


def _quadrature_told(clocks: Clocks) -> str:
    error = _last_quadrature(clocks)
    return f"; the spacing of measurements adds {error:.2g} to the interval" if error else ""


def _last_spread(clocks: Clocks) -> float:
    return float(np.median(clocks.spread[clocks.last_decade]))


def _spread_interval(clocks: Clocks, rng: np.random.Generator) -> tuple[float, float]:
    spreads = np.median(draw_clocks(clocks, rng, last_decade=True).spread, axis=1)
    low, high = np.quantile(spreads, [0.05, 0.95])
    return float(low), float(high)


@asserts(
    "C7.clock",
    "the clock of the operator is the clock of the loss",
    band=ONE_TIME,
    needs=[DESCENT],
    change=DESCENDING,
    decides=False,  # the claim is of one time; that it serves all modes needs b = 1
)
def same_clock(this: Assertion, evidence: Evidence, rng: np.random.Generator) -> Claim:
    """How far the clock of the eigenvalues is from that of the energy."""
    operator, common = evidence.operator_clocks, _common(evidence)
    miss = np.abs(operator.common / common - 1)[operator.last_decade]
    return this.row(
        float(np.median(miss)),
        _widened(median_interval(miss, evidence.rng()), operator),
        f"median of |tau of the eigenvalues / tau of the energy - 1| over {len(miss)} measurements in the last decade "
        f"of time; what is missing is rotation of modes, and the optimizer" + _quadrature_told(operator),
    )


def _common(evidence: Evidence) -> np.ndarray:
    """The common time of the error, or, where its first basis is not known, of the whole energy."""
    try:
        return evidence.error_clocks.common
    except ArgumentError:
        return evidence.loss_clock


@asserts(
    "C7.regular",
    "tau varies regularly: the index settles at an alpha, and what is left varies slowly",
    # The ratio index of t^.7 times log t, exp(sqrt(log t)) or 1 + t^-.3 ranges over .007 to .022 in the last of six
    # decades, that of t^.7 (2 + sin log t) over .8.
    band=(None, 0.1),
    needs=[DESCENT],
    change=DESCENDING,
)
def regular_index(this: Assertion, evidence: Evidence, rng: np.random.Generator) -> Claim:
    """The range of the index over the last decade."""
    try:
        found = evidence.variation
    except ArgumentError:  # too few times
        found = None
    if found is None or found.last_range is None or found.previous_range is None:
        return this.undecided("too few decades of time; the index needs two, and a factor of 8 before", LONGER)
    clocks, best, (low, high), estimate = evidence.clocks, found.forms[0], found.index_range, found.last_range
    told = f"index {best.index:.3g} with {best.name} as L" if best.is_slowly_varying else f"best form: {best.name}"
    identified = "identified" if found.is_identified else "not identified"
    return this.row(
        estimate,
        _range_interval(clocks, evidence.clocked, estimate, evidence.rng()),
        f"range of ln[tau(ct) / tau(t)] / ln c, c = 2, 4, 8, over the last decade, of the {clocks.kind}'s clock "
        f"({found.previous_range:.3g} over the decade before); {told}; alpha between {low:.3g} and {high:.3g} among "
        f"the forms that fit, so {identified}; no finite range can verify slow variation",
        beats_alternatives=found.status is RegularVariationStatus.NOT_REJECTED,
    )


def _range_interval(clocks: Clocks, kept: slice, estimate: float, rng: np.random.Generator) -> tuple[float, float]:
    """Of the common time of resampled modes; where it is not positive, the estimate itself."""
    found = []
    for common in draw_clocks(clocks, rng).common[:, kept]:
        ranges = ratio_ranges(clocks.times[kept], common) if (common > 0).all() else None
        found.append(estimate if ranges is None else ranges[0])
    low, high = np.quantile(found, [0.05, 0.95])
    return float(low), float(high)


CLAIM = ClaimTest(
    "C7",
    "Effective training time tau(t) = t^alpha L(t)",
    (one_of_operator, one_of_error, same_clock, regular_index),
    requires=lambda evidence: evidence.operator_clocks,
)
