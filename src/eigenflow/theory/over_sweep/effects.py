"""What a sweep says: exponents over sizes, powers of every swept key, and verdicts that flip."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from eigenflow.core.display import AbstractPrinted, Card, figure, interval
from eigenflow.core.errors import ArgumentError
from eigenflow.theory.over_sizes import FitStatus, SizeLaw, SizeSweep, fit_size_law
from eigenflow.theory.over_sizes.sweep import FEWEST
from eigenflow.theory.over_sweep.dataset import STATES, VERDICTS
from eigenflow.theory.over_sweep.powers import Power, fit_powers

__all__ = ["FlippedClaim", "SizeExponent", "SweepEffects", "sweep_effects"]

# Which resource of `SizeSweep` a key is; the first that is swept of each.
SIZES = {"model.width": "width", "task.training": "data", "task.samples": "data", "train.steps": "time"}
# What powers are told of.
QUANTITIES = ("loss", "distance", "largest_eigenvalue_first")
REPEAT = "repeat"


@dataclass(frozen=True)
class SizeExponent:
    """How the loss falls with one size, at fixed values of all else that is swept.

    Attributes:
        key: Of the size.
        resource: "width", "data" or "time".
        where: The other swept values.
        law: The fitted law; None where there are too few sizes.
        why: Why there is none, or why it leaves the exponent open.
    """

    key: str
    resource: str
    where: dict[str, Any]
    law: SizeLaw | None
    why: str

    def told(self) -> str:
        """The exponent with its 90 % interval, and what to think of it."""
        if self.law is None:
            return self.why
        found = self.law.exponent
        told = interval(found.value, found.lower, found.upper)
        return told if self.law.status is FitStatus.FITTED else f"{told}: {self.why}"


@dataclass(frozen=True)
class FlippedClaim:
    """A row of the claims that is supported in some runs and contradicted in others.

    Attributes:
        claim: Name of the row.
        counts: Runs by verdict.
        key: The swept key that tells most of its verdict; None where none tells anything.
        told: Share of the uncertainty of the verdict that the key takes away, from 0 to 1.
        by_value: Counts by verdict for each value of that key.
    """

    claim: str
    counts: dict[str, int]
    key: str | None
    told: float
    by_value: dict[str, dict[str, int]]


@dataclass(frozen=True, repr=False)
class SweepEffects(AbstractPrinted):
    """What changes over a sweep.

    Attributes:
        data: All numbers, as from `sweep_dataset`.
        states: Runs by state.
        loss: Which loss is compared: "holdout_loss", or "probe_loss" where a run had no test samples.
        best: Swept values of the least mean loss, with the loss and its standard error over repeats; None without runs.
        exponents: Over width, data and steps, where these are swept.
        powers: Of loss, distance and first largest eigenvalue in every swept number.
        flips: Claims that are supported in some runs and contradicted in others.
        notes: What could not be told, and why.
    """

    data: xr.Dataset
    states: dict[str, int]
    loss: str
    best: tuple[dict[str, Any], float, float | None] | None
    exponents: tuple[SizeExponent, ...]
    powers: tuple[Power, ...]
    flips: tuple[FlippedClaim, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The effects in JSON types, without the dataset."""
        best = None
        if self.best is not None:
            best = {"values": _plain(self.best[0]), "loss": self.best[1], "standard_error": self.best[2]}
        return {
            "states": self.states,
            "loss": self.loss,
            "best": best,
            "exponents": [_exponent_dict(one) for one in self.exponents],
            "powers": [one.to_dict() for one in self.powers],
            "flips": [
                {"claim": f.claim, "counts": f.counts, "key": f.key, "told": f.told, "by_value": f.by_value}
                for f in self.flips
            ],
            "notes": list(self.notes),
        }

    def _card(self) -> Card:
        rows = [("runs", ", ".join(f"{count} {state}" for state, count in self.states.items()))]
        if self.best is not None:
            rows.append(("best", f"{figure(self.best[1])} at {where_text(self.best[0])}"))
        rows += [
            (f"{one.resource} exponent", f"{one.told()} {where_text(one.where)}".strip()) for one in self.exponents[:4]
        ]
        rows += [(f"{one.quantity} ~ {one.key}", one.told()) for one in self.powers[:4]]
        rows += [(f"{one.claim} flips", f"with {one.key}" if one.key else "with no key") for one in self.flips]
        return Card(f"SweepEffects of {self.data.attrs.get('sweep', 'a sweep')}", rows)


