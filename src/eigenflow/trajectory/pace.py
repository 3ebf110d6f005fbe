"""How much of a training loop's time measuring may take.

A measurement costs what it costs, so a cap on the share of time can only be kept by making fewer of them. Three numbers
say how many: the seconds of an update, of a measurement, and the updates that there will be. The first two are measured
as training goes on, the last is where the schedule ends. So the first due update is held (a copy of the network on
either side), until it is known what an update takes. What a measurement takes is estimated before the first one. An
estimate takes time itself: it is not made where a bound from sizes alone says that there is time for a measurement, or
where there is none for the estimate. As long as all that the schedule plans cannot be afforded, steps are left out
evenly over those that are still to come. Early steps are as much worth as in the schedule, because the cap is on the
whole run and not on each moment of it.
"""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from statistics import median
from time import perf_counter

import numpy as np

from eigenflow.core.errors import ArgumentError
from eigenflow.store import Variable
from eigenflow.trajectory.schedule import Schedule

__all__ = ["Pace"]

# Updates after which their duration is believed: the first ones compile, allocate and warm caches.
WARM_UP = 5
# An estimate of a measurement that was never made may be wrong by this factor.
UNCERTAIN = 1.5
# What an estimate takes at most, as a measurement on a few samples: calls, and as many passes as so many updates. Seen
# were 1 to 9 processor seconds.
ESTIMATE_S, ESTIMATE_UPDATES = 8.0, 40
# Measurements that say what the next one takes: the first is cold, later ones may slow down.
RECENT = 3
# Updates whose median says what one takes.
LATEST = 50


