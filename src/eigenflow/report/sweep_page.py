"""A sweep as one self-contained HTML file, nothing of which is loaded. The answer stands on the first screen."""

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from eigenflow.core.writing import check_free, write_whole
from eigenflow.plots.sweep import SweepLine
from eigenflow.report.answers.swept import swept_answers
from eigenflow.report.figures.over_sweep import over_key_figure, sweep_map_figure
from eigenflow.report.numbers import number
from eigenflow.report.page import render_page
from eigenflow.report.sections import Picture
from eigenflow.theory.claim_words import CLAIM_WORDS
from eigenflow.theory.lazy_rich import LAZY, RICH
from eigenflow.theory.over_sweep.dataset import STATES
from eigenflow.theory.over_sweep.effects import SizeExponent, SweepEffects, keys_of, where_text
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
    return render_page(
        "sweep.html.j2",
        kind="sweep",
        title=str(data.attrs.get("sweep", "Sweep")),
        answers=swept_answers(effects, LOSSES[effects.loss]),
        cautions=[*effects.notes, *(f"{name} failed: {why}" for name, why in list(failures.items())[:20])],
        pictures=_pictures(effects),
        exponents=[_exponent_row(one) for one in effects.exponents],
        powers=[(REGIMES[one.quantity], _key_text(one), one) for one in effects.powers],
        flips=effects.flips,
        words=CLAIM_WORDS,
        loss=LOSSES[effects.loss],
        keys=list(keys_of(data)),
        has_repeats="repeat" in data["state"].dims,
        runs=rows[:MOST_ROWS],
        left_out=max(0, len(rows) - MOST_ROWS),
    )


def _key_text(one: Power) -> str:
    return ", ".join(filter(None, [one.key, where_text(dict(one.where))]))


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


def _pictures(effects: SweepEffects) -> dict[str, Picture]:
    """Loss and distance over the key that matters most, and the lazy-rich map."""
    drawn = _lines(effects)
    found = {"sweep_map": _map(effects)}
    for quantity, name in (("loss", LOSSES[effects.loss]), ("distance", "distance ‖M − M₀‖ / ‖M₀‖")):
        picture = f"sweep_{quantity}"
        lines = [] if drawn is None else drawn[1].get(quantity, [])
        if drawn is None or not lines:
            found[picture] = Picture(picture, None, f"No run that ended has a swept number to draw the {name} over.")
            continue
        marks = _marks(lines) if quantity == "distance" else ()
        figure = over_key_figure(lines, key=drawn[0], quantity=name, marks=marks)
        found[picture] = Picture(picture, figure, _caption(lines))
    return found


def _map(effects: SweepEffects) -> Picture:
    data = effects.data
    values = {name: data[name].values.ravel() for name in ("distance", "flux_share", effects.loss)}
    ended = data["state"].values.ravel() >= STATES.index("recorded")
    kept = ended & np.all([np.isfinite(one) & (one > 0) for one in values.values()], axis=0)
    if not kept.any():
        why = "No run that ended says how far its operator went and what changed its shell."
        return Picture("sweep_map", None, why)
    names = [str(name) for name in data["run_name"].values.ravel()[kept]]
    distance, share, loss = (one[kept] for one in values.values())
    figure = sweep_map_figure(names, distance, share, loss, quantity=LOSSES[effects.loss])
    left = int((ended & ~kept).sum())
    more = f" {left} runs that ended have no place on the axes, with a distance or share of 0." if left else ""
    return Picture(
        "sweep_map",
        figure,
        f"Each point is where a run ended. Left of the first dashed line training is lazy, right of the second it is "
        f"rich. Upwards is the share of the energy that left its shell instead of being learned. The colour is the "
        f"{LOSSES[effects.loss]}.{more}",
    )


def _marks(lines: list[SweepLine]) -> list[tuple[float, str]]:
    """The ends of lazy and rich that lie near what is drawn."""
    values = np.concatenate([line.values for line in lines])
    low, high = values.min() / 1.5, values.max() * 1.5
    return [(level, words) for level, words in ((LAZY, "lazy below"), (RICH, "rich above")) if low < level < high]


def _lines(effects: SweepEffects) -> tuple[str, dict[str, list[SweepLine]]] | None:
    """The numeric key that matters most, and runs that share all others as one line."""
    data = effects.data
    keys = {key: (dim, along) for key, (dim, along) in keys_of(data).items() if along.dtype.kind in "iuf"}
    if not keys:
        return None
    key = max(keys, key=lambda name: (_span(effects, name, keys[name][1]), len(np.unique(keys[name][1]))))
    dim, along = keys[key]
    ended = data["state"] >= STATES.index("recorded")
    tables = {}
    for quantity, name in (("loss", effects.loss), ("distance", "distance")):
        lines = _lines_of(data[name].where(ended), data, dim, along)
        if lines:
            tables[quantity] = lines
    return (key, tables) if tables else None


def _span(effects: SweepEffects, key: str, along: np.ndarray) -> float:
    """Over how many e-folds the power of a key takes the loss, from its least value to its largest; 0 without one."""
    powers = [abs(one.value) for one in effects.powers if one.key == key and one.quantity == "loss"]
    return float(np.mean(powers) * np.log(along.max() / along.min())) if powers and along.min() > 0 else 0.0


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


def _caption(lines: list[SweepLine]) -> str:
    more = f" At most {MOST_LINES} settings of the other keys are drawn." if len(lines) == MOST_LINES else ""
    return f"Each point is a run, lines join means over repeats.{more}"
