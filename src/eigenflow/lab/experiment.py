"""An experiment from its configuration to a finished run folder, resumable at any moment."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from eigenflow.core.errors import RunFolderError
from eigenflow.core.grid import log_steps
from eigenflow.lab.config import ExperimentConfig
from eigenflow.lab.models import build_model
from eigenflow.lab.rates import parameter_groups
from eigenflow.lab.tasks import load_task
from eigenflow.lab.trainer import Trainer
from eigenflow.store import Run, open_run
from eigenflow.tangent import Probe
from eigenflow.trajectory import Recorder
from eigenflow.trajectory.header import pack_state, read_state

__all__ = ["ExperimentCost", "build_experiment", "config_differences", "estimate_cost", "run_experiment"]

CHECKPOINT = "checkpoint.safetensors"
# What a measured step costs, in seconds and in eigenproblems of its size: two are solved; M and Mdot are formed at two
# instants, held against plain reverse mode, and turned into the eigenbases. Likewise analysis and report, once and for
# each measurement. Timed on the shipped experiments with 300 to 1,000 rows.
MEASUREMENT_S, MEASUREMENT_EIGENPROBLEMS = 0.5, 5.0
ANALYSIS_S, ANALYSIS_EIGENPROBLEMS = 9.0, 0.5
LARGEST_TIMED = 1000

Progress = Callable[[int, int, int], None]


@dataclass(frozen=True)
class ExperimentCost:
    """What an experiment will take on this machine.

    Attributes:
        train_s: Seconds for the updates, from a few timed ones.
        measure_s: Seconds for the measurements, from a timed eigenproblem.
        analyse_s: Seconds for the analysis and the report, from the same.
        peak_bytes: Memory of one measurement.
        rows: Size of the operator, samples * outputs.
        parameters: Trainable parameters.
        measurements: Number of measured steps.
    """

    train_s: float
    measure_s: float
    analyse_s: float
    peak_bytes: int
    rows: int
    parameters: int
    measurements: int

    @property
    def total_s(self) -> float:
        """Seconds in all."""
        return self.train_s + self.measure_s + self.analyse_s

    def share_done(self, steps: int, measured: int, of_steps: int) -> float:
        """Share of training and measuring that is done: measurements come early and cost more than updates."""
        updates = self.train_s * steps / of_steps
        measurements = self.measure_s * min(1.0, measured / max(1, self.measurements))
        return (updates + measurements) / max(self.train_s + self.measure_s, 1e-9)

    def summary(self) -> str:
        """One line for people."""
        return (
            f"{self.parameters:,} parameters, operator of {self.rows:,} rows, {self.measurements} measurements: "
            f"about {self.total_s:.0f} s ({self.train_s:.0f} s training, {self.measure_s:.0f} s measuring, "
            f"{self.analyse_s:.0f} s analysis and report), "
            f"{self.peak_bytes / 2**20:.0f} MiB for the operator"
        )


def estimate_cost(config: ExperimentConfig) -> ExperimentCost:
    """Time a few updates and one eigenproblem, and scale."""
    trainer, probe, schedule = build_experiment(config)
    updates = trainer.updates()
    for _ in islice(updates, 10):  # warm-up
        pass
    start = time.perf_counter()
    timed = sum(1 for _ in islice(updates, 50))
    per_step = (time.perf_counter() - start) / max(1, timed)
    each = _eigenproblem_s(probe.size)
    return ExperimentCost(
        train_s=per_step * config.train.steps,
        measure_s=len(schedule) * (MEASUREMENT_S + MEASUREMENT_EIGENPROBLEMS * each),
        analyse_s=ANALYSIS_S + len(schedule) * ANALYSIS_EIGENPROBLEMS * each,
        peak_bytes=2 * probe.cost().peak_bytes,
        rows=probe.size,
        parameters=sum(p.numel() for p in trainer.model.parameters() if p.requires_grad),
        measurements=len(schedule),
    )


def _eigenproblem_s(size: int) -> float:
    """Seconds for all eigenpairs of a matrix of this size; large ones are scaled up with the cube."""
    small = min(size, LARGEST_TIMED)
    matrix = torch.randn(small, small, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        torch.linalg.eigh(matrix + matrix.T)
        seconds.append(time.perf_counter() - start)
    return min(seconds) * (size / small) ** 3


def run_experiment(
    config: ExperimentConfig, out: str | Path, *, resume: bool = False, progress: Progress | None = None
) -> Run:
    """Train, record, and return the run.

    Args:
        config: The experiment.
        out: Run folder, new or empty; with `resume`, one that was cut off.
        resume: Go on from the folder's last checkpoint instead of starting anew.
        progress: Called as progress(done, total, measured) after every update.

    Returns:
        The finished run.

    Raises:
        RunFolderError: If the folder holds a run and `resume` is not set, or belongs to another config.
        NonFiniteError: If training diverges; what was recorded stays.
    """
    out = Path(out)
    trainer, probe, schedule = build_experiment(config)
    start = _load_checkpoint(trainer, out, config) if resume else None
    updates = trainer.updates(start or 0)
    if not start:
        for _ in islice(updates, config.measure.first):  # beforehand, and not recorded
            pass
    measured = 0
    with _recorder(config, out, trainer, probe, schedule, start) as recorder:
        for update in updates:
            was_measured = recorder.step(
                update.step,
                loss=update.loss,
                learning_rate=trainer.rates,
                momentum=config.train.momentum,
                batch_size=update.batch_size,
            )
            if was_measured:
                measured += 1
                recorder.flush()
                recorder.write_file(CHECKPOINT, pack_state(update.step + 1, trainer.state()))
            if progress is not None:
                progress(update.step + 1, config.train.steps, measured)
    return open_run(out)


def _recorder(
    config: ExperimentConfig, out: Path, trainer: Trainer, probe: Probe, schedule: list[int], start: int | None
) -> Recorder:
    return Recorder(
        out,
        probe,
        schedule,
        modes=config.measure.modes or None,
        method=config.measure.method,
        preconditioner=trainer.optimizer if config.measure.preconditioner else None,
        resume_from=(start or config.measure.first) if start is not None else None,
        on_error="raise",
        config=config.model_dump(),
    )


def build_experiment(config: ExperimentConfig) -> tuple[Trainer, Probe, list[int]]:
    """The trainer of an untouched network, its probe, and the steps that are measured."""
    if config.measure.threads:
        torch.set_num_threads(config.measure.threads)
    task = load_task(config.task)
    model = build_model(*task.sizes, config.model)
    probe = task.probe(model, config.train.loss, holdout=True)
    groups = parameter_groups(model, config)
    trainer = Trainer(model, task.inputs, task.targets_of(config.train.loss)[0], config.train, groups)
    first = config.measure.first
    recorded = log_steps(config.train.steps - first, count=config.measure.count)
    return trainer, probe, [first + int(step) for step in recorded]


def _load_checkpoint(trainer: Trainer, out: Path, config: ExperimentConfig) -> int:
    run = open_run(out)
    changed = config_differences(run.header.get("config"), config)
    if changed:
        raise RunFolderError(
            f"`{out}` holds a run of another configuration, so it cannot be resumed with this one: {changed}. "
            f"Give the configuration of the run (it stands in run.json under `config`), or another folder."
        )
    found = read_state(run, CHECKPOINT)
    if found is None:
        return 0
    step, state = found
    try:
        trainer.load_state(state)
    except (KeyError, ValueError, RuntimeError) as error:
        raise RunFolderError(
            f"`{out / CHECKPOINT}` does not hold this network ({error}). Restore it from a backup, or use another "
            f"folder."
        ) from None
    return step


def config_differences(stored: object, config: ExperimentConfig) -> str:
    """Keys that differ, with both values; keys that the folder's version did not have yet take their defaults."""
    try:
        there, here = (_flat(one.model_dump()) for one in (ExperimentConfig.model_validate(stored), config))
    except ValidationError:
        return "its run.json holds none that this version knows"
    return ", ".join(f"{key} is {there[key]!r} there and {here[key]!r} here" for key in here if there[key] != here[key])


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
