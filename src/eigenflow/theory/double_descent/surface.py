"""A test risk over samples, features, ridge and time: what every formula of this room returns.

The excess risk E (f^ - f*)^2 has a part that is there without noise in the labels, and a part proportional to the
noise's variance. Both are held at every point of an outer grid, with an error estimate and a status. At an
interpolation threshold without ridge the risk is infinite, which is a value and not a failure.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from eigenflow.core.checks import check_choice, check_kind, check_number, real_array
from eigenflow.core.display import AbstractPrinted, Card, figure, span
from eigenflow.core.errors import ArgumentError, NonFiniteError, ShapeError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from eigenflow.theory.double_descent.peaks import RiskPeaks

__all__ = ["AXES", "PointStatus", "RiskSurface", "coordinate"]

AXES = ("samples", "features", "ridge", "time")
MEANING = {
    "samples": "number of training samples n",
    "features": "number of features p; infinite for the kernel itself",
    "ridge": "ridge",
    "time": "sum of learning rates",
}


class PointStatus(IntEnum):
    """What is known of one point of a surface."""

    CONVERGED = 0
    INFINITE = 1
    NOT_CONVERGED = 2


@dataclass(frozen=True, repr=False, eq=False)
class RiskSurface(AbstractPrinted):
    """Test risk over an outer grid of any of samples, features, ridge and time.

    Make one with `RiskSurface.over`. Pickled it becomes a table: its numbers are kept, its formula is not.

    Attributes:
        data: Dimensions are those axes that were given as rows, in that order; an axis given as one number is a scalar
            coordinate. Variables, all on every point: `from_target` and `from_noise`, the parts of the excess risk, in
            the square of the output's unit; `error`, the relative error of their sum (numerical, or one standard error
            where a formula is averaged over draws); `status`, a `PointStatus`; and where they are known `train`, the
            mean square of the residual on the noisy labels, and `resolved`, the share that is resolved of the modes
            that samples and features could resolve. Attributes: `noise`, the variance of the labels, `formula`, where
            the numbers come from, and `modes`.
        evaluate: Gives the same surface elsewhere, called with axes by name (and `noise`), or None where the numbers
            are a table that nothing can refine.
    """

    data: xr.Dataset
    evaluate: "Callable[..., RiskSurface] | None" = None

    def __post_init__(self) -> None:
        check_kind("data", self.data, xr.Dataset, "an xarray Dataset; `RiskSurface.over` makes it from arrays")
        for name in ("from_target", "from_noise", "error", "status"):
            if name not in self.data:
                raise ShapeError(f"`data` must hold `{name}`, but holds {', '.join(map(str, self.data.data_vars))}.")
        for axis in self.data.dims:
            check_choice("axis", axis, AXES)
        unknown = np.isnan(self.risk.values) & (self.data["status"].values != PointStatus.NOT_CONVERGED)
        if unknown.any():
            raise NonFiniteError(
                f"A risk that is not a number needs the status NOT_CONVERGED, but {int(unknown.sum())} have another."
            )

    @classmethod
    def over(
        cls,
        axes: Mapping[str, Any],
        *,
        from_target: Any,
        from_noise: Any,
        noise: float | int,
        error: Any,
        formula: str,
        status: Any = None,
        train: Any = None,
        resolved: Any = None,
        evaluate: "Callable[..., RiskSurface] | None" = None,
        modes: float = np.inf,
    ) -> "RiskSurface":
        """Make a surface of arrays.

        Args:
            axes: By name, among "samples", "features", "ridge", "time": a number, or an increasing row.
            from_target: Excess risk without noise, of the shape of those axes that are rows, or what broadcasts to it.
            from_noise: What noise in the labels adds.
            noise: Variance of that noise.
            error: Relative error of the risk.
            formula: A few words for the card.
            status: `PointStatus` of every point; by default INFINITE where the risk is, else CONVERGED.
            train: Training error, if it is known; `resolved`: share of modes that are resolved, likewise.
            evaluate: See the class.
            modes: Number of modes of the task: without ridge, a second interpolation threshold in samples.

        Raises:
            ArgumentError: If an axis is unknown, not increasing, or holds numbers that are not allowed.
            ShapeError: If an array does not fit the axes.
        """
        for axis in axes:
            check_choice("axes", axis, AXES)
        places = {name: coordinate(name, axes[name]) for name in AXES if name in axes}
        dims = [name for name in axes if places[name].ndim == 1]
        shape = tuple(len(places[name]) for name in dims)
        held = {"from_target": from_target, "from_noise": from_noise, "error": error}
        variables = {name: (dims, _filled(name, values, shape)) for name, values in held.items()}
        if status is None:
            risk = variables["from_target"][1] + variables["from_noise"][1]
            status = np.where(np.isinf(risk), PointStatus.INFINITE, PointStatus.CONVERGED)
        variables["status"] = (dims, _filled("status", status, shape).astype(np.int8))
        for name, values in (("train", train), ("resolved", resolved)):
            if values is not None:
                variables[name] = (dims, _filled(name, values, shape))
        coordinates = {name: (name, place) if place.ndim else ((), place) for name, place in places.items()}
        attributes = {"noise": check_number("noise", noise, 0.0), "formula": formula, "modes": float(modes)}
        data = xr.Dataset(variables, coordinates, attributes)
        data["status"].attrs = {
            "flag_values": [int(known) for known in PointStatus],
            "flag_meanings": " ".join(known.name.lower() for known in PointStatus),
        }
        for name in places:
            data[name].attrs["long_name"] = MEANING[name]
        return cls(data, evaluate)

    @property
    def axes(self) -> tuple[str, ...]:
        """Axes that are rows, in the order of the arrays."""
        return tuple(map(str, self.data["from_target"].dims))

    @property
    def fixed(self) -> dict[str, float]:
        """Axes that are one number."""
        return {
            name: float(self.data[name]) for name in AXES if name in self.data.coords and name not in self.data.dims
        }

    @property
    def noise(self) -> float:
        """Variance of the labels about the target."""
        return float(self.data.attrs["noise"])

    @property
    def risk(self) -> xr.DataArray:
        """Excess risk E (f^ - f*)^2."""
        parts = self.data["from_target"], self.data["from_noise"]
        return parts[0].copy(data=parts[0].values + parts[1].values).rename("risk")

    @property
    def test_error(self) -> xr.DataArray:
        """Mean square of prediction minus noisy label: the excess risk and the noise."""
        return (self.risk + self.noise).rename("test_error")

    @property
    def is_converged(self) -> bool:
        """Whether every point is known, be it infinite."""
        return not bool((self.data["status"] == PointStatus.NOT_CONVERGED).any())

    def __reduce__(self) -> tuple[type["RiskSurface"], tuple[xr.Dataset]]:
        return RiskSurface, (self.data,)

    def isel(self, **places: int | slice) -> "RiskSurface":
        """Take places of axes by index, as xarray does; the formula is kept."""
        return RiskSurface(self.data.isel(places), self.evaluate)

    def at(self, **where: Any) -> "RiskSurface":
        """Evaluate the formula elsewhere: axes by name, or `noise`; what is not named stays as it is.

        Raises:
            ArgumentError: If the surface is a table without a formula.
        """
        if self.evaluate is None:
            raise ArgumentError(
                "This surface is a table, and no formula is known for other points. Interpolate in `data`, or make a "
                "surface by a formula, such as `random_features_risk`."
            )
        axes = {name: self.data[name].values for name in AXES if name in self.data.coords}
        return self.evaluate(**{**axes, **where})

    def peaks(self, axis: str | None = None) -> "RiskPeaks":
        """Find the peaks of the risk along an axis; see `risk_peaks`."""
        from eigenflow.theory.double_descent.peaks import risk_peaks

        return risk_peaks(self, axis)

    def plot(self, *, ax: "Axes | None" = None, **options: Any) -> "Axes":
        """Draw the risk: a map over two axes, curves over one; options are those of `plots.double_descent`.

        Raises:
            ArgumentError: If the surface has no axis, or more than two.
        """
        from eigenflow.plots import axes_or_new
        from eigenflow.plots.double_descent import plot_risk_curves, plot_risk_map

        if len(self.axes) == 2:
            down, across = self.axes if set(self.axes) != {"samples", "features"} else ("features", "samples")
            places = self.data[across].values, self.data[down].values
            field = self.data.transpose(down, across, ...)
            resolved = field["resolved"].values if "resolved" in field else None
            shown = {"names": (across, down), "threshold": self.data.attrs["modes"], "resolved": resolved, **options}
            return plot_risk_map(*places, self.risk.transpose(down, across).values, ax=axes_or_new(ax), **shown)
        if len(self.axes) == 1:
            (axis,) = self.axes
            parts = {"from the target": self.data["from_target"].values, "from noise": self.data["from_noise"].values}
            risks = {"excess test risk": self.risk.values, **parts}
            return plot_risk_curves(self.data[axis].values, risks, across=axis, ax=axes_or_new(ax), **options)
        raise ArgumentError(
            f"A picture has one or two axes, but this surface has {len(self.axes)}. Choose places of the others, as in "
            f"`surface.isel(ridge=0).plot()`."
        )

    def _card(self) -> Card:
        risk, status = self.risk.values, self.data["status"].values
        known = risk[np.isfinite(risk)]
        errors = self.data["error"].values[np.isfinite(risk)]
        size = " x ".join(f"{len(self.data[name])} {name}" for name in self.axes) or "one point"
        rows = [(name, f"{span(self.data[name].values)}") for name in self.axes]
        rows += [(name, figure(value)) for name, value in self.fixed.items()]
        rows += [
            ("excess risk", f"{figure(known.min())} to {figure(known.max())}" if known.size else "nowhere finite"),
            ("noise", f"variance {figure(self.noise)}; the test error is the risk and this"),
            ("relative error", f"at most {figure(errors.max(), 2)}" if known.size else "-"),
            ("formula", str(self.data.attrs["formula"])),
        ]
        if (count := int((status == PointStatus.INFINITE).sum())) > 0:
            rows.append(("infinite", f"at {count} of {status.size} points: an interpolation threshold without ridge"))
        if (count := int((status == PointStatus.NOT_CONVERGED).sum())) > 0:
            rows.append(("not converged", f"{count} of {status.size} points"))
        return Card(f"RiskSurface over {size}", rows)


def coordinate(name: str, values: Any, *, is_counted: bool | None = None) -> np.ndarray:
    """Give an axis as a number (no dimension) or an increasing row, or say what came.

    Samples and features, or what `is_counted`, are > 0 and may be infinite; ridge and time are finite and >= 0.
    """
    found = real_array(name, values)
    if found.ndim > 1 or found.size == 0:
        raise ShapeError(f"`{name}` must be a number or one row of numbers, but has shape {found.shape}.")
    counted = name in ("samples", "features") if is_counted is None else is_counted
    allowed = (found > 0) if counted else ((found >= 0) & np.isfinite(found))
    if not allowed.all():
        came = np.atleast_1d(found)[int(np.flatnonzero(~np.atleast_1d(allowed))[0])]
        bound = "> 0" if counted else ">= 0 and finite"
        raise ArgumentError(f"`{name}` must be {bound}, but holds {came:.6g}.")
    if found.ndim and not (np.diff(found) > 0).all():
        place = int(np.flatnonzero(np.diff(found) <= 0)[0]) + 1
        raise ArgumentError(
            f"`{name}` must increase, but does not at place {place}: {found[place - 1]:.6g}, {found[place]:.6g}. Sort "
            f"it, and leave out what comes twice."
        )
    return found


def _filled(name: str, values: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Real numbers on every point of the grid."""
    found = real_array(name, values)
    try:
        return np.broadcast_to(found, shape).copy()
    except ValueError:
        raise ShapeError(f"`{name}` must have the shape {shape} of the axes, but has {found.shape}.") from None
