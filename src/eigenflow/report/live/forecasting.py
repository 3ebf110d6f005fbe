"""The forecasts and alarms of a watched run, which may be resumed from an earlier step."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

from eigenflow.forecast.live import Alarm, LiveForecast, RestForecast
from eigenflow.forecast.live.engines import Engine
from eigenflow.report.live.history import short
from eigenflow.report.live.patience import PatientEngine
from eigenflow.report.live.sources import Row

__all__ = ["Forecasting"]

# Seconds that opening a log may wait for the forecasts of its past.
PATIENCE_S = 30.0
# Earlier states to go back to, and earlier forecasts that are shown.
MOST_STATES, MOST_TRAIL = 12, 60
SHOWN_NODES = 160
# Who opens a log of so many losses, this much longer than when it was last forecast, gets a forecast from all of it.
LEAST, LATE = 12, 1.1


class Forecasting:
    """One `LiveForecast`, and what it has said.

    Args:
        total: Updates in all, if known.
        law: The law that is fitted.
        make_engine: Makes who computes; a process of its own by default.

    Attributes:
        last: The last step that was taken; -1 before the first.
        total: Updates in all, if known.
    """

    def __init__(
        self, total: int | None, *, law: str = "transport", make_engine: Callable[[], Engine] | None = None
    ) -> None:
        self._make_engine = make_engine
        self._engine = self._new_engine()
        self._live = LiveForecast(total, max_share=None, law=law, engine=self._engine)
        self._states: list[tuple[int, str, list[list[float | int]]]] = []
        self._start = self._live.state()
        self._trail: list[list[float | int]] = []
        self._past: Iterator[Row] | None = None
        self._wanted_after: int | None = None
        self.last, self.total, self._count = -1, total, 0

    def _new_engine(self) -> PatientEngine:
        return PatientEngine(PATIENCE_S, None if self._make_engine is None else self._make_engine())

    def add(self, row: Row) -> tuple[Alarm, ...]:
        """Take a loss of a later step than the last one; gives the alarms that it raises."""
        self.last, self._count = row.step, self._count + 1
        news = self._live.add(row.step, row.loss, row.rate)
        if news is None:
            return ()
        if news.is_new_forecast and news.forecast is not None:
            self._keep(news.forecast)
        return news.new_alarms

    def catch_up(self, past: Iterator[Row]) -> None:
        """Have losses of the past taken by `feed`; steps that were taken already may be among them."""
        self._past, self._engine.is_catching_up = past, True

    @property
    def is_behind(self) -> bool:
        """Whether `feed` has more to take."""
        return self._past is not None

    def feed(self, most_s: float) -> list[Alarm]:
        """Take losses of the past, for so many seconds or until one has to wait for a forecast; gives their alarms."""
        alarms: list[Alarm] = []
        until = time.monotonic() + most_s
        while self._past is not None and not self._engine.is_awaited() and time.monotonic() < until:
            row = next(self._past, None)
            if row is None:
                self._past = None
            elif row.step > self.last:
                alarms += self.add(row)
        return alarms

    def has_caught_up(self) -> None:
        """Say that what comes from now on has just been logged; the first time, the end is forecast from all of it."""
        made_at = self._trail[-1][0] if self._trail else 0
        if self._engine.is_catching_up and self._count >= LEAST and LATE * made_at < self.last:
            self._wanted_after = self._engine.answers
        self._engine.is_catching_up = False
        if self._wanted_after is not None:
            found = self._live.forecast_now(0.0)
            if found is not None and found.made_at > made_at:
                self._keep(found)
            if self._engine.answers > self._wanted_after:  # or refused, which is told
                self._wanted_after = None

    def cut(self, step: int) -> None:
        """Go back to what was known before a step, or at it; `catch_up` must be given the losses again."""
        self._engine.close()
        self._states = [one for one in self._states if one[0] <= step]
        self._engine = self._new_engine()
        state = json.loads(self._states[-1][1]) if self._states else self._start
        self._live = LiveForecast.from_state(state, engine=self._engine)
        self.last, self._trail = (self._states[-1][0], list(self._states[-1][2])) if self._states else (-1, [])
        self._past = self._wanted_after = None

    def close(self) -> None:
        """End the process that forecasts."""
        self._engine.close()
        self._live.close()

    def _keep(self, forecast: RestForecast) -> None:
        self._trail = [*self._trail, trail_row(forecast)][-MOST_TRAIL:]
        self._states.append((self.last, json.dumps(self._live.state()), self._trail))
        if len(self._states) > MOST_STATES:
            self._states = [*self._states[:-1:2], self._states[-1]]

    def told(self) -> dict[str, Any]:
        """For the page: forecast, trail, alarms."""
        now = self._live.now
        return {
            "expected": None if now.expected is None or self.is_behind else short(now.expected),
            "forecast": None if now.forecast is None else forecast_told(now.forecast),
            "trail": self._trail,
            "alarms": [alarm_told(one) for one in now.alarms],
            "events": list(now.events[-5:]),
        }


def trail_row(one: RestForecast) -> list[float | int]:
    """When it was made, for which end, and the end with its interval."""
    return [one.made_at, one.total, short(one.value), short(one.lower), short(one.upper)]


def forecast_told(one: RestForecast) -> dict[str, Any]:
    """The newest forecast with its path."""
    import numpy as np

    kept = np.unique(np.linspace(0, len(one.steps) - 1, min(SHOWN_NODES, len(one.steps))).round().astype(int))
    middle, half = one.log_loss[kept], one.half_width[kept]
    path = [
        [int(step), short(float(np.exp(m))), short(float(np.exp(m - h))), short(float(np.exp(m + h)))]
        for step, m, h in zip(one.steps[kept], middle, half, strict=True)
    ]
    return {
        "made_at": one.made_at,
        "total": one.total,
        "value": short(one.value),
        "lower": short(one.lower),
        "upper": short(one.upper),
        "told": one.told,
        "rates": one.rates_told,
        "length": one.length_told,
        "cautions": list(one.cautions[:5]),
        "path": path,
    }


def alarm_told(one: Alarm) -> dict[str, Any]:
    """In words."""
    return {
        "kind": one.kind,
        "sentence": one.sentence,
        "since": one.since,
        "raised_at": one.raised_at,
        "look_at": one.look_at,
    }
