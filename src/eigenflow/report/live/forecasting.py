"""The forecasts and alarms of a watched run, which may be resumed from an earlier step."""

import json
from collections.abc import Callable
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
        waits: As for `PatientEngine`.
        make_engine: Makes who computes; a process of its own by default.

    Attributes:
        last: The last step that was taken; -1 before the first.
        total: Updates in all, if known.
    """

    def __init__(
        self,
        total: int | None,
        *,
        law: str = "transport",
        waits: Callable[[], bool] = lambda: True,
        make_engine: Callable[[], Engine] | None = None,
    ) -> None:
        self._waits, self._make_engine = waits, make_engine
        self._engine = self._new_engine()
        self._live = LiveForecast(total, max_share=None, law=law, engine=self._engine)
        self._states: list[tuple[int, str, list[list[float]]]] = []
        self._start = self._live.state()
        self._trail: list[list[float]] = []
        self.last, self.total, self._count = -1, total, 0

    def _new_engine(self) -> PatientEngine:
        return PatientEngine(PATIENCE_S, None if self._make_engine is None else self._make_engine(), self._waits)

    def add(self, row: Row) -> tuple[Alarm, ...]:
        """Take a loss; gives the alarms that it raises."""
        self.last, self._count = row.step, self._count + 1
        news = self._live.add(row.step, row.loss, row.rate)
        if news is None:
            return ()
        if news.is_new_forecast and news.forecast is not None:
            self._keep(news.forecast)
        return news.new_alarms

    def has_caught_up(self) -> None:
        """Say that what comes from now on has just been logged; the first time, the end is forecast from all of it."""
        made_at = self._trail[-1][0] if self._trail else 0
        if self._engine.is_catching_up and self._count >= LEAST and LATE * made_at < self.last:
            found = self._live.forecast_now(0.0)  # the engine has waited for it
            if found is not None and found.made_at > made_at:
                self._keep(found)
        self._engine.is_catching_up = False

    def cut(self, step: int) -> None:
        """Go back to what was known before a step, or at it; later rows must be given again from `last` on."""
        self._engine.close()
        kept = [one for one in self._states if one[0] <= step]
        self._states = kept
        self._engine = self._new_engine()
        state = json.loads(kept[-1][1]) if kept else self._start
        self._live = LiveForecast.from_state(state, engine=self._engine)
        self.last, self._trail = (kept[-1][0], list(kept[-1][2])) if kept else (-1, [])

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
            "smooth": None if now.loss is None else short(now.loss),
            "expected": None if now.expected is None else short(now.expected),
            "forecast": None if now.forecast is None else forecast_told(now.forecast),
            "trail": self._trail,
            "alarms": [alarm_told(one) for one in now.alarms],
            "events": list(now.events[-5:]),
        }


def trail_row(one: RestForecast) -> list[float]:
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
