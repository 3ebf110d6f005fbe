"""`LiveForecast`: fed with every loss of a run, it forecasts the rest and raises alarms."""

import time
from collections.abc import Callable, Mapping, Sequence
from math import inf, log
from typing import Any, SupportsFloat

import numpy as np

from eigenflow.core.checks import check_kind, check_number, check_whole
from eigenflow.core.errors import ArgumentError
from eigenflow.forecast.laws.registry import law_named
from eigenflow.forecast.live.alarms import Alarm
from eigenflow.forecast.live.band import RestForecast
from eigenflow.forecast.live.blocks import Blocks
from eigenflow.forecast.live.calm import MOST_WAITING, NEVER, Calm
from eigenflow.forecast.live.engines import Answer, Background, Engine, Inline
from eigenflow.forecast.live.moments import Budget, Moments, checked_moments
from eigenflow.forecast.live.rates import ScheduleLike, SeenRates, schedule_of
from eigenflow.forecast.live.rest import Question
from eigenflow.forecast.live.result import LiveState
from eigenflow.forecast.live.watch import Watch
from eigenflow.forecast.schedules.schedule import Schedule

__all__ = ["LiveForecast"]

FORMAT = 1
# Forecasts that stand beside each other: the newest, and older ones that a slow trouble has not entered.
KEPT = 3
# A forecast counts from so many steps after its question on, as a share of the step: so it is the same whether it took
# a moment or a minute.
LAG = 0.01
# Rates that differ from the schedule given by this share of its highest, at so many looks, are others.
OTHER, OTHER_LOOKS = 0.02, 3
# The loss that is told is the mean of about this share of the run.
RECENT = 100
MOST_EVENTS = 100
# A schedule of more values than this does not go into a state.
MOST_SCHEDULE = 4096


