"""The watch over a run: tests at bounded cost, thresholds, and which alarms are raised when."""

from collections.abc import Callable, Mapping, Sequence
from math import exp
from statistics import median
from typing import Any

import numpy as np

from eigenflow.forecast.live.alarms import Alarm
from eigenflow.forecast.live.band import RestForecast
from eigenflow.forecast.live.blocks import MOST_BLOCKS, ROOT_OF_NORMAL, Blocks, BlockTable
from eigenflow.forecast.live.classify import (
    Finding,
    down_alarm,
    noise_alarm,
    not_finite_alarm,
    repetition_alarm,
    same_alarm,
    up_alarm,
)
from eigenflow.forecast.live.levels import LowestLevel
from eigenflow.forecast.live.pointwise import KEPT, LARGEST, PointWatch
from eigenflow.forecast.live.statistics import (
    NINETY,
    NORMAL,
    Distance,
    Residuals,
    band_departure,
    contrasts_of,
    level_shift,
    missing_fall,
    noise_change,
    repetition,
)

__all__ = ["THRESHOLDS", "Watch"]

# Standard deviations of a healthy run beyond which an alarm is raised (docs/validation/live_alarms.md).
THRESHOLDS = {"shift": 5.5, "noise": 5.0, "band": 4.0, "fall": 2.6, "level": 6.0, "repetition": 9.0}
# A step that is seen to this share of its threshold explains a departure that is seen to the whole of its own.
CAUSE = 0.6
# No change of level below this, in ln(loss), and none of the noise below this factor, is worth an alarm.
LEAST_SHIFT, LEAST_NOISE = 0.005, float(np.log(1.5))
LEAST_CORRELATION = 0.2
# A loss this much above its lowest level diverges; where the rate has risen by more than `ROSE` since.
DIVERGED, DIVERGED_AT_HIGHER_RATE, ROSE = float(np.log(1.5)), float(np.log(3.0)), 1.25
# How far losses may lie about the lowest level within `bounds`, in ln(loss): from there or from a lower one to come the
# level rises by less than DIVERGED.
ABOUT = 0.2
# Blocks of a level, of one loss each; of more losses there are fewer.
WIDEST = 8
# Losses in a row that are no numbers.
NOT_FINITE = 3
# Tests an e-fold of losses; a wish for a look is granted after a share of that.
TESTS, WISHES = 60, 6
# New losses between two looks for repetition.
REPEATED_EVERY = 256
# Blocks about whose level single losses are watched.
LEVEL_OF = 8
# Of one group no other alarm until so much later, and on a forecast that knows of the first.
QUIET = 1.1
MOST_ALARMS = 100
SMALLEST_RATE = 1e-4
# ln(loss) is rounded in a double.
EXACT = 1e-9
# Equal losses in a row, and so many times as many as ever before: a rounded log repeats itself too.
SAME, SAME_TIMES = 30, 5


