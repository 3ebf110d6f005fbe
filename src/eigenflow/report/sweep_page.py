"""A sweep as one self-contained HTML file: no script, nothing that is loaded. The answer stands on the first screen."""

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

import eigenflow
from eigenflow.core.writing import check_free, write_whole
from eigenflow.plots.sweep import SweepLine, plot_over_key
from eigenflow.report.numbers import interval_text, number
from eigenflow.report.static_page import picture_data, render
from eigenflow.theory.lazy_rich import LAZY, RICH
from eigenflow.theory.over_sweep.dataset import STATES
from eigenflow.theory.over_sweep.effects import FlippedClaim, SizeExponent, SweepEffects, keys_of, where_text
from eigenflow.theory.over_sweep.powers import Power

__all__ = ["run_rows", "write_sweep_page"]

MOST_ROWS = 1000  # of the table of runs
MOST_LINES = 10
LOSSES = {"holdout_loss": "test loss", "probe_loss": "probe loss"}
REGIMES = {
    "loss": "loss",
    "distance": "distance ‖M − M₀‖ / ‖M₀‖",
    "largest_eigenvalue_first": "largest eigenvalue, first",
}


def write_sweep_page(effects: SweepEffects, path: Path, *, failures: dict[str, str], replace: bool = True) -> Path:
    """Write the page of a sweep: what is best, what changes with each key, which verdicts flip, and all runs.

    Args:
        effects: As from `sweep_effects`.
        path: The file, in a folder that exists.
        failures: Of runs that failed, by name, the last line of why.
        replace: Whether an existing file may be replaced.

    Returns:
        The path.
    """
    check_free(path, option="path", replace=replace)
    return write_whole(path, _render(effects, failures), replace=replace)


def _render(effects: SweepEffects, failures: dict[str, str]) -> str:
    data = effects.data
    rows = run_rows(effects)
    sections = [
        ("answer", "Answer"),
        ("map", "Over the keys"),
        ("exponents", "Exponents"),
        ("flips", "Verdicts that flip"),
    ]
    return render(
        "sweep.html.j2",
        title=str(data.attrs.get("sweep", "Sweep")),
        sections=[*sections, ("runs", "Runs")],
        answers=_answers(effects),
        cautions=[*effects.notes, *(f"{name} failed: {why}" for name, why in list(failures.items())[:20])],
        pictures=_pictures(effects),
        caption=_caption(effects),
        exponents=[_exponent_row(one) for one in effects.exponents],
        powers=[(REGIMES[one.quantity], _key_text(one), one) for one in effects.powers],
        flips=effects.flips,
        loss=LOSSES[effects.loss],
        keys=list(keys_of(data)),
        has_repeats="repeat" in data["state"].dims,
        runs=rows[:MOST_ROWS],
        left_out=max(0, len(rows) - MOST_ROWS),
        version=eigenflow.__version__,
    )


def _answers(effects: SweepEffects) -> list[tuple[str, str]]:
    told = [("Runs", ", ".join(f"{count} {state}" for state, count in effects.states.items()))]
    if effects.best is not None:
        values, loss, error = effects.best
        spread = "" if error is None else f" ± {number(error, 2)} (standard error over repeats)"
        told.append(
            ("Best", f"{LOSSES[effects.loss]} {number(loss)}{spread} at {where_text(values) or 'the one setting'}")
        )
    told += _exponents_in_words(effects.exponents)
    moved: dict[str, list[str]] = {}
    for one in effects.powers:
        if one.quantity == "distance":
            moved.setdefault(where_text(dict(one.where)), []).append(f"{one.key} to the power {_power(one)}")
    if moved:
        words = [" and ".join(powers) + (f" with {where}" if where else "") for where, powers in moved.items()]
        told.append(("Lazy to rich", f"distance of the operator ∝ {'; '.join(words)}"))
    told.append(("Flips", _flips_in_words(effects.flips, "verdict" in effects.data)))
    return told


def _exponents_in_words(exponents: tuple[SizeExponent, ...]) -> list[tuple[str, str]]:
    """One line a resource: the exponent, or the range of several."""
    told = []
    for resource in dict.fromkeys(one.resource for one in exponents):
        here = [one for one in exponents if one.resource == resource]
        fitted = [one for one in here if one.law is not None and one.law.status.value == "fitted"]
        if len(here) == 1 or not fitted:
            words = here[0].told() if len(here) == 1 else f"open at all {len(here)} other settings: {here[0].why}"
        else:
            values = sorted(one.law.exponent.value for one in fitted if one.law is not None)
            words = f"{number(values[0])} to {number(values[-1])} at {len(fitted)} of {len(here)} other settings"
        told.append((f"Exponent over {resource}", words))
    return told


def _key_text(one: Power) -> str:
    return ", ".join(filter(None, [one.key, where_text(dict(one.where))]))


def _power(one: Power) -> str:
    return f"{number(one.value)} {interval_text((one.lower, one.upper))}"