def where_text(values: dict[str, Any]) -> str:
    """Swept values in a line."""
    return ", ".join(
        f"{key} = {value:g}" if isinstance(value, float) else f"{key} = {value}" for key, value in values.items()
    )


def sweep_effects(data: xr.Dataset) -> SweepEffects:
    """Say what changes over a sweep.

    Args:
        data: As from `sweep_dataset` or `open_results`.

    Raises:
        ArgumentError: If it is no dataset of a sweep.
    """
    if "state" not in data or "probe_loss" not in data:
        raise ArgumentError(
            "`data` must be a dataset of a sweep, as of `sweep_dataset`, but has no `state` and no losses."
        )
    data = data.load()
    codes = data["state"].values.ravel()
    states = {name: int((codes == code).sum()) for code, name in enumerate(STATES) if (codes == code).any()}
    measured = np.isfinite(data["probe_loss"].values)
    has_tests = bool(np.isfinite(data["holdout_loss"].values[measured]).all()) and bool(measured.any())
    loss = "holdout_loss" if has_tests else "probe_loss"
    # Runs that were cut off, or failed, have another loss than they would have had.
    ended = data.where(data["state"] >= STATES.index("recorded"))
    notes = []
    if left := int((codes < STATES.index("recorded")).sum()):
        notes.append(f"{left} of {len(codes)} runs did not end, and count in no exponent, power or verdict.")
    exponents = tuple(_exponents(ended, loss))
    powers, missing = fit_powers(ended.assign(loss=ended[loss]), keys_of(data), QUANTITIES)
    return SweepEffects(
        data=data,
        states=states,
        loss=loss,
        best=_best(ended[loss], data),
        exponents=exponents,
        powers=tuple(powers),
        flips=tuple(_flips(data)),
        notes=(*notes, *missing),
    )


def keys_of(data: xr.Dataset) -> dict[str, tuple[str, np.ndarray]]:
    """Swept keys with their dimension and values along it; names of claims and methods are none."""
    dims = data["state"].dims
    return {
        str(name): (str(values.dims[0]), values.values)
        for name, values in data.coords.items()
        if values.ndim == 1 and values.dims[0] in dims and name not in (REPEAT, "run")
    }


def _values_at(data: xr.Dataset, index: dict[str, int]) -> dict[str, Any]:
    return {key: values[index[dim]].item() for key, (dim, values) in keys_of(data).items() if dim in index}


def _best(losses: xr.DataArray, data: xr.Dataset) -> tuple[dict[str, Any], float, float | None] | None:
    """Least mean over repeats."""
    if not np.isfinite(losses.values).any():
        return None
    means = losses.mean(REPEAT) if REPEAT in losses.dims else losses
    place = np.unravel_index(int(np.nanargmin(means.values)), means.shape)
    index = dict(zip(map(str, means.dims), map(int, place), strict=True))
    at = losses.isel(index).values
    at = at[np.isfinite(at)] if at.ndim else at.reshape(1)
    error = float(at.std(ddof=1) / np.sqrt(len(at))) if len(at) > 1 else None
    return _values_at(data, index), float(at.mean()), error


def _exponents(ended: xr.Dataset, loss: str) -> Iterator[SizeExponent]:
    keys = keys_of(ended)
    for key, resource in SIZES.items():
        if key not in keys or keys[key][0] == "run":
            continue
        dim, sizes = keys[key]
        others = [name for name in map(str, ended[loss].dims) if name not in (dim, REPEAT)]
        for place in np.ndindex(*(ended.sizes[name] for name in others)):
            index = dict(zip(others, place, strict=True))
            yield _exponent(key, resource, sizes, ended[loss].isel(index), dim, _values_at(ended, index))


