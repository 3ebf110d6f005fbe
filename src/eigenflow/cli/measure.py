"""`eigenflow measure`: a record of the checkpoints that a run has left."""

import shlex
import sys
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from eigenflow.cli.console import err, out, print_json
from eigenflow.core.errors import ArgumentError
from eigenflow.core.writing import FORMAT

if TYPE_CHECKING:
    from eigenflow.integrations.checkpoints import CheckpointPlan

__all__ = ["measure"]

# Seconds between lines of progress where no person looks.
EVERY_S = 10.0


def measure(
    more: Annotated[
        list[str] | None,
        typer.Argument(
            help="More checkpoints, as where a shell spells a pattern out.", metavar="[PATH]...", show_default=False
        ),
    ] = None,
    checkpoints: Annotated[
        list[str] | None,
        typer.Option("--checkpoints", "-c", help="Folder of files or of folders, a file, or a pattern.", metavar="DIR"),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            help="Function without arguments that returns the model: module:factory, or file.py:factory. Without it: "
            "from config.json of Hugging Face.",
            metavar="FACTORY",
        ),
    ] = None,
    probe: Annotated[
        str | None,
        typer.Option(
            "--probe",
            help="File (.safetensors, .npz, .pt) with inputs and targets, or a batch with labels; or module:function.",
            metavar="FILE",
        ),
    ] = None,
    modes: Annotated[int, typer.Option("--modes", min=1, help="Largest modes to store one by one.")] = 64,
    loss: Annotated[
        str | None,
        typer.Option(
            "--loss", help="mse, half_mean, half_sum, sum_squares, cross_entropy. Default: as the targets are."
        ),
    ] = None,
    output: Annotated[
        str | None, typer.Option("--output", help="Which of the model's outputs the loss sees: a key or a number.")
    ] = None,
    entry: Annotated[
        str | None, typer.Option("--entry", help="Which part of the checkpoints to take, such as ema.")
    ] = None,
    updates_per_epoch: Annotated[
        int | None, typer.Option("--updates-per-epoch", min=1, help="Where checkpoints tell epochs alone.", metavar="N")
    ] = None,
    log: Annotated[
        Path | None,
        typer.Option("--log", help="Log of the training with learning rates: time is their sum then.", metavar="FILE"),
    ] = None,
    method: Annotated[
        Literal["auto", "dense", "tracked"], typer.Option("--method", help="How the modes are found.")
    ] = "auto",
    dtype: Annotated[Literal["float64", "float32"], typer.Option("--dtype", help="Arithmetic.")] = "float64",
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", min=1, help="Processes, each with one thread and one model.")
    ] = 1,
    out_folder: Annotated[
        Path | None,
        typer.Option(
            "--out", help="Run folder; one that was cut off is gone on with. Default: runs/NAME.", metavar="RUN"
        ),
    ] = None,
    timeout_s: Annotated[
        float, typer.Option("--timeout", help="Under torchrun: seconds to wait for the other processes.", metavar="S")
    ] = 600.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List checkpoints, steps and cost, and stop.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was measured (or the list) as JSON.")] = False,
) -> None:
    """Measure every checkpoint that a run has left: spectra, energies, how they move, and the test side.

    Example: `eigenflow measure --checkpoints out/ --model train:build --probe batch.safetensors --out runs/a`

    Many processes, each with a part of the probe: `torchrun --nproc-per-node 2 -m eigenflow measure ...`
    """
    import torch

    from eigenflow.integrations.checkpoints import measure_checkpoints, plan_checkpoints
    from eigenflow.integrations.distributed import processes

    paths = [*(checkpoints or []), *(more or [])]
    if not paths or probe is None:
        missing = "`--checkpoints`" if not paths else "`--probe`"
        raise ArgumentError(f"{missing} is needed. See `eigenflow measure --help` for an example.")
    settings = {
        "modes": modes,
        "method": method,
        "loss": loss,
        "output": int(output) if output is not None and output.lstrip("-").isdigit() else output,
        "entry": entry,
        "updates_per_epoch": updates_per_epoch,
        "log": log,
        "dtype": getattr(torch, dtype),
    }
    if dry_run:
        _show_plan(plan_checkpoints(paths, model, probe, **settings), as_json=as_json)
        return
    folder = out_folder or Path("runs") / (Path(paths[0]).resolve().name.strip("*?[]") or "checkpoints")
    told = _Told()
    try:
        with processes(timeout_s) as (spread, is_first):
            speaking = {"announce": _state_cost, "progress": told.show} if is_first else {}
            record = measure_checkpoints(paths, model, probe, folder, **settings, jobs=jobs, spread=spread, **speaking)
    except KeyboardInterrupt:
        again = shlex.join(["eigenflow", *sys.argv[1:]])
        err.print(f"Interrupted. What was measured stays; go on with: {again}", markup=False, soft_wrap=True)
        raise
    if not is_first:
        return
    if as_json:
        print_json({"format": FORMAT} | record.to_dict())
    else:
        out.print(repr(record), markup=False, highlight=False, soft_wrap=True)
        out.print(f"Report: eigenflow report {shlex.quote(str(folder))}", markup=False, soft_wrap=True)
    if not record.steps:
        raise typer.Exit(1)


def _state_cost(plan: "CheckpointPlan") -> None:
    err.print(plan.cost.summary(), markup=False, soft_wrap=True)


def _show_plan(plan: "CheckpointPlan", *, as_json: bool) -> None:
    if as_json:
        print_json({"format": FORMAT} | plan.to_dict())
        return
    unit = plan.listing.unit[:-1]
    for one in plan.listing.checkpoints:
        line = (
            f"{unit} {one.step:>9,}  {one.found.path.name}: {one.format}, {one.bytes:,} bytes, step from {one.source}"
        )
        out.print(line, markup=False, highlight=False, soft_wrap=True)
    for path, step, reason in plan.listing.left_out:
        where = "" if step is None else f" ({unit} {step:,})"
        out.print(f"left out  {path.name}{where}: {reason}", markup=False, highlight=False, soft_wrap=True)
    for note in (f"time: {plan.listing.clock}", *plan.notes, repr(plan.probe), plan.cost.summary()):
        out.print(note, markup=False, highlight=False, soft_wrap=True)


class _Told:
    """Lines on stderr, one at the first and the last checkpoint and at most one in a while between."""

    def __init__(self) -> None:
        self._last = -EVERY_S

    def show(self, done: int, total: int, measured: int, left_s: float) -> None:
        """Say how far it is, if it is time to."""
        if done < total and monotonic() - self._last < EVERY_S and not err.is_terminal:
            return
        self._last = monotonic()
        left = "" if done == total else f", about {left_s:.0f} s left"
        err.print(f"{done} of {total} checkpoints, {measured} measured{left}", markup=False, highlight=False)
