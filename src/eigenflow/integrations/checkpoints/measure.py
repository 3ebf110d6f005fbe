"""A record of the checkpoints that a run has left: found, read, measured one by one or side by side, and recorded."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import nn

from eigenflow.core.checks import check_kind, check_whole
from eigenflow.core.errors import ArgumentError, EigenflowError, ModelError, RunFolderError
from eigenflow.integrations.checkpoints.bench import Bench, Outcome, Recipe, measure_in_worker
from eigenflow.integrations.checkpoints.listing import Listed, Listing, list_checkpoints
from eigenflow.integrations.checkpoints.result import CheckpointCost, CheckpointPlan, CheckpointRecord, LeftOutRow
from eigenflow.store import open_run
from eigenflow.tangent import Probe
from eigenflow.tangent.cost import product_flops
from eigenflow.trajectory import StateRecorder
from eigenflow.trajectory.methods import make_method

__all__ = ["measure_checkpoints", "plan_checkpoints"]

# Called with what is done, how many there are, how many were measured, and seconds left.
Progress = Callable[[int, int, int, float], None]
# Products a mode that finding the leading modes takes, from cold, as timed on small transformers.
PRODUCTS_A_MODE = 6
# What the record has to be of the same to be gone on with.
SAME = ("checkpoints", "model", "entry", "unit", "clock", "base")


@dataclass(frozen=True)
class _Work:
    listing: Listing
    bench: Bench
    recipe: Recipe
    config: dict[str, Any]
    modes: int
    method: Any
    tolerance: float


def plan_checkpoints(
    checkpoints: str | Path | Sequence[str | Path],
    model: str | Callable[[], nn.Module] | nn.Module | None,
    probe: Any,
    *,
    modes: int | None = 64,
    method: str = "auto",
    loss: Any = None,
    output: Any = None,
    entry: str | None = None,
    dtype: torch.dtype = torch.float64,
    memory_budget: int | None = None,
) -> CheckpointPlan:
    """Say what `measure_checkpoints` would do with the same arguments, and what it would cost.

    Raises:
        ArgumentError, FileError, ModelError: As `measure_checkpoints`.
    """
    work = _work(checkpoints, model, probe, modes, method, 1e-5, loss, output, entry, dtype, memory_budget)
    return _plan(work)


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
    dtype: torch.dtype = torch.float64,
    memory_budget: int | None = None,
    jobs: int = 1,
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
            `path/to/file.py:factory`; a module, which is copied; None: from `config.json` of Hugging Face.
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
        dtype: Type in which everything is evaluated.
        memory_budget: Bytes that a measurement may hold.
        jobs: Processes; each holds a model and a probe, and computes on one thread.
        announce: Called with what will be done and its cost, before it is done.
        progress: Called with (done, in all, measured, seconds left) after every checkpoint.

    Raises:
        FileError: If a path does not exist.
        ArgumentError: If there is no checkpoint, an argument is wrong, or a function of the user fails.
        ModelError: If the model cannot be measured as it is.
        RunFolderError: If `out` holds the record of other checkpoints.
        EigenflowError: If the system ends a process.
    """
    check_whole("jobs", jobs, 1, 4096, "number of processes")
    if isinstance(probe, Probe) and jobs > 1:
        raise ArgumentError(
            "`probe` is a Probe, which stays in its process. Pass `jobs=1`, or a function that makes it."
        )
    with _left_as_it_was(probe):
        work = _work(checkpoints, model, probe, modes, method, tolerance, loss, output, entry, dtype, memory_budget)
        if announce is not None:
            announce(_plan(work))
        return _measured(work, Path(out), jobs, progress)


def _work(
    checkpoints: Any,
    model: Any,
    probe: Any,
    modes: int | None,
    method: Any,
    tolerance: float,
    loss: Any,
    output: Any,
    entry: str | None,
    dtype: torch.dtype,
    memory_budget: int | None,
) -> _Work:
    check_kind("entry", entry, (str, type(None)), "the name of a part of the checkpoints, such as 'ema'")
    if isinstance(probe, Probe) and model is not None:
        raise ArgumentError("`model` must be None with a Probe, which has its own.")
    listing = list_checkpoints(checkpoints)
    found = [one.found for one in listing.checkpoints]
    folder = next((one.path for one in found if (one.path / "config.json").is_file()), _first_folder(checkpoints))
    adapter = next((one.path for one in found if one.kind == "adapter"), None)
    recipe = Recipe(model, folder, adapter, probe, loss, output, entry, dtype, memory_budget)
    if not found:
        raise ArgumentError(f"`checkpoints` holds none that can be read. {_why_none(listing)}")
    bench = Bench(recipe)
    told = [checkpoints] if isinstance(checkpoints, str | Path) else list(checkpoints)
    config = {
        "name": f"checkpoints of {Path(str(told[0])).name}",
        "checkpoints": [str(one) for one in told],
        "model": {"name": _named(model, bench)},
        "probe": bench.told,
        "entry": entry,
        "unit": listing.unit,
        "clock": "learning rates" if _has_times(listing) else listing.unit,
        "clock_told": listing.clock,
        "base": bench.base,
    }
    size = bench.probe.size
    return _Work(listing, bench, recipe, config, size if modes is None else min(modes, size), method, tolerance)


