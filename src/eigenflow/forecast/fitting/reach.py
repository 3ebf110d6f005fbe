"""What the fitted runs do not tell of another run, in words: peak rates beyond theirs, batches that differ."""

from typing import TYPE_CHECKING

from eigenflow.core.display import figure

if TYPE_CHECKING:
    from eigenflow.forecast.fitting.fit import Fit

__all__ = ["reach_cautions"]

# A log every few updates shows a peak to about this factor.
SLACK = 1.02


def reach_cautions(fit: "Fit", peak: float) -> tuple[str, ...]:
    """Give a line for each thing that the fitted runs do not tell, as far as the fit still knows these runs.

    Args:
        fit: A fitted law.
        peak: Peak rate of the run to forecast.
    """
    if fit.intervals is None:
        return ()
    return (*_beyond_peaks(fit, peak), *_other_batches(fit))


def _beyond_peaks(fit: "Fit", peak: float) -> tuple[str, ...]:
    peaks = [curve.schedule.peak for curve in fit.known]
    low, high = min(peaks), max(peaks)
    if low / SLACK <= peak <= high * SLACK:
        return ()
    edge = high if peak > high else low
    which = "the peak" if low == high else "the highest peak" if edge == high else "the lowest peak"
    return (
        f"the peak rate {peak:g} is {figure(peak / edge, 3)} times {which} of the fitted runs, {edge:g}. No run shows "
        f"what happens there: the law is extrapolated, and its interval was not tested so far out.",
    )


def _other_batches(fit: "Fit") -> tuple[str, ...]:
    counts = [float(curve.tokens_per_step) for curve in fit.known if curve.tokens_per_step is not None]
    if not counts or max(counts) <= SLACK * min(counts):
        return ()
    return (
        f"the fitted runs have {min(counts):,.0f} to {max(counts):,.0f} tokens per update. The law counts updates, and "
        f"takes what a batch changes for an effect of the size: a forecast holds where the batch goes on growing with "
        f"the size as it did.",
    )
