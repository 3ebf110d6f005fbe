"""Progress of a training on stderr: a bar where a person looks, a line now and then where the output goes to a file."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from eigenflow.cli.console import err

__all__ = ["PlainProgress", "training_progress"]

Show = Callable[[int, int, int], None]
# Seconds between lines in a file.
EVERY_S = 10.0


@contextmanager
def training_progress(total: int) -> Iterator[Show]:
    """Yield what to call as show(done, total, measured) after every update."""
    if not err.is_terminal:
        yield PlainProgress().show
        return
    with _bar() as bar:
        task = bar.add_task("Training and measuring", total=total, measured=0)

        def show(done: int, total: int, measured: int) -> None:
            if done % 50 == 0 or done == total:
                bar.update(task, completed=done, measured=measured)

        yield show


class PlainProgress:
    """Lines on stderr, at most one in a while, and one at the end."""

    def __init__(self, clock: Callable[[], float] = monotonic):
        """`clock` gives seconds."""
        self._clock = clock
        self._begin = self._told = clock()
        self._first: int | None = None

    def show(self, done: int, total: int, measured: int) -> None:
        """Say how far it is, if it is time to."""
        if self._first is None:
            self._first = done - 1  # a resumed run does not begin at 0
        now = self._clock()
        if done < total and now - self._told < EVERY_S:
            return
        self._told = now
        spent = now - self._begin
        left = spent * (total - done) / max(1, done - self._first)
        err.print(
            f"step {done} of {total}, {measured} measured, {spent:.0f} s, about {left:.0f} s left",
            markup=False,
            highlight=False,
        )


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("steps, {task.fields[measured]} measured"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=err,
    )
