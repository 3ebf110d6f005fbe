"""`forecast_logs`: from logs to one answer."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from eigenflow.core.checks import check_kind, check_whole
from eigenflow.core.errors import ArgumentError, EigenflowError
from eigenflow.forecast.checks import check_usual
from eigenflow.forecast.curves import CurveSet
from eigenflow.forecast.fitting.fit import Fit, FitStatus
from eigenflow.forecast.fitting.search import fit_parameters
from eigenflow.forecast.outlook.checks import BASELINES, LAST_VALUE, HiddenPart, hidden_parts, last_value, power_end
from eigenflow.forecast.outlook.ends import end_of, endings_of
from eigenflow.forecast.outlook.others import is_same, other_endings
from eigenflow.forecast.outlook.rest import PlannedRun, planned_run
from eigenflow.forecast.outlook.result import Baseline, LogForecast, RunEnd, SizeEnd
from eigenflow.forecast.outlook.short_forms import WhatIf, asked_schedules
from eigenflow.forecast.outlook.targets import target_of
from eigenflow.forecast.reading import read_curves
from eigenflow.forecast.reading.rates.assembly import MissingRatesError
from eigenflow.forecast.schedules.schedule import Schedule
from eigenflow.forecast.study.study import Study, fit_law, fit_study

__all__ = ["forecast_logs", "planned_runs", "read_logs"]

Source = str | Path | pd.DataFrame
# Sizes beyond the largest one of a log with several.
NEXT_SIZES = (2.0, 4.0)
# Steps of the forecast's path, runs whose ends are told, those of them that are fitted alone, and points below which a
# log says little.
PATH, MOST_RUNS, MOST_ALONE, FEW = 400, 24, 8, 15
STARTS, MOST_NAMED = 4, 3
# Runs that a joint fit misses by so many times more than a fit of theirs alone, and by so much, share no law.
APART, LEAST_APART = 3.0, 0.004
ASSUMED_RATES = "the logs show no learning rates: a constant rate is assumed for all of them"


def forecast_logs(
    source: Source | Sequence[Source] | CurveSet,
    *,
    total: int | None = None,
    run: str | None = None,
    what_if: WhatIf | Sequence[WhatIf] = (),
    target: float | None = None,
    schedules: str | Path | Mapping[str, Schedule] | Schedule | pd.DataFrame | None = None,
    columns: Mapping[str, str] | None = None,
    law: str = "transport",
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
    **reading: Any,
) -> LogForecast:
    """Read logs and say how the run will end, how sure that is, and what else could be done.

    The rest of the schedule is taken from what the log says (`max_steps`, `total_steps`) and the kind that its rates
    show, else it is assumed, which the answer says first. Several runs or sizes in the logs are fitted together.

    Args:
        source: As for `read_curves`; or curves that were read.
        total: Updates in all, where the log does not say it, or another number is wanted.
        run: The run that the answer is about, where there are several. None: one that is under way.
        what_if: Other schedules: short forms such as "cosine:total=8000,end=0", tables, or schedules.
        target: A loss that is wanted, in nats.
        schedules: As for `read_curves`.
        columns: As for `read_curves`.
        law: The law that is fitted.
        seed: Draws starting points and parameters.
        progress: Called with a line before each part of the work.
        reading: More for `read_curves`: exclude, unit, warmup, tokens_per_step, keep_spikes, check_units, pattern.

    Raises:
        ArgumentError: If the logs cannot be read, or an argument contradicts them.
        NonFiniteError: If a run diverges.

    Examples:
        >>> steps = np.arange(50, 1001, 10)
        >>> rates = 1e-3 * (1 + np.cos(np.pi * steps / 2000)) / 2
        >>> log = pd.DataFrame({"step": steps, "loss": 2 + 10 * (steps + 100.0) ** -0.5, "lr": rates})
        >>> found = forecast_logs(log, warmup=0)
        >>> found.run.total, found.run.kind
        (2000, 'cosine, 0.001, down to 0 at update 2,000')
    """
    begun = time.process_time()
    if total is not None:
        check_whole("total", total, 1)
    if target is not None:
        check_usual("target", target)
    if isinstance(source, CurveSet):
        curves = source
    else:
        curves = read_logs(source, schedules=schedules, columns=columns, **reading)
    tell = progress or (lambda line: None)
    plans, chosen = planned_runs(curves, total=total, run=run)
    asked = [what_if] if isinstance(what_if, str | Path | Schedule | Mapping) else what_if
    check_kind("what_if", asked, (list, tuple), "a short form such as 'cosine:end=0', a table, a `Schedule`, or a list")
    others = _others(chosen, asked)
    tell(f"fit of {len(curves)} curves, {curves.points} points")
    study, cautions = _fitted(curves, chosen, law, seed)
    fit, size = study.fits[0], chosen.curve.size
    tell("hidden parts of the log")
    checks, problems = hidden_parts(study.curves, fit, first=chosen.curve, seed=seed, progress=progress)
    tell("ends of schedules")
    path = fit.predict_steps(chosen.schedule, _path_steps(chosen), size=size)
    end, reach = end_of(fit, chosen.schedule, size)
    endings = endings_of(fit, chosen.schedule, others[0], size=size, rng=np.random.default_rng(seed), asked=others[1])
    found = None if target is None else target_of(float(target), chosen, path, fit, endings, size)
    baselines = _baselines(checks, fit, chosen)
    ends = _run_ends(study, plans, law, seed)
    sizes, more = _sizes(study, chosen)
    told = _cautions(chosen, fit, checks, baselines, (*cautions, *reach))
    notes = (*curves.notes, *problems, *more)
    names = _named(curves)
    return LogForecast(
        curves, study, chosen, end, path, found, endings, checks, baselines, ends, sizes, told, notes, names,
        time.process_time() - begun,
    )  # fmt: skip


def read_logs(source: Source | Sequence[Source], **reading: Any) -> CurveSet:
    """Read curves as `read_curves` does; where there are no learning rates, assume a constant one, and note it."""
    try:
        return read_curves(source, **reading)
    except MissingRatesError:
        found = read_curves(source, **{**reading, "schedules": "constant"})
        return replace(found, notes=(ASSUMED_RATES, *found.notes))


def planned_runs(
    curves: CurveSet, *, total: int | None = None, run: str | None = None
) -> tuple[tuple[PlannedRun, ...], PlannedRun]:
    """Plan every run of a log, and choose the one that the answer is about.

    Args:
        curves: As from `read_logs`.
        total: Updates in all of the chosen run, and of those whose length would be assumed.
        run: The name of the chosen run; None: one that is under way, if any is, rather one whose end is known; of those
            the largest, then the longest.
    """
    knows_rates = ASSUMED_RATES not in curves.notes
    plans = [planned_run(curve, knows_rates=knows_rates) for curve in curves]
    among = [plan for plan in plans if run is None or run in (plan.curve.name, plan.curve.label)]
    if not among:
        raise ArgumentError(f"`run` must be the name of a run, {', '.join(curves.names)}, but is {run!r}.")
    chosen = max(among, key=_relevance)
    if total is None:
        return tuple(plans), chosen
    longer = planned_run(chosen.curve, total=total, knows_rates=knows_rates)
    made = [
        longer
        if plan is chosen
        else planned_run(plan.curve, total=total, knows_rates=knows_rates)
        if plan.is_assumed and plan.last <= total
        else plan
        for plan in plans
    ]
    return tuple(made), longer


def _relevance(plan: PlannedRun) -> tuple[bool, bool, float, int]:
    return not plan.is_finished and not plan.is_assumed, not plan.is_finished, plan.curve.size or 0.0, plan.last


def _others(run: PlannedRun, asked: Sequence[WhatIf]) -> tuple[dict[str, Schedule], tuple[str, ...]]:
    """Schedules to compare with the plan, those that the user asked for first, and their names."""
    if not run.knows_rates:
        if asked:
            raise ArgumentError(
                f"`what_if` cannot be answered: the log shows no learning rates of {run.curve.label}, and schedules "
                f"are compared by theirs. Give them: `schedules` (--schedules), or name their column "
                f"(--column learning_rate=NAME)."
            )
        return {}, ()
    wanted = asked_schedules(asked, run)
    others = {
        name: one
        for name, one in other_endings(run).items()
        if name not in wanted and not any(is_same(one, known) for known in wanted.values())
    }
    return wanted | others, tuple(wanted)


def _fitted(curves: CurveSet, run: PlannedRun, law: str, seed: int) -> tuple[Study, tuple[str, ...]]:
    """Fit all curves; the run alone, if the others do not share its law."""
    study = fit_study(curves, [law], starts=STARTS, seed=seed)
    if len(curves) == 1:
        return study, ()
    at = curves.curves.index(run.curve)
    joint = float(np.sqrt(np.mean(study.fits[0].residuals[at] ** 2)))
    alone = fit_parameters([run.curve], law, starts=1, seed=seed)
    own = float(np.sqrt(np.mean(alone.residuals[0] ** 2)))
    far, worst = max((float(np.sqrt(np.mean(row**2))), k) for k, row in enumerate(study.fits[0].residuals))
    if joint <= max(APART * own, LEAST_APART) and study.fits[0].status != FitStatus.DOES_NOT_DESCRIBE:
        return study, ()
    line = (
        f"the runs of this log do not share one law: fitted together they miss {run.curve.label} by {joint:.1%}, it "
        f"alone by {own:.1%}, and {curves[worst].label} by {far:.1%}. The answer is from this run alone"
    )
    return fit_study(CurveSet((run.curve,), (), curves.size_unit, curves.loss_unit), [law], seed=seed), (line,)


def _path_steps(run: PlannedRun) -> np.ndarray:
    first = min(max(run.schedule.warmup, int(run.curve.steps[0]), 1), run.last)
    even = np.linspace(first, run.total, PATH).round().astype(np.int64)
    return np.unique(np.append(even, [max(run.last, 1), run.total]))


def _baselines(checks: Sequence[HiddenPart], fit: Fit, run: PlannedRun) -> tuple[Baseline, ...]:
    made = []
    for name in BASELINES:
        parts = [part for part in checks if name in part.others]
        if not parts:
            continue
        error = float(np.mean([abs(part.miss_of(name)) for part in parts]))
        law_error = float(np.mean([abs(part.error) for part in parts]))
        end = None if run.is_finished else last_value(run.curve) if name == LAST_VALUE else power_end(fit, run)
        made.append(Baseline(name, end, error, law_error, len(parts)))
    return tuple(made)


def _run_ends(study: Study, plans: Sequence[PlannedRun], law: str, seed: int) -> tuple[RunEnd, ...]:
    """The ends of all runs, each by the fit that it is in; runs that share no law with the chosen one by their own."""
    fits = {id(curve): study.fits[0] for curve in study.curves}
    made = []
    for plan in plans[:MOST_RUNS]:
        fit = fits.get(id(plan.curve))
        try:
            if fit is None and len(made) < MOST_ALONE:
                fit = fit_law([plan.curve], law, starts=1, seed=seed)
            if fit is not None:
                made.append(RunEnd(plan, end_of(fit, plan.schedule, plan.curve.size)[0]))
        except EigenflowError:  # too few points, or far outside of the law; the chosen run's own error is told
            continue
    return tuple(made)


def _sizes(study: Study, run: PlannedRun) -> tuple[tuple[SizeEnd, ...], tuple[str, ...]]:
    sizes = [size for size in study.curves.sizes if size is not None]
    if len(sizes) < 2:
        return (), ()
    try:
        wanted = [factor * sizes[-1] for factor in NEXT_SIZES]
        return tuple(SizeEnd(size, end_of(study.fits[0], run.schedule, size)[0]) for size in wanted), ()
    except EigenflowError as error:
        return (), (f"larger sizes: {error}",)


def _cautions(
    run: PlannedRun, fit: Fit, checks: Sequence[HiddenPart], baselines: Sequence[Baseline], others: Iterable[str]
) -> tuple[str, ...]:
    """What makes the answer doubtful, the fit first."""
    found = []
    if fit.status is not FitStatus.CONVERGED:
        found.append(f"the fit: {fit.status.value}")
    found += [*others, *run.cautions]
    if len(run.curve) < FEW:
        found.append(f"{len(run.curve)} points are few: much of the forecast is what other runs did (the prior)")
    found += [
        f"{one.verdict}{'' if one.end is None else f'; it ends at {one.end:.4g}'}"
        for one in baselines
        if one.is_clearly_better
    ]
    missed = [part for part in checks if not part.holds]
    if checks and len(missed) > len(checks) / 2:
        found.append(
            f"{len(missed)} of {len(checks)} intervals for hidden parts of this log did not hold what came: the "
            f"interval of the end is likely too narrow as well"
        )
    return tuple(dict.fromkeys(found))


def _named(curves: CurveSet) -> str:
    """The files behind the curves."""
    files = list(dict.fromkeys(curve.origin.file for curve in curves if curve.origin is not None))
    more = f" and {len(files) - MOST_NAMED} more" if len(files) > MOST_NAMED else ""
    return ", ".join(files[:MOST_NAMED]) + more
