"""The watch over a run: tests at bounded cost, thresholds, and which alarms are raised when."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from eigenflow.forecast.live.alarms import Alarm
from eigenflow.forecast.live.band import RestForecast
from eigenflow.forecast.live.blocks import ROOT_OF_NORMAL, Blocks, BlockTable
from eigenflow.forecast.live.classify import (
    Finding,
    down_alarm,
    noise_alarm,
    not_finite_alarm,
    repetition_alarm,
    up_alarm,
)
from eigenflow.forecast.live.pointwise import KEPT, PointWatch
from eigenflow.forecast.live.statistics import (
    NINETY,
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
THRESHOLDS = {"shift": 6.0, "noise": 6.0, "band": 4.0, "fall": 2.6, "level": 6.0, "repetition": 9.0}
# No change of level below this, in ln(loss), and none of the noise below this factor, is worth an alarm.
LEAST_SHIFT, LEAST_NOISE = 0.005, float(np.log(1.5))
LEAST_CORRELATION = 0.2
# A loss this much above its lowest level diverges; where the rate has risen by more than `ROSE` since.
DIVERGED, DIVERGED_AT_HIGHER_RATE, ROSE = float(np.log(1.5)), float(np.log(3.0)), 1.25
# Losses in a row that are no numbers.
NOT_FINITE = 3
# Tests an e-fold of losses; a wish for a look is granted after a share of that.
TESTS, WISHES = 100, 4
# New losses between two looks for repetition.
REPEATED_EVERY = 256
# Blocks about whose level single losses are watched.
LEVEL_OF = 8
# Of one group no other alarm until so much later.
QUIET = 1.1
MOST_ALARMS = 100
SMALLEST_RATE = 1e-4


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
        self._quiet_until: dict[str, float] = {}

    def is_due(self, seen: int) -> bool:
        """Whether to test after so many losses."""
        return seen >= self._next_look or (
            self.points.wants_look and seen >= self._next_look - (1 - 1 / WISHES) * seen / TESTS
        )

    def bad(self, step: int) -> list[Alarm]:
        """Note a loss that is no positive number; an alarm at several in a row, and where they are many."""
        points = self.points
        points.bad(step)
        if points.not_finite_run < NOT_FINITE:
            return []
        since = points.not_finite[-min(points.not_finite_run, len(points.not_finite))]
        return self._raised("not finite", step, lambda: not_finite_alarm(step, since, points.not_finite_run))

    def look(self, step: int, blocks: Blocks, forecasts: Sequence[RestForecast]) -> list[Alarm]:
        """Test what has come."""
        self._next_look = blocks.seen + max(1, blocks.seen // TESTS)
        self.points.wants_look = False
        table = blocks.table()
        if len(table) < 2:
            return []
        found: list[Alarm] = []
        found += self._gross(step, table, blocks.size)
        every = [one for one in (residuals(table, forecast, blocks.size) for forecast in forecasts) if one is not None]
        if every:
            found += self._levels(step, every)
            found += self._noise(step, every[-1])
        found += self._repetition(step, blocks)
        self._set_level(table, blocks)
        return found

    def _set_level(self, table: BlockTable, blocks: Blocks) -> None:
        last = table.means[-LEVEL_OF:]
        sd = float((np.median(table.roughness[-4 * LEVEL_OF :]) / ROOT_OF_NORMAL) ** 2)
        self.points.set_level(float(np.median(last)), sd)
        level, spread = self.points.level, self.points.sd
        blocks.ceiling = float("inf") if level is None else level + max(8.0 * spread, 0.05)

    def _gross(self, step: int, table: BlockTable, size: int) -> list[Alarm]:
        """A rise far above the lowest level; needs no forecast."""
        width = max(3, -(-8 // size))
        if len(table) < 4 * width:
            return []
        levels = np.median(np.lib.stride_tricks.sliding_window_view(table.means, width), axis=1)
        at = int(levels.argmin())
        spread = 1.4826 * float(np.median(np.abs(np.diff(levels[: -2 * width] if len(levels) > 4 * width else levels))))
        rise = float(levels[-1] - levels[at])
        rates = table.rates[at:]
        rose = bool(np.isfinite(rates).all() and rates.max() > ROSE * rates[0])
        z = rise / max(spread, 1e-9)
        share = min(z / THRESHOLDS["level"], rise / (DIVERGED_AT_HIGHER_RATE if rose else DIVERGED))
        self._note("level", share)
        if share < 1.0:
            return []
        flat = np.full(len(table), levels[at])
        zeros = np.zeros(len(table))
        beside = Residuals(table.middles, size, table.means, flat, zeros, zeros, zeros, 0)
        distance = Distance(z, rise, width, len(table) - width)
        finding = Finding("level", distance, THRESHOLDS["level"], beside)
        return self._raised("divergence", step, lambda: up_alarm(finding, step, self.points.spikes))

    def _levels(self, step: int, every: Sequence[Residuals]) -> list[Alarm]:
        # The noise is that of the newest forecast: it is the same beside older ones.
        newest = every[-1]
        contrasts = contrasts_of(newest.apart, newest.lengths())
        findings = [Finding("shift", level_shift(newest, contrasts), THRESHOLDS["shift"], newest)]
        for at in every:
            findings.append(Finding("band", band_departure(at, contrasts), THRESHOLDS["band"], at))
            findings.append(Finding("fall", missing_fall(at, contrasts), THRESHOLDS["fall"], at))
        findings = [one for one in findings if abs(one.distance.change) >= LEAST_SHIFT]
        for one in findings:
            self._note(one.name, one.excess)
        over = [one for one in findings if one.excess >= 1.0]
        found: list[Alarm] = []
        # A step is told before a departure, which it causes.
        order = {"shift": 0, "fall": 1, "band": 2}
        for one in sorted(over, key=lambda one: (order[one.name], -one.excess)):
            if one.distance.z > 0:
                found += self._raised("up", step, lambda one=one: up_alarm(one, step, self.points.spikes))
            else:
                found += self._raised("down", step, lambda one=one: down_alarm(one, step, self.alarms))
        if found:
            self.points.end_spike()
        return found

    def _noise(self, step: int, at: Residuals) -> list[Alarm]:
        finding = Finding("noise", noise_change(at), THRESHOLDS["noise"], at)
        if abs(finding.distance.change) < LEAST_NOISE:
            return []
        self._note("noise", finding.excess)
        if finding.excess < 1.0:
            return []
        return self._raised("noise", step, lambda: noise_alarm(finding, step))

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
        return self._raised("repeated", step, lambda: repetition_alarm(step, since, lag, z, correlation))

    def _note(self, name: str, share: float) -> None:
        self.nearest[name] = max(self.nearest[name], share)

    def _raised(self, group: str, step: int, make: Any) -> list[Alarm]:
        if step < self._quiet_until.get(group, 0.0) or len(self.alarms) >= MOST_ALARMS:
            return []
        alarm: Alarm = make()
        self._quiet_until[group] = max(QUIET * step, step + 10.0)
        self.alarms.append(alarm)
        return [alarm]

    def state(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "points": self.points.state(),
            "alarms": [alarm.to_dict() for alarm in self.alarms],
            "nearest": dict(self.nearest),
            "next_look": self._next_look,
            "next_repetition": self._next_repetition,
            "quiet_until": dict(self._quiet_until),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "Watch":
        """Make it again."""
        made = cls()
        made.points = PointWatch.from_state(state["points"])
        made.alarms = [Alarm.from_dict(form) for form in state["alarms"]]
        made.nearest = dict(state["nearest"])
        made._next_look, made._next_repetition = state["next_look"], state["next_repetition"]
        made._quiet_until = dict(state["quiet_until"])
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
