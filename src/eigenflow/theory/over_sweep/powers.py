"""Powers of what was swept in what was found: one regression of logarithms for grids and for random draws."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from scipy.special import stdtrit

from eigenflow.core.display import interval
from eigenflow.core.resampling import LEVEL

__all__ = ["Power", "fit_powers"]

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
    """

    quantity: str
    key: str
    value: float
    lower: float
    upper: float
    explained: float
    runs: int

    def told(self) -> str:
        """In words."""
        return f"{interval(self.value, self.lower, self.upper)}, all keys explain {self.explained:.0%}"

    def to_dict(self) -> dict[str, Any]:
        """In JSON types."""
        return {
            "quantity": self.quantity,
            "key": self.key,
            "power": self.value,
            "interval": [self.lower, self.upper],
            "explained": self.explained,
            "runs": self.runs,
        }


def fit_powers(data: xr.Dataset, keys: Keys, quantities: Sequence[str]) -> tuple[list[Power], list[str]]:
    """Fit ln(quantity) = sum over keys of power ln(key), a level for every value of a key that is no number > 0.

    Args:
        data: Quantities over the swept dimensions; NaN where there is none.
        keys: Swept keys, with dimension and values.
        quantities: Of positive values.

    Returns:
        A power for every quantity and numeric key, and why some are missing.
    """
    numeric = {key: values for key, values in keys.items() if _is_positive(values[1])}
    found, missing = [], []
    if not numeric:
        return [], []
    for quantity in quantities:
        values = data[quantity]
        kept = np.isfinite(values.values) & (values.values > 0)
        if not kept.any():
            missing.append(f"No run that ended has a {quantity.replace('_', ' ')}.")
            continue
        columns, names = [np.ones(int(kept.sum()))], ["1"]
        for key, (dim, along) in keys.items():
            spread = np.broadcast_to(_along(values, dim, along), values.shape)[kept]
            if key in numeric:
                columns.append(np.log(spread.astype(float)))
                names.append(key)
            else:
                columns += [(spread == value).astype(float) for value in list(dict.fromkeys(spread.tolist()))[1:]]
                names += [""] * (len(columns) - len(names))
        rows = _regression(np.stack(columns, axis=1), np.log(values.values[kept]), names)
        if rows is None:
            missing.append(
                f"{quantity.replace('_', ' ').capitalize()}: {int(kept.sum())} runs do not tell the powers of "
                f"{', '.join(numeric)} apart."
            )
            continue
        found += [Power(quantity, key, *told) for key, told in rows.items() if key in numeric]
    return found, missing


def _is_positive(values: np.ndarray) -> bool:
    return values.dtype.kind in "iuf" and bool((values > 0).all()) and len(np.unique(values)) > 1


def _along(values: xr.DataArray, dim: str, along: np.ndarray) -> np.ndarray:
    shape = [1] * values.ndim
    shape[values.dims.index(dim)] = len(along)
    return along.reshape(shape)


def _regression(
    design: np.ndarray, logs: np.ndarray, names: list[str]
) -> dict[str, tuple[float, float, float, float, int]] | None:
    """Coefficients with Student's intervals; None where runs are too few, or keys cannot be told apart."""
    count, width = design.shape
    if count <= width or np.linalg.matrix_rank(design) < width:
        return None
    coefficients = np.linalg.lstsq(design, logs, rcond=None)[0]
    left = logs - design @ coefficients
    freedom = count - width
    errors = np.sqrt(left @ left / freedom * np.diag(np.linalg.inv(design.T @ design)))
    spread = float(((logs - logs.mean()) ** 2).sum())
    explained = 1.0 - float(left @ left) / spread if spread > 0 else 1.0
    half = errors * float(stdtrit(freedom, (1 + LEVEL) / 2))
    return {
        name: (float(value), float(value - h), float(value + h), explained, count)
        for name, value, h in zip(names, coefficients, half, strict=True)
        if name not in ("1", "")
    }
