"""`eigenflow solve CONFIG`: the transport equation alone."""

from pathlib import Path
from time import perf_counter
from typing import Annotated

import typer

from eigenflow.cli.console import err, number, out, print_json

__all__ = ["solve"]


def solve(
    config: Annotated[Path, typer.Argument(help="TOML file; see examples/transport.toml.")],
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="Change one key: section.key=value.", metavar="A.B=C")
    ] = None,
    out_folder: Annotated[
        Path | None, typer.Option("--out", help="Folder, new or empty. Default: runs/NAME.", metavar="DIR")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print totals, frontier and budget as JSON.")] = False,
) -> None:
    """Solve the problem in CONFIG; writes solution.nc (xarray) and solution.png (pictures).

    Example: `eigenflow solve examples/transport.toml --set drift.b=1.5 --out runs/b15`
    """
    from eigenflow.report.transport_pictures import transport_figure
    from eigenflow.store import claim_folder
    from eigenflow.transport import solve as solve_problem
    from eigenflow.transport.config import load_solve_config
    from eigenflow.transport.dataset import solution_dataset

    settings = load_solve_config(config, changes)
    problem = settings.problem(config.parent)
    folder = claim_folder(out_folder or Path("runs") / settings.name)
    start = perf_counter()
    solution = solve_problem(
        problem, settings.times.build(), cells=settings.solver.cells, method=settings.solver.method
    )
    wall_s = perf_counter() - start
    data = solution_dataset(solution)
    data.attrs["config"] = settings.model_dump_json()
    data.to_netcdf(folder / "solution.nc", engine="scipy")
    transport_figure(solution, settings.name).savefig(folder / "solution.png", dpi=110)
    summary = {
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
        "files": [str(folder / name) for name in ("solution.nc", "solution.png")],
    }
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
