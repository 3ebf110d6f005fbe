"""One answer to a log as one self-contained HTML file, with figures to hover over. Cautions stand first."""

from collections import defaultdict
from pathlib import Path
from typing import Any

from eigenflow.core.display import at_level
from eigenflow.core.writing import check_free, write_whole
from eigenflow.forecast.curves import format_size
from eigenflow.forecast.outlook.checks import BASELINES, LAST_VALUE, POWER, HiddenPart, off
from eigenflow.forecast.outlook.result import LogForecast
from eigenflow.report.answer import Answer
from eigenflow.report.figures.outlook import (
    HIDDEN,
    hidden_figure,
    hidden_toggles,
    outlook_figure,
    rates_figure,
    schedule_toggles,
)
from eigenflow.report.forecast_terms import FORECAST_TERMS
from eigenflow.report.page import render_page
from eigenflow.report.picture import Picture

__all__ = ["write_outlook_page"]

# Baselines as heads of columns.
SHORT = {LAST_VALUE: "last value", POWER: "power of steps"}


def write_outlook_page(found: LogForecast, path: Path, *, replace: bool = False) -> Path:
    """Write the page of an answer, as from `forecast_logs`.

    Args:
        found: The answer.
        path: The file, in a folder that exists.
        replace: Whether an existing file may be replaced.

    Returns:
        The path of the file, about 5 MB of which plotly.js takes nearly all.

    Raises:
        ArgumentError: If the file exists and must not be replaced, or its folder does not exist.
        FileError: If the system refuses.
    """
    check_free(path, option="path", replace=replace)
    return write_whole(path, _render(found), replace=replace)


def _render(found: LogForecast) -> str:
    return render_page(
        "outlook.html.j2",
        kind="forecast",
        title=found.run.curve.label,
        source=found.source,
        unit=found.curves.loss_unit,
        cautions=found.cautions,
        answers=_answers(found),
        sections=_sections(found),
        pictures=_pictures(found),
        schedules=schedule_toggles(found),
        parts=hidden_toggles(found),
        hidden_group=HIDDEN if any(part.curve == found.run.curve.label for part in found.checks) else "",
        is_finished=found.run.is_finished,
        step_unit=found.run.unit,
        end=found.end,
        endings=found.endings,
        hidden=[_hidden_row(part) for part in found.checks],
        missed=sum(not part.holds for part in found.checks),
        baseline_names=[SHORT[name] for name in BASELINES],
        verdicts=[one.verdict for one in found.baselines],
        runs=found.runs if len(found.runs) > 1 else (),
        sizes=[(format_size(one.size), one.end) for one in found.sizes],
        fit=found.fit,
        parameters=_parameters(found),
        notes=found.notes,
        glossary=FORECAST_TERMS,
    )


def _sections(found: LogForecast) -> list[tuple[str, str]]:
    made = [("answer", "Answers")]
    made += [("rates", "Learning rates")] if found.run.knows_rates else []
    made += [("endings", "Other schedules")] if found.endings else []
    made += [("hidden", "Hidden parts")]
    made += [("runs", "Runs")] if len(found.runs) > 1 else []
    made += [("sizes", "Sizes")] if found.sizes else []
    return [*made, ("fit", "Fit"), ("glossary", "Glossary"), ("notes", "Notes")]


def _answers(found: LogForecast) -> list[Answer]:
    run, unit = found.run, found.curves.loss_unit
    rates = f"Rates: {run.kind}; {run.total:,} {run.unit} ({run.basis})."
    if run.is_finished:
        last = f"{run.curve.losses[-1]:.4g} {unit}, at step {run.last:,}"
        made = [Answer("end", "How did it end?", last, f"{_sentence(found.headline)} {rates}", "answer")]
    else:
        told = f"{found.end.told} {unit}"
        more = f"After {found.end.step:,} {run.unit}, with the 90 % interval of one run’s loss. {rates}"
        made = [Answer("end", "How will it end?", told, more, "answer", bool(found.cautions))]
    made.append(
        Answer("instead", "What could be done instead?", *_instead(found), "endings" if found.endings else "fit")
    )
    made.append(_trust(found))
    if found.target is not None:
        made.append(Answer("target", f"When is {found.target.loss:g} reached?", *_target(found), "answer"))
    return made