class LiveForecast:
    """Forecasts of the rest of a run, and alarms, while it trains.

    Feed it every loss (`add`, a few microseconds). At shares of the run it forecasts the rest with the law, the
    length and the learning rates that `forecast_logs` would take, in a process of its own. Between forecasts it
    compares the losses with the last ones and raises alarms. The aim is any alarm in at most one healthy run of twenty;
    what was measured stands in docs/validation/live_alarms.md. Memory is bounded: about 100 kB, however long the run.

    Args:
        total_steps: Updates in all; None: as the rates show it, else twice what was seen.
        schedule: The learning rate of every update: a `Schedule`, numbers, the form of `Schedule.to_dict`, or a
            function of the update, from 0. None: it is recognised from the rates that `add` is given.
        moments: Shares of the run at which to forecast, None for 5, 10, 15, 25, 35, 50, 65, 80 and 90 %. Where the
            length is not known, each is 1.35 times later than the one before.
        max_share: Processor seconds of forecasts, at most this share of the seconds of training; None for no limit. A
            forecast costs 1 to 3 processor seconds.
        background: Whether another process computes; else `add` takes those seconds at each moment.
        law: The law that is fitted.
        seed: Draws its starting points.
        engine: Who computes, in place of what `background` says: an object with `ask`, `poll` and `close`.

    Examples:
        >>> live = LiveForecast(2000, max_share=None, background=False)
        >>> for step in range(1, 1001):
        ...     news = live.add(step, 2 + 3 * (step + 50.0) ** -0.5, 1e-3)
        >>> live.now.forecast.made_at, len(live.now.alarms)
        (700, 0)
        >>> round(live.now.forecast.value, 2)
        2.07
    """

    def __init__(
        self,
        total_steps: int | None = None,
        schedule: ScheduleLike | None = None,
        *,
        moments: Sequence[float] | None = None,
        max_share: float | None = 0.05,
        background: bool = True,
        law: str = "transport",
        seed: int = 0,
        engine: Engine | None = None,
    ) -> None:
        if total_steps is not None:
            check_whole("total_steps", total_steps, 2)
        if max_share is not None:
            check_number("max_share", max_share, 0.0, 1.0)
        check_kind("background", background, bool, "True or False")
        law_named(law)
        self._schedule = schedule_of(schedule, total_steps)
        self._total = total_steps if self._schedule is None or total_steps is not None else self._schedule.total
        self._law, self._seed = law, check_whole("seed", seed, what="number")
        self._moments = Moments(checked_moments(moments))
        self._budget = Budget(max_share)
        self._engine: Engine = engine or (Background() if background else Inline())
        self._blocks, self._rates, self._watch = Blocks(), SeenRates(), Watch()
        self._forecasts: list[RestForecast] = []
        self._events: list[str] = []
        self._event_count = 0
        self._step = -1
        self._pending: Question | None = None
        self._counts_from = 0
        self._rates_apart = 0
        self._clock: Callable[[], float] = time.monotonic
        self._last_time: float | None = None
        self._news: tuple[tuple[Alarm, ...], bool] = ((), False)
        self._is_closed = False
        self._waiting: list[tuple[int, float, float | None]] = []
        self._calm = NEVER

    def add(self, step: int, loss: SupportsFloat, learning_rate: SupportsFloat | None = None) -> LiveState | None:
        """Take the loss of one optimizer step.

        Args:
            step: Updates completed, this one included, as trainers count; steps may be left out, never repeated.
            loss: The loss of its batches. One that is not finite is counted and enters no forecast.
            learning_rate: The rate that the update used.

        Returns:
            The state, if this step brought a forecast or an alarm; else None.

        Raises:
            ArgumentError: If the step does not increase.
        """
        if step <= self._step:
            self._refuse_step(step)
        now = self._clock()
        if self._last_time is not None:
            self._budget.trained_s += now - self._last_time
        self._last_time = now
        value = float(loss)
        calm = self._calm
        if calm.above < value < calm.below and step < calm.step and self._budget.trained_s < calm.trained_s:
            self._step = step = int(step)
            self._waiting.append((step, value, learning_rate if learning_rate is None else float(learning_rate)))
            if len(self._waiting) >= calm.most:
                self._catch_up()
            return None
        self._catch_up()
        self._step = step = int(step)
        rate, alarms = self._took(step, value, learning_rate)
        found = self._looked(step, rate, alarms)
        self._calm = self._calm_until()
        return found

    def _catch_up(self) -> None:
        """Look into what waits, and wait no more until the next look says for how long."""
        self._calm = NEVER
        waiting, self._waiting = self._waiting, []
        for step, value, rate in waiting:
            known, _ = self._took(step, value, rate)
            if self._watch.is_due(self._blocks.seen):
                self._watch.look(step, self._blocks, ())  # raises no alarm, or they would not have waited
                self._check_rates(step, known)

    def _took(self, step: int, value: float, learning_rate: SupportsFloat | None) -> tuple[float, list[Alarm]]:
        """Note a loss; gives the rate, NaN where it is not known, and alarms of single losses."""
        rate = float("nan")
        if learning_rate is not None:
            rate = float(learning_rate)
            if 0.0 <= rate < inf:
                self._rates.add(step, rate)
            else:
                rate = float("nan")
        if not 0.0 < value < inf:
            return rate, self._bad(step, value)
        value = log(value)
        self._watch.points.good(step, value)
        self._blocks.add(step, value, rate, self._watch.points.ceiling)
        return rate, []

    def _looked(self, step: int, rate: float, alarms: list[Alarm]) -> LiveState | None:
        """Do what is due after a loss; gives the state if there is news."""
        is_new = self._pending is not None and step >= self._counts_from and self._take(0.0)
        if self._watch.is_due(self._blocks.seen):
            alarms = [*alarms, *self._watch.look(step, self._blocks, self._forecasts)]
            self._check_rates(step, rate)
            if self._pending is None and self._has_lost(step, rate):
                self._ask(step)
        if self._pending is None and self._moments.is_due(step, self._blocks.seen, self._known_total(step)):
            self._ask(step)
        if not alarms and not is_new:
            return None
        self._news = tuple(alarms), is_new
        found = self.now
        self._news = (), False
        return found

    def _calm_until(self) -> Calm:
        """When the next loss can bring news."""
        above, below, count = 0.0, self._watch.points.calm_below, self._watch.next_look - 1 - self._blocks.seen
        if not self._forecasts and (bounds := self._watch.bounds(self._blocks)) is not None:
            above, below, count = bounds
        if count < 1:
            return NEVER
        step, trained_s = inf if self._total is None else self._total + 1, inf
        if self._pending is not None:
            step = min(step, self._counts_from)
        elif self._budget.allows:
            step = min(step, self._moments.next_step(self._total))
        else:
            trained_s = self._budget.allowed_at_s
        return Calm(above, below, step, trained_s, min(count, MOST_WAITING))

    @property
    def now(self) -> LiveState:
        """What is known now."""
        self._catch_up()
        table = self._blocks.table()
        count = max(1, min(len(table), -(-len(table) // RECENT)))
        loss = float(np.exp(table.means[-count:].mean())) if len(table) else None
        expected = lower = upper = None
        if self._forecasts and self._step >= self._forecasts[-1].steps[0]:
            middle, half = (float(part[0]) for part in self._forecasts[-1].at(np.array([self._step])))
            if np.isfinite(middle):
                expected, lower, upper = (float(np.exp(one)) for one in (middle, middle - half, middle + half))
        return LiveState(
            max(self._step, 0),
            loss,
            self._forecasts[-1] if self._forecasts else None,
            expected,
            lower,
            upper,
            tuple(self._watch.alarms),
            *self._news,
            tuple(self._events),
            dict(self._watch.nearest),
        )

    def forecast_now(self, wait_s: float = 60.0) -> RestForecast | None:
        """Forecast on demand, and wait for it; None if it was refused or took longer (`now.events` says why)."""
        check_number("wait_s", wait_s, 0.0)
        self._catch_up()
        if self._pending is None:
            self._ask(max(self._step, 0), is_wanted=True)
        asked = self._pending
        if asked is None or not self._take(wait_s):
            return None
        return self._forecasts[-1]

    def close(self, wait_s: float = 0.0) -> LiveState:
        """End the process that forecasts; a forecast under way is waited for, at most so many seconds.

        Returns:
            What is known then.
        """
        check_number("wait_s", wait_s, 0.0)
        if not self._is_closed and self._pending is not None and wait_s > 0:
            self._take(wait_s)
        self._pending, self._is_closed = None, True
        self._engine.close()
        return self.now

    def __enter__(self) -> "LiveForecast":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _refuse_step(self, step: int) -> None:
        raise ArgumentError(
            f"`step` must increase, but is {step!r} after {self._step:,}. Call `add` once an optimizer step, on one "
            f"rank; to go on from a checkpoint, make it again from the state that was stored there (`from_state`)."
        )

    def _bad(self, step: int, value: float) -> list[Alarm]:
        if self._watch.points.not_finite_run == 0:
            what = "not finite" if not value <= 0.0 or value == -inf else "not positive"
            self._say(f"step {step:,}: the loss is {what}, {value:.4g}; it enters no forecast")
        return self._watch.bad(step)

    def _known_total(self, step: int) -> int | None:
        if self._total is not None and step > self._total:
            self._say(f"step {step:,}: the run goes on beyond {self._total:,} steps; its length is now unknown")
            self._total = self._schedule = None
        return self._total

    def _has_lost(self, step: int, rate: float) -> bool:
        """Whether the newest forecast took other learning rates than the run now has."""
        if not self._forecasts or self._forecasts[-1].keeps_to(step, rate):
            return False
        return self._moments.is_overdue(step, self._blocks.seen)

    def _check_rates(self, step: int, rate: float) -> None:
        """See whether the run keeps to the schedule given."""
        if self._schedule is None or not rate >= 0.0 or step > self._schedule.total:
            return
        near = self._schedule.rates[max(step - 2, 0) : step + 1].tolist()
        off = OTHER * self._schedule.peak
        self._rates_apart = self._rates_apart + 1 if rate < min(near) - off or rate > max(near) + off else 0
        if self._rates_apart >= OTHER_LOOKS:
            self._say(
                f"step {step:,}: the learning rate is {rate:.4g}, where the schedule given has {near[-1]:.4g}; the "
                f"rates to come are now recognised from those that came"
            )
            self._schedule = None

    def _ask(self, step: int, *, is_wanted: bool = False) -> None:
        if not is_wanted and not self._budget.allows:
            return
        table = self._blocks.table()
        total = self._known_total(step)
        if self._is_closed or len(table) == 0 or (total is not None and step >= total):
            return
        steps = np.rint(table.middles).astype(np.int64)
        corners = tuple(self._rates.corners()) if self._schedule is None else ()
        self._pending = Question(steps, table.means.copy(), corners, total, self._law, self._seed)
        self._counts_from = step + max(1, round(LAG * step))
        self._moments.asked(step, self._blocks.seen)
        self._engine.ask(self._pending, self._schedule)

    def _take(self, wait_s: float) -> bool:
        """Take the forecast that was asked for, if it is there."""
        found: Answer | None = self._engine.poll(wait_s)
        if found is None:
            return False
        self._pending = None
        self._budget.spend(found.cpu_s)
        if found.forecast is None:
            self._say(f"step {self._moments.asked_at:,}: no forecast: {found.refused}")
            return False
        self._forecasts = [*self._forecasts, found.forecast][-KEPT:]
        return True

    def _say(self, line: str) -> None:
        self._event_count += 1
        self._events = [*self._events, line][-MOST_EVENTS:]

    def state(self) -> dict[str, Any]:
        """All of it as plain values for JSON, about 100 kB; `from_state` goes on from there, to the last bit."""
        self._catch_up()
        form = None
        if self._schedule is not None:
            form = self._schedule.to_dict()
            form = form if len(form.get("values", ())) <= MOST_SCHEDULE else {"hash": hash(self._schedule)}
        return {
            "format": FORMAT,
            "total": self._total,
            "schedule": form,
            "law": self._law,
            "seed": self._seed,
            "background": isinstance(self._engine, Background),
            "moments": self._moments.state(),
            "budget": self._budget.state(),
            "blocks": self._blocks.state(),
            "rates": self._rates.state(),
            "watch": self._watch.state(),
            "forecasts": [one.to_dict() for one in self._forecasts],
            "events": list(self._events),
            "event_count": self._event_count,
            "step": self._step,
            "pending": None if self._pending is None else self._pending.to_dict(),
            "counts_from": self._counts_from,
            "rates_apart": self._rates_apart,
        }

    @classmethod
    def from_state(
        cls,
        state: Mapping[str, Any],
        *,
        schedule: ScheduleLike | None = None,
        background: bool | None = None,
        engine: Engine | None = None,
    ) -> "LiveForecast":
        """Go on from a state.

        Args:
            state: As from `state`.
            schedule: Again, if it was given as more than 4,096 different rates; those are not in the state.
            background: As in the class; None: as it was.
            engine: As in the class.

        Raises:
            ArgumentError: If it is no state of this version, or the schedule is missing or another one.
        """
        if not isinstance(state, Mapping) or state.get("format") != FORMAT:
            raise ArgumentError(
                f"`state` must be what `LiveForecast.state()` gave, of format {FORMAT}, but is {str(state)[:60]}. "
                f"Make a new `LiveForecast` instead."
            )
        made = cls(background=state["background"] if background is None else background, engine=engine)
        made._total, made._law, made._seed = state["total"], state["law"], state["seed"]
        made._schedule = _schedule_again(state["schedule"], schedule, state["total"])
        made._moments = Moments.from_state(state["moments"])
        made._budget = Budget.from_state(state["budget"])
        made._blocks = Blocks.from_state(state["blocks"])
        made._rates = SeenRates.from_state(state["rates"])
        made._watch = Watch.from_state(state["watch"])
        made._forecasts = [RestForecast.from_dict(form) for form in state["forecasts"]]
        made._events, made._event_count = list(state["events"]), state["event_count"]
        made._step, made._counts_from = state["step"], state["counts_from"]
        made._rates_apart = state["rates_apart"]
        if state["pending"] is not None:
            made._pending = Question.from_dict(state["pending"])
            made._engine.ask(made._pending, made._schedule)
        return made


def _schedule_again(form: Mapping[str, Any] | None, given: ScheduleLike | None, total: int | None) -> Schedule | None:
    if form is None:
        return None
    if "hash" not in form:
        return Schedule.from_dict(form)
    again = schedule_of(given, total)
    if again is None or hash(again) != form["hash"]:
        raise ArgumentError(
            "`schedule` must be given again, the same rates as before: the state holds no schedule of so many rates."
            if again is None
            else "`schedule` must be the one that the state was made with, but has other rates. Give that one, or make "
            "a new `LiveForecast`."
        )
    return again