def _flips_in_words(flips: tuple[FlippedClaim, ...], is_judged: bool) -> str:
    if not is_judged:
        return "no run was judged"
    if not flips:
        return "none: no row of the claims is supported in one run and contradicted in another"
    named = [f"{one.claim} (with {one.key})" if one.key else one.claim for one in flips]
    more = f" and {len(named) - 6} more" if len(named) > 6 else ""
    return ", ".join(named[:6]) + more


def _exponent_row(one: SizeExponent) -> dict[str, Any]:
    law = one.law
    return {
        "resource": one.resource,
        "key": one.key,
        "where": where_text(one.where),
        "exponent": None if law is None else law.exponent.value,
        "interval": None if law is None else (law.exponent.lower, law.exponent.upper),
        "floor": None if law is None else law.floor_share,
        "sizes": None if law is None else law.sizes,
        "runs": None if law is None else law.runs,
        "status": one.why or "fitted",
    }


def run_rows(effects: SweepEffects) -> list[dict[str, Any]]:
    """The table of runs: values of the keys, how far each is, and its numbers."""
    data, keys = effects.data, keys_of(effects.data)
    dims = [str(name) for name in data["state"].dims]
    rows = []
    for place in np.ndindex(*data["state"].shape):
        index = dict(zip(dims, place, strict=True))
        values = {name: float(data[name].values[place]) for name in (effects.loss, "distance", "drift_exponent")}
        numbers = {name: None if np.isnan(value) else value for name, value in values.items()}
        distance = numbers["distance"]
        regime = None
        if distance is not None:
            regime = "rich" if distance >= RICH else "lazy" if distance < LAZY else "between"
        rows.append(
            {
                "name": str(data["run_name"].values[place]),
                "keys": [_shown(along[index[dim]]) for dim, along in keys.values()],
                "repeat": index.get("repeat"),
                "state": STATES[int(data["state"].values[place])],
                "loss": numbers[effects.loss],
                "distance": distance,
                "regime": regime,
                "drift_exponent": numbers["drift_exponent"],
            }
        )
    return rows


def _shown(value: Any) -> str:
    return number(float(value), 4) if isinstance(value, np.floating) else str(value)


def _pictures(effects: SweepEffects) -> list[tuple[str, str]]:
    """A picture for each number, with its caption: side by side on a screen, one below the other on a phone."""
    drawn = _lines(effects)
    if drawn is None:
        return []
    key, tables = drawn
    names = {"loss": LOSSES[effects.loss], "distance": "distance ‖M − M₀‖ / ‖M₀‖"}
    found = []
    for quantity, lines in tables.items():
        figure = Figure(figsize=(5.2, 3.9), layout="constrained")
        marks = _marks(lines) if quantity == "distance" else ()
        plot_over_key(lines, ax=figure.subplots(), key=key, quantity=names[quantity], marks=marks)
        found.append((picture_data(figure), f"{names[quantity]} over {key}"))
    return found


def _marks(lines: list[SweepLine]) -> list[tuple[float, str]]:
    """The ends of lazy and rich that lie near what is drawn."""
    values = np.concatenate([line.values for line in lines])
    low, high = values.min() / 1.5, values.max() * 1.5
    return [(level, words) for level, words in ((LAZY, "lazy below"), (RICH, "rich above")) if low < level < high]


def _lines(effects: SweepEffects) -> tuple[str, dict[str, list[SweepLine]]] | None:
    """The numeric key of most values, and runs that share all others as one line."""
    data = effects.data
    keys = {key: (dim, along) for key, (dim, along) in keys_of(data).items() if along.dtype.kind in "iuf"}
    if not keys:
        return None
    key = max(keys, key=lambda name: len(np.unique(keys[name][1])))
    dim, along = keys[key]
    ended = data["state"] >= STATES.index("recorded")
    tables = {}
    for quantity, name in (("loss", effects.loss), ("distance", "distance")):
        lines = _lines_of(data[name].where(ended), data, dim, along)
        if lines:
            tables[quantity] = lines
    return (key, tables) if tables else None


def _lines_of(values: xr.DataArray, data: xr.Dataset, dim: str, along: np.ndarray) -> list[SweepLine]:
    others = [name for name in map(str, values.dims) if name not in (dim, "repeat")]
    lines = []
    for place in np.ndindex(*(data.sizes[name] for name in others)):
        index = dict(zip(others, place, strict=True))
        table = values.isel(index).transpose(dim, ...).values.reshape(len(along), -1)
        at = np.isfinite(table)
        if not at.any():
            continue
        rows = np.nonzero(at)[0]
        where = {name: keys[1][index[keys[0]]].item() for name, keys in keys_of(data).items() if keys[0] in index}
        kept = np.flatnonzero(at.any(1))
        order = kept[np.argsort(along[kept])]
        means = np.array([table[row][at[row]].mean() for row in order])
        centres = None if dim == "run" else (along[order].astype(float), means)
        lines.append(SweepLine(where_text(where), along[rows].astype(float), table[at], centres))
    return lines[:MOST_LINES]


def _caption(effects: SweepEffects) -> str:
    return (
        f"Each point is a run, lines join means over repeats. The distance says how far the operator has gone "
        f"from where it began; below {LAZY:g} training is lazy, above {RICH:g} rich. At most "
        f"{MOST_LINES} settings of the other keys are drawn."
    )
