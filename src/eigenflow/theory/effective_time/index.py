"""The index of an effective time with an interval: what noise, the form of L and the choice of modes leave open.

tau ~ t^rho L(t) with L slowly varying. A single series leaves rho open in two ways: by what L is (forms that fit alike
have different indices, [@bingham1987regular]) and by noise. Where modes or runs can be resampled, that is added.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from eigenflow.core.display import AbstractPrinted, Card, figure, interval
from eigenflow.core.resampling import correlated_half_width, percentile_interval
from eigenflow.theory.effective_time.regular_variation import (
    FACTORS,
    RegularVariation,
    ratio_index,
    regular_variation,
)

__all__ = ["EffectiveTimeIndex", "estimate_index"]


@dataclass(frozen=True, repr=False)
class EffectiveTimeIndex(AbstractPrinted):
    """rho of tau ~ t^rho L(t).

    Attributes:
        value: Under the best slowly varying form of L if the index is identified; else, as measured over the last
            factor of 8 in time.
        interval: From the smallest to the largest of `by_form`, widened by `noise` and by `resampled`.
        by_form: Smallest and largest index among the forms of L that fit as well, and the last local index.
        noise: Half-width of the 90 % interval from the scatter about a smooth curve, correlation unknown.
        resampled: 90 % interval of how the index changes with other modes, or other runs; None where neither is known.
        variation: All estimators, and whether regular variation is rejected.
    """

    value: float
    interval: tuple[float, float]
    by_form: tuple[float, float]
    noise: float
    resampled: tuple[float, float] | None
    variation: RegularVariation

    def _card(self) -> Card:
        found = self.variation
        best = next((form.name for form in found.forms if form.is_slowly_varying), "none")
        last = {c: values[-1] for c, values in found.ratio_indices.items() if len(values)}
        rows = [
            ("index", interval(self.value, *self.interval)),
            ("best form of L", best),
            ("forms that fit", f"{figure(self.by_form[0], 3)} to {figure(self.by_form[1], 3)}"),
            ("noise", f"+- {figure(self.noise, 2)}"),
            ("local, Karamata", f"{figure(found.local_index[-1], 3)}, {figure(found.karamata_index[-1], 3)}"),
            ("ratios", ", ".join(f"{figure(value, 3)} (c = {c:g})" for c, value in last.items()) or "too short"),
            ("regular variation", f"{found.status.value}{'' if found.is_identified else ', index not identified'}"),
        ]
        return Card("EffectiveTimeIndex", rows)


def estimate_index(
    times: Float[np.ndarray, " time"],
    tau: Float[np.ndarray, " time"],
    *,
    drawn: Float[np.ndarray, "draw time"] | None = None,
    tolerance: float = 0.1,
    accuracy: float = 1e-3,
    unit: float = 1.0,
) -> EffectiveTimeIndex:
    """Estimate the index of an effective time.

    Args:
        times: Positive, increasing, at least 8.
        tau: Positive.
        drawn: The same of resampled modes or runs; rows that are not positive are left out.
        tolerance: As for `regular_variation`, like `unit`.
        accuracy: Relative accuracy of tau; forms of L that fit better than that are not told apart.
        unit: See there.

    Raises:
        ArgumentError: If there are fewer than 8 points, or they are not positive and increasing.
    """
    found = regular_variation(times, tau, tolerance=tolerance, accuracy=accuracy, unit=unit)
    slow = [form.index for form in found.forms if form.is_slowly_varying]
    here = _last_index(times, tau)
    value = slow[0] if found.is_identified else here
    by_form = min(found.index_range[0], value), max(found.index_range[1], value)
    noise, resampled = _noise(times, tau), None
    low, high = 0.0, 0.0
    if drawn is not None:
        kept = drawn[(drawn > 0).all(axis=1)]
        if len(kept):
            low, high = percentile_interval([_last_index(times, row) - here for row in kept])
            low, high = min(low, 0.0), max(high, 0.0)
            resampled = (low, high)
    ends = (by_form[0] - np.hypot(noise, low), by_form[1] + np.hypot(noise, high))
    return EffectiveTimeIndex(value, (float(ends[0]), float(ends[1])), by_form, noise, resampled, found)


def _last_index(times: np.ndarray, tau: np.ndarray) -> float:
    """Over the last factor of 8, or as much of it as there is."""
    return float(ratio_index(times, tau, min(FACTORS[-1], float(times[-1] / times[0])))[1][-1])


def _noise(times: np.ndarray, tau: np.ndarray) -> float:
    """Of a straight line's slope over the later half of log time, by what a parabola leaves."""
    x, y = np.log(times), np.log(tau)
    late = x >= 0.5 * (x[0] + x[-1])
    if late.sum() < 6:
        late = np.arange(len(x)) >= len(x) - 6
    x, y = x[late] - x[late].mean(), y[late]
    left = y - np.polyval(np.polyfit(x, y, 2), x)
    return correlated_half_width(len(x) * x * left / float((x**2).sum()))
