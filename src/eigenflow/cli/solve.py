"""`eigenflow solve CONFIG`: the transport equation alone."""

import errno
import os
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eigenflow.cli.console import err, number, out, print_json
from eigenflow.cli.writing import Force, check_outputs
from eigenflow.core.errors import FileError, RunFolderError
from eigenflow.core.writing import FORMAT, check_free, explain, write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from eigenflow.transport import TransportSolution

__all__ = ["solution_figure", "solve"]

FILES = ("solution.nc", "solution.png")


def solve(
    config: Annotated[Path, typer.Argument(help="TOML file; see examples/transport.toml.")],
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="Change one key: section.key=value.", metavar="A.B=C")
    ] = None,
    out_folder: Annotated[
        Path | None, typer.Option("--out", help="Folder, new or empty. Default: runs/NAME.", metavar="DIR")
    ] = None,
    force: Force = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print totals, frontier and budget as JSON.")] = False,
) -> None:
    """Solve the problem in CONFIG; writes solution.nc (xarray) and solution.png (pictures).

    Example: `eigenflow solve examples/transport.toml --set drift.b=1.5 --out runs/b15`
    """
    from eigenflow.transport import solve as solve_problem
    from eigenflow.transport.config import load_solve_config

    settings = load_solve_config(config, changes)
    folder = out_folder or Path("runs") / settings.name
    table = None if settings.initial.table is None else config.parent / settings.initial.table
    _check_folder(folder, [config, table], replace=force)
    problem = settings.problem(config.parent)
    start = perf_counter()
    solution = solve_problem(
        problem, settings.times.build(), cells=settings.solver.cells, method=settings.solver.method
    )
    wall_s = perf_counter() - start
    _write(folder, _contents(solution, settings.name, settings.model_dump_json()), replace=force)
    summary = _summary(solution, wall_s) | {"files": [str(folder / name) for name in FILES]}
    if as_json:
        print_json(summary)
        return
    err.print(f"{solution.status.value} in {wall_s * 1e3:.1f} ms by {solution.method}: {solution.reason}", markup=False)
    for label, values in (("total", solution.total), ("frontier", solution.frontier)):
        out.print(
            f"{label:9} {number(float(values[0]))} at t = {number(float(solution.times[0]))}, "
            f"{number(float(values[-1]))} at t = {number(float(solution.times[-1]))}",
            markup=False,
        )
    for path in summary["files"]:
        out.print(path, markup=False, soft_wrap=True)


def _check_folder(folder: Path, inputs: list[Path | None], *, replace: bool) -> None:
    """Refuse a folder that cannot take the results, before the work; it is made only when there are some."""
    if not os.path.lexists(folder):
        nearest = next(parent for parent in folder.absolute().parents if os.path.lexists(parent))
        if not nearest.is_dir():
            raise FileError(explain(folder, NotADirectoryError(errno.ENOTDIR, "")))
        check_free(nearest / FILES[0], replace=True)  # of the folder in which it will be made
        return
    if not folder.is_dir():
        raise RunFolderError(f"`--out` must be a folder, new or empty, but '{folder}' is a file. Give another path.")
    if (folder / "run.json").exists():
        raise RunFolderError(f"`--out` is '{folder}', which holds a recorded run. Give another folder, new or empty.")
    if not replace and any(folder.iterdir()):
        raise RunFolderError(
            f"`--out` must be a folder, new or empty, but '{folder}' holds something. Give another folder, or replace "
            f"an earlier solution in it with --force."
        )
    for name in FILES:
        check_outputs({"--out": folder / name}, inputs=inputs, replace=replace)


def _contents(solution: "TransportSolution", name: str, config: str) -> dict[str, bytes]:
    from eigenflow.plots.file import picture_bytes
    from eigenflow.transport.dataset import solution_dataset

    data = solution_dataset(solution)
    data.attrs["config"] = config
    drawn = picture_bytes(solution_figure(solution, name), "png")
    return dict(zip(FILES, (bytes(data.to_netcdf(engine="scipy")), drawn), strict=True))


def solution_figure(solution: "TransportSolution", title: str) -> "Figure":
    """Draw density, total, local slope and budget of a solution in one figure."""
    import numpy as np
    from matplotlib.figure import Figure

    from eigenflow.plots import picture_text, plot_budget, plot_density, plot_slope, plot_total

    figure = Figure(figsize=(11, 8), layout="constrained")
    density, total, slope, shares = figure.subplots(2, 2).flat
    times, edges, frontier, budget = solution.times, solution.edges, solution.frontier, solution.budget
    plot_density(times, edges, solution.mass, frontier, ax=density)
    plot_total(times, solution.total, frontier, (float(edges[0]), float(edges[-1])), ax=total)
    plot_slope(times, solution.total, ax=slope)
    initial = budget.initial or 1.0
    parts = {
        "left": solution.total,
        "dissipated": budget.dissipated,
        "outflow below": budget.outflow_below,
        "outflow above": budget.outflow_above,
    }
    plot_budget(
        times,
        {name: values / initial for name, values in parts.items()},
        ax=shares,
        source=budget.source / initial,
        residual=float(np.abs(budget.residual).max() / initial),
    )
    figure.suptitle(picture_text(title))
    return figure


def _write(folder: Path, contents: dict[str, bytes], *, replace: bool) -> None:
    """Write all files or none: on a full disk no half of a result is left in a new folder."""
    from eigenflow.store import claim_folder

    is_new = not folder.is_dir()
    if is_new or not replace:
        claim_folder(folder)
    made: list[Path] = []
    try:
        for name, content in contents.items():
            is_there = (folder / name).exists()
            write_whole(folder / name, content, replace=replace)
            made += [] if is_there else [folder / name]
    except BaseException:
        for path in made:
            path.unlink(missing_ok=True)
        if is_new:
            folder.rmdir()
        raise


def _summary(solution: "TransportSolution", wall_s: float) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "status": solution.status.value,
        "method": solution.method,
        "reason": solution.reason,
        "wall_s": wall_s,
        "times": solution.times,
        "total": solution.total,
        "frontier": [float(f) if 0 < f < float("inf") else None for f in solution.frontier],
        "budget": {
            name: getattr(solution.budget, name)
            for name in ("initial", "dissipated", "outflow_below", "outflow_above", "source", "residual")
        },
    }
