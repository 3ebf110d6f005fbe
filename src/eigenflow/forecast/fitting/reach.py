"""How far a forecast goes beyond the peak rates of the fitted runs, in words."""

from typing import TYPE_CHECKING

from eigenflow.core.display import figure

if TYPE_CHECKING:
    from eigenflow.forecast.fitting.fit import Fit

__all__ = ["peak_cautions"]

# A log every few updates shows a peak to about this factor.
SLACK = 1.02


def peak_cautions(fit: "Fit", peak: float) -> tuple[str, ...]:
    """Give a line if a peak rate lies outside those of the fitted runs, as far as the fit still knows these runs."""
    if fit.intervals is None:
        return ()
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
