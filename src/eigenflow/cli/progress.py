"""Progress of a training on stderr: a bar where a person looks, a line now and then where the output goes to a file."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

from rich.progress import (
    BarColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from eigenflow.cli.console import err

__all__ = ["PlainProgress", "training_progress"]

Show = Callable[[int, int, int], None]
Share = Callable[[int, int, int], float]
# Seconds between lines in a file.
EVERY_S = 10.0


@contextmanager
def training_progress(share: Share) -> Iterator[Show]:
    """Yield what to call as show(done, total, measured) after every update.

    Args:
        share: How much of the work is done, from 0 to 1, after so many updates and measurements, of so many updates.
    """
    if not err.is_terminal:
        yield PlainProgress(share).show
        return
    with _bar() as bar:
        task = bar.add_task("Training and measuring", total=1.0, told="")

        def show(done: int, total: int, measured: int) -> None:
            if done % 50 == 0 or done == total:
                told = f"{done}/{total} steps, {measured} measured"
                bar.update(task, completed=share(done, measured, total), told=told)

        yield show


class PlainProgress:
    """Lines on stderr, at most one in a while, and one at the end."""

    def __init__(self, share: Share, clock: Callable[[], float] = monotonic):
        """`share` as for `training_progress`; `clock` gives seconds."""
        self._share, self._clock = share, clock
        self._begin = self._told = clock()
        self._first: float | None = None

    def show(self, done: int, total: int, measured: int) -> None:
        """Say how far it is, if it is time to."""
        share = self._share(done, measured, total)
        if self._first is None:
            self._first = self._share(done - 1, 0, total)  # a resumed run does not begin at 0
        now = self._clock()
        if done < total and now - self._told < EVERY_S:
            return
        self._told = now
        spent = now - self._begin
        left = spent * max(0.0, 1.0 - share) / max(1e-9, share - self._first)
        err.print(
            f"step {done} of {total}, {measured} measured, {spent:.0f} s, about {left:.0f} s left",
            markup=False,
            highlight=False,
        )


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[told]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=err,
    )
