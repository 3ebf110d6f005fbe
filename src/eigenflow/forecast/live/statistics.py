"""Test statistics on the blocks of a run: each is a distance in units of what a healthy run shows.

Noise is measured where it is needed and nowhere else: a mean over L blocks minus the mean over those before it has, in
the run's own past, a spread that holds batch noise, its correlation and its tails. Added are what the forecast leaves
open (its interval) and shares of what it says will happen, since a law that says that much happens may be wrong by a
part of it. The factors and thresholds were set on healthy runs (docs/validation/live_alarms.md).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import ceil, hypot

import numpy as np
from jaxtyping import Float

__all__ = [
    "NINETY",
    "Contrast",
    "Distance",
    "Residuals",
    "band_departure",
    "contrasts_of",
    "level_shift",
    "missing_fall",
    "noise_change",
    "repetition",
]

NINETY = 1.6448536269514722
NORMAL = 1.4826
# Losses in the shortest window; those that tell a noise.
SHORTEST, FOR_NOISE = 4, 48
# A window is compared with so many times as many blocks before it.
REFERENCE = 4
# Windows in the past from which a spread is known, at least; fewer make a distance count for less, as Student's tails.
LEAST_PAST, STUDENT = 6, 10.0
# What a run has shown is this many standard deviations at most, however heavy its tails.
LARGEST = 4.0
# Healthy errors of a forecast change, as a share of it; ln(loss) for a change of the rate by a factor e, and its limit.
SHARE_OF_CHANGE, BY_RATE, MOST_RATE = 0.5, 0.02, 3.0
# A healthy forecast misses a fall by this share; so many standard deviations of noise count as one of that.
SHARE_OF_FALL, NOISE_OF_FALL = 0.3, 2.5
# ln(noise) that a change of the rate by a factor e may bring.
NOISE_BY_RATE = 0.7
# Correlations: changes beyond so many standard deviations are cut.
CUT = 4.0

Values = Float[np.ndarray, " block"]


@dataclass(frozen=True)
class Distance:
    """How far something is from what a healthy run shows.

    Attributes:
        z: In standard deviations of a healthy run; the sign says up or down.
        change: In ln(loss), or in ln(noise).
        blocks: Length of the window.
        begin: Index of its first block.
    """

    z: float = 0.0
    change: float = 0.0
    blocks: int = 0
    begin: int = 0


@dataclass(frozen=True)
class Residuals:
    """Blocks beside a forecast.

    Attributes:
        steps: Middle of each block.
        size: Losses in a block.
        values: Mean ln(loss).
        expected: ln(loss) by the forecast.
        sd: Its standard deviation.
        log_rates: ln of the learning rate, as a share of the highest one.
        log_noise: ln of the noise of single losses.
        made_at: The last step that the forecast knew.
    """

    steps: Values
    size: int
    values: Values
    expected: Values
    sd: Values
    log_rates: Values
    log_noise: Values
    made_at: int

    @property
    def apart(self) -> Values:
        """ln(loss) minus forecast."""
        return self.values - self.expected

    def lengths(self, least: int = SHORTEST) -> Iterator[int]:
        """Window lengths, in blocks, short to long."""
        length = max(1, ceil(least / self.size))
        # The windows, what they are compared with, and a past.
        while length * (REFERENCE + 4 + LEAST_PAST) <= len(self.values):
            yield length
            length *= 2


@dataclass(frozen=True)
class Contrast:
    """The last window of a length beside the blocks before it.

    Attributes:
        now: Mean of the window minus mean of the blocks before it.
        sd: Standard deviation of the same in the past.
        largest: Largest in the past.
        factor: By how much a short past makes a distance count for less.
    """

    now: float
    sd: float
    largest: float
    factor: float

    def distance(self, allowed: float) -> float:
        """In standard deviations, with a change that a healthy run may have."""
        sd = hypot(max(self.sd, self.largest / LARGEST), allowed)
        return self.now / (sd * self.factor) if sd > 0.0 else 0.0


def contrasts_of(values: Values, lengths: Iterator[int]) -> dict[int, Contrast]:
    """The contrast of each length."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    found = {}
    for length in lengths:
        before = REFERENCE * length
        windows = (sums[before + length :] - sums[before:-length]) / length
        contrasts = windows - (sums[before:-length] - sums[: -length - before]) / before
        past = np.abs(contrasts[: -3 * length])
        late = past[len(past) // 4 :]
        sd = NORMAL * float(np.median(late))
        factor = 1.0 + STUDENT * length / len(past)
        found[length] = Contrast(float(contrasts[-1]), sd, float(late.max()), factor)
    return found


def level_shift(at: Residuals, contrasts: Mapping[int, Contrast]) -> Distance:
    """The largest change of level between the last blocks and those before them, over all lengths."""
    best = Distance()
    for length, contrast in contrasts.items():
        moved = SHARE_OF_CHANGE * _contrast_now(at.expected, length)
        rates = BY_RATE * min(abs(_contrast_now(at.log_rates, length)), MOST_RATE)
        best = _further(best, contrast, hypot(moved, rates), length, len(at.values))
    return best


def noise_change(at: Residuals) -> Distance:
    """The largest change of the noise of single losses between the last blocks and those before them."""
    best = Distance()
    for length, contrast in contrasts_of(at.log_noise, at.lengths(FOR_NOISE)).items():
        allowed = NOISE_BY_RATE * abs(_contrast_now(at.log_rates, length)) + abs(_contrast_now(at.expected, length))
        best = _further(best, contrast, allowed, length, len(at.values))
    return best


def band_departure(at: Residuals, contrasts: Mapping[int, Contrast]) -> Distance:
    """How far the last blocks lie outside of the band, both halves of a window on the same side."""
    count, apart = len(at.values), at.apart
    ahead = count - int(np.searchsorted(at.steps, at.made_at, side="right"))
    best = Distance()
    for length, contrast in contrasts.items():
        if 2 * length > ahead:
            break
        first, second = float(apart[-2 * length : -length].mean()), float(apart[-length:].mean())
        inner = min(first, second, key=abs) if first * second > 0 else 0.0
        z = inner / hypot(float(at.sd[-1]), contrast.sd * contrast.factor)
        if abs(z) > abs(best.z):
            best = Distance(z, inner, 2 * length, count - 2 * length)
    return best


def missing_fall(at: Residuals, contrasts: Mapping[int, Contrast]) -> Distance:
    """How much of a forecast fall did not come, since some step after the forecast was made, in units of its error."""
    begin, count = int(np.searchsorted(at.steps, at.made_at, side="right")), len(at.values)
    sums = np.cumsum(np.stack([at.values, at.expected, at.sd])[:, begin:], axis=1)
    sums = np.concatenate([np.zeros((3, 1)), sums], axis=1)
    best = Distance()
    for length, contrast in contrasts.items():
        if begin + 2 * length > count:
            break
        means = (sums[:, length:] - sums[:, :-length]) / length  # of blocks begin + k ... begin + k + length - 1
        starts = means[:, : count - begin - 2 * length + 1]
        observed, forecast, _ = starts - means[:, -1:]
        opened = np.abs(means[2, -1] ** 2 - starts[2] ** 2)
        noise = NOISE_OF_FALL * contrast.sd * contrast.factor
        error = np.sqrt((SHARE_OF_FALL * forecast) ** 2 + noise**2 + opened)
        z = np.where(forecast > 0, (forecast - observed) / error, 0.0)
        k = int(z.argmax())
        if z[k] > best.z:
            best = Distance(float(z[k]), float(forecast[k] - observed[k]), count - begin - k, begin + k)
    return best


def repetition(values: Float[np.ndarray, " value"], first: int = 4) -> tuple[float, int, float]:
    """Correlation of changes with those some way earlier: how far it stands out, at which lag, and how large it is.

    Batches that come again in the same order bring their noise again. White noise has correlations of standard
    deviation 1 / sqrt(n); differences take trends away.
    """
    changes = np.diff(values)
    count = len(changes)
    scale = NORMAL * float(np.median(np.abs(changes))) if count else 0.0
    if scale == 0.0 or count < 8 * first:
        return 0.0, 0, 0.0
    changes = np.clip((changes - changes.mean()) / scale, -CUT, CUT)
    power = np.abs(np.fft.rfft(changes, 2 * count)) ** 2
    found = np.fft.irfft(power)[: count // 2]
    found = found / found[0] * count / (count - np.arange(count // 2))
    found[:first] = 0.0
    lag = int(found.argmax())
    return float(found[lag] * np.sqrt(count - lag)), lag, float(found[lag])


def _contrast_now(values: Values, length: int) -> float:
    before = REFERENCE * length
    return float(values[-length:].mean() - values[-length - before : -length].mean())


def _further(best: Distance, contrast: Contrast, allowed: float, length: int, count: int) -> Distance:
    z = contrast.distance(allowed)
    return Distance(z, contrast.now, length, count - length) if abs(z) > abs(best.z) else best