def _instead(found: LogForecast) -> tuple[str, str]:
    """The schedule with the lowest end, and how those that were asked for compare."""
    plan = "as it ran" if found.run.is_finished else "as planned"
    if not found.endings:
        why = "no learning rates are known" if not found.run.knows_rates else "no other schedule was compared"
        return "Not known from this log", _sentence(why)
    best = min(found.endings, key=lambda one: one.difference)
    is_lower = best.difference < 0
    headline = f"{best.name}: {_size(found, best.difference)}" if is_lower else f"Nothing better than {plan}"
    ends = (at_level(end, found.end.loss, is_signed=True) for end in (best.lower, best.upper))
    told = [
        f"{best.name} ends at {best.end.told}, {_size(found, best.difference)} than {plan}"
        + ("" if best.is_clear else ", which may be chance")
        + f" (90 % interval of the difference [{', '.join(ends)}])"
    ]
    told += [
        f"{one.name} ends at {one.end.told}, {_size(found, one.difference)}"
        for one in found.endings
        if one.is_asked and one is not best
    ]
    return headline, _sentence("; ".join(told))


def _trust(found: LogForecast) -> Answer:
    """How forecasts of hidden parts did, beside what a person would take without a law."""
    question, parts = "How far can this be trusted?", found.checks
    if not parts:
        return Answer("trust", question, "Not known from this log", _sentence(found.checked), "hidden", True)
    held = sum(part.holds for part in parts)
    headline = f"{held} of {len(parts)} hidden parts held"
    better = [one for one in found.baselines if one.is_better]
    ends = [f"{SHORT[one.name]} {one.brief}" + ("" if one.end is None else f", ends at {one.end:.4g}") for one in
            found.baselines]  # fmt: skip
    told = f"{_sentence(found.checked)} Baselines: {'; '.join(ends)}." if ends else _sentence(found.checked)
    return Answer("trust", question, headline, told, "hidden", held < len(parts) or bool(better))


def _target(found: LogForecast) -> tuple[str, str]:
    target = found.target
    assert target is not None
    if target.step is None:
        return "Not within the schedule", _sentence(target.answer)
    return f"At step {target.step:,}", _sentence(target.answer)


def _size(found: LogForecast, difference: float) -> str:
    return f"{at_level(abs(difference), found.end.loss)} {'lower' if difference < 0 else 'higher'}"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _pictures(found: LogForecast) -> dict[str, Picture]:
    made = {"outlook": Picture("outlook", outlook_figure(found), _caption(found))}
    if found.run.knows_rates:
        told = "The rates that the forecasts rest on; hovering marks the same step in the figure of the loss."
        made["rates"] = Picture("rates", rates_figure(found), told)
    if found.checks:
        told = (
            "Grey dots are what came. The law was fitted again without each part and forecast it: where the dots leave "
            "the fan, its interval missed. Buttons choose the parts."
        )
        made["hidden"] = Picture("hidden", hidden_figure(found), told)
    return made


def _caption(found: LogForecast) -> str:
    told = "Logged losses (dots) and the fitted law (thin line). "
    if not found.run.is_finished:
        told += "From where the log ends (dotted line) its forecast with the 90 % interval. "
    if found.endings:
        told += "Other schedules are dashed, each with its own 90 % interval; buttons show and hide them. "
    return told + "The first fall of the run is left out of the scale; double-click or zoom to see it."


def _hidden_row(part: HiddenPart) -> dict[str, Any]:
    others: dict[str, str] = defaultdict(lambda: "–")
    others |= {SHORT[name]: off(part.miss_of(name)) for name in part.others}
    return {
        "hidden": part.hidden,
        "curve": part.curve,
        "true": part.true,
        "law": part.law,
        "interval": f"[{at_level(part.lower, part.true)}, {at_level(part.upper, part.true)}]",
        "holds": part.holds,
        "inside": f"{100 * part.inside:.0f} %",
        "off": off(part.error),
        "others": others,
    }


def _parameters(found: LogForecast) -> list[dict[str, Any]]:
    fit = found.fit
    return [row | {"meaning": fit.covariates.meaning(k)} for k, row in enumerate(fit.parameters)]
