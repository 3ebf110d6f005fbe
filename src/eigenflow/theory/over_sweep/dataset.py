"""One dataset of all numbers of all runs, over what was swept."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr

from eigenflow.core.errors import EigenflowError
from eigenflow.shells import shell_budget
from eigenflow.store import Run, RunFolderWarning, open_run
from eigenflow.theory.lazy_rich import lazy_rich
from eigenflow.theory.over_sweep.folder import Sweep, SweptRun

__all__ = ["STATES", "VERDICTS", "sweep_dataset"]

# Codes of the variable `state`, and of `verdict`; -1 where there is none.
STATES = ("not begun", "cut off", "failed", "recorded", "done")
VERDICTS = ("contradicted", "undecided", "supported")
CUT_ENDS = ("complete", "complete with gaps")

# Name: unit and meaning.
_NUMBERS = {
    "steps": ("1", "updates that were recorded"),
    "time": ("time", "sum of learning rates at the last measurement"),
    "probe_loss_first": ("loss", "loss of the probe set at the first measurement"),
    "probe_loss": ("loss", "loss of the probe set at the last measurement"),
    "holdout_loss": ("loss", "loss of the test samples at the last measurement"),
    "logged_loss": ("loss", "loss of the last logged update"),
    "largest_eigenvalue_first": ("1 / time", "largest eigenvalue of the operator at the first measurement"),
    "largest_eigenvalue": ("1 / time", "largest eigenvalue of the operator at the last measurement"),
    "distance": ("1", "||M - M0|| / ||M0|| at the last measurement: how far from lazy"),
    "growth": ("1", "||M|| / ||M0|| at the last measurement"),
    "alignment": ("1", "<M, M0> / (||M|| ||M0||) at the last measurement"),
    "target_alignment": ("1", "y'My / (||M|| |y|^2) at the last measurement"),
    "flux_share": ("1", "share of the energy that went to another shell instead of being learned"),
    "drift_exponent": ("1", "b of the drift law v = -c(t) lambda^b"),
    "drift_exponent_lower": ("1", "lower end of its 90 % interval"),
    "drift_exponent_upper": ("1", "upper end of its 90 % interval"),
    "gamma": ("1", "integrated drift of the law; below 0 eigenvalues grow"),
    "gamma_lower": ("1", "lower end of its 90 % interval"),
    "gamma_upper": ("1", "upper end of its 90 % interval"),
    "drift_explained": ("1", "share of the variance of shell velocities that the law explains"),
    "budget_residual": ("1", "largest residual of the energy budget"),
    "unknown_learning_share": ("1", "share of the energy of which is not known when it was learned"),
}


def sweep_dataset(sweep: Sweep, *, progress: Callable[[str], None] | None = None) -> xr.Dataset:
    """Gather the numbers of all runs of a sweep that are there.

    Args:
        sweep: As from `open_sweep`; it may still be made.
        progress: Called with the name of each run before it is read, some tens of milliseconds each.

    Returns:
        Variables over the swept keys (random draws along `run`, repeats along `repeat`), with unit and meaning in their
        attributes; claims along `claim` besides, scores along `forecast` (its method) and `cut`. Zipped and drawn keys
        are coordinates along their dimension. What a run does not have is NaN, and `state` says how far it is.
    """
    rows = []
    for run in sweep.runs:
        if progress is not None:
            progress(run.name)
        rows.append(_numbers(sweep, run))
    shape = tuple(one.length for one in sweep.dimensions)
    names = [one.name for one in sweep.dimensions]
    places = [tuple(run.index[name] for name in names) for run in sweep.runs]
    data = xr.Dataset(coords=_coordinates(sweep), attrs={"sweep": sweep.name, "runs": len(sweep.runs)})
    data["run_name"] = (names, _filled(shape, places, [run.name for run in sweep.runs], ""))
    data["state"] = (names, _filled(shape, places, [row["state"] for row in rows], np.int8(0)))
    data["state"].attrs = _flags(STATES, "how far the run is")
    for name, (unit, meaning) in _NUMBERS.items():
        values = _filled(shape, places, [row["numbers"].get(name, np.nan) for row in rows], np.nan)
        data[name] = (names, values, {"units": unit, "long_name": meaning})
    _add_claims(data, names, shape, places, rows)
    _add_scores(data, names, shape, places, rows)
    return data


def _flags(meanings: tuple[str, ...], what: str) -> dict[str, Any]:
    """How the climate-and-forecast conventions say codes."""
    words = " ".join(meaning.replace(" ", "_") for meaning in meanings)
    return {"flag_values": list(range(len(meanings))), "flag_meanings": words, "long_name": what}


def _filled(shape: tuple[int, ...], places: list[tuple[int, ...]], values: list[Any], empty: Any) -> np.ndarray:
    kind = object if isinstance(empty, str) else np.asarray(empty).dtype
    found = np.full(shape, empty, dtype=kind)
    for place, value in zip(places, values, strict=True):
        found[place] = value
    return found.astype(str) if kind is object else found


def _coordinates(sweep: Sweep) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for one in sweep.dimensions:
        if one.name not in one.keys:
            found[one.name] = np.arange(one.length)
        found |= {key: (one.name, np.array(values)) for key, values in one.keys.items()}
    return found


def _numbers(sweep: Sweep, swept: SweptRun) -> dict[str, Any]:
    """State, numbers, and the summary's lists of one run."""
    failure, none = sweep.failure(swept), {"numbers": {}, "claims": [], "scores": []}
    try:
        with warnings.catch_warnings():
            # A run that was cut off: its state says so, and `eigenflow sweep` repairs it.
            warnings.simplefilter("ignore", RunFolderWarning)
            run = open_run(sweep.folder(swept))
            summary = run.summary or {}
            numbers = _measured(run) | _summed_up(summary)
    except EigenflowError:
        return {"state": STATES.index("not begun" if failure is None else "failed"), **none}
    state = "cut off" if failure is None else "failed"
    if run.status in CUT_ENDS:
        state = "done" if summary else "recorded"
    scores = (summary.get("forecast") or {}).get("scores") or []
    return {"state": STATES.index(state), "numbers": numbers, "claims": summary.get("claims") or [], "scores": scores}


