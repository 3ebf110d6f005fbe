"""`eigenflow forecast LOG...`: one answer to a log. How will it end, how sure is that, what else could be done?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from eigenflow.cli.console import err, out, print_json, say
from eigenflow.cli.forecast import options
from eigenflow.core.display import at_level
from eigenflow.core.writing import FORMAT

if TYPE_CHECKING:
    from eigenflow.forecast.curves import CurveSet
    from eigenflow.forecast.outlook.ends import End
    from eigenflow.forecast.outlook.hindsight import Hindsight
    from eigenflow.forecast.outlook.rest import PlannedRun
    from eigenflow.forecast.outlook.result import LogForecast

__all__ = ["log"]

# Processor seconds: of starting, of the fit and the hidden parts of one curve, and of the page.
START_S, FIRST_S, CURVE_S, PAGE_S = 1.7, 1.0, 0.5, 0.5


@options.reads_logs
def log(
    known: "CurveSet",
    total: Annotated[
        int | None, typer.Option(min=1, help="Updates in all. Default: what the log says, else what its rates show.")
    ] = None,
    run: Annotated[
        str | None,
        typer.Option(help="The run that the answer is about. Default: one that is under way.", metavar="NAME"),
    ] = None,
    what_if: Annotated[
        list[str] | None,
        typer.Option(
            help="Another schedule: cosine:total=8000,end=0, linear:from=now, wsd:decay_fraction=0.1, ..., or a table "
            "of schedules; repeat. What is left out is as in the run.",
            metavar="SCHEDULE",
        ),
    ] = None,
    until: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Forecast as it would have been after this update: later points of the run are hidden, and stand "
            "beside what was forecast of them.",
            metavar="STEP",
        ),
    ] = None,
    target: Annotated[float | None, typer.Option(help="A loss that is wanted, in nats: when is it reached?")] = None,
    out_file: Annotated[Path | None, typer.Option("--out", help="Write the answer as a page.", metavar="HTML")] = None,
    picture: options.Picture = None,
    card: Annotated[
        Path | None,
        typer.Option(help="Write a picture to share, a PNG of 1200 x 630 pixels.", metavar="FILE.png"),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what was read, the schedule that is taken, and the cost; then stop.")
    ] = False,
    seed: options.Seed = 0,
    force: options.Force = False,
    as_json: options.AsJson = False,
) -> None:
    """Forecast the end of a run from its log, with the loss under other schedules and how far to trust all that.

    The rest of the schedule is taken from what the log says (max_steps, total_steps) and the kind that its rates show.
    What had to be assumed stands first. Several runs or sizes in the logs are fitted together.

    Example: `eigenflow forecast trainer_state.json --target 2.5 --what-if cosine:end=0 --out answer.html`
    """
    from eigenflow.forecast.outlook import forecast_logs

    past = None
    if until is not None:
        from eigenflow.forecast.outlook.hindsight import hide_rest

        past = hide_rest(known, until, run=run)
        known, run = past.curves, past.run
    if dry_run:
        _say_plan(known, total, run, out_file, as_json)
        return
    with err.status("Forecast ...") as status:
        found = forecast_logs(
            known, total=total, run=run, what_if=what_if or (), target=target, seed=seed, progress=status.update
        )
    if out_file is not None:
        from eigenflow.report.outlook_page import write_outlook_page

        write_outlook_page(found, out_file, replace=force)
    if picture is not None:
        from eigenflow.forecast.outlook.picture import outlook_figure
        from eigenflow.plots.file import write_picture

        write_picture(outlook_figure(found, came=None if past is None else past.came), picture, replace=force)
    if card is not None:
        from eigenflow.plots.card import write_card
        from eigenflow.report.card import forecast_card

        write_card(forecast_card(found), card, replace=force)
    if as_json:
        print_json(_as_dict(found, out_file) | _came_dict(found, past))
        return
    _show(found)
    if past is not None:
        say(f"what came: {past.told(found)}")
    if out_file is not None:
        out.print(f"written to {out_file}", markup=False, soft_wrap=True)


def _say_plan(known: "CurveSet", total: int | None, name: str | None, page: Path | None, as_json: bool) -> None:
    """What would be done, and what it would cost."""
    from eigenflow.forecast.outlook.logs import planned_runs

    plans, run = planned_runs(known, total=total, run=name)
    cost = START_S + FIRST_S + CURVE_S * len(known) + (PAGE_S if page is not None else 0.0)
    if as_json:
        runs = [_run_dict(plan) | {"is_chosen": plan is run} for plan in plans]
        print_json({"format": FORMAT, "runs": runs, "notes": known.notes, "cpu_s": cost})
        return
    out.print(f"{len(known)} curve{'s' * (len(known) > 1)}, {known.points} points", markup=False, soft_wrap=True)
    for plan in plans:
        state = "finished" if plan.is_finished else f"known up to step {plan.last:,}"
        line = f"{plan.curve.label}: {state} of {plan.total:,} ({plan.basis}); rates: {plan.kind}"
        out.print(line + ("; the answer is about this one" if plan is run and len(plans) > 1 else ""), markup=False,
                  soft_wrap=True)  # fmt: skip
    for caution in run.cautions:
        out.print(f"caution: {caution}", markup=False, soft_wrap=True)
    out.print(f"cost: about {cost:.0f} CPU seconds", markup=False, soft_wrap=True)


def _show(found: "LogForecast") -> None:
    from eigenflow.cli.plot import print_forecast

    for caution in found.cautions:
        out.print(f"[yellow]caution:[/] {escape(caution)}", soft_wrap=not out.is_terminal)
    out.print(f"[bold]{escape(found.headline)}[/]", soft_wrap=not out.is_terminal)
    print_forecast(found)
    say(f"rates: {found.run.kind}; {found.run.total:,} {found.run.unit} ({found.run.basis})")
    if found.target is not None:
        say(f"target: {found.target.answer}")
    if found.endings:
        out.print(_endings(found))
    say(f"hidden parts: {found.checked}")
    for one in found.baselines:
        end = "" if one.end is None else f"; it ends at {one.end:.4g}"
        say(f"baseline: {one.verdict}{end}")
    if len(found.runs) > 1:
        out.print(_runs(found))
    for size in found.sizes:
        say(f"size {repr(size).splitlines()[0]}")


def _endings(found: "LogForecast") -> Table:
    table = Table(title="Other schedules", title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("schedule", overflow="fold")
    for name in ("last loss, 90 % interval", "minus the plan's, 90 % interval"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in found.endings:
        end = one.end
        updates = "" if end.step == found.end.step or "total" in one.name else f" ({end.step:,} updates)"
        level = found.end.loss
        loss, lower, upper = (at_level(value, level) for value in (end.loss, end.lower, end.upper))
        apart, least, most = (at_level(v, level, is_signed=True) for v in (one.difference, one.lower, one.upper))
        table.add_row(
            escape(one.name + updates), escape(f"{loss} [{lower}, {upper}]"), escape(f"{apart} [{least}, {most}]")
        )
    return table


def _runs(found: "LogForecast") -> Table:
    table = Table(title="Runs of the log", title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("run", overflow="fold")
    for name in ("known to", "of", "last loss", "90 % interval"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in found.runs:
        end = one.end
        loss, lower, upper = (at_level(value, end.loss) for value in (end.loss, end.lower, end.upper))
        cells = [f"{one.run.last:,}", f"{one.run.total:,}", loss, escape(f"[{lower}, {upper}]")]
        table.add_row(escape(one.run.curve.label), *cells)
    return table


def _as_dict(found: "LogForecast", page: Path | None) -> dict[str, Any]:
    target = found.target
    return {
        "format": FORMAT,
        "out": None if page is None else str(page),
        "cautions": found.cautions,
        "run": _run_dict(found.run),
        "end": _end_dict(found.end),
        "fit": {"law": found.fit.law.name, "status": found.fit.status.value, "prior": found.fit.prior},
        "target": None if target is None else _target_dict(found),
        "endings": [
            {
                "name": one.name,
                **_end_dict(one.end),
                "difference": one.difference,
                "difference_interval": [one.lower, one.upper],
                "is_asked": one.is_asked,
                "cautions": one.cautions,
            }
            for one in found.endings
        ],
        "hidden": [
            {
                "hidden": part.hidden,
                "curve": part.curve,
                "true": part.true,
                "law": part.law,
                "interval": [part.lower, part.upper],
                "inside": part.inside,
                "baselines": part.others,
            }
            for part in found.checks
        ],
        "baselines": [
            {"name": one.name, "end": one.end, "error": one.error, "law_error": one.law_error, "parts": one.parts}
            for one in found.baselines
        ],
        "runs": [_run_dict(one.run) | _end_dict(one.end) for one in found.runs],
        "sizes": [{"size": one.size, **_end_dict(one.end)} for one in found.sizes],
        "notes": found.notes,
        "cpu_s": found.cpu_s,
    }


def _came_dict(found: "LogForecast", past: "Hindsight | None") -> dict[str, Any]:
    if past is None:
        return {"came": None}
    low, high = past.interval(found)
    step, loss = int(past.came.steps[-1]), float(past.came.losses[-1])
    return {"came": {"step": step, "loss": loss, "interval": [low, high], "holds": low <= loss <= high}}


def _end_dict(end: "End") -> dict[str, Any]:
    return {"step": end.step, "loss": end.loss, "lower": end.lower, "upper": end.upper}


def _run_dict(plan: "PlannedRun") -> dict[str, Any]:
    told = {"curve": plan.curve.name, "size": plan.curve.size, "known": plan.last, "total": plan.total}
    told |= {"is_finished": plan.is_finished, "schedule": plan.kind, "basis": plan.basis, "cautions": plan.cautions}
    return told | {"last_loss": float(plan.curve.losses[-1])}


def _target_dict(found: "LogForecast") -> dict[str, Any]:
    target = found.target
    if target is None:
        return {}
    told = {"loss": target.loss, "step": target.step, "interval": [target.earliest, target.latest]}
    told |= {"is_reached": target.is_reached, "others": dict(target.others or {}), "longer": target.longer}
    floor = None if target.floor is None else list(target.floor)
    return told | {"longer_interval": list(target.longer_range), "floor": floor, "answer": target.answer}
