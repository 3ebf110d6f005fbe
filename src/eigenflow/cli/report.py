"""`eigenflow report RUN...`: the HTML report of each run."""

from pathlib import Path
from typing import Annotated

import typer

from eigenflow.cli.console import err, out, print_json

__all__ = ["report"]


def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders.", metavar="RUN...")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the written paths as a JSON list.")] = False,
) -> None:
    """Write RUN/report.html: one file with every picture, that opens without a network.

    Example: `eigenflow report runs/digits runs/digits-sgd`
    """
    from eigenflow.report import analyse, write_report
    from eigenflow.store import open_run

    opened = [open_run(run) for run in runs]  # a wrong folder is noticed before any work
    written = []
    for run in opened:
        with err.status(f"Reporting {run.path}, a few seconds ..."):
            written.append(str(write_report(analyse(run))))
    if as_json:
        print_json(written)
        return
    for path in written:
        out.print(path, markup=False, soft_wrap=True)
