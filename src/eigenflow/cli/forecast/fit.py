"""`eigenflow forecast fit CURVES`: fit loss laws to curves."""

from pathlib import Path
from time import process_time
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from eigenflow.cli.console import err, number, out, print_json
from eigenflow.cli.forecast import options
from eigenflow.core.writing import FORMAT

if TYPE_CHECKING:
    from eigenflow.forecast.curves import CurveSet
    from eigenflow.forecast.fitting.fit import Fit
    from eigenflow.forecast.study.study import Study

__all__ = ["fit"]


@options.reads_curves
def fit(
    known: "CurveSet",
    law: Annotated[
        list[str] | None, typer.Option(help="Law to fit; repeat for several; 'all' for every one. Default: transport.")
    ] = None,
    out_file: Annotated[Path, typer.Option("--out", help="Where to write the fit.", metavar="FILE")] = Path("fit.json"),
    per_size: Annotated[bool, typer.Option("--per-size", help="Fit every model size on its own.")] = False,
    prior: Annotated[str, typer.Option(help="'learned', or 'none' to fit from the curves alone.")] = "learned",
    starts: Annotated[int, typer.Option(min=1, help="Starting points of each fit.")] = 4,
    seed: options.Seed = 0,
    picture: options.Picture = None,
    force: options.Force = False,
    as_json: options.AsJson = False,
) -> None:
    """Fit loss laws to CURVES and write them to a file from which `predict` and `score` work.

    Several model sizes in one table (`model_size_M`, `size`, `params`) are fitted jointly, so that `predict` can go to
    a new size; `--per-size` fits each on its own.

    Example: `eigenflow forecast fit curves.csv --schedules schedules.csv --role fit --out fit.json`
    """
    from eigenflow.forecast.study.file import save_study, study_to_dict
    from eigenflow.forecast.study.study import fit_study

    listed = sorted({curve.role for curve in known if curve.role is not None})
    if len(listed) > 1:
        options.show_notes((f"all roles are fitted ({', '.join(listed)}); choose with --role",))
    begun = process_time()
    with err.status("Fitting ...") as status:
        study = fit_study(
            known,
            law or ["transport"],
            per_size=per_size,
            starts=starts,
            seed=seed,
            prior=None if prior == "none" else prior,
            progress=status.update,
        )
    path = save_study(study, out_file, replace=force)
    if picture is not None:
        from eigenflow.forecast.pictures import fit_figure
        from eigenflow.plots.file import write_picture

        write_picture(fit_figure(study), picture, replace=force)
    if as_json:
        hidden = {"theta", "covariance", "prior_sd", "curves"}
        fits = [form["fit"] for form in study_to_dict(study)["fits"]]
        print_json(
            {
                "format": FORMAT,
                "out": str(path),
                "cpu_s": process_time() - begun,
                "curves": len(known),
                "points": known.points,
                "sizes": known.sizes,
                "size_unit": known.size_unit,
                "notes": known.notes,
                "fits": [{key: value for key, value in row.items() if key not in hidden} for row in fits],
            }
        )
        return
    _show(study)
    out.print(f"written to {path}", markup=False, soft_wrap=True)


def _show(study: "Study") -> None:
    table = Table(title="Fits", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("law", no_wrap=True)
    for name in ("size", "curves", "points", "RMS residual", "CPU s"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("status")
    for one in study.fits:
        table.add_row(
            one.law.name, _sizes(one), *_counts(one), f"{one.certificate.cpu_s:.2f}", escape(one.status.value)
        )
    out.print(table)
    for one in study.fits:
        out.print(_parameters(one))
        for name, told in _slopes(one).items():
            out.print(f"{name}: {told}", markup=False, soft_wrap=True)
    if any(one.status.name != "CONVERGED" for one in study.fits):
        err.print(
            "A fit that did not converge, or ended at a guard, forecasts with care: see its status.", markup=False
        )


def _sizes(fit: "Fit") -> str:
    from eigenflow.forecast.curves import format_size

    known = sorted({size for size in fit.sizes if size is not None})
    return ", ".join(format_size(size) for size in known) or "-"


def _counts(fit: "Fit") -> tuple[str, str, str]:
    from numpy import concatenate, mean, sqrt

    residuals = concatenate(list(fit.residuals))
    return str(len(fit.curves)), str(len(residuals)), f"{float(sqrt(mean(residuals**2))):.2e}"


def _slopes(fit: "Fit") -> dict[str, str]:
    """The first slope of each kind and what it is, as an example for the others."""
    found: dict[str, str] = {}
    for k, slope in enumerate(fit.covariates.slopes, len(fit.law.parameters)):
        if not any(name.endswith(f"| {slope.kind}") for name in found):
            found[fit.covariates.names[k]] = fit.covariates.meaning(k)
    return found


def _parameters(fit: "Fit") -> Table:
    title = f"{fit.law.name}, {_sizes(fit)}: parameters (prior: {fit.prior or 'none'})"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("parameter", no_wrap=True)
    for name in ("value", "90 % interval", "learned from the curves"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("unit", no_wrap=True)
    rows: list[dict[str, Any]] = fit.parameters
    for row in rows:
        interval = f"[{number(row['lower'])}, {number(row['upper'])}]"
        table.add_row(escape(row["name"]), number(row["value"]), escape(interval), f"{row['learned']:.0%}", row["unit"])
    return table
