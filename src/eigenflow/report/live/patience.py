"""Who computes the forecasts of a run that is caught up with: as if it had been watched from the beginning."""

import time
from collections.abc import Callable

from eigenflow.forecast.live.engines import Answer, Background, Engine
from eigenflow.forecast.live.rest import Question
from eigenflow.forecast.schedules.schedule import Schedule

__all__ = ["PatientEngine"]

LOOKS_S = 0.1


class PatientEngine:
    """Answers before more losses are read while a log is caught up with, so that no forecast is left out; later beside.

    Args:
        patience_s: Seconds that all waiting may take.
        engine: Who computes; a process of its own by default.
        waits: Called ten times a second while it waits; gives whether to go on waiting.

    Attributes:
        is_catching_up: Whether it waits.
    """

    def __init__(
        self, patience_s: float, engine: Engine | None = None, waits: Callable[[], bool] = lambda: True
    ) -> None:
        self._engine: Engine = engine or Background()
        self._left_s, self._waits = patience_s, waits
        self._found: Answer | None = None
        self.is_catching_up = True

    def ask(self, question: Question, schedule: Schedule | None) -> None:
        """Begin to answer; while catching up, wait for the answer."""
        self._found = None
        self._engine.ask(question, schedule)
        if not self.is_catching_up:
            return
        begun = time.monotonic()
        while self._found is None and time.monotonic() - begun < self._left_s and self._waits():
            self._found = self._engine.poll(LOOKS_S)
        self._left_s -= time.monotonic() - begun

    def poll(self, wait_s: float = 0.0) -> Answer | None:
        """Give the answer, once it is there."""
        found, self._found = self._found, None
        return found or self._engine.poll(wait_s)

    def close(self) -> None:
        """Abandon what is not answered."""
        self._engine.close()
