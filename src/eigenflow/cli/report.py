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
    card: Annotated[
        Path | None,
        typer.Option(help="Also write a picture of one run to share, a PNG of 1200 x 630 pixels.", metavar="FILE.png"),
    ] = None,
    force: Force = False,
    follow: Annotated[
        float | None,
        typer.Option(
            min=1,
            max=86_400,
            help="Write the report of a run that goes on anew, every so many seconds, until the run ends or Ctrl-C.",
            metavar="SECONDS",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the written paths as a JSON list.")] = False,
) -> None:
    """Write RUN/report.html: one file with every picture, that opens without a network.

    Example: `eigenflow report runs/digits runs/digits-sgd`

    While it trains: `eigenflow report runs/digits --follow 30`
    """
    if follow is not None:
        _follow(runs, out_file, follow, force=force, as_json=as_json)
        return
    from eigenflow.report import analyse, write_report
    from eigenflow.store import open_run

    if out_file is not None and len(runs) > 1:
        raise ArgumentError(f"`--out` takes one report, but {len(runs)} runs are given. Report them one by one.")
    sweeps = [run for run in runs if is_sweep(run)]
    if card is not None and (len(runs) > 1 or sweeps):
        raise ArgumentError("`--card` is of one run. Report runs one by one to make a card of each.")
    opened = [open_run(run) for run in runs if run not in sweeps]  # a wrong folder is noticed before any work
    check_outputs({"--out": out_file, "--card": card}, inputs=runs, replace=force)
    if out_file is None:
        for folder in [*sweeps, *(run.path for run in opened)]:
            check_own_file(folder / "report.html")
    written = []
    for sweep in sweeps:
        page, may_replace = out_file or sweep / "report.html", force or out_file is None
        written.append(str(write_page(read_effects(sweep), sweep, page, replace=may_replace)))
    for run in opened:
        with err.status(f"Reporting {run.path}, a few seconds ..."):
            written.append(str(write_report(analyse(run), out_file, replace=force, card=card)))
    if as_json:
        print_json(written)
        return
    for path in written:
        out.print(path, markup=False, soft_wrap=True)


def _follow(runs: list[Path], out_file: Path | None, every_s: float, *, force: bool, as_json: bool) -> None:
    """Report a run while it goes on; what happens is said on stderr."""
    from eigenflow.report.live import follow_report

    if len(runs) > 1 or is_sweep(runs[0]):
        raise ArgumentError("`--follow` takes one run folder. Follow several runs by one command each.")
    check_outputs({"--out": out_file}, inputs=runs, replace=force)

    def say(line: str) -> None:
        err.print(line, markup=False, highlight=False, soft_wrap=True)

    say(
        f"Following {runs[0]} every {every_s:g} s until it ends; Ctrl-C stops. An update takes some processor seconds, "
        f"where something new was recorded."
    )
    found = follow_report(runs[0], out_file, every_s=every_s, say=say)
    if as_json:
        print_json([str(path) for path in [found.path] if path is not None])
    elif found.path is not None:
        out.print(str(found.path), markup=False, soft_wrap=True)
