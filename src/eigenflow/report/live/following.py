"""`report --follow`: the report of a run that goes on, written anew whenever something new was recorded.

The report is one file that is replaced as a whole, so it is seen wherever files are: over SSH, on a network file
system, behind a notebook's proxy.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import process_time, sleep

from eigenflow.core.checks import check_number
from eigenflow.core.errors import EigenflowError, FileError, RunFolderError
from eigenflow.report.html import write_report
from eigenflow.report.summary import analyse
from eigenflow.store import Run, open_run
from eigenflow.store.schema import LOSSES

__all__ = ["Followed", "follow_report"]

LEAST_S, MOST_S = 1.0, 86_400.0
# After these nothing more is recorded, unless the run is taken up again by hand.
ENDED = ("complete", "complete with gaps", "failed")


@dataclass(frozen=True)
class Followed:
    """What was written.

    Attributes:
        path: The report; None if the run ended, or was left, before there was anything to report.
        updates: How often it was written.
        cpu_s: Processor seconds of the last update.
    """

    path: Path | None
    updates: int
    cpu_s: float


def follow_report(
    run: Path,
    out_file: Path | None = None,
    *,
    every_s: float,
    say: Callable[[str], None],
    sleep: Callable[[float], None] = sleep,
) -> Followed:
    """Write the report of a run again and again, until the run has ended or Ctrl-C comes.

    Nothing is computed where nothing new was recorded. A folder that is not there yet, a run that was killed, resumed
    or replaced is waited for. Between two updates there is at least as long a rest as the first took.

    Args:
        run: The run folder, there or not.
        out_file: Where to write; by default `report.html` in the run folder.
        every_s: Seconds between two looks at the folder.
        say: Takes a line for the person who waits.
        sleep: Waits for seconds.

    Returns:
        What was written; also after Ctrl-C.

    Raises:
        RunFolderError: If the run has ended and cannot be reported.
        ArgumentError: If `every_s` is not within a second and a day.
    """
    check_number("every_s", every_s, LEAST_S, MOST_S)
    follower = _Follower(run, out_file, every_s, say)
    try:
        while not follower.look():
            sleep(max(every_s, follower.cpu_s))
    except KeyboardInterrupt:
        say(f"Stopped; {_written(follower.path)}. The run is not touched.")
    return Followed(follower.path, follower.updates, follower.cpu_s)


class _Follower:
    """What is known between two looks."""

    def __init__(self, run: Path, out_file: Path | None, every_s: float, say: Callable[[str], None]):
        self.run, self.out_file, self.every_s, self._say = run, out_file, every_s, say
        self.path: Path | None = None
        self.updates, self.cpu_s = 0, 0.0
        self._seen: object = None
        self._said = ""

    def look(self) -> bool:
        """Write a report if there is something new; gives whether the run has ended."""
        run = None
        try:
            run = open_run(self.run)
            if (state := _recorded(run)) != self._seen:
                self._update(run)
                self._seen = state
        except (RunFolderError, FileError) as error:
            if run is not None and run.status in ENDED:
                raise
            self.say(f"Waiting: {_first_sentence(error)}")
            return False
        if run.status in ENDED:
            self.say(f"The run is {run.status}; {_written(self.path)}.")
            return True
        if run.status == "interrupted":
            self.say("Nobody writes the run now: it was killed or interrupted. Waiting for it to be resumed.")
        return False

    def _update(self, run: Run) -> None:
        begun = process_time()
        refresh_s = None if run.status in ENDED else self.every_s
        self.path = write_report(analyse(run), self.out_file, refresh_s=refresh_s)
        self.updates, self.cpu_s = self.updates + 1, process_time() - begun
        share = self.cpu_s / (max(self.every_s, self.cpu_s) + self.cpu_s)
        measured = run.measured_steps
        self.say(
            f"Update {self.updates}: {len(measured)} measurements, up to step {measured[-1]:,}; took {self.cpu_s:.1f} "
            f"processor seconds, at most {share:.0%} of a core: {self.path}"
        )

    def say(self, line: str) -> None:
        """Say a line, once as long as nothing else happens."""
        if line != self._said:
            self._said = line
            self._say(line)


def _recorded(run: Run) -> object:
    """What changes whenever something is recorded."""
    try:
        size = (run.path / LOSSES).stat().st_size
    except OSError:
        size = 0
    header = run.header
    return run.status, header["created"], len(header["resumes"]), run.measured_steps, size


def _written(path: Path | None) -> str:
    return "no report was written" if path is None else f"the report is {path}"


def _first_sentence(error: EigenflowError) -> str:
    return str(error).partition(". ")[0].rstrip(".") + "."
