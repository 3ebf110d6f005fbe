"""One attempt at one run, in whatever process of whatever machine. All of it is told by files.

An attempt may be made twice, or end at any moment, with its process: the second waits for the first (`lease`), and then
finds in the folder what there is left to do.
"""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic, perf_counter, sleep
from typing import Any

from eigenflow.core.errors import EigenflowError, NonFiniteError, RunFolderError
from eigenflow.lab.sweep.folder import SweepFolder
from eigenflow.lab.sweep.lease import POLL_S, Lease, LeaseLostError, break_lock, here
from eigenflow.store.folder import write_json
from eigenflow.theory.over_sweep.folder import HEADER

__all__ = ["Outcome", "RunTask", "make_run"]

LONGEST_LINE = 300


@dataclass(frozen=True)
class RunTask:
    """What an engine carries to where a run is made: plain values, so that any pickle takes them.

    Attributes:
        name: Of the run.
        sweep: The sweep's folder.
        config: Of the run.
        analyse: Whether it is judged.
        report: Whether it has a page.
        threads: Of PyTorch, where the configuration does not say.
        patience_s: As for `Lease`.
    """

    name: str
    sweep: str
    config: dict[str, Any]
    analyse: bool = True
    report: bool = True
    threads: int = 1
    patience_s: float = 60.0


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended.

    Attributes:
        name: Of the run.
        is_done: Whether its folder is complete.
        error: Last line of what went wrong.
        notes: What was done beside it, such as a folder moved aside.
        wall_s: Seconds.
    """

    name: str
    is_done: bool
    error: str = ""
    notes: tuple[str, ...] = ()
    wall_s: float = 0.0


def make_run(task: RunTask) -> Outcome:
    """Make a run, or go on with it, or find it done. Errors are told, not raised; but for Ctrl-C."""
    begin, notes = perf_counter(), []
    try:
        _attempt(task, notes)
    except Exception as error:
        return Outcome(task.name, False, _last_line(error), tuple(notes), perf_counter() - begin)
    return Outcome(task.name, True, "", tuple(notes), perf_counter() - begin)


def _attempt(task: RunTask, notes: list[str]) -> None:
    """Under the lease, with a line in the run's log for beginning and end."""
    folder = SweepFolder(Path(task.sweep))
    if not (folder.path / HEADER).is_file():
        raise RunFolderError(
            f"`{folder.path}` is not there on {here()['host']}. Runs are made where every machine sees the sweep's "
            f"folder."
        )
    with Lease(folder.lease(task.name), task.patience_s) as lease:
        if lease.taken_from:
            notes.append(f"taken over from process {lease.taken_from.get('process')} of {lease.taken_from.get('host')}")
        folder.log(task.name, "begin", notes=notes)
        try:
            with _threads(task):
                found = _make(task, folder, lease, notes)
        except BaseException as error:
            line = _last_line(error)
            folder.log(task.name, "failed" if isinstance(error, Exception) else "interrupted", error=line)
            if isinstance(error, Exception) and not isinstance(error, LeaseLostError):
                _tell_failure(task, folder, error, line)
            raise
        folder.failure(task.name).unlink(missing_ok=True)
        folder.log(task.name, "end", found=found)


def _make(task: RunTask, folder: SweepFolder, lease: Lease, notes: list[str]) -> str:
    """Give what state the run was in."""
    from eigenflow.lab.config import ExperimentConfig
    from eigenflow.lab.experiment import run_experiment
    from eigenflow.lab.judging import judge_run
    from eigenflow.lab.sweep.states import State, state_of
    from eigenflow.store import open_run

    config, place, begin = ExperimentConfig.model_validate(task.config), folder.run(task.name), perf_counter()
    _require_free(place, lease, task.patience_s)
    found = state_of(place, config, analyse=task.analyse, report=task.report)
    if found.state is State.DONE:
        return found.state
    if found.state is State.DIFFERENT:
        raise RunFolderError(f"`{place}` holds a run of another configuration: {found.why}.")
    if found.state is State.DAMAGED:
        _move_aside(folder, task.name, found.why, notes)
    if found.state is not State.RECORDED:
        try:
            run_experiment(config, place, resume=found.state is State.CUT, progress=lease.tell)
        except RunFolderError as error:
            if found.state is not State.CUT or isinstance(error, LeaseLostError):
                raise
            _move_aside(folder, task.name, str(error), notes)
            run_experiment(config, place, progress=lease.tell)
    if task.analyse:
        judge_run(open_run(place), report=task.report, train_s=perf_counter() - begin, begin=begin)
    return found.state


def _require_free(place: Path, lease: Lease, patience_s: float) -> None:
    """Wait for the kernel's lock, and take it away where it is that of another machine which died."""
    from eigenflow.store.lock import is_locked

    until = monotonic() + patience_s
    while is_locked(place):
        if monotonic() > until:
            if lease.taken_from and lease.taken_from.get("host") != here()["host"]:
                break_lock(place)
                return
            raise RunFolderError(
                f"Run folder `{place}` is in use by a writer that is not of this sweep. Wait until it ends, or stop it."
            )
        sleep(POLL_S)


def _move_aside(folder: SweepFolder, name: str, why: str, notes: list[str]) -> None:
    aside = folder.aside(name)
    aside.parent.mkdir(parents=True, exist_ok=True)
    folder.run(name).rename(aside)
    notes.append(f"begun anew; what was there is now in {aside.relative_to(folder.path)}: {why}")


def _tell_failure(task: RunTask, folder: SweepFolder, error: Exception, line: str) -> None:
    told = {"error": line, "has_diverged": isinstance(error, NonFiniteError), "where": here()}
    write_json(folder.failure(task.name), {**told, "traceback": traceback.format_exc(), "task": asdict(task)})


def _last_line(error: BaseException) -> str:
    """What a table shows of an error: of one of our own the message, of others their kind too."""
    text = " ".join(str(error).split()) or type(error).__name__
    told = text if isinstance(error, EigenflowError) else f"{type(error).__name__}: {text}"
    return told if len(told) <= LONGEST_LINE else told[: LONGEST_LINE - 3] + "..."


@contextmanager
def _threads(task: RunTask) -> Iterator[None]:
    """As many threads as the run was given cores, in PyTorch and in what the analysis computes with."""
    import torch
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(task.config["measure"]["threads"] or task.threads)
    try:
        with threadpool_limits(task.threads):
            yield
    finally:
        torch.set_num_threads(before)
