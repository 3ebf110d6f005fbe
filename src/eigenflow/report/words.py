"""A run's set-up and findings in words, and numbers as text."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from eigenflow.report.methods import method_name as method_name
from eigenflow.report.numbers import band_text as band_text
from eigenflow.report.numbers import interval_text as interval_text
from eigenflow.report.numbers import number as number
from eigenflow.report.summary import Analysis
from eigenflow.store import Gap, Run
from eigenflow.store.schema import STATES

__all__ = [
    "band_text",
    "energy_words",
    "flattened",
    "headlines",
    "interval_text",
    "method_name",
    "number",
    "short_energy_words",
    "statement",
]

LISTED = 6  # entries of a long list that are shown


def flattened(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested settings as rows of dotted key and text."""
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from flattened(value, f"{name}.")
        elif isinstance(value, Sequence) and not isinstance(value, str):
            yield name, _listed(value)
        else:
            yield name, "–" if value is None else str(value)


def _listed(values: Sequence[Any]) -> str:
    if len(values) <= 2 * LISTED:
        return ", ".join(map(str, values)) or "none"
    ends = [*map(str, values[:LISTED]), "…", *map(str, values[-2:])]
    return f"{', '.join(ends)} ({len(values)} entries)"


def statement(run: Run) -> str:
    """What was run and measured, in a paragraph."""
    header = run.header
    config, probe = _part(header, "config"), _part(header, "probe")
    parts = [f"The run has the status “{run.status}”.", *_gaps(run)]
    if run.kind == STATES:
        parts.insert(0, _states(run))
    told = [_told(config, "task"), _told(config, "model"), _told(config, "train")]
    if any(told):
        names = ("Task", "Model", "Training")
        parts += [f"{name}: {text}." for name, text in zip(names, told, strict=True) if text]
    else:
        parts.append("The recorder was given no task, model or training set-up.")
    parts.append(_progress(run))
    if not run.has_squared_loss:
        parts.append(energy_words(run))
    if "samples" in probe and "outputs" in probe:
        size = int(probe["samples"]) * int(probe["outputs"])
        parameters = f" of the network’s {probe['parameters']} parameters" if "parameters" in probe else ""
        parts.append(
            f"The operator M = J Jᵀ{parameters} is {size} × {size} ({probe['samples']} probe samples times "
            f"{probe['outputs']} outputs); its {run.measurements.sizes.get('mode', 0)} largest modes are stored one by "
            f"one, and shells hold all of them."
        )
    return " ".join(parts)


def _gaps(run: Run) -> list[str]:
    """What the record lacks, and whether it holds single updates."""
    parts = []
    if run.first_step:
        parts.append(f"The record begins at step {run.first_step}, where time is 0.")
    if run.gaps:
        told = "; ".join(f"{_place(gap)}: {gap.reason}" for gap in run.gaps[:LISTED])
        more = f"; and {len(run.gaps) - LISTED} more" if len(run.gaps) > LISTED else ""
        parts.append(f"The record has {len(run.gaps)} {'gap' if len(run.gaps) == 1 else 'gaps'} ({told}{more}).")
    if run.why_no_updates is not None and run.kind != STATES:
        parts.append(f"Not single updates: {run.why_no_updates}.")
    return parts


def _states(run: Run) -> str:
    """That this is a record of states, and what it lacks."""
    clock = "" if run.clock == "learning rates" else f" Also, {run.why_no_clock}."
    return f"Mind that {run.why_no_updates}. What needs updates is left out here, and its claims are undecided.{clock}"


def _place(gap: Gap) -> str:
    steps = f"step {gap.step}" if gap.through == gap.step else f"steps {gap.step} to {gap.through}"
    return f"{gap.kind}, {steps}"


def energy_words(run: Run) -> str:
    """What an energy is, in a sentence or two."""
    if run.has_squared_loss:
        return "Energy is twice the loss."
    name = _part(run.header, "probe").get("loss")
    told = ", the mean of 1 / p − 1 over the probabilities p of the right classes" if name == "cross_entropy" else ""
    return (
        f"The loss ({name}) is not squared: M is the symmetrised operator Bᵀ J Jᵀ B with B Bᵀ the loss’s Hessian by "
        f"the outputs, and energy is ‖e‖² with B e the loss’s gradient{told}. That is not twice the loss."
    )


