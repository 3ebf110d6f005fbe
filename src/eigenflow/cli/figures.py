"""`eigenflow figures RUN`: every picture of a run for print."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from eigenflow.cli.console import err, out, print_json
from eigenflow.cli.writing import Force, check_outputs

__all__ = ["figures"]

NAMES = ("loss", "forecast", "eigenvalues", "energy", "drift", "learned", "lazy_rich", "claims", "assertions")


class Format(StrEnum):
    """Kinds of files."""

    pdf = "pdf"
    png = "png"
    svg = "svg"
    eps = "eps"


def figures(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    folder: Annotated[Path, typer.Option("--out", help="Folder for the files; made where it is missing.")],
    kind: Annotated[Format, typer.Option("--format", help="Kind of file; png has 300 pixels an inch.")] = Format.pdf,
    columns: Annotated[
        int, typer.Option(min=1, max=2, help="Columns of a page that a picture takes: 3.3 or 6.9 inches.")
    ] = 1,
    force: Force = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print files, and why others are missing, as JSON.")] = False,
) -> None:
    """Write every picture of RUN for print: 8 pt, fonts embedded, colours for colour-blind readers, one file each.

    Example: `eigenflow figures runs/digits --out figures --format pdf --columns 1`
    """
    from eigenflow.report.publication import write_figures
    from eigenflow.report.summary import analyse
    from eigenflow.store import open_run

    opened = open_run(run)
    if folder.is_dir():
        for name in NAMES:
            check_outputs({"--out": folder / f"{name}.{kind}"}, inputs=[run], replace=force)
    with err.status("Analysing and drawing, a few seconds ..."):
        found = write_figures(analyse(opened), folder, kind=kind.value, columns=columns, replace=force)
    if as_json:
        print_json({"files": {name: str(path) for name, path in found.files.items()}, "left_out": found.left_out})
        return
    for path in found.files.values():
        out.print(path, markup=False, soft_wrap=True)
    for name, why in found.left_out.items():
        err.print(f"left out: {name}: {why}", markup=False, soft_wrap=True)
