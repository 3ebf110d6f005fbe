"""Who computes the forecasts of a run that is caught up with: as if it had been watched from the beginning."""

import time

from eigenflow.forecast.live.engines import Answer, Background, Engine
from eigenflow.forecast.live.rest import Question
from eigenflow.forecast.schedules.schedule import Schedule

__all__ = ["PatientEngine"]


class PatientEngine:
    """Says when losses must wait for an answer, so that no forecast of the past is left out. It never waits itself.

    Args:
        patience_s: Seconds that losses may wait in all.
        engine: Who computes; a process of its own by default.

    Attributes:
        is_catching_up: Whether losses wait; what comes afterwards has just been logged.
        answers: How many were given.
    """

    def __init__(self, patience_s: float, engine: Engine | None = None) -> None:
        self._engine: Engine = engine or Background()
        self._left_s = patience_s
        self._asked_at: float | None = None
        self._found: Answer | None = None
        self.is_catching_up = True
        self.answers = 0

    def ask(self, question: Question, schedule: Schedule | None) -> None:
        """Begin to answer."""
        self._found, self._asked_at = None, time.monotonic()
        self._engine.ask(question, schedule)

    def is_awaited(self) -> bool:
        """Whether losses have to wait."""
        if not self.is_catching_up or self._asked_at is None:
            return False
        self._found = self._found or self._engine.poll(0.0)
        waited_s = time.monotonic() - self._asked_at
        if self._found is None and waited_s < self._left_s:
            return True
        self._left_s, self._asked_at = self._left_s - waited_s, None
        return False

    def poll(self, wait_s: float = 0.0) -> Answer | None:
        """Give the answer, once it is there."""
        found, self._found = self._found or self._engine.poll(wait_s), None
        self.answers += found is not None
        return found

    def close(self) -> None:
        """Abandon what is not answered."""
        self._engine.close()
