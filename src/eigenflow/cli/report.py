"""`eigenflow report RUN...`: the HTML report of each run."""

from pathlib import Path
from typing import Annotated

import typer

from eigenflow.cli.console import err, out, print_json
from eigenflow.cli.sweep_report import is_sweep, read_effects, write_page
from eigenflow.cli.writing import Force, check_outputs, check_own_file
from eigenflow.core.errors import ArgumentError

__all__ = ["report"]


def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, or folders of sweeps.", metavar="RUN...")],
    out_file: Annotated[
        Path | None,
        typer.Option("--out", help="Write the report of one run here, not into the run folder.", metavar="FILE"),
    ] = None,
    force: Force = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the written paths as a JSON list.")] = False,
) -> None:
    """Write RUN/report.html: one file with every picture, that opens without a network.

    Example: `eigenflow report runs/digits runs/digits-sgd`
    """
    from eigenflow.report import analyse, write_report
    from eigenflow.store import open_run

    if out_file is not None and len(runs) > 1:
        raise ArgumentError(f"`--out` takes one report, but {len(runs)} runs are given. Report them one by one.")
    sweeps = [run for run in runs if is_sweep(run)]
    opened = [open_run(run) for run in runs if run not in sweeps]  # a wrong folder is noticed before any work
    check_outputs({"--out": out_file}, inputs=runs, replace=force)
    if out_file is None:
        for folder in [*sweeps, *(run.path for run in opened)]:
            check_own_file(folder / "report.html")
    written = []
    for sweep in sweeps:
        page, may_replace = out_file or sweep / "report.html", force or out_file is None
        written.append(str(write_page(read_effects(sweep), sweep, page, replace=may_replace)))
    for run in opened:
        with err.status(f"Reporting {run.path}, a few seconds ..."):
            written.append(str(write_report(analyse(run), out_file, replace=force)))
    if as_json:
        print_json(written)
        return
    for path in written:
        out.print(path, markup=False, soft_wrap=True)
