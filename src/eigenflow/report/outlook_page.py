"""One answer to a log as one self-contained HTML file: no script, nothing that is loaded. Cautions stand first."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import eigenflow
from eigenflow.core.display import at_level
from eigenflow.core.writing import check_free, write_whole
from eigenflow.forecast.curves import format_size
from eigenflow.forecast.outlook.checks import BASELINES, LAST_VALUE, POWER, HiddenPart, off
from eigenflow.forecast.outlook.picture import outlook_figure
from eigenflow.forecast.outlook.result import LogForecast
from eigenflow.report.static_page import picture_data, render

__all__ = ["write_outlook_page"]

# Baselines as heads of columns.
SHORT = {LAST_VALUE: "last value", POWER: "power of steps"}


def write_outlook_page(found: LogForecast, path: Path, *, replace: bool = False) -> Path:
    """Write the page of an answer, as from `forecast_logs`.

    Args:
        found: The answer.
        path: The file, in a folder that exists.
        replace: Whether an existing file may be replaced.

    Raises:
        ArgumentError: If the file exists and must not be replaced, or its folder does not exist.
        FileError: If the system refuses.
    """
    check_free(path, option="path", replace=replace)
    return write_whole(path, _render(found), replace=replace)


def _render(found: LogForecast) -> str:
    return render(
        "outlook.html.j2",
        title=found.run.curve.label,
        source=found.source,
        unit=found.curves.loss_unit,
        cautions=found.cautions,
        answers=_answers(found),
        sections=_sections(found),
        picture=picture_data(outlook_figure(found)),
        caption=_caption(found),
        is_finished=found.run.is_finished,
        step_unit=found.run.unit,
        end=found.end,
        endings=found.endings,
        hidden=[_hidden_row(part) for part in found.checks],
        baseline_names=[SHORT[name] for name in BASELINES],
        verdicts=[one.verdict for one in found.baselines],
        runs=found.runs if len(found.runs) > 1 else (),
        sizes=[(format_size(one.size), one.end) for one in found.sizes],
        fit=found.fit,
        parameters=_parameters(found),
        notes=found.notes,
        version=eigenflow.__version__,
    )


def _sections(found: LogForecast) -> list[tuple[str, str]]:
    made = [("answer", "Answer"), ("run", "The run")]
    made += [("endings", "Other schedules")] if found.endings else []
    made += [("hidden", "Hidden parts")]
    made += [("runs", "Runs")] if len(found.runs) > 1 else []
    made += [("sizes", "Sizes")] if found.sizes else []
    return [*made, ("fit", "Fit"), ("notes", "Notes")]


def _answers(found: LogForecast) -> list[tuple[str, str]]:
    run = found.run
    told = [("End", f"{found.headline}."), ("Rates", f"{run.kind}; {run.total:,} {run.unit} ({run.basis}).")]
    if found.target is not None:
        told.append(("Target", f"{found.target.answer}."))
    told.append(("Checked", f"{found.checked}."))
    told += [("Baseline", f"{one.verdict}{'' if one.end is None else f'; it ends at {one.end:.4g}'}.")
             for one in found.baselines]  # fmt: skip
    return told


def _caption(found: LogForecast) -> str:
    told = (
        "Above, the logged losses (dots), the fitted law (thin line), and from where the log ends (dotted line) its "
        "forecast with the 90 % interval. "
    )
    if found.endings:
        told += "Ends of other schedules stand to the right of the run, with their 90 % intervals. "
    if found.run.knows_rates:
        told += "Below, the learning rates: the plan (solid) and the other schedules (dashed), in the same colours. "
    return told + "The first fall of the run is left out of the scale."


def _hidden_row(part: HiddenPart) -> dict[str, Any]:
    others: dict[str, str] = defaultdict(lambda: "–")
    others |= {SHORT[name]: off(part.miss_of(name)) for name in part.others}
    return {
        "hidden": part.hidden,
        "curve": part.curve,
        "true": part.true,
        "law": part.law,
        "interval": f"[{at_level(part.lower, part.true)}, {at_level(part.upper, part.true)}]",
        "holds": "holds" if part.holds else "misses",
        "off": off(part.error),
        "others": others,
    }


def _parameters(found: LogForecast) -> list[dict[str, Any]]:
    fit = found.fit
    return [row | {"meaning": fit.covariates.meaning(k)} for k, row in enumerate(fit.parameters)]
