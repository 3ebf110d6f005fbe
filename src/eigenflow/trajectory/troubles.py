"""What goes wrong while an update is recorded: collected, and told once the recorder is ready for the next one."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal
from warnings import warn

from eigenflow.core.errors import EigenflowError, ProcessLostError
from eigenflow.store import RecordGapWarning

__all__ = ["FarUpdates", "OnError", "Troubles", "Waiting", "words_of"]

OnError = Literal["skip", "raise"]

# Measured changes after which the recorder says that they are no single updates, if half of them are not.
FEWEST_FAR = 3
FAR_WARNING = (
    "The measured changes of the parameters are several times as long as single updates at the stated learning rates. "
    "If the states are checkpoints, say how many updates lie between: recorder.step(..., updates=k); with heavy ball, "
    "pass momentum=; with Adam, preconditioner=optimizer. Claims that need single updates will not be judged."
)
# Characters of an error message that a record keeps.
LONGEST = 1000
GOES_ON = "The record goes on (`run.gaps` lists what it lacks; on_error='raise' raises instead)."


@dataclass(frozen=True)
class Waiting:
    """A measurement that was due at `step` and waits for an update that allows it."""

    step: int
    is_noted: bool


class Troubles:
    """Of one call."""

    def __init__(self) -> None:
        self._found: list[tuple[BaseException | None, str]] = []

    def add(self, error: BaseException | None, told: str | None = None) -> None:
        """Keep an error, or something to warn of alone."""
        self._found.append((error, str(error) if told is None else told))

    @contextmanager
    def caught(self, what: str) -> Iterator[None]:
        """Go on after whatever fails inside; `what` says what that means."""
        try:
            yield
        except BaseException as error:
            self.add(error, f"{what}: {words_of(error)}")

    def tell(self, on_error: OnError) -> None:
        """Warn of everything; raise the first error if that is wanted, or is none that a loop should survive.

        What follows from the loss of a process is not told again.
        """
        errors = [error for error, _ in self._found if error is not None]
        lost = next((error for error in errors if isinstance(error, ProcessLostError)), None)
        if lost is not None:
            raise lost
        raised = [e for e in errors if not isinstance(e, Exception)] or (errors if on_error == "raise" else [])
        try:
            for error, told in self._found:
                if error not in raised[:1]:
                    warn(told if error is None else f"{told}. {GOES_ON}", RecordGapWarning, stacklevel=3)
        finally:
            if raised:
                raise raised[0]


def words_of(error: BaseException) -> str:
    """An error as a record keeps it."""
    text = str(error)[:LONGEST] or "no message"
    return text if isinstance(error, EigenflowError) else f"{type(error).__name__}: {text}"


class FarUpdates:
    """Counts measured changes that are longer than the stated updates, and says so once."""

    def __init__(self) -> None:
        self._measured = self._far = 0

    def count(self, is_far: bool, troubles: Troubles) -> None:
        """One more measured change."""
        self._measured += 1
        self._far += is_far
        if self._measured == FEWEST_FAR and 2 * self._far >= self._measured:
            troubles.add(None, FAR_WARNING)
