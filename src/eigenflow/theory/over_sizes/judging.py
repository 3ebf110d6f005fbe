"""Rows of C6 that no single run can test: how a loss falls with width, with data and with compute.

Bands are those of the row in time, and were fixed before a sweep was judged: the predicted exponent may be off by a
tenth. Two rows beside each take no power law, but the loss that the formula gives for the measured spectrum, without a
free number: it may be off by a tenth as well, and so may the exponent that it shows over the very sizes of the sweep.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Float
from scipy.special import stdtrit

from eigenflow.core.checks import check_kind, real_array
from eigenflow.core.errors import ArgumentError, ShapeError
from eigenflow.core.resampling import LEVEL
from eigenflow.theory.exponents.ranges import ExponentRange
from eigenflow.theory.over_sizes.rivals import contest
from eigenflow.theory.over_sizes.size_law import FitStatus, SizeLaw, fit_size_law
from eigenflow.theory.over_sizes.sweep import SizeSweep
from eigenflow.theory.verdicts import Claim, Verdict, judge, what_would_change

__all__ = ["BAND", "CURVE_BAND", "curve_row", "exponent_row", "finite_exponent_row"]

BAND = (-0.1, 0.1)
CURVE_BAND = (None, 0.1)
STATEMENTS = {
    "width": "the loss falls with the width by the exponent that spectrum and target predict",
    "data": "the loss falls with the training samples by the exponent that spectrum and target predict",
    "time": "the test loss falls with time by the exponent that spectrum and target predict",
    "compute": "along the best widths the loss falls with compute by the exponent that spectrum and target predict",
}
CURVE = "the loss at every size is that of the formula for the measured spectrum, without a free number"
FINITE = "over these sizes the loss falls with the exponent of the formula's losses for the measured spectrum"
POWER_LAW = "a task whose spectrum is a power law over the ranks that the sizes reach"
MORE_SIZES = "a sweep over more sizes, or with more repeats, in which the loss falls by more above its floor"


def exponent_row(sweep: SizeSweep, predicted: ExponentRange, *, is_power_law: bool = True) -> Claim:
    """Judge a predicted exponent by a sweep.

    Args:
        sweep: Losses over one resource.
        predicted: The exponent of that resource with its 90 % interval, as in
            `predict_exponents(...).lazy.width`.
        is_power_law: Whether the spectrum is one. If not, theory predicts no exponent, and the row is undecided.

    Returns:
        A row `C6.width`, `C6.data`, `C6.sizes_time` or `C6.compute`: predicted / fitted - 1 with the interval of both
        together. Supported if it lies within a tenth and no rival law tells the largest sizes better; contradicted if
        it lies beyond, or a rival is clearly better.
    """
    check_kind("sweep", sweep, SizeSweep, "a SizeSweep, such as one of `read_sweep`")
    check_kind("predicted", predicted, ExponentRange, "an ExponentRange, such as `predict_exponents(...).lazy.width`")
    if not 0 < predicted.value < np.inf or predicted.lower > predicted.value or predicted.upper < predicted.value:
        raise ArgumentError(f"`predicted` must be > 0 and lie in its interval, but is {predicted}.")
    key = {"time": "C6.sizes_time"}.get(sweep.resource, f"C6.{sweep.resource}")
    law = fit_size_law(sweep)
    told = _told(sweep, law, predicted)
    if law.status is FitStatus.NO_FALL:
        return _row(key, sweep.resource, None, None, Verdict.UNDECIDED, f"the loss does not fall: {told}", MORE_SIZES)
    fitted = law.exponent
    estimate = predicted.value / fitted.value - 1.0
    interval = _ratio(predicted, fitted)
    rivals = contest(sweep, predicted.value)
    reason = f"predicted / fitted - 1 ({told}); {rivals.told()}"
    verdict = judge(interval, BAND, rivals.is_won, rivals.is_lost)
    change = what_would_change(interval, BAND, rivals.is_won, rivals.is_lost)
    if law.status is FitStatus.OPEN and not rivals.is_lost:
        reason, verdict, change = f"{reason}; the sizes leave the exponent open", Verdict.UNDECIDED, MORE_SIZES
    if not is_power_law:
        reason, verdict, change = f"the spectrum is no power law. {reason}", Verdict.UNDECIDED, POWER_LAW
    return _row(key, sweep.resource, estimate, interval, verdict, reason, change)


def _told(sweep: SizeSweep, law: SizeLaw, predicted: ExponentRange) -> str:
    span = sweep.places[-1] / sweep.places[0]
    return (
        f"{predicted} for {law.exponent} over {law.sizes} sizes, a factor {span:.3g}, in {law.runs} runs; the floor is "
        f"{law.floor_share:.0%} of the loss at the largest"
    )


def _ratio(predicted: ExponentRange, fitted: ExponentRange) -> tuple[float, float]:
    """Interval of predicted / fitted - 1: both are independent, and their logarithms' half-widths add in squares."""
    least = 1e-6 * predicted.value
    below = np.hypot(np.log(predicted.value / max(predicted.lower, least)), np.log(fitted.upper / fitted.value))
    above = np.hypot(np.log(predicted.upper / predicted.value), np.log(fitted.value / fitted.lower))
    ratio = predicted.value / fitted.value
    return float(ratio * np.exp(-below) - 1.0), float(ratio * np.exp(above) - 1.0)


