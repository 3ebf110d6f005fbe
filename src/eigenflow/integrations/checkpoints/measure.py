"""A record of the checkpoints that a run has left: read, measured one by one or side by side, and written down."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import nn

from eigenflow.core.checks import check_whole
from eigenflow.core.errors import ArgumentError, EigenflowError, ModelError, RunFolderError
from eigenflow.integrations.checkpoints.bench import Outcome, measure_in_worker
from eigenflow.integrations.checkpoints.formats.weights import UnreadableError
from eigenflow.integrations.checkpoints.listing import Listed
from eigenflow.integrations.checkpoints.planning import Work, plan_of, prepare
from eigenflow.integrations.checkpoints.result import CheckpointPlan, CheckpointRecord, LeftOutRow
from eigenflow.store import open_run
from eigenflow.tangent import Probe
from eigenflow.trajectory import StateRecorder

__all__ = ["measure_checkpoints"]

# Called with what is done, how many there are, how many were measured, and seconds left.
Progress = Callable[[int, int, int, float], None]
# What a record has to agree in to be gone on with.
SAME = ("model", "entry", "unit", "base")


def measure_checkpoints(
    checkpoints: str | Path | Sequence[str | Path],
    model: str | Callable[[], nn.Module] | nn.Module | None,
    probe: Any,
    out: str | Path,
    *,
    modes: int | None = 64,
    method: str = "auto",
    tolerance: float = 1e-5,
    loss: Any = None,
    output: Any = None,
    entry: str | None = None,
    updates_per_epoch: int | None = None,
    log: str | Path | None = None,
    dtype: torch.dtype = torch.float64,
    memory_budget: int | None = None,
    jobs: int = 1,
    spread: bool = False,
    announce: Callable[[CheckpointPlan], None] | None = None,
    progress: Progress | None = None,
) -> CheckpointRecord:
    """Measure every checkpoint of a run, and record the states.

    What cannot be read, does not fit the model or cannot be measured is named with the reason and left out. Called
    again with the same arguments, only checkpoints that are not in the record yet are measured. Nothing that a file
    says is ever run: tensors and plain values are read, and nothing else.

    Args:
        checkpoints: A folder of files or of folders, a file, a pattern, or several of these.
        model: A function without arguments that returns the model, or its name as `module:factory` or
            `train.py:factory`; a module, which is copied; None: from `config.json` of Hugging Face.
        probe: A file (`.safetensors`, `.npz`, `.pt`) or a mapping with `inputs` and `targets`, or with what the model
            takes by name and `labels`; the same with holdout_ before the names for a test set; a pair; a `Probe`, into
            whose model the checkpoints are loaded and which is put back afterwards; a function, or its name, that
            returns one of these and may take the model.
        out: Folder of the record.
        modes: How many of the largest modes to store one by one; None: all.
        method: As for `StateRecorder`.
        tolerance: Likewise.
        loss: As for `Probe`; None: the model's own for a batch with labels, "cross_entropy" for whole numbers as
            targets, else "mse".
        output: As for `Probe`.
        entry: Which part of every checkpoint to take, if several fit: "ema", "student", "model.ema".
        updates_per_epoch: Makes updates of steps where checkpoints tell epochs alone; None: steps are epochs then.
        log: File with the learning rates of the training, any that `forecast.read_curves` reads: times are sums of
            them. None: from Trainer's own log beside the checkpoints, or from the optimizers in them, where these tell
            rates closely enough; else times count updates.
        dtype: Type in which everything is evaluated.
        memory_budget: Bytes that a measurement may hold.
        jobs: Processes; each holds a model and a probe, and computes on one thread.
        spread: Whether the samples of the probe are shared out over the processes of a group, which all call this
            together (`integrations.distributed.process_group`); the first one writes.
        announce: Called with what will be done and its cost, before it is done.
        progress: Called with (done, in all, measured, seconds left) after every checkpoint.

    Raises:
        FileError: If a path does not exist.
        ArgumentError: If there is no checkpoint, an argument is wrong, or a function of the user fails.
        ModelError: If the model cannot be measured as it is.
        RunFolderError: If `out` holds the record of other checkpoints.
        EigenflowError: If the system ends a process.
        ProcessLostError: With `spread`, if another process of the group ends or hangs.
    """
    check_whole("jobs", jobs, 1, 4096, "number of processes")
    if isinstance(probe, Probe) and jobs > 1:
        raise ArgumentError(
            "`probe` is a Probe, which stays in its process. Pass `jobs=1`, or a function that makes it."
        )
    if spread and jobs > 1:
        raise ArgumentError("`jobs` must be 1 under torchrun, whose processes share every measurement. Leave it out.")
    recipe = {"loss": loss, "output": output, "entry": entry, "dtype": dtype, "memory_budget": memory_budget}
    recipe["spread"] = spread
    settings: dict[str, Any] = {"modes": modes, "method": method, "tolerance": tolerance}
    steps = {"updates_per_epoch": updates_per_epoch, "log": log}
    with _left_as_it_was(probe):
        work = prepare(checkpoints, model, probe, recipe, **settings, **steps)
        if announce is not None:
            announce(plan_of(work))
        return _measured(work, Path(out), jobs, progress)


def _measured(work: Work, out: Path, jobs: int, progress: Progress | None) -> CheckpointRecord:
    begin = perf_counter()
    _require_same_run(out, work)
    outcomes: list[tuple[Listed, Outcome]] = []
    options: dict[str, Any] = {"modes": work.modes, "method": work.method, "tolerance": work.tolerance}
    with StateRecorder(out, work.bench.probe, **options, config=work.config, resume=True) as recorder:
        kept = set(recorder.steps)
        new = [one for one in work.listing.checkpoints if one.step not in kept]
        late = [one for one in new if kept and one.step < max(kept)]
        todo = [one for one in new if one not in late]
        for one, outcome in _each(work, recorder.settings, todo, jobs):
            outcomes.append((one, outcome))
            _write(recorder, work, one, outcome)
            if progress is not None:
                done, rest = len(outcomes), len(todo) - len(outcomes)
                measured = sum(o.measurement is not None for _, o in outcomes)
                each_s = sum(o.wall_s for _, o in outcomes) / done
                progress(done, len(todo), measured, each_s * rest / min(jobs, max(1, rest)))
        for path, step, reason in work.listing.left_out:
            if step is not None and step not in recorder.steps:
                recorder.skip(step, f"{path.name}: {reason}")
        steps = recorder.steps
    return _record(work, out, outcomes, late, kept, steps, perf_counter() - begin)


def _write(recorder: StateRecorder, work: Work, one: Listed, outcome: Outcome) -> None:
    """Put one outcome into the record."""
    if outcome.base != work.bench.base:
        raise ModelError(
            "`model` gives other weights at every call, and the adapters do not hold them. Load the base from a file "
            "in the factory."
        )
    name = one.found.path.name
    if outcome.measurement is None:
        recorder.skip(one.step, f"{name}: {outcome.reason}")
        return
    recorder.append(
        one.step,
        outcome.measurement,
        time=one.time if work.has_times else None,
        learning_rate=one.learning_rate,
        loss=one.loss,
        checkpoint=name,
        weights=outcome.weights,
        read="; ".join((one.format, f"step from {one.source}", *outcome.notes)),
    )


def _each(work: Work, settings: dict[str, Any], todo: Sequence[Listed], jobs: int) -> Iterator[tuple[Listed, Outcome]]:
    """Outcomes in order of steps; with several processes they are worked at side by side."""
    if jobs == 1 or len(todo) < 2:
        for one in todo:
            yield one, work.bench.measure(one.found, settings)
        return
    from joblib import Parallel, delayed, parallel_config
    from joblib.externals.loky.process_executor import BrokenProcessPool

    with parallel_config("loky", n_jobs=min(jobs, len(todo)), inner_max_num_threads=1):
        results: Any = Parallel(return_as="generator", pre_dispatch="2*n_jobs")(
            delayed(measure_in_worker)(work.recipe, one.found, settings) for one in todo
        )
        try:
            yield from zip(todo, results, strict=True)
        except BrokenProcessPool as error:
            raise EigenflowError(
                f"One of {jobs} processes was ended by the system, as when memory runs out. What was measured stays; "
                f"go on with fewer `jobs`."
            ) from error


def _require_same_run(out: Path, work: Work) -> None:
    """Refuse to go on with the record of other checkpoints: of those that are in it, one is read again and compared."""
    if not out.is_dir() or not any(out.iterdir()):
        return
    run = open_run(out)
    before = run.header.get("config")
    if run.kind != "states" or not isinstance(before, dict) or "unit" not in before:
        raise RunFolderError(f"`out` is '{out}', which holds another run. Give a new folder.")
    for name in SAME:
        if before.get(name) != work.config.get(name):
            raise RunFolderError(
                f"`out` is '{out}', which was measured with {name}={before.get(name)!r}, and would go on with "
                f"{work.config.get(name)!r}. Give a new folder."
            )
    if work.has_times and run.measured_steps and run.clock == "updates":
        raise RunFolderError(
            f"`out` is '{out}', whose times count updates, and would go on with sums of learning rates "
            f"({work.listing.clock}). Give a new folder."
        )
    losses = run.losses
    if "weights" not in losses:
        return
    stored = dict(zip(losses["step"], losses["weights"], strict=True))
    known = [one for one in work.listing.checkpoints if one.step in stored]
    if not known:
        return
    try:
        work.bench.load(known[-1].found)
    except UnreadableError:  # it is named below, as it is not read again
        return
    if work.bench.checksum() != stored[known[-1].step]:
        raise RunFolderError(
            f"`out` is '{out}', which holds step {known[-1].step} with other weights than "
            f"'{known[-1].found.path.name}'. Give a new folder."
        )


def _record(
    work: Work,
    out: Path,
    outcomes: Sequence[tuple[Listed, Outcome]],
    late: Sequence[Listed],
    kept: set[int],
    steps: tuple[int, ...],
    wall_s: float,
) -> CheckpointRecord:
    left = [LeftOutRow(path.name, step, reason) for path, step, reason in work.listing.left_out]
    left += [LeftOutRow(one.found.path.name, one.step, o.reason) for one, o in outcomes if o.measurement is None]
    words = "it lies between states that are in the record already; measure all into another folder"
    left += [LeftOutRow(one.found.path.name, one.step, words) for one in late]
    counts = Counter(note for _, outcome in outcomes for note in outcome.notes)
    measured = sum(outcome.measurement is not None for _, outcome in outcomes)
    notes = [note if count == measured else f"{note} ({count} of {measured})" for note, count in counts.items()]
    return CheckpointRecord(
        path=out,
        steps=steps,
        measured=measured,
        resumed=len(kept),
        left_out=tuple(sorted(left, key=lambda row: (row.step is None, row.step or 0, row.name))),
        unit=work.listing.unit,
        clock=work.listing.clock,
        notes=(*work.listing.notes, *work.bench.notes, *notes),
        wall_s=wall_s,
        measure_s=sum(outcome.wall_s for _, outcome in outcomes),
    )


@contextmanager
def _left_as_it_was(probe: Any) -> Iterator[None]:
    """A probe's own model gets its weights back."""
    if not isinstance(probe, Probe):
        yield
        return
    model = probe.network.model
    places = {name: (t, t.data, t.data.clone()) for name, t in model.state_dict(keep_vars=True).items()}
    modes = {module: module.training for module in model.modules()}
    try:
        yield
    finally:
        for tensor, data, content in places.values():
            data.copy_(content)
            tensor.data = data
        for module, mode in modes.items():
            module.training = mode
