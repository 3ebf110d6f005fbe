"""One reader for all viewers: it looks at a run again and again, forecasts, and says what is known."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from eigenflow.core.errors import EigenflowError
from eigenflow.core.text import clean
from eigenflow.forecast.live import Alarm
from eigenflow.forecast.live.engines import Engine
from eigenflow.report.live.forecasting import Forecasting
from eigenflow.report.live.history import Course, short
from eigenflow.report.live.sources import Look, Measured, Source

__all__ = ["Watcher"]

# Happenings and measurements that are kept; of texts from files so many letters.
MOST_HAPPENED, MOST_MEASURED, MOST_TEXT = 40, 300, 400
# While much is read at once, what is known so far is told this often.
TELLS_S = 1.0
# While forecasts of the past are waited for, whether they are there is asked this often.
GLANCES_S = 0.1
# Rows between two looks at the clock.
GLANCE = 500
# The pace of a run is that of the last minutes.
PACE_S = 300.0
ENDED = ("complete", "complete with gaps", "failed")


class Watcher:
    """Looks at a source from a thread of its own.

    Args:
        source: The run.
        publish: Takes what is known, as plain values, whenever something may have changed; called from the thread.
        every_s: Seconds between two looks.
        total: Updates in all, where the user says it.
        law: The law that forecasts fit.
        clock: Seconds since 1970.
        make_engine: Makes who computes forecasts; a process of its own by default.
    """

    def __init__(
        self,
        source: Source,
        publish: Callable[[dict[str, Any]], None],
        *,
        every_s: float = 1.0,
        total: int | None = None,
        law: str = "transport",
        clock: Callable[[], float] = time.time,
        make_engine: Callable[[], Engine] | None = None,
    ) -> None:
        self._source, self._tell, self._every_s, self._total = source, publish, every_s, total
        self._law, self._clock, self._make_engine = law, clock, make_engine
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="eigenflow-watch", daemon=True)
        self._generation, self._look = 0, Look("waiting")
        self._happened: deque[dict[str, Any]] = deque(maxlen=MOST_HAPPENED)
        self._begin()

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def close(self) -> None:
        """End the thread and the process that forecasts."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10.0)
        self._forecasting.close()

    def _watch(self) -> None:
        next_look = 0.0
        while not self._stopped.is_set():
            begun = time.monotonic()
            if begun >= next_look:
                self.look()
                # Reading takes at most half of a core, however slow the disk is.
                next_look = max(begun + self._every_s, 2 * time.monotonic() - begun)
            self.catch_up()
            self.publish()
            rest_s = next_look - time.monotonic()
            self._stopped.wait(min(rest_s, GLANCES_S) if self.is_catching_up else max(rest_s, 0.0))

    def look(self) -> None:
        """Take what is new."""
        try:
            self._take(self._source.look())
        except (EigenflowError, OSError) as error:
            self._look.problem = str(error)
        except Exception as error:  # whatever a strange log does to a reader, viewers are told, and the next look comes
            self._look.problem = f"{type(error).__name__}: {error}"

    def publish(self) -> None:
        """Tell what is known."""
        self._tell(self.state())

    @property
    def is_catching_up(self) -> bool:
        """Whether forecasts are behind the picture."""
        return self._forecasting.is_behind

    def catch_up(self) -> None:
        """Bring forecasts nearer to the picture, for at most a moment."""
        try:
            self._alarmed(self._forecasting.feed(TELLS_S))
            if self.is_catching_up or self._course.last < 0 or self._look.status == "waiting":
                return
            if self._forecasting.last < self._course.last:
                self._forecasting.catch_up(self._source.past())
            else:
                self._forecasting.has_caught_up()
        except (EigenflowError, OSError) as error:
            self._look.problem = str(error)

    def _begin(self) -> None:
        self._course, self._pace = Course(), deque[tuple[float, int]](maxlen=1000)
        self._measured: list[Measured] = []
        self._rate: float | None = None
        self._forecasting = self._new_forecasting(self._total)
        self._generation += 1

    def _new_forecasting(self, total: int | None) -> Forecasting:
        return Forecasting(total, law=self._law, make_engine=self._make_engine)

    def _take(self, look: Look) -> None:
        self._look = look
        if look.is_new:
            self._forecasting.close()
            self._begin()
            self._happens("another run has taken the place of the one that was watched; all begins anew")
        elif look.cut is not None:
            self._course.cut(look.cut)
            self._forecasting.cut(look.cut)
            self._measured, self._pace = [], deque(maxlen=1000)
        for line in look.happened:
            self._happens(line)
        self._read(look)
        for one in look.measured:
            self._measured.append(one)
            if len(self._measured) > MOST_MEASURED:
                self._measured = [*self._measured[:-1:2], self._measured[-1]]

    def _read(self, look: Look) -> None:
        if self._course.last < 0 and self._total is None and look.total != self._forecasting.total:
            self._forecasting.close()
            self._forecasting = self._new_forecasting(look.total)
        told_at, before = time.monotonic(), self._course.last
        # Forecasts of the past are made from a reading of their own, while the picture is there already.
        is_even = before >= 0 and self._forecasting.last == before and not self.is_catching_up
        for number, row in enumerate(look.rows):
            if row.step > self._course.last:
                self._course.add(row.step, row.loss)
                self._rate = row.rate
                if is_even:
                    self._alarmed(self._forecasting.add(row))
            if number % GLANCE == 0 and time.monotonic() - told_at > TELLS_S:
                if self._stopped.is_set():
                    return
                self.publish()
                told_at = time.monotonic()
        if self._course.last != before and look.status == "running":
            self._pace.append((look.changed_at or self._clock(), self._course.last))

    def _alarmed(self, alarms: Iterable[Alarm]) -> None:
        for one in alarms:
            self._happens(f"{one.kind}: {one.sentence}", is_alarm=True)

    def _happens(self, line: str, *, is_alarm: bool = False) -> None:
        at = round(self._clock(), 1)
        step = max(self._course.last, 0)
        self._happened.append({"at": at, "step": step, "text": shown(line), "alarm": is_alarm})

    def state(self) -> dict[str, Any]:
        """All that a viewer needs, as plain values for JSON."""
        look, points = self._look, self._course.points()
        told = self._forecasting.told()
        total = self._known_total(told)
        return {
            "generation": self._generation,
            "is_catching_up": self.is_catching_up,
            "name": shown(look.name),
            "kind": look.kind,
            "status": look.status,
            "problem": shown(look.problem),
            "unit": look.unit,
            "step": max(self._course.last, 0),
            "total": total,
            "length": "as --total says" if self._total else shown(look.total_told),
            "rows": self._course.count,
            "loss": self._course.recent(),
            "rate": None if self._rate is None else short(self._rate),
            "changed_at": None if look.changed_at is None else round(min(look.changed_at, self._clock()), 1),
            "left_s": self._left_s(total),
            "bad": list(self._course.bad),
            "curve": points,
            "preconditioner": shown(look.preconditioner),
            "modes": [[one.step, one.edge and short(one.edge), *map(short, one.eigenvalues)] for one in self._measured],
            "happened": list(self._happened),
            **_cleaned(told),
        }

    def _known_total(self, told: dict[str, Any]) -> int | None:
        total = self._total or self._look.total or (told["forecast"] or {}).get("total")
        return None if total is None or total < self._course.last else total

    def _left_s(self, total: int | None) -> int | None:
        """Seconds to the end at the pace of the last minutes."""
        if len(self._pace) < 2 or total is None or self._look.status != "running":
            return None
        last_at, last = self._pace[-1]
        while len(self._pace) > 2 and last_at - self._pace[0][0] > PACE_S:
            self._pace.popleft()
        first_at, first = self._pace[0]
        if last_at <= first_at or last <= first:
            return None
        return round((total - last) * (last_at - first_at) / (last - first))


def shown(text: str) -> str:
    """A text of a stranger's file: without what would steer anything, and not long."""
    found = clean(str(text))
    return found if len(found) <= MOST_TEXT else f"{found[:MOST_TEXT]} ..."


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return shown(value)
    if isinstance(value, dict):
        return {key: _cleaned(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_cleaned(one) for one in value]
    return value
