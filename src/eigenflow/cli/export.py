"""`eigenflow export RUN`: what was recorded, for other programs."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from eigenflow.cli.console import err, out, print_json
from eigenflow.cli.writing import Force

__all__ = ["export"]


class Format(StrEnum):
    """Kinds of files."""

    csv = "csv"
    parquet = "parquet"
    netcdf = "netcdf"


def export(
    run: Annotated[Path, typer.Argument(help="Run folder; it may still be written.")],
    place: Annotated[
        Path, typer.Option("--out", help="Folder for the tables, made where it is missing; for netcdf a file.")
    ],
    kind: Annotated[
        Format, typer.Option("--format", help="Tables as csv or parquet, or one netcdf file.")
    ] = Format.csv,
    force: Force = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print files, rows and bytes as JSON.")] = False,
) -> None:
    """Write losses and measurements of RUN for other programs: long tables (CSV, Parquet), or one netCDF file.

    Every number keeps all its digits, and its unit. Example:
    `eigenflow export runs/digits --out tables --format parquet`
    """
    from eigenflow.core.writing import FORMAT
    from eigenflow.store import export_run, open_run, record_size

    opened = open_run(run)
    with err.status("Reading and writing ..."):
        made = export_run(opened, place, kind.value, replace=force)
    size = record_size(run)
    if as_json:
        record = {"files": size.files, "content_bytes": size.content_bytes, "disk_bytes": size.disk_bytes}
        files = [str(path) for path in made.files]
        print_json(
            {"format": FORMAT, "status": opened.status, "files": files, "rows": dict(made.rows)}
            | {"content_bytes": made.content_bytes, "record": record}
        )
        return
    for path in made.files:
        out.print(path, markup=False, soft_wrap=True)
    steps = len(opened.measured_steps)
    err.print(
        f"{made.content_bytes / 1e6:,.2f} MB written. The record of {steps:,} measurements: {size}.", markup=False
    )
    if opened.status != "complete":
        err.print(f"The run is {opened.status}: this is what it held when it was opened.", markup=False)
