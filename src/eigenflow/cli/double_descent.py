"""`eigenflow double-descent [CONFIG]`: test risk over width, samples and time, measured, and the theory beside it."""

from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eigenflow.cli.console import WIDE, err, number, out, print_json
from eigenflow.cli.long_work import resumable, stated_only
from eigenflow.cli.progress import training_progress
from eigenflow.core.writing import FORMAT, write_whole

if TYPE_CHECKING:
    import xarray as xr
    from rich.table import Table

    from eigenflow.theory.double_descent.measured.comparison import DoubleDescentComparison, NetworksRow
    from eigenflow.theory.double_descent.measured.peaks_over_seeds import Ranged

__all__ = ["double_descent"]

DATA = {"networks": "networks.nc", "features": "features.nc"}
PICTURES = ("maps.png", "curves.png")
SUMMARY = "summary.json"
# Short names in the table.
NAMES = {"samples": "n", "width": "w"}


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
    from eigenflow.lab.double_descent import estimate_study, load_double_descent, measure_surfaces
    from eigenflow.theory.double_descent.measured.comparison import compare_measured
    from eigenflow.theory.double_descent.measured.judging import peak_rows

    begin = perf_counter()
    settings = load_double_descent(config, changes)
    folder = out_folder or Path("runs") / settings.name
    cost = estimate_study(settings)
    if stated_only(settings.name, settings, cost, dry_run=dry_run, as_json=as_json):
        return
    with resumable("double-descent", config, changes, folder), training_progress(cost.share_done) as show:
        networks, features = measure_surfaces(settings, folder, resume=resume, progress=show)
    measured_s = perf_counter() - begin
    with err.status("Putting the theory beside it ..."):
        comparison = compare_measured(networks, features)
        rows = peak_rows(comparison)
        summary = {"format": FORMAT, "config": settings.model_dump(), **comparison.summary()}
        summary["claims"] = [row.to_dict() for row in rows]
        summary["wall_s"] = {"measure": measured_s, "all": perf_counter() - begin}
        paths = _write(folder, settings.name, networks, features, comparison, summary)
    summary["files"] = [str(path) for path in paths]
    if as_json:
        print_json(summary)
        return
    _print(comparison)
    for row in rows if comparison.networks else []:
        out.print(f"{row.claim}: {row.told}; {row.statement}", markup=False, soft_wrap=True)
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
        out.print(
            "Drift and rotation put these factors on the lazy risk, at the place of the measured peak (else of the "
            "first predicted one); their product is measured over lazy."
            + ("" if out.width >= WIDE else " A star: the 90 % interval holds no 1."),
            markup=False,
        )
    readouts = [row for row in comparison.features if row.deviation is not None]
    if readouts:
        rms = sorted(row.deviation for row in readouts if row.deviation is not None)
        out.print(
            f"random features: ln(measured / deterministic equivalent) away from the threshold has a root mean square "
            f"of {number(rms[len(rms) // 2], 2)} in the median of {len(rms)} curves, at most {number(rms[-1], 2)}",
            markup=False,
            soft_wrap=True,
        )
    if comparison.closure is not None:
        out.print(f"networks: the kernel as it moved {comparison.miss}", markup=False, soft_wrap=True)


def peaks_table(comparison: "DoubleDescentComparison") -> "Table":
    """Peaks of networks at the end of training, over width and over samples; over time only where there may be one."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    is_wide = out.width >= WIDE
    table = Table(
        title="Peaks of the test risk of networks",
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1) if is_wide else (0, 1, 0, 0),
    )
    table.add_column("curve", no_wrap=True)
    table.add_column("peak", no_wrap=True)
    for head in ("threshold", "at", "risk", "lazy at", "lazy risk", "drift", "rotation"):
        if is_wide or not head.startswith("lazy"):  # the table fits 80 columns
            table.add_column(head, justify="right", no_wrap=True)
    last = ""
    for row in comparison.networks:
        if row.axis == "time" and not _may_have_a_peak(row):
            continue
        if row.axis != last:
            table.add_row(f"[italic]over {row.axis}[/]")
            last = row.axis
        where = "  " + ", ".join(f"{NAMES.get(name, name)} {number(value)}" for name, value in row.where.items())
        if row.moves is None:
            table.add_row(where, "unknown", number(row.threshold, 4))
            continue
        measured, lazy = row.moves.curves["measured"], row.moves.curves["lazy"]
        place = int(abs(measured.places - row.moves.place).argmin())
        of_lazy = [_told(lazy.position, is_wide), number(float(lazy.mean[place]))] if is_wide else []
        table.add_row(
            where,
            measured.verdict if measured.shape == "peak" else measured.shape,
            number(row.threshold, 4),
            _told(measured.position, is_wide),
            number(float(measured.mean[place])),
            *of_lazy,
            *(_factor(row.moves.height[name], is_wide) for name in ("drift", "rotation")),
        )
    return table


def _may_have_a_peak(row: "NetworksRow") -> bool:
    return row.moves is None or any(curve.verdict != "absent" for curve in row.moves.curves.values())


def _told(value: "Ranged | None", is_wide: bool) -> str:
    from rich.markup import escape

    if value is None:
        return "-"
    return escape(f"{number(value[0])} [{number(value[1], 2)}, {number(value[2], 2)}]") if is_wide else number(value[0])


def _factor(logs: "Ranged", is_wide: bool) -> str:
    """A factor on the risk; a star where its interval holds no 1."""
    from math import exp

    sure = "" if is_wide else ("*" if logs[1] > 0.0 or logs[2] < 0.0 else " ")
    return "x " + _told((exp(logs[0]), exp(logs[1]), exp(logs[2])), is_wide) + sure