def short_energy_words(run: Run) -> str:
    """The same where the operator is not the subject."""
    return (
        energy_words(run) if run.has_squared_loss else "Energy is ‖e‖² of the symmetrised operator, not twice the loss."
    )


def _progress(run: Run) -> str:
    count, steps = len(run.measured_steps), len(run.losses)
    data = run.measurements
    if run.kind == STATES:
        times = "completed updates" if run.clock == "updates" else "sum of learning rates"
        return (
            f"States: {count}, from step {run.measured_steps[0]} to {run.measured_steps[-1]}, time "
            f"{number(float(data['time'].values[-1]), 4)} ({times})."
        )
    end = float(data["time"].values[-1] + data["step_size"].values[-1])
    return (
        f"Logged steps: {steps}; measured updates: {count}, the last at step {run.measured_steps[-1]}, up to time "
        f"{number(end, 4)} (sum of learning rates)."
    )


def _part(header: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = header.get(key)
    return found if isinstance(found, Mapping) else {}


def _told(config: Mapping[str, Any], key: str) -> str:
    """One part of a config as `name (key value, ...)`."""
    part = config.get(key)
    if not isinstance(part, Mapping):
        return "" if part is None else str(part)
    rows = dict(flattened(part))
    name = rows.pop("name", rows.pop("optimizer", ""))
    if rows.get("batch_size") == "0":
        rows["batch_size"] = "all samples"
    details = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in rows.items())
    return f"{name} ({details})" if name and details else name or details


def headlines(analysis: Analysis) -> list[tuple[str, str]]:
    """The findings in a sentence each: a keyword and the sentence."""
    run, data = analysis.run, analysis.run.measurements
    loss = data["probe_loss"].values
    told = f"The probe loss went from {number(float(loss[0]))} to {number(float(loss[-1]))}"
    if "holdout_loss" in data:
        holdout = data["holdout_loss"].values
        told += f", the holdout loss from {number(float(holdout[0]))} to {number(float(holdout[-1]))}"
    told += f", over {len(run.measured_steps)} measurements."
    found = [("Loss", told)]
    if not run.has_squared_loss:
        energy = data["total_energy"].values
        found.append(("Energy", f"‖e‖² went from {number(float(energy[0]))} to {number(float(energy[-1]))}."))
    if "trace" in data:
        trace = data["trace"].values
        found.append(
            (
                "Operator",
                f"Tr M went from {number(float(trace[0]))} to {number(float(trace[-1]))} per unit of time.",
            )
        )
    return [*found, ("Drift", _drift(analysis)), *_forecasts(analysis)]


def _drift(analysis: Analysis) -> str:
    law = analysis.closure
    if law is None:
        return "No drift law could be fitted; the reason stands below."
    way = "grow (c < 0)" if law.gamma < 0 else "shrink (c > 0)"
    is_clear = law.gamma_interval[0] * law.gamma_interval[1] > 0
    return (
        f"Eigenvalues {way if is_clear else 'show no clear direction'}: "
        f"γ = median of t κ(t) = {number(law.gamma)}, 90 % interval {interval_text(law.gamma_interval)}; exponent "
        f"b = {number(law.b)} {interval_text(law.b_interval)}, from {law.points} shell velocities."
    )


def _forecasts(analysis: Analysis) -> list[tuple[str, str]]:
    """The best forecast of each cut, as the typical factor by which it misses."""
    told = []
    for cut in sorted({forecast.observed.cut for forecast in analysis.forecasts}):
        of_cut = [forecast for forecast in analysis.forecasts if forecast.observed.cut == cut]
        best = min(of_cut, key=lambda forecast: forecast.score.rms_log_ratio)
        factor = float(np.exp(min(best.score.rms_log_ratio, 700.0)))
        miss = f"{number(100 * (factor - 1), 2)} %" if factor < 2 else f"a factor of {number(factor)}"
        told.append(f"from {cut:.0%} of the steps {method_name(best.method)}, off by {miss}")
    what = "Best of three" if analysis.run.has_squared_loss else "Best of three for the energy, not the loss"
    return [("Forecasts", f"{what}: {'; '.join(told)} (exponential of the RMS log ratio).")] if told else []
