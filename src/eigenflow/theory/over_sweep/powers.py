"""Powers of what was swept in what was found: one regression of logarithms for grids and for random draws."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr
from scipy.special import fdtrc, stdtrit

from eigenflow.core.display import interval
from eigenflow.core.resampling import LEVEL

__all__ = ["Power", "fit_powers"]

# Below this chance that settings share their powers (F-test), each has its own.
APART = 0.01

Keys = Mapping[str, tuple[str, np.ndarray]]


@dataclass(frozen=True)
class Power:
    """quantity ~ key^value over the sweep, all other swept keys held.

    Attributes:
        quantity: Name of the variable.
        key: The swept key.
        value: The power.
        lower: Lower end of its 90 % interval (Student).
        upper: Upper end.
        explained: Share of the variance of ln(quantity) that all keys explain together.
        runs: How many.
        where: The setting of the keys that are no numbers, where powers differ between settings; else empty.
    """

    quantity: str
    key: str
    value: float
    lower: float
    upper: float
    explained: float
    runs: int
    where: Mapping[str, Any] = field(default_factory=dict)

    def told(self) -> str:
        """In words."""
        at = "".join(f", {key} = {value}" for key, value in self.where.items())
        return f"{interval(self.value, self.lower, self.upper)}{at}, all keys explain {self.explained:.0%}"

    def to_dict(self) -> dict[str, Any]:
        """In JSON types."""
        return {
            "quantity": self.quantity,
            "key": self.key,
            "power": self.value,
            "interval": [self.lower, self.upper],
            "explained": self.explained,
            "runs": self.runs,
            "where": dict(self.where),
        }


def fit_powers(data: xr.Dataset, keys: Keys, quantities: Sequence[str]) -> tuple[list[Power], list[str]]:
    """Fit ln(quantity) = sum over keys of power ln(key), a level for every value of a key that is no number > 0.

    Where the powers themselves differ between settings of the keys that are no numbers (F-test), every setting has its
    own: a mean of them would be that of none.

    Args:
        data: Quantities over the swept dimensions; NaN where there is none.
        keys: Swept keys, with dimension and values.
        quantities: Of positive values.

    Returns:
        A power for every quantity and numeric key, or for every setting too, and why some are missing.
    """
    numeric = [key for key, values in keys.items() if _is_positive(values[1])]
    found, missing = [], []
    if not numeric:
        return [], []
    for quantity in quantities:
        values = data[quantity]
        kept = np.isfinite(values.values) & (values.values > 0)
        if not kept.any():
            missing.append(f"No run that ended has a {quantity.replace('_', ' ')}.")
            continue
        logs = np.log(values.values[kept])
        spread = {
            key: np.broadcast_to(_along(values, dim, along), values.shape)[kept] for key, (dim, along) in keys.items()
        }
        sizes = {key: np.log(spread[key].astype(float)) for key in numeric}
        groups = {key: spread[key] for key in keys if key not in numeric}
        common = _regression(sizes, groups, logs)
        if common is None:
            missing.append(
                f"{quantity.replace('_', ' ').capitalize()}: {int(kept.sum())} runs do not tell the powers of "
                f"{', '.join(numeric)} apart."
            )
            continue
        found += _powers(quantity, common, {})
        if (own := _by_setting(sizes, groups, logs, common)) is not None:
            found = found[: -len(numeric)]
            for where, fit in own:
                found += _powers(quantity, fit, where)
    return found, missing


def _is_positive(values: np.ndarray) -> bool:
    return values.dtype.kind in "iuf" and bool((values > 0).all()) and len(np.unique(values)) > 1


def _along(values: xr.DataArray, dim: str, along: np.ndarray) -> np.ndarray:
    shape = [1] * values.ndim
    shape[values.dims.index(dim)] = len(along)
    return along.reshape(shape)


@dataclass(frozen=True)
class _Fit:
    """A regression: powers with Student's intervals, and what it leaves."""

    powers: dict[str, tuple[float, float, float]]
    left: float
    freedom: int
    explained: float
    runs: int


def _powers(quantity: str, fit: _Fit, where: Mapping[str, Any]) -> list[Power]:
    return [Power(quantity, key, *told, fit.explained, fit.runs, where) for key, told in fit.powers.items()]


def _regression(sizes: Mapping[str, np.ndarray], groups: Mapping[str, np.ndarray], logs: np.ndarray) -> _Fit | None:
    """None where runs are too few, or keys cannot be told apart."""
    levels = [
        (group == value).astype(float) for group in groups.values() for value in list(dict.fromkeys(group.tolist()))[1:]
    ]
    design = np.stack([*sizes.values(), np.ones(len(logs)), *levels], axis=1)
    count, width = design.shape
    if count <= width or np.linalg.matrix_rank(design) < width:
        return None
    coefficients = np.linalg.lstsq(design, logs, rcond=None)[0]
    residuals = logs - design @ coefficients
    left, freedom = float(residuals @ residuals), count - width
    errors = np.sqrt(left / freedom * np.diag(np.linalg.inv(design.T @ design)))
    half = errors * float(stdtrit(freedom, (1 + LEVEL) / 2))
    spread = float(((logs - logs.mean()) ** 2).sum())
    powers = {
        name: (float(value), float(value - h), float(value + h))
        for name, value, h in zip(sizes, coefficients, half, strict=False)
    }
    return _Fit(powers, left, freedom, 1.0 - left / spread if spread > 0 else 1.0, count)


def _by_setting(
    sizes: Mapping[str, np.ndarray], groups: Mapping[str, np.ndarray], logs: np.ndarray, common: _Fit
) -> list[tuple[dict[str, Any], _Fit]] | None:
    """The powers of every setting, if they differ by more than chance; None if not, or if runs are too few to tell."""
    settings = list(zip(*(group.tolist() for group in groups.values()), strict=True)) if groups else []
    found = []
    for setting in dict.fromkeys(settings):
        here = np.array([one == setting for one in settings])
        fit = _regression({key: size[here] for key, size in sizes.items()}, {}, logs[here])
        if fit is None:
            return None
        found.append((dict(zip(groups, setting, strict=True)), fit))
    left, freedom = sum(fit.left for _, fit in found), sum(fit.freedom for _, fit in found)
    more = common.freedom - freedom
    if len(found) < 2 or more < 1 or left <= 0:
        return None
    ratio = max(common.left - left, 0.0) / more / (left / freedom)
    return found if float(fdtrc(more, freedom, ratio)) < APART else None