def _exponent(
    key: str, resource: str, sizes: np.ndarray, losses: xr.DataArray, dim: str, where: dict[str, Any]
) -> SizeExponent:
    order = (dim, REPEAT) if REPEAT in losses.dims else (dim,)
    table = losses.transpose(*order).values.reshape(len(sizes), -1)
    at = np.isfinite(table) & (table > 0)
    if (count := int(at.any(1).sum())) < FEWEST:
        return SizeExponent(key, resource, where, None, f"{FEWEST} sizes are needed for an exponent, but {count} ended")
    rows, repeats = np.nonzero(at)
    sweep = SizeSweep(
        resource, sizes[rows].astype(float), table[at], repeats if table.shape[1] > 1 else None, "the sweep"
    )
    law = fit_size_law(sweep)
    why = {
        FitStatus.FITTED: "",
        FitStatus.OPEN: "the sizes leave it open",
        FitStatus.NO_FALL: "the loss does not fall",
    }
    return SizeExponent(key, resource, where, law, why[law.status])


def _flips(data: xr.Dataset) -> Iterator[FlippedClaim]:
    if "verdict" not in data:
        return
    keys = keys_of(data)
    for place, claim in enumerate(data["claim"].values):
        verdicts = data["verdict"].isel(claim=place)
        codes = verdicts.values
        counts = _counted(codes)
        if not (counts["supported"] and counts["contradicted"]):
            continue
        shares = {}
        for key, (dim, values) in keys.items():
            along = np.moveaxis(codes, verdicts.dims.index(dim), 0).reshape(len(values), -1)
            shares[key] = (_explained(along, values), along)
        best = max(shares, key=lambda key: shares[key][0], default=None)
        told = shares[best][0] if best is not None else 0.0
        by_value = {}
        if best is not None and told > 0:
            values, along = keys[best][1], shares[best][1]
            by_value = {str(value): _counted(along[values == value]) for value in dict.fromkeys(values.tolist())}
        yield FlippedClaim(str(claim), counts, best if by_value else None, told, by_value)


def _counted(codes: np.ndarray) -> dict[str, int]:
    found = Counter(codes.ravel().tolist())
    return {name: found.get(code, 0) for code, name in enumerate(VERDICTS)}


def _explained(along: np.ndarray, values: np.ndarray) -> float:
    """Theil's coefficient: what a value takes of the entropy of the verdict, corrected for the number of values."""
    kept = along >= 0
    total, count = _entropy(along[kept]), int(kept.sum())
    if total <= 0 or count < 2:
        return 0.0
    left, groups = 0.0, dict.fromkeys(values.tolist())
    for value in groups:
        inside = along[values == value]
        inside = inside[inside >= 0]
        left += len(inside) / count * _entropy(inside)
    # Values that tell nothing still take away (groups - 1) (verdicts - 1) / (2 n) on average (Miller and Madow).
    by_chance = (len(groups) - 1) * (len(np.unique(along[kept])) - 1) / (2.0 * count)
    return float(np.clip((total - left - by_chance) / total, 0.0, 1.0))


def _entropy(codes: np.ndarray) -> float:
    if not len(codes):
        return 0.0
    shares = np.unique(codes, return_counts=True)[1] / len(codes)
    return float(-(shares * np.log(shares)).sum())


def _exponent_dict(one: SizeExponent) -> dict[str, Any]:
    law = one.law
    return {
        "key": one.key,
        "resource": one.resource,
        "where": _plain(one.where),
        "exponent": None if law is None else law.exponent.value,
        "interval": None if law is None else [law.exponent.lower, law.exponent.upper],
        "status": "too few sizes" if law is None else law.status.value,
        "floor": None if law is None else law.floor,
        "sizes": 0 if law is None else law.sizes,
        "runs": 0 if law is None else law.runs,
        "why": one.why,
    }


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value.item() if hasattr(value, "item") else value for key, value in values.items()}
