"""A sweep, made: what there is left to do is read from the run folders, and given to an engine."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

from eigenflow.core.display import AbstractPrinted, Card, figure
from eigenflow.core.errors import RunFolderError
from eigenflow.lab.sweep.attempt import Outcome, RunTask, make_run
from eigenflow.lab.sweep.config import SweepConfig
from eigenflow.lab.sweep.engines import AbstractEngine, Lost, make_engine
from eigenflow.lab.sweep.folder import SweepFolder
from eigenflow.lab.sweep.plan import SweepPlan, plan_sweep
from eigenflow.lab.sweep.states import State, state_of

__all__ = ["SweepOutcome", "SweepWork", "make_sweep", "prepare_sweep"]

ENOUGH_DIFFERENT = 5  # named in a message


@dataclass(frozen=True, repr=False)
class SweepWork(AbstractPrinted):
    """What a sweep has to do in its folder.

    Attributes:
        plan: All runs.
        folder: Where.
        states: Of each run, by name.
        diverged: Runs whose training diverged before: that is their result, and they are not made again.
    """

    plan: SweepPlan
    folder: SweepFolder
    states: dict[str, State]
    diverged: tuple[str, ...]

    @property
    def left(self) -> tuple[str, ...]:
        """Names of the runs to be made, in their order."""
        return tuple(
            name for name, state in self.states.items() if state is not State.DONE and name not in self.diverged
        )

    def counts(self) -> dict[str, int]:
        """Runs by state."""
        found = {state.value: 0 for state in State}
        for name, state in self.states.items():
            found["diverged" if name in self.diverged else state.value] = (
                found.get("diverged" if name in self.diverged else state.value, 0) + 1
            )
        return {name: count for name, count in found.items() if count}

    def _card(self) -> Card:
        rows = [(name, str(count)) for name, count in self.counts().items()]
        return Card(f"SweepWork {self.plan.config.name}: {len(self.left)} of {len(self.states)} runs to make", rows)


@dataclass(frozen=True, repr=False)
class SweepOutcome(AbstractPrinted):
    """A sweep that was made.

    Attributes:
        work: As it was found.
        outcomes: Of the runs that were made now, in the order in which they ended.
        wall_s: Seconds that it took.
    """

    work: SweepWork
    outcomes: tuple[Outcome, ...]
    wall_s: float

    @property
    def failed(self) -> dict[str, str]:
        """Runs without a result, and the last line of what went wrong; those that diverged before too."""
        before = {name: _told(self.work.folder, name) for name in self.work.diverged}
        return before | {one.name: one.error for one in self.outcomes if not one.is_done}

    @property
    def done(self) -> int:
        """Runs whose folders are complete."""
        return len(self.work.states) - len(self.failed)

    def _card(self) -> Card:
        rows = [("made now", str(len(self.outcomes))), ("seconds", figure(self.wall_s, 3))]
        rows += [(f"failed: {name}", error) for name, error in self.failed.items()]
        return Card(f"SweepOutcome: {self.done} of {len(self.work.states)} runs are done", rows)


def prepare_sweep(config: SweepConfig, out: str | Path) -> SweepWork:
    """Spell a sweep out and look at what its folder holds; writes nothing.

    Args:
        config: As from `load_sweep`.
        out: The sweep's folder: new, or of a sweep with the same base, whose runs it then keeps.

    Raises:
        ConfigError: If a run is no experiment.
        RunFolderError: If a run folder in it is of another configuration: it is not replaced.
    """
    plan, folder = plan_sweep(config), SweepFolder(Path(out))
    found = {
        run.name: state_of(folder.run(run.name), run.config, analyse=config.sweep.analyse, report=config.sweep.report)
        for run in plan.runs
    }
    different = {name: one.why for name, one in found.items() if one.state is State.DIFFERENT}
    if different:
        told = "\n".join(f"  {name}: {why}" for name, why in list(different.items())[:ENOUGH_DIFFERENT])
        raise RunFolderError(
            f"`{out}` holds {len(different)} runs of another configuration than this sweep's, which are not replaced:\n"
            f"{told}\nGive another folder with --out, or the settings that these runs were made with."
        )
    told_failures = {name: folder.told_failure(name) for name, one in found.items() if one.state is not State.DONE}
    diverged = tuple(
        name for name, told in told_failures.items() if told and told.get("has_diverged")
        and found[name].state is State.CUT
    )  # fmt: skip
    return SweepWork(plan, folder, {name: one.state for name, one in found.items()}, diverged)


def make_sweep(
    work: SweepWork,
    *,
    engine: AbstractEngine | None = None,
    progress: Callable[[Outcome], None] | None = None,
    started: Callable[[str], None] | None = None,
) -> SweepOutcome:
    """Make the runs that are not done.

    Args:
        work: As from `prepare_sweep`.
        engine: Where; None: as the sweep says. It is closed at the end.
        progress: Called with each outcome.
        started: Called with what the engine says of itself.

    Returns:
        What came of it. Failed runs do not end the sweep.

    Raises:
        RunFolderError: If the folder holds something else than a sweep.
        KeyboardInterrupt: As it came; every run can be gone on with.
    """
    part, begin, outcomes = work.plan.config.sweep, perf_counter(), []
    work.folder.write_plan(work.plan)
    tasks = _tasks(work)
    if not tasks:
        return SweepOutcome(work, (), 0.0)
    # Jobs of another machine, or another folder that they begin in, need the whole path.
    logs = str(work.folder.path.resolve() / "logs")
    with engine or make_engine(part.engine, part.resources, logs) as chosen:
        if started is not None:
            started(chosen.describe())
        for place, found in chosen.map(make_run, tasks):
            outcome = Outcome(tasks[place].name, False, found.why) if isinstance(found, Lost) else found
            outcome = _checked(outcome, work)
            outcomes.append(outcome)
            for note in outcome.notes:
                warnings.warn(f"Run {outcome.name}: {note}", stacklevel=2)
            if progress is not None:
                progress(outcome)
    return SweepOutcome(work, tuple(outcomes), perf_counter() - begin)


def _tasks(work: SweepWork) -> Sequence[RunTask]:
    part, left = work.plan.config.sweep, set(work.left)
    return [
        RunTask(
            name=run.name,
            sweep=str(work.folder.path.resolve()),
            config=run.config.model_dump(),
            analyse=part.analyse,
            report=part.report,
            threads=part.resources.cpus,
            patience_s=part.engine.patience_s,
        )
        for run in work.plan.runs
        if run.name in left
    ]


def _checked(outcome: Outcome, work: SweepWork) -> Outcome:
    """What an engine says is held against the folder."""
    if not outcome.is_done:
        return outcome
    run = next(run for run in work.plan.runs if run.name == outcome.name)
    part = work.plan.config.sweep
    found = state_of(work.folder.run(run.name), run.config, analyse=part.analyse, report=part.report)
    if found.state is State.DONE:
        return outcome
    return replace(
        outcome, is_done=False, error=f"it ended, but its folder here is {found.state}: is it on shared storage?"
    )


def _told(folder: SweepFolder, name: str) -> str:
    return str((folder.told_failure(name) or {}).get("error", "it diverged"))
