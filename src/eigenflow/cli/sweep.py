"""`eigenflow sweep CONFIG`: many runs, wherever there is room for them."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eigenflow.cli.console import err, out, print_json
from eigenflow.cli.long_work import stated_only
from eigenflow.core.writing import FORMAT

if TYPE_CHECKING:
    from eigenflow.lab.sweep import SweepOutcome

__all__ = ["sweep"]

RESULTS = "results.zarr"


def sweep(
    config: Annotated[
        str, typer.Argument(help="TOML file with a part [sweep], or the name of a shipped sweep: width.")
    ],
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="Change one key: section.key=value.", metavar="A.B=C")
    ] = None,
    out_folder: Annotated[
        Path | None,
        typer.Option("--out", help="The sweep's folder: new, or to go on with. Default: runs/NAME.", metavar="DIR"),
    ] = None,
    engine: Annotated[str | None, typer.Option("--engine", help="local, ray or submitit.")] = None,
    address: Annotated[
        str | None, typer.Option("--address", help="Of a Ray cluster: auto, ray://host:10001. Implies --engine ray.")
    ] = None,
    jobs: Annotated[int | None, typer.Option("--jobs", min=1, help="Runs at once.")] = None,
    retries: Annotated[
        int | None, typer.Option("--retries", min=0, help="How often a run is begun again whose process died.")
    ] = None,
    results: Annotated[
        str | None,
        typer.Option("--results", help="Where the dataset goes: a folder or a URL (s3://, gs://, az://, file://)."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="State runs and cost, and stop.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome (or cost) as JSON.")] = False,
) -> None:
    """Make every run of a sweep that is not done yet, and gather all numbers in one dataset.

    The same line goes on with a sweep that was cut off.

    Example: `eigenflow sweep width --set sweep.repeats=2 --jobs 2`
    """
    from eigenflow.cli.sweep_progress import sweep_progress
    from eigenflow.lab.sweep import estimate_sweep, load_sweep, make_sweep, prepare_sweep
    from eigenflow.theory.over_sweep import open_sweep, sweep_dataset, write_results

    settings = load_sweep(config, [*(changes or []), *_given(engine, address, jobs, retries)])
    folder = out_folder or Path("runs") / settings.name
    work = prepare_sweep(settings, folder)
    if stated_only(settings.name, settings, estimate_sweep(work), dry_run=dry_run, as_json=as_json):
        return
    if settings.sweep.engine.name != "local":
        err.print(f"`{folder}` must lie where every machine that makes runs sees it.", markup=False, soft_wrap=True)
    try:
        with sweep_progress(work) as show:
            outcome = make_sweep(work, progress=show.ended, started=show.started)
    except KeyboardInterrupt:
        given = [config, *(word for change in changes or [] for word in ("--set", change)), "--out", str(folder)]
        again = shlex.join(["eigenflow", "sweep", *given])
        err.print(f"Interrupted. What was recorded stays; go on with: {again}", markup=False, soft_wrap=True)
        raise
    with err.status("Gathering the numbers of all runs ..."):
        data = sweep_dataset(open_sweep(folder))
        place = results or folder / RESULTS
        write_results(data, place)
    if as_json:
        print_json(_summary(outcome, str(place)))
    else:
        _print(outcome, str(place))
    if outcome.failed:
        sys.exit(1)


def _given(engine: str | None, address: str | None, jobs: int | None, retries: int | None) -> Sequence[str]:
    """Options as changes of the sweep's own keys."""
    name = engine or ("ray" if address is not None else None)
    values = {"name": name, "address": address, "jobs": jobs, "retries": retries}
    return [f"sweep.engine.{key}={value}" for key, value in values.items() if value is not None]


def _summary(outcome: "SweepOutcome", place: str) -> dict[str, object]:
    return {
        "format": FORMAT,
        "sweep": outcome.work.plan.config.name,
        "folder": str(outcome.work.folder.path),
        "results": place,
        "runs": len(outcome.work.states),
        "done": outcome.done,
        "made_now": [one.name for one in outcome.outcomes if one.is_done],
        "failed": outcome.failed,
        "wall_s": outcome.wall_s,
    }


def _print(outcome: "SweepOutcome", place: str) -> None:
    folder = outcome.work.folder.path
    made = sum(one.is_done for one in outcome.outcomes)
    out.print(f"{outcome.done} of {len(outcome.work.states)} runs are done, {made} of them now.", highlight=False)
    for name, error in outcome.failed.items():
        out.print(f"failed: {name}: {error}", markup=False, soft_wrap=True, highlight=False)
    if outcome.failed:
        where = folder / "failures"
        out.print(
            f"The same line tries these again, but for runs that diverged. More in {where}.",
            markup=False,
            soft_wrap=True,
        )
    out.print(f"Dataset: {place}\nNext:    eigenflow report {folder}", markup=False, soft_wrap=True)