class Pace:
    """Says which scheduled updates are measured so that measuring stays below a share of the time.

    Args:
        schedule: Steps to measure; its last one is taken for the end of training.
        max_overhead: Share of the time, measuring included, in (0, 1); None: no cap, every scheduled step is measured.
        estimate: Seconds of a measurement, before the first one was made; its own time is counted where it is made.
        bound: Seconds that no measurement exceeds, from sizes alone; None: not known.
        clock: Seconds, increasing.
        agree: Called with what says which steps can be afforded; of several processes, one decides for all.

    Attributes:
        is_capped: Whether there is a cap.
        next_due: No step before this one is to be measured, of those that nobody has asked of yet.

    Raises:
        ArgumentError: If the share is out of range.
    """

    def __init__(
        self,
        schedule: Schedule,
        max_overhead: float | None,
        *,
        estimate: Callable[[], float] | None = None,
        bound: Callable[[], float] | None = None,
        clock: Callable[[], float] = perf_counter,
        agree: Callable[[Callable[[], list[int]]], list[int]] = lambda choose: choose(),
    ):
        is_share = isinstance(max_overhead, int | float) and not isinstance(max_overhead, bool)
        if max_overhead is not None and not (is_share and 0 < max_overhead < 1):
            raise ArgumentError(
                f"`max_overhead` must be a share of the time in (0, 1), such as 0.05, or None for no cap, but is "
                f"{max_overhead!r}."
            )
        self.schedule, self.max_overhead = schedule, max_overhead
        self.is_capped = max_overhead is not None
        self.end = max(schedule)
        self.spent_s = 0.0
        self._estimate, self._bound, self._clock, self._agree = estimate, bound, clock, agree
        self._recent: list[float] = []
        self._chosen: Schedule | None = schedule
        self.next_due = 0.0
        self._began_s: float | None = None
        self._before_s = self._last_s = 0.0
        self._updates_s: deque[float] = deque(maxlen=LATEST)
        self._seen, self._step = -1, 0
        self._has_told = False
        self._estimate_s: float | None = None

    def tick(self, step: int) -> None:
        """An update was made; `step` is its number."""
        if not self.is_capped:
            return
        self._seen, self._step = self._seen + 1, step
        training_s = self._clock() - self.spent_s
        if self._began_s is None:
            self._began_s, self._before_s = self._clock(), self.spent_s
        else:
            self._updates_s.append(training_s - self._last_s)
        self._last_s = training_s

    def is_due(self, last: int, now: int) -> bool:
        """Whether a step after `last` and up to `now` is to be measured, of those that can be afforded."""
        return self._chosen is not None and self._chosen.is_due(last, now)

    def look_ahead(self, now: int) -> None:
        """Say when the next step is due after `now`, up to which everything was asked."""
        self.next_due = float("inf") if self._chosen is None else self._chosen.next_after(now)

    @contextmanager
    def copying(self) -> Iterator[None]:
        """Around what measuring costs besides measurements."""
        began = self._clock()
        try:
            yield
        finally:
            self.spent_s += self._clock() - began

    @contextmanager
    def beside(self) -> Iterator[None]:
        """Around what is measured together with the last measurement, and counts as part of it."""
        before = self.spent_s
        try:
            with self.copying():
                yield
        finally:
            if self._recent:
                self._recent[-1] += self.spent_s - before
            self._choose()

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """Around a measurement."""
        self._recent = [*self._recent, 0.0][-RECENT:]
        with self.beside():
            yield

    def refusal(self) -> str | None:
        """Why nothing can be afforded, in words; None as long as that is not known, or not so."""
        if not self.is_capped or self._seen < WARM_UP or self.affordable() >= 1:
            return None
        assert self.max_overhead is not None
        takes = "takes about" if self._recent or self._estimate_s is not None else "may take"
        return (
            f"One measurement {takes} {self.measurement_s():.2g} s, and all updates up to step {self.end} about "
            f"{self._training_s():.2g} s, of which max_overhead={self.max_overhead:g} leaves "
            f"{self._allowed_s():.2g} s. Use fewer probe samples or modes, or a larger max_overhead"
        )

    def new_refusal(self) -> str | None:
        """As `refusal`, but once."""
        found = None if self._has_told else self.refusal()
        self._has_told = self._has_told or found is not None
        return found

    def may_measure(self) -> bool:
        """Whether a measurement can be afforded now; False also as long as nothing is known of updates."""
        return not self.is_capped or (self._seen >= WARM_UP and self.affordable() >= 1)

    def affordable(self) -> int:
        """Measurements that the rest of the training has time for."""
        assert self.max_overhead is not None
        one = self.measurement_s()
        left = self._allowed_s() - self.spent_s
        return max(0, int(left / one)) if one > 0 else len(list(self.schedule))

    def measurement_s(self) -> float:
        """Seconds that the next one is expected to take."""
        if self._recent:
            return max(self._recent)
        if self._estimate_s is None and self._bound is not None and not self._is_worth_an_estimate():
            return self._most_s
        return UNCERTAIN * self._estimated()

    def variables(self) -> dict[str, Variable]:
        """What the record says of the last measurement; nothing without a cap, when records do not depend on clocks."""
        if not self.is_capped:
            return {}
        return {"measurement_s": Variable((), np.asarray(self._recent[-1]), "s", "wall-clock time of the measurement")}

    @cached_property
    def _most_s(self) -> float:
        assert self._bound is not None
        return self._bound()

    def _is_worth_an_estimate(self) -> bool:
        left = self._allowed_s() - self.spent_s
        return ESTIMATE_S + ESTIMATE_UPDATES * self._update_s() < left < self._most_s

    def _estimated(self) -> float:
        """The estimate of a measurement, or the bound where it fails; 0, so that one is made, without both."""
        if self._estimate_s is None:
            self._estimate_s = 0.0 if self._bound is None else self._most_s / UNCERTAIN
            if self._estimate is not None:
                with suppress(Exception):  # whatever a strange network does: training goes on
                    self._estimate_s = self._estimate()
        return self._estimate_s

    @property
    def share(self) -> float:
        """Of the time until now that measuring took."""
        if self._began_s is None:
            return 0.0
        return self.spent_s / max(self._clock() - self._began_s + self._before_s, 1e-9)

    def _allowed_s(self) -> float:
        """Seconds that all of this session's measuring may take."""
        assert self.max_overhead is not None
        return self.max_overhead / (1.0 - self.max_overhead) * self._training_s()

    def _training_s(self) -> float:
        """Seconds of all updates of this session, made and to come, without measuring."""
        if self._began_s is None:
            return 0.0
        made_s = self._clock() - self._began_s - (self.spent_s - self._before_s)
        return made_s + self._update_s() * max(0, self.end - self._step)

    def _update_s(self) -> float:
        """Seconds of an update to come: the median of the latest, as the first ones of all are slow."""
        return max(median(self._updates_s), 0.0) if self._updates_s else 0.0

    def _choose(self) -> None:
        """Leave out of what is still planned what cannot be afforded, evenly; the last one stays as long as it can."""
        if self.is_capped:
            steps = self._agree(self._affordable_steps)
            self._chosen = Schedule(steps) if steps else None
            self.look_ahead(self._step)

    def _affordable_steps(self) -> list[int]:
        planned = [step for step in self.schedule if step > self._step]
        count = min(len(planned), self.affordable() if self._seen >= 1 else len(planned))
        # From the last one backwards, so that the next is as far away as those after it will be.
        picked = [len(planned) - 1 - index * len(planned) // count for index in range(count)]
        return [planned[index] for index in picked]
