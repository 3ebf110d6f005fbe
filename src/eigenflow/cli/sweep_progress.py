"""A sweep while it is made: a live table where a person looks, a line for each ended run where it goes to a file."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from eigenflow.cli.console import err

if TYPE_CHECKING:
    from eigenflow.lab.sweep import Outcome, SweepWork

__all__ = ["SweepProgress", "sweep_progress"]

MOST_ROWS = 24
COLOURS = {"running": "cyan", "done": "green", "failed": "red", "waiting": "dim"}


@contextmanager
def sweep_progress(work: "SweepWork") -> Iterator["SweepProgress"]:
    """Show a sweep on stderr while it is made."""
    show = SweepProgress(work)
    if not err.is_terminal:
        yield show
        return
    with Live(get_renderable=show.table, console=err, refresh_per_second=1, transient=True):
        show.is_live = True
        yield show


class SweepProgress:
    """State of all runs: what ended is told by the sweep, what runs by the leases in its folder.

    Args:
        work: What there is to do.
    """

    def __init__(self, work: "SweepWork"):
        self.work, self.begin, self.is_live = work, monotonic(), False
        self.where = ""
        self.outcomes: dict[str, Outcome] = {}

    def started(self, where: str) -> None:
        """Take down where runs are made."""
        self.where = where
        if not self.is_live:
            err.print(f"{len(self.work.left)} runs on {where}", markup=False, highlight=False)

    def ended(self, outcome: "Outcome") -> None:
        """Take down a run that ended; a line where there is no table."""
        self.outcomes[outcome.name] = outcome
        if self.is_live:
            return
        told = f"done in {outcome.wall_s:.0f} s" if outcome.is_done else f"failed: {outcome.error}"
        spent, count, left = monotonic() - self.begin, len(self.outcomes), len(self.work.left)
        rest = spent / count * (left - count)
        line = f"{count} of {left}: {outcome.name} {told}; {spent:.0f} s, about {rest:.0f} s left"
        err.print(line, markup=False, highlight=False, soft_wrap=True)

    def states(self) -> dict[str, tuple[str, str]]:
        """State of each run and what there is to say of it."""
        from eigenflow.lab.sweep.lease import read_lease

        found = {}
        left = set(self.work.left)
        for name in self.work.states:
            outcome = self.outcomes.get(name)
            if outcome is not None:
                told = f"{outcome.wall_s:.0f} s" if outcome.is_done else outcome.error
                found[name] = ("done" if outcome.is_done else "failed", told)
            elif name not in left:
                found[name] = ("failed", "diverged before") if name in self.work.diverged else ("done", "before")
            elif lease := read_lease(self.work.folder.lease(name)):
                step = f"step {lease['done']} of {lease['of']}" if "done" in lease else "begins"
                found[name] = ("running", f"{step}, on {lease.get('host', '?')}")
            else:
                found[name] = ("waiting", "")
        return found

    def table(self) -> Table:
        """All runs counted; those that run, those that failed, and as many others as there is room for."""
        states = self.states()
        counts = {name: sum(state == name for state, _ in states.values()) for name in COLOURS}
        head = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
        table = Table(title=f"{head} ({self.where})", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
        table.add_column("run", overflow="ellipsis", no_wrap=True, ratio=2)
        table.add_column("state", no_wrap=True)
        table.add_column("", overflow="ellipsis", no_wrap=True, ratio=1)
        order = sorted(
            states, key=lambda name: list(COLOURS).index(states[name][0]) if states[name][0] != "failed" else 0
        )
        room = max(4, min(MOST_ROWS, err.height - 6))
        for name in order[:room]:
            state, told = states[name]
            table.add_row(escape(name), f"[{COLOURS[state]}]{state}[/]", escape(told))
        if len(order) > room:
            table.add_row(f"... and {len(order) - room} more", "", "")
        return table