def _measured(run: Run) -> dict[str, float]:
    if not run.measured_steps:
        return {}
    data = run.measurements
    found = {
        "time": data["time"],
        "probe_loss": data["probe_loss"],
        "largest_eigenvalue": data["eigenvalue"].max("mode") if "eigenvalue" in data else None,
        "holdout_loss": data.get("holdout_loss"),
    }
    numbers = {name: float(values[-1]) for name, values in found.items() if values is not None}
    numbers["probe_loss_first"] = float(data["probe_loss"][0])
    if "eigenvalue" in data:
        numbers["largest_eigenvalue_first"] = float(data["eigenvalue"][0].max())
    losses = run.losses
    if len(losses):
        numbers["steps"] = float(losses["step"].iloc[-1]) + 1.0 - run.first_step
        if "loss" in losses:
            numbers["logged_loss"] = float(losses["loss"].iloc[-1])
    return numbers | _place(run)


def _place(run: Run) -> dict[str, float]:
    """Where the run lies between lazy and rich; nothing where it does not say."""
    data = run.measurements
    try:
        place = lazy_rich(data, shell_budget(run), plain=run.header.get("preconditioner") is not None)
    except EigenflowError:
        return {}
    series = {
        name: getattr(place, name) for name in ("distance", "growth", "alignment", "target_alignment", "flux_share")
    }
    return {name: float(values[-1]) for name, values in series.items() if values is not None}


def _summed_up(summary: dict[str, Any]) -> dict[str, float]:
    law, numbers = summary.get("closure"), {}
    if law:
        numbers = {"drift_exponent": law["b"], "gamma": law["gamma"], "drift_explained": law["explained"]}
        for name, key in (("drift_exponent", "b_interval"), ("gamma", "gamma_interval")):
            numbers |= {f"{name}_lower": law[key][0], f"{name}_upper": law[key][1]}
    if budget := summary.get("budget"):
        numbers["budget_residual"] = budget["largest_residual"]
    if learned := summary.get("learning_times"):
        numbers["unknown_learning_share"] = learned["unknown_share"]
    return {name: float(value) for name, value in numbers.items() if value is not None}


def _add_claims(data: xr.Dataset, names: list[str], shape: tuple[int, ...], places: list[Any], rows: list[Any]) -> None:
    """Estimate, interval and verdict of every row that any run has."""
    claims = list(dict.fromkeys(claim["claim"] for row in rows for claim in row["claims"]))
    if not claims:
        return
    estimates = np.full((3, *shape, len(claims)), np.nan)
    verdicts = np.full((*shape, len(claims)), -1, dtype=np.int8)
    for place, row in zip(places, rows, strict=True):
        for claim in row["claims"]:
            at = (*place, claims.index(claim["claim"]))
            verdicts[at] = VERDICTS.index(claim["verdict"])
            told = (claim["estimate"], *(claim["interval"] or (None, None)))
            for number, value in enumerate(told):
                estimates[(number, *at)] = np.nan if value is None else value
    dims = [*names, "claim"]
    data["claim"] = claims
    for name, values in zip(("estimate", "estimate_lower", "estimate_upper"), estimates, strict=True):
        data[name] = (dims, values, {"long_name": "of the claim's row, with its 90 % interval", "units": "1"})
    data["verdict"] = (dims, verdicts, _flags(VERDICTS, "verdict on the claim's row; -1: none"))


def _add_scores(data: xr.Dataset, names: list[str], shape: tuple[int, ...], places: list[Any], rows: list[Any]) -> None:
    scores = [score for row in rows for score in row["scores"]]
    if not scores:
        return
    methods = list(dict.fromkeys(score["method"] for score in scores))
    cuts = sorted({score["cut"] for score in scores})
    found = {name: np.full((*shape, len(methods), len(cuts)), np.nan) for name in ("rms_log_ratio", "final_log_ratio")}
    for place, row in zip(places, rows, strict=True):
        for score in row["scores"]:
            at = (*place, methods.index(score["method"]), cuts.index(score["cut"]))
            for name, values in found.items():
                values[at] = score[name]
    data["forecast"], data["cut"] = methods, cuts
    for name, values in found.items():
        words = "of ln(predicted / true) of the rest of the run, told from a cut"
        data[f"forecast_{name}"] = ([*names, "forecast", "cut"], values, {"long_name": words, "units": "1"})
