"""Test statistics on the blocks of a run: each is a distance in units of what a healthy run shows.

Noise is measured where it is needed and nowhere else: a mean over L blocks minus the mean over those before it has, in
the run's own past, a spread that holds batch noise, its correlation and its tails. Added are what the forecast leaves
open (its interval) and shares of what it says will happen, since a law that says that much happens may be wrong by a
part of it. The factors and thresholds were set on healthy runs (docs/validation/live_alarms.md).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, exp, hypot, sqrt

import numpy as np
from jaxtyping import Float

__all__ = [
    "NINETY",
    "NORMAL",
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
LEAST_PAST, STUDENT = 6, 6.0
# What a run has shown is this many standard deviations at most, however heavy its tails.
LARGEST = 4.0
# Healthy errors of a forecast change, as a share of it; ln(loss) for a change of the rate by a factor e, and its limit.
SHARE_OF_CHANGE, BY_RATE, MOST_RATE = 0.25, 0.02, 3.0
# A healthy forecast misses a fall by this share; so many standard deviations of noise count as one of that; and a loss
# that has fallen by more than this share of the forecast is on no plateau.
SHARE_OF_FALL, NOISE_OF_FALL, STILL_FALLS = 0.3, 4.0, 0.35
# ln(noise) that a change of the rate by a factor e may bring.
NOISE_BY_RATE = 0.7
# Correlations: changes beyond so many standard deviations are cut.
CUT = 4.0
# Two lags beside one at which noise repeats itself, the correlation is less than this share of it.
SHARP, OF_LARGEST = 0.4, 0.8

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

    def louder(self, length: int) -> float:
        """By how much the noise has grown in the last window, at least 1."""
        return exp(max(_contrast_now(self.log_noise, length), 0.0))

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

    def distance(self, allowed: float, louder: float = 1.0) -> float:
        """In standard deviations, with a change that a healthy run may have, and a noise that has grown."""
        sd = hypot(louder * max(self.sd, self.largest / LARGEST), allowed)
        return self.now / (sd * self.factor) if sd > 0.0 else 0.0


def contrasts_of(
    values: Values, lengths: Iterator[int], changes: Sequence[tuple[int, int]] = ()
) -> dict[int, Contrast]:
    """The contrast of each length.

    Args:
        values: Of each block.
        lengths: Of windows.
        changes: First and last blocks of what was an alarm before: it is no part of a healthy past, and none now.
    """
    sums = np.concatenate([[0.0], np.cumsum(values)])
    found = {}
    for length in lengths:
        before = REFERENCE * length
        windows = (sums[before + length :] - sums[before:-length]) / length
        contrasts = windows - (sums[before:-length] - sums[: -length - before]) / before
        at = np.arange(len(contrasts))
        is_crossed = np.zeros(len(contrasts), dtype=bool)
        for first, last in changes:
            is_crossed |= (at <= last) & (first < at + before + length)
        past = np.abs(contrasts[: -3 * length])
        clean = past[~is_crossed[: -3 * length]]
        past = clean if len(clean) >= LEAST_PAST * length else past
        late = past[len(past) // 4 :]
        sd = NORMAL * float(np.median(late))
        factor = 1.0 + STUDENT * length / len(past)
        now = 0.0 if is_crossed[-1] else float(contrasts[-1])
        found[length] = Contrast(now, sd, float(late.max()), factor)
    return found


def level_shift(at: Residuals, contrasts: Mapping[int, Contrast]) -> Distance:
    """The largest change of level between the last blocks and those before them, over all lengths.

    It must be one beside the blocks still earlier too: what comes back from a spike changes no level.
    """
    best, apart = Distance(), at.apart
    for length, contrast in contrasts.items():
        begin = (REFERENCE + 1) * length
        whole = float(apart[-length:].mean() - apart[-begin - REFERENCE * length : -begin].mean())
        if whole * contrast.now < 0.5 * contrast.now**2:
            continue
        moved = SHARE_OF_CHANGE * _contrast_now(at.expected, length)
        rates = BY_RATE * min(abs(_contrast_now(at.log_rates, length)), MOST_RATE)
        z = contrast.distance(hypot(moved, rates), at.louder(length))
        best = _further(best, z, contrast, length, len(at.values))
    return best


def noise_change(at: Residuals, changes: Sequence[tuple[int, int]] = ()) -> Distance:
    """The largest change of the noise of single losses between the last blocks and those before them.

    How loud a run is forgets itself within a few losses, so the spread of long windows follows from that of the
    shortest, which a past has many of.
    """
    best, shortest = Distance(), 0.0
    for length, contrast in contrasts_of(at.log_noise, at.lengths(FOR_NOISE), changes).items():
        shortest = shortest or contrast.sd * contrast.factor * sqrt(length)
        # Noise may follow the rate, up or down.
        rates = _contrast_now(at.log_rates, length)
        allowed = NOISE_BY_RATE * abs(rates) * (rates * contrast.now > 0) + abs(_contrast_now(at.expected, length))
        sd = hypot(max(shortest / sqrt(length), contrast.sd, contrast.largest / LARGEST), allowed)
        best = _further(best, contrast.now / sd if sd > 0.0 else 0.0, contrast, length, len(at.values))
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
        z = inner / hypot(float(at.sd[-1]), at.louder(length) * contrast.sd * contrast.factor)
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
        noise = NOISE_OF_FALL * at.louder(length) * contrast.sd * contrast.factor
        error = np.sqrt((SHARE_OF_FALL * forecast) ** 2 + noise**2 + opened)
        z = np.where((forecast > 0) & (observed < STILL_FALLS * forecast), (forecast - observed) / error, 0.0)
        k = int(z.argmax())
        if z[k] > best.z:
            best = Distance(float(z[k]), float(forecast[k] - observed[k]), count - begin - k, begin + k)
    return best


def repetition(values: Float[np.ndarray, " value"], first: int = 8) -> tuple[float, int, float]:
    """Correlation of changes with those some way earlier: how far it stands out, at which lag, and how large it is.

    Batches that come again in the same order bring their noise again, at one lag and not beside it; a smooth curve is
    correlated over many lags. White noise has correlations of standard deviation 1 / sqrt(n); differences take trends
    away, and leave half of a correlation, with the other sign, at the next lag.
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
    beside = np.maximum(np.abs(np.roll(found, 2)), np.abs(np.roll(found, -2)))
    is_sharp = beside < SHARP * found
    is_sharp[:first] = is_sharp[-2:] = False
    if not is_sharp.any():
        return 0.0, 0, 0.0
    # Multiples of a period have its correlation too.
    lag = int((is_sharp & (found >= OF_LARGEST * found[is_sharp].max())).argmax())
    return float(found[lag] * np.sqrt(count - lag)), lag, float(found[lag])


def _contrast_now(values: Values, length: int) -> float:
    before = REFERENCE * length
    return float(values[-length:].mean() - values[-length - before : -length].mean())


def _further(best: Distance, z: float, contrast: Contrast, length: int, count: int) -> Distance:
    return Distance(z, contrast.now, length, count - length) if abs(z) > abs(best.z) else best