def curve_row(sweep: SizeSweep, formula: Float[np.ndarray, " size"]) -> Claim:
    """Judge a curve that was computed for the sizes of a sweep, without a free number.

    Args:
        sweep: Losses over one resource.
        formula: The loss that theory gives at each of `sweep.places`, > 0, in the unit of the losses.

    Returns:
        A row beside the claim, `C6.width_curve` and so on: the root mean square over sizes of ln(formula / mean loss),
        what repeats scatter by taken out, with an interval from that scatter.
    """
    values, places = _checked(sweep, formula), sweep.places
    misses = np.log(values / sweep.means)
    scatter, freedom = sweep.scatter()
    of_mean = scatter / np.sqrt(sweep.counts.mean())
    rms = float(np.sqrt(max(0.0, float((misses**2).mean()) - of_mean**2)))
    student = float(stdtrit(freedom, (1 + LEVEL) / 2)) if freedom else 0.0
    half = float(student * of_mean / np.sqrt(len(places)))
    worst = int(np.abs(misses).argmax())
    reason = (
        f"root mean square of ln(formula / mean loss) over {len(places)} sizes, mean {misses.mean():+.2g}, the largest "
        f"{misses[worst]:+.2g} at {places[worst]:g}; repeats scatter by {scatter:.2g}"
    )
    interval = (max(0.0, rms - half), rms + half)
    verdict = judge(interval, CURVE_BAND)
    row = _row(
        f"C6.{sweep.resource}_curve",
        sweep.resource,
        rms,
        interval,
        verdict,
        reason,
        what_would_change(interval, CURVE_BAND),
    )
    return replace(row, statement=CURVE, band=CURVE_BAND, decides=False)


def finite_exponent_row(sweep: SizeSweep, formula: Float[np.ndarray, " size"]) -> Claim:
    """Judge the exponent that computed losses show over the sizes of a sweep, far from any limit or near it.

    Args:
        sweep: Losses over one resource.
        formula: As for `curve_row`.

    Returns:
        A row beside the claim, `C6.width_finite` and so on: the exponent of `fit_size_law` on the formula's losses over
        that on the measured ones, minus 1, with the interval of the latter.
    """
    values = _checked(sweep, formula)
    law = fit_size_law(sweep)
    told = fit_size_law(SizeSweep(sweep.resource, sweep.places, values, None, "the formula")).exponent.value
    key = f"C6.{sweep.resource}_finite"
    reason = f"the same fit finds {told:.3g} in the formula's losses and {law.exponent} in those of {law.runs} runs"
    if law.status is not FitStatus.FITTED:
        made = _row(key, sweep.resource, None, None, Verdict.UNDECIDED, f"{reason}, which leave it open", MORE_SIZES)
    else:
        interval = _ratio(ExponentRange(told, told, told), law.exponent)
        change = what_would_change(interval, BAND)
        estimate = told / law.exponent.value - 1.0
        made = _row(key, sweep.resource, estimate, interval, judge(interval, BAND), reason, change)
    return replace(made, statement=FINITE, decides=False)


def _checked(sweep: SizeSweep, formula: Float[np.ndarray, " size"]) -> Float[np.ndarray, " size"]:
    check_kind("sweep", sweep, SizeSweep, "a SizeSweep, such as one of `read_sweep`")
    values, places = real_array("formula", formula), sweep.places
    if values.shape != places.shape:
        raise ShapeError(
            f"`formula` must have one loss for each of the {len(places)} sizes, but has shape {values.shape}."
        )
    if not ((values > 0) & np.isfinite(values)).all():
        raise ArgumentError("`formula` must be finite and > 0 at every size. Leave out sizes at which it has no value.")
    return values


def _row(
    key: str,
    resource: str,
    estimate: float | None,
    interval: tuple[float, float] | None,
    verdict: Verdict,
    reason: str,
    change: str,
) -> Claim:
    return Claim(key, STATEMENTS[resource], estimate, interval, BAND, verdict, reason, change)
