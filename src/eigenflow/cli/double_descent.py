"""`eigenflow double-descent [CONFIG]`: test risk over width, samples and time, measured, and the theory beside it."""

import shlex
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eigenflow.cli.console import err, number, out, print_json
from eigenflow.cli.progress import training_progress
from eigenflow.core.writing import FORMAT, write_whole

if TYPE_CHECKING:
    import xarray as xr
    from rich.table import Table

    from eigenflow.theory.double_descent.comparison import DoubleDescentComparison
    from eigenflow.theory.double_descent.measured import Ranged

__all__ = ["double_descent"]

DATA = {"networks": "networks.nc", "features": "features.nc"}
PICTURES = ("maps.png", "curves.png")
SUMMARY = "summary.json"


def double_descent(
    config: Annotated[
        str | None,
        typer.Argument(help="TOML file, or the name of a shipped measurement: digits, classes."),
    ] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="Change one key: section.key=value.", metavar="A.B=C")
    ] = None,
    out_folder: Annotated[
        Path | None, typer.Option("--out", help="Folder, new or empty. Default: runs/NAME.", metavar="DIR")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a measurement that was cut off.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="State the cost and stop.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary (or cost) as JSON.")] = False,
) -> None:
    """Measure test risk over width, samples and time, and say what drift and rotation of the kernel do to its peaks.

    Example: `eigenflow double-descent --set task.seeds=3 --out runs/peaks`
    """
    from dataclasses import asdict

    from eigenflow.lab.double_descent import estimate_study, load_double_descent, measure_surfaces
    from eigenflow.theory.double_descent.comparison import compare_measured

    begin = perf_counter()
    settings = load_double_descent(config, changes)
    folder = out_folder or Path("runs") / settings.name
    cost = estimate_study(settings)
    err.print(f"{settings.name}: {cost.summary()}", markup=False, soft_wrap=True)
    if dry_run:
        if as_json:
            print_json({"config": settings.model_dump(), "cost": asdict(cost)})
        return
    try:
        with training_progress(cost.share_done) as show:
            networks, features = measure_surfaces(settings, folder, resume=resume, progress=show)
    except KeyboardInterrupt:
        again = _again(config, changes, folder)
        err.print(f"Interrupted. What was measured stays; go on with: {again}", markup=False, soft_wrap=True)
        raise
    measured_s = perf_counter() - begin
    with err.status("Putting the theory beside it ..."):
        comparison = compare_measured(networks, features)
        summary = {"format": FORMAT, "config": settings.model_dump(), **comparison.summary()}
        summary["wall_s"] = {"measure": measured_s, "all": perf_counter() - begin}
        paths = _write(folder, settings.name, networks, features, comparison, summary)
    summary["files"] = [str(path) for path in paths]
    if as_json:
        print_json(summary)
        return
    _print(comparison)
    for path in paths:
        out.print(str(path), markup=False, soft_wrap=True)


def _write(
    folder: Path,
    name: str,
    networks: "xr.Dataset | None",
    features: "xr.Dataset | None",
    comparison: "DoubleDescentComparison",
    summary: dict[str, Any],
) -> list[Path]:
    """Write datasets, pictures and the summary, each as a whole, the summary last."""
    import json

    from eigenflow.cli.double_descent_figures import curves_figure, maps_figure
    from eigenflow.plots.file import picture_bytes

    contents: dict[str, bytes] = {}
    for kind, data in (("networks", networks), ("features", features)):
        if data is not None:
            contents[DATA[kind]] = bytes(data.to_netcdf(engine="scipy"))
    figures = maps_figure(networks, features, name), curves_figure(comparison, networks, features, name)
    for file, figure in zip(PICTURES, figures, strict=True):
        contents[file] = picture_bytes(figure, "png")
    contents[SUMMARY] = (json.dumps(summary, allow_nan=False, indent=2) + "\n").encode()
    return [write_whole(folder / file, content) for file, content in contents.items()]


def _print(comparison: "DoubleDescentComparison") -> None:
    for control in comparison.controls:
        out.print(f"control, {control.passed} of {control.of}: {control.statement}", markup=False)
    table = peaks_table(comparison)
    if table.row_count:
        out.print(table)
    readouts = [row for row in comparison.features if row.deviation is not None]
    if readouts:
        rms = sorted(row.deviation for row in readouts if row.deviation is not None)
        out.print(
            f"random features: ln(measured / deterministic equivalent) away from the threshold has a root mean square of "
            f"{number(rms[len(rms) // 2], 2)} in the median of {len(rms)} curves, at most {number(rms[-1], 2)}",
            markup=False,
            soft_wrap=True,
        )
    if comparison.closure is not None:
        out.print(
            f"networks: drift and rotation together give every measured risk back within {comparison.closure:.1%}",
            markup=False,
            soft_wrap=True,
        )


def peaks_table(comparison: "DoubleDescentComparison") -> "Table":
    """Peaks of networks in width and samples, at the end of training; in time only curves that may have one."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    title = "Excess test risk of networks at its peak: measured, and factors that drift and rotation put on it"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for column, justify in (
        ("curve", "left"),
        ("threshold", "right"),
        ("peak", "left"),
        ("at", "right"),
        ("height", "right"),
        ("lazy at", "right"),
        ("drift", "right"),
        ("rotation", "right"),
    ):
        table.add_column(column, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    for row in comparison.networks:
        if row.moves is None:
            table.add_row(row.name, number(row.threshold), row.reason)
            continue
        curves = row.moves.curves
        measured, lazy = curves["measured"], curves["lazy"]
        if row.axis == "time" and all(curve.verdict == "absent" for curve in curves.values()):
            continue
        shape = measured.verdict if measured.shape == "peak" else f"{measured.verdict}, {measured.shape}"
        table.add_row(
            row.name,
            number(row.threshold),
            shape,
            _told(measured.position),
            _told(measured.height),
            "-" if lazy.position is None else number(lazy.position[0]),
            _factor(row.moves.height["drift"]),
            _factor(row.moves.height["rotation"]),
        )
    return table


def _told(value: "Ranged | None") -> str:
    from rich.markup import escape

    return "-" if value is None else escape(f"{number(value[0])} [{number(value[1], 2)}, {number(value[2], 2)}]")


def _factor(logs: "Ranged") -> str:
    from math import exp

    return _told((exp(logs[0]), exp(logs[1]), exp(logs[2])))


def _again(config: str | None, changes: list[str] | None, folder: Path) -> str:
    """The command line that goes on with this one."""
    given = [*([config] if config else []), *(word for change in changes or [] for word in ("--set", change))]
    return shlex.join(["eigenflow", "double-descent", *given, "--out", str(folder), "--resume"])
