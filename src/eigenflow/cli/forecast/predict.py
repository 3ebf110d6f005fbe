"""`eigenflow forecast predict FIT`: loss curves of runs that were not made."""

from pathlib import Path
from time import process_time
from typing import TYPE_CHECKING, Annotated

import typer

from eigenflow.cli.console import err, out, print_json
from eigenflow.cli.forecast import options
from eigenflow.core.display import at_level
from eigenflow.core.writing import FORMAT, write_whole

if TYPE_CHECKING:
    import pandas as pd

    from eigenflow.forecast import Schedule
    from eigenflow.forecast.study.study import Study

__all__ = ["beyond_the_fit", "chosen_schedules", "forecast_table", "predict"]


def predict(
    fit: options.FitFile,
    schedules: Annotated[
        Path, typer.Option(help="Table of schedules: named ones, or curve, step, lr.", metavar="FILE")
    ],
    out_file: Annotated[
        Path, typer.Option("--out", help="CSV to write: curve, step, loss, lower, upper.", metavar="FILE")
    ] = Path("predictions.csv"),
    size: options.Size = None,
    every: Annotated[int, typer.Option(min=1, help="Spacing of the steps; the last one is always there.")] = 1,
    law: Annotated[str | None, typer.Option(help="Law, if several were fitted. Default: the first.")] = None,
    names: options.Names = None,
    picture: options.Picture = None,
    force: options.Force = False,
    as_json: options.AsJson = False,
) -> None:
    """Forecast the loss of every schedule in a table, from a fit; lower and upper enclose 90 %.

    A schedule need not be one of the fitted runs: the forecast uses its learning rates alone.

    Example: `eigenflow forecast predict fit.json --schedules schedules.csv --size 400 --out p.csv`
    """
    from eigenflow.forecast.curves import format_size
    from eigenflow.forecast.study.file import load_study

    begun = process_time()
    outputs = {"--out": out_file, "--picture": picture}
    options.check_outputs(outputs, inputs=[fit, schedules], replace=force)
    study = load_study(fit)
    wanted = chosen_schedules(schedules, names)
    chosen = study.checked_size(options.parse_size(size, study.curves.size_unit))
    if chosen is not None:
        kind = "a fitted size" if chosen in study.curves.sizes else "not a fitted size: extrapolated"
        err.print(f"size: {format_size(chosen)} parameters ({kind})", markup=False, highlight=False)
    cautions = beyond_the_fit(study, wanted, chosen, law)
    table = forecast_table(study, wanted, chosen, law, every)
    write_whole(out_file, table.to_csv(index=False, float_format="%.7g"), replace=force)
    if picture is not None:
        from eigenflow.forecast.pictures import forecast_figure
        from eigenflow.plots.file import write_picture

        write_picture(forecast_figure(study, table, wanted, size=chosen), picture, replace=force)
    last = table.groupby("curve", sort=False).tail(1)
    if as_json:
        rows = last.to_dict("records")
        name = law or study.laws[0]
        told = {"format": FORMAT, "out": str(out_file), "law": name, "size": chosen, "cautions": cautions}
        print_json(told | {"cpu_s": process_time() - begun, "final": rows})
        return
    for row in last.to_dict("records"):
        loss, lower, upper = (at_level(row[name], row["loss"]) for name in ("loss", "lower", "upper"))
        line = f"{row['curve']}: {loss} at step {row['step']}, 90 % [{lower}, {upper}]"
        out.print(line, markup=False, soft_wrap=True)
    for caution in cautions:
        out.print(f"caution: {caution}", markup=False, soft_wrap=True)
    out.print(f"{len(table)} rows written to {out_file}", markup=False, soft_wrap=True)


def chosen_schedules(table: Path, names: list[str] | None) -> "dict[str, Schedule]":
    """Read a table of schedules, those named or all; what had to be assumed goes to stderr."""
    from eigenflow.core.errors import ArgumentError
    from eigenflow.forecast import read_schedules

    notes: list[str] = []
    found = read_schedules(table, notes)
    options.show_notes(tuple(notes))
    missing = sorted(set(names or ()) - set(found))
    if missing:
        raise ArgumentError(f"`--curve` names {', '.join(missing)}, but the schedules are {', '.join(found)}.")
    return {name: schedule for name, schedule in found.items() if not names or name in names}


def beyond_the_fit(study: "Study", wanted: "dict[str, Schedule]", size: float | None, law: str | None) -> list[str]:
    """What the fitted runs do not tell of these schedules, in words; with a name if it is not said of all of them."""
    from eigenflow.forecast.fitting.reach import reach_cautions

    fit = study.fit_for(law, size)
    found = {name: reach_cautions(fit, one.peak) for name, one in wanted.items()}
    shared = set.intersection(*(set(lines) for lines in found.values())) if len(found) > 1 else set[str]()
    own = [f"{name}: {line}" for name, lines in found.items() for line in lines if line not in shared]
    return [*own, *sorted(shared)]


def forecast_table(
    study: "Study", wanted: "dict[str, Schedule]", size: float | None, law: str | None, every: int
) -> "pd.DataFrame":
    """Forecast every schedule: columns curve, step, loss, lower, upper."""
    import pandas as pd

    parts = []
    for name, schedule in wanted.items():
        found = study.predict(schedule, size=size, law=law, every=every)
        columns = {"step": found.steps, "loss": found.loss, "lower": found.lower, "upper": found.upper}
        parts.append(pd.DataFrame({"curve": name, **columns}))
    return pd.concat(parts, ignore_index=True)