def _first_folder(checkpoints: Any) -> Path:
    first = Path(str(checkpoints if isinstance(checkpoints, str | Path) else next(iter(checkpoints), ".")))
    return first if first.is_dir() else first.parent


def _why_none(listing: Listing) -> str:
    if not listing.left_out:
        return "No file looks like one: .safetensors, .pt, .pth, .ckpt, .bin, or a folder with .metadata."
    path, _, reason = listing.left_out[0]
    more = len(listing.left_out) - 1
    return f"'{path.name}': {reason}.{f' And {more} more.' if more else ''}"


def _named(model: Any, bench: Bench) -> str:
    return model if isinstance(model, str) else type(bench.model).__name__


def _has_times(listing: Listing) -> bool:
    return bool(listing.checkpoints) and all(one.time is not None for one in listing.checkpoints)


def _plan(work: _Work) -> CheckpointPlan:
    probe, count = work.bench.probe, len(work.listing.checkpoints)
    dense = probe.cost(drift=False)
    parameters = probe.network.parameters()
    is_dense = make_method(work.method, probe, work.modes).name == "dense"
    products = PRODUCTS_A_MODE * work.modes * product_flops(probe.structure, parameters, probe.samples)
    cost = CheckpointCost(
        checkpoints=count,
        flops=count * (dense.flops if is_dense else products),
        peak_bytes=dense.peak_bytes if is_dense else 8 * 4 * work.modes * probe.size,
        read_bytes=sum(one.bytes for one in work.listing.checkpoints),
        rows=probe.size,
        parameters=sum(p.numel() for p in parameters.values()),
    )
    return CheckpointPlan(work.listing, cost, probe, work.listing.notes + work.bench.notes)


def _measured(work: _Work, out: Path, jobs: int, progress: Progress | None) -> CheckpointRecord:
    begin = perf_counter()
    _require_same_record(out, work.config)
    listing, has_times = work.listing, _has_times(work.listing)
    outcomes: list[tuple[Listed, Outcome]] = []
    recorder = StateRecorder(
        out,
        work.bench.probe,
        modes=work.modes,
        method=work.method,
        tolerance=work.tolerance,
        config=work.config,
        resume=True,
    )
    with recorder:
        kept = set(recorder.steps)
        late = [one for one in listing.checkpoints if one.step not in kept and kept and one.step < max(kept)]
        todo = [one for one in listing.checkpoints if one.step not in kept and one not in late]
        for one, outcome in _each(work, recorder.settings, todo, jobs):
            outcomes.append((one, outcome))
            if outcome.base != work.bench.base:
                raise ModelError(
                    "`model` gives other weights at every call, and the adapters do not hold them. Load the base from "
                    "a file in the factory."
                )
            if outcome.measurement is None:
                recorder.skip(one.step, f"{one.found.path.name}: {outcome.reason}")
            else:
                recorder.append(
                    one.step,
                    outcome.measurement,
                    time=one.time if has_times else None,
                    learning_rate=one.learning_rate,
                    loss=one.loss,
                    checkpoint=one.found.path.name,
                )
            if progress is not None:
                done, spent = len(outcomes), perf_counter() - begin
                measured = sum(o.measurement is not None for _, o in outcomes)
                progress(done, len(todo), measured, spent / done * (len(todo) - done))
        for path, step, reason in listing.left_out:
            if step is not None and step not in recorder.steps:
                recorder.skip(step, f"{path.name}: {reason}")
        steps = recorder.steps
    return _record(work, out, outcomes, late, kept, steps, perf_counter() - begin)


def _each(work: _Work, settings: dict[str, Any], todo: Sequence[Listed], jobs: int) -> Iterator[tuple[Listed, Outcome]]:
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


def _require_same_record(out: Path, config: dict[str, Any]) -> None:
    """Refuse to go on with the record of other checkpoints."""
    if not out.is_dir() or not any(out.iterdir()):
        return
    run = open_run(out)
    before = run.header.get("config")
    if not isinstance(before, dict) or "checkpoints" not in before:
        raise RunFolderError(f"`out` is '{out}', which holds another run. Give a new folder.")
    for name in SAME:
        if before.get(name) != config.get(name):
            raise RunFolderError(
                f"`out` is '{out}', which was measured with {name}={before.get(name)!r}, and would go on with "
                f"{config.get(name)!r}. Give a new folder."
            )


def _record(
    work: _Work,
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
