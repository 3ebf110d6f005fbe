"""C7: one effective training time tau(t) = t^alpha L(t), with L slowly varying."""

import numpy as np
import xarray as xr

from eigenflow.core.errors import ArgumentError
from eigenflow.core.resampling import block_interval
from eigenflow.theory.claims.descent import why_not_descent
from eigenflow.theory.claims.evidence import Evidence
from eigenflow.theory.claims.rows import make_claim, make_row, undecided
from eigenflow.theory.effective_time.bootstrap import draw_clocks
from eigenflow.theory.effective_time.clocks import Clocks, error_clocks, loss_clock, operator_clocks
from eigenflow.theory.effective_time.regular_variation import RegularVariationStatus, ratio_ranges, regular_variation
from eigenflow.theory.verdicts import Claim

__all__ = ["effective_time"]

# Fewer clocks than this do not show a spread.
FEWEST_CLOCKS = 2.0
FEWEST_TIMES = 3
OPERATOR = "all eigenvalues scale alike, so that the operator has one clock"
ERROR = "one effective time says how far every shell has learned"
CLOCK = "the clock of the operator is the clock of the loss"
REGULAR = "tau varies regularly: the index settles at an alpha, and what is left varies slowly"
DESCENT = "a run trained by gradient descent, with or without batches and momentum"
LONGER = "a run whose measured times span 2.9 decades or more after the first update"


def effective_time(evidence: Evidence) -> list[Claim]:
    """C7 and its assertions."""
    data, statement = evidence.data, "Effective training time tau(t) = t^alpha L(t)"
    operator = operator_clocks(data)
    operator_row = _spread_row("C7.operator", OPERATOR, operator, evidence.rng())
    why = why_not_descent(evidence)
    if why is not None:
        others = {"C7.error": ERROR, "C7.clock": CLOCK, "C7.regular": REGULAR}
        rows = [operator_row, *(undecided(key, text, why, DESCENT) for key, text in others.items())]
        return make_claim("C7", statement, rows, rows[1])
    error, missing = _error_clocks(data)
    if error is None:
        _, common = loss_clock(data)
        error_row = undecided("C7.error", ERROR, missing, "a run recorded by this version")
    else:
        common = error.common
        error_row = _spread_row("C7.error", ERROR, error, evidence.rng())
    rows = [operator_row, error_row, _clock_row(operator, common, evidence.rng())]
    rows.append(_regular_row(operator if error is None else error, evidence.rng()))
    return make_claim("C7", statement, rows, error_row)


def _error_clocks(data: xr.Dataset) -> tuple[Clocks | None, str]:
    try:
        return error_clocks(data), ""
    except ArgumentError as problem:
        return None, str(problem)


def _spread_row(key: str, statement: str, clocks: Clocks, rng: np.random.Generator) -> Claim:
    unit = "modes" if clocks.kind == "operator" else "shells"
    count = float(np.median(clocks.effective_count[clocks.last_decade]))
    if count < FEWEST_CLOCKS:
        reason = f"only {count:.2g} {unit} learn in the last decade of time, and one clock has no spread"
        return undecided(key, statement, reason, f"a run in which {FEWEST_CLOCKS:g} {unit} or more still learn")
    if clocks.last_decade.sum() < FEWEST_TIMES:
        reason = f"{clocks.last_decade.sum()} measurements in the last decade of time, and {FEWEST_TIMES} are needed"
        return undecided(key, statement, reason, "a run with more measurements")
    low, high = (float(np.median(end[clocks.last_decade])) for end in clocks.extent)
    return make_row(
        key,
        statement,
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


def _clock_row(operator: Clocks, common: np.ndarray, rng: np.random.Generator) -> Claim:
    miss = np.abs(operator.common / common - 1)[operator.last_decade]
    return make_row(
        "C7.clock",
        CLOCK,
        float(np.median(miss)),
        _widened(block_interval(miss, lambda values: float(np.median(values)), rng), operator),
        f"median of |tau of the eigenvalues / tau of the energy - 1| over {len(miss)} measurements in the last decade "
        f"of time; what is missing is rotation of modes, and the optimizer" + _quadrature_told(operator),
    )


def _regular_row(clocks: Clocks, rng: np.random.Generator) -> Claim:
    key, statement = "C7.regular", REGULAR
    kept = _after_last_bad(clocks.common)
    found = None
    if len(clocks.times[kept]) >= 8:
        found = regular_variation(clocks.times[kept], clocks.common[kept], unit=1.0 / float(clocks.rates[0]))
    if found is None or found.last_range is None or found.previous_range is None:
        return undecided(
            key, statement, "too few decades of time; the index needs two, and a factor of 8 before", LONGER
        )
    best, (low, high), estimate = found.forms[0], found.index_range, found.last_range
    told = f"index {best.index:.3g} with {best.name} as L" if best.is_slowly_varying else f"best form: {best.name}"
    identified = "identified" if found.is_identified else "not identified"
    return make_row(
        key,
        statement,
        estimate,
        _range_interval(clocks, kept, estimate, rng),
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


def _after_last_bad(common: np.ndarray) -> slice:
    """From where on tau is positive."""
    bad = np.flatnonzero(common <= 0)
    return slice(int(bad[-1]) + 1 if len(bad) else 0, None)