class Watch:
    """Looks at a run through its blocks and forecasts.

    Attributes:
        points: What is watched at single losses.
        alarms: All so far.
        nearest: The largest distance of each test so far, as a share of its threshold.
    """

    def __init__(self) -> None:
        self.points = PointWatch()
        self.alarms: list[Alarm] = []
        self.nearest: dict[str, float] = dict.fromkeys(THRESHOLDS, 0.0)
        self._next_look = 16
        self._next_repetition = REPEATED_EVERY
        self._raised_at: dict[str, int] = {}
        self._lowest = LowestLevel()

    @property
    def next_look(self) -> int:
        """After so many losses there is a test in any case, and before it if a single loss was odd."""
        return self._next_look

    def is_due(self, seen: int) -> bool:
        """Whether to test after so many losses."""
        return seen >= self._next_look or (
            self.points.wants_look and seen >= self._next_look - (1 - 1 / WISHES) * seen / TESTS
        )

    def bounds(self, blocks: Blocks) -> tuple[float, float, int] | None:
        """Losses between the first two numbers raise no alarm as long as there are no more of them than the third says.

        That is of looks without a forecast, which can find a high level, equal losses and repetition. While blocks hold
        one loss each, of a window of blocks fewer than half were above the bounds when it began, and no more get there.
        None where nothing is known.
        """
        width = WIDEST
        if blocks.size > 1 or len(blocks) < 4 * width:
            return None
        self._lowest.rise(blocks, width)
        low, high = self._lowest.lowest - ABOUT, self._lowest.lowest + ABOUT
        window = sorted(mean for mean, _ in list(blocks.newest)[-width:])
        if not (low < window[width // 2 - 1] and window[width // 2] < high):
            return None
        counts = (
            MOST_BLOCKS - 1 - len(blocks),
            SAME - 1 - self.points.same_run,
            self._next_repetition - 1 - blocks.seen,
        )
        return exp(low), exp(min(high, LARGEST)), min(counts)

    def bad(self, step: int) -> list[Alarm]:
        """Note a loss that is no positive number; an alarm at several in a row, and where they are many."""
        points = self.points
        points.bad(step)
        if points.not_finite_run < NOT_FINITE:
            return []
        since = points.not_finite[-min(points.not_finite_run, len(points.not_finite))]
        return self._raised("not finite", step, step, lambda: not_finite_alarm(step, since, points.not_finite_run))

    def look(self, step: int, blocks: Blocks, forecasts: Sequence[RestForecast]) -> list[Alarm]:
        """Test what has come."""
        self._next_look = blocks.seen + max(1, blocks.seen // TESTS)
        self.points.wants_look = False
        if len(blocks) < 2:
            return []
        found: list[Alarm] = []
        found += self._gross(step, blocks)
        if forecasts:
            found += self._beside(step, blocks, forecasts)
        found += self._repetition(step, blocks)
        found += self._same(step)
        self._set_level(blocks)
        return found

    def _beside(self, step: int, blocks: Blocks, forecasts: Sequence[RestForecast]) -> list[Alarm]:
        table = blocks.table()
        # A decay that a forecast did not know of makes it one of another run.
        of_this_run = [one for one in forecasts if one.keeps_to(int(table.last[-1]), float(table.rates[-1]))]
        every = [one for one in (residuals(table, known, blocks.size) for known in of_this_run) if one is not None]
        if not every:
            return []
        return [*self._levels(step, every), *self._noise(step, every[-1])]

    def _set_level(self, blocks: Blocks) -> None:
        newest = list(blocks.newest)
        sd = (median([rough for _, rough in newest[-4 * LEVEL_OF :]]) / ROOT_OF_NORMAL) ** 2
        self.points.set_level(median([mean for mean, _ in newest[-LEVEL_OF:]]), sd)

    def _gross(self, step: int, blocks: Blocks) -> list[Alarm]:
        """A rise far above the lowest level; needs no forecast."""
        size = blocks.size
        width = max(3, -(-WIDEST // size))
        if len(blocks) < 4 * width:
            return []
        # What the rest of this can find at most; nearly always less than what was found before.
        most = self._lowest.rise(blocks, width) / DIVERGED
        if most < 1.0 and most <= self.nearest["level"]:
            return []
        table = blocks.table()
        levels = np.median(np.lib.stride_tricks.sliding_window_view(table.means, width), axis=1)
        at = int(levels.argmin())
        moves = levels[width:] - levels[:-width]
        spread = NORMAL * float(np.median(np.abs(moves - np.median(moves))))
        rise = float(levels[-1] - levels[at])
        rates = table.rates[at:]
        rose = bool(np.isfinite(rates).all() and rates.max() > ROSE * rates[0])
        z = rise / max(spread, EXACT)
        share = min(z / THRESHOLDS["level"], rise / (DIVERGED_AT_HIGHER_RATE if rose else DIVERGED))
        self._note("level", share)
        if share < 1.0:
            return []
        flat = np.full(len(table), levels[at])
        zeros = np.zeros(len(table))
        beside = Residuals(table.middles, size, table.means, flat, zeros, zeros, zeros, 0)
        distance = Distance(z, rise, width, len(table) - width)
        finding = Finding("level", distance, THRESHOLDS["level"], beside)
        return self._raised("divergence", step, step // 2, lambda: up_alarm(finding, step, self.points))

    def _levels(self, step: int, every: Sequence[Residuals]) -> list[Alarm]:
        # The noise is that of the newest forecast: it is the same beside older ones.
        newest = every[-1]
        contrasts = contrasts_of(newest.apart, newest.lengths(), self._changes(newest, of_noise=False))
        findings = [Finding("shift", level_shift(newest, contrasts), THRESHOLDS["shift"], newest)]
        for at in every:
            findings.append(Finding("band", band_departure(at, contrasts), THRESHOLDS["band"], at))
            findings.append(Finding("fall", missing_fall(at, contrasts), THRESHOLDS["fall"], at))
        findings = [one for one in findings if abs(one.distance.change) >= LEAST_SHIFT]
        for one in findings:
            self._note(one.name, one.excess)
        over = [one for one in findings if one.excess >= 1.0]
        waits = self.points.waits(step)
        # A step is told before a departure, which it causes.
        causes = [one for one in findings if one.name == "shift" and over and one.excess >= CAUSE]
        found: list[Alarm] = []
        order = {"shift": 0, "band": 1, "fall": 2}
        for one in sorted([*causes, *over], key=lambda one: (order[one.name], -one.excess)):
            if one.distance.z > 0 and waits:
                continue  # most spikes recover
            if one.distance.z > 0:
                found += self._raised("up", step, one.at.made_at, lambda one=one: up_alarm(one, step, self.points))
            else:
                found += self._raised("down", step, one.at.made_at, lambda one=one: down_alarm(one, step, self.alarms))
        if found:
            self.points.end_spike()
        return found

    def _changes(self, at: Residuals, *, of_noise: bool) -> list[tuple[int, int]]:
        """First and last blocks of earlier alarms, of the noise or of the level."""
        told = [alarm for alarm in self.alarms if (alarm.pattern == "noise") == of_noise]
        ends = np.searchsorted(at.steps, np.array([(one.since, one.raised_at) for one in told]).reshape(-1, 2))
        return [(int(first), int(last)) for first, last in ends]

    def _noise(self, step: int, at: Residuals) -> list[Alarm]:
        finding = Finding("noise", noise_change(at, self._changes(at, of_noise=True)), THRESHOLDS["noise"], at)
        if abs(finding.distance.change) < LEAST_NOISE:
            return []
        self._note("noise", finding.excess)
        # The slope of a spike's tail scatters losses too.
        if finding.excess < 1.0 or self.points.open_spike is not None:
            return []
        return self._raised("noise", step, at.made_at, lambda: noise_alarm(finding, step))

    def _repetition(self, step: int, blocks: Blocks) -> list[Alarm]:
        if blocks.seen < self._next_repetition:
            return []
        self._next_repetition = blocks.seen + REPEATED_EVERY
        z, lag, correlation = repetition(np.array(self.points.values))
        if correlation < LEAST_CORRELATION:
            return []
        self._note("repetition", z / THRESHOLDS["repetition"])
        if z < THRESHOLDS["repetition"]:
            return []
        since = max(step - KEPT, 1)
        return self._raised("repeated", step, step // 2, lambda: repetition_alarm(step, since, lag, z, correlation))

    def _same(self, step: int) -> list[Alarm]:
        count = self.points.same_run
        if count < max(SAME, SAME_TIMES * self.points.same_longest):
            return []
        return self._raised("equal", step, step // 2, lambda: same_alarm(step, count))

    def _note(self, name: str, share: float) -> None:
        self.nearest[name] = max(self.nearest[name], share)

    def _raised(self, group: str, step: int, made_at: int, make: Callable[[], Alarm]) -> list[Alarm]:
        last = self._raised_at.get(group)
        if last is not None and (step < max(QUIET * last, last + 10) or made_at < last):
            return []
        alarm = make()
        if last is not None and alarm.since <= last:
            return []  # of what was told
        self._raised_at[group] = step
        self.alarms = [*self.alarms, alarm][-MOST_ALARMS:]
        return [alarm]

    def state(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "points": self.points.state(),
            "alarms": [alarm.to_dict() for alarm in self.alarms],
            "nearest": dict(self.nearest),
            "next_look": self._next_look,
            "next_repetition": self._next_repetition,
            "raised_at": dict(self._raised_at),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "Watch":
        """Make it again."""
        made = cls()
        made.points = PointWatch.from_state(state["points"])
        made.alarms = [Alarm.from_dict(form) for form in state["alarms"]]
        made.nearest = dict(state["nearest"])
        made._next_look, made._next_repetition = state["next_look"], state["next_repetition"]
        made._raised_at = dict(state["raised_at"])
        return made


def residuals(table: BlockTable, forecast: RestForecast, size: int) -> Residuals | None:
    """The blocks that a forecast speaks of, beside it; None if there are too few."""
    steps = table.middles
    kept = (steps >= forecast.steps[0]) & (steps <= forecast.total)
    if np.count_nonzero(kept) < 8:
        return None
    steps = steps[kept]
    expected, half = forecast.at(steps)
    rates = table.rates[kept]
    known = np.isfinite(rates)
    share = np.where(known, rates, 1.0) / (rates[known].max() if known.any() and rates[known].max() > 0 else 1.0)
    log_noise = 2.0 * np.log(np.maximum(table.roughness[kept], 1e-9))
    log_rates = np.log(np.maximum(share, SMALLEST_RATE))
    return Residuals(steps, size, table.means[kept], expected, half / NINETY, log_rates, log_noise, forecast.made_at)
