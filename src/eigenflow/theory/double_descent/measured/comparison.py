"""A measured surface of risks read: its peaks in size, samples and time, what moved them, and the controls.

Datasets are those of `eigenflow double-descent`: networks over (width, samples, noise, seed, time), random features
over (features, samples, noise, draw, time and ridge). Nothing is drawn or trained here.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from eigenflow.core.display import AbstractPrinted, Card, figure, interval
from eigenflow.theory.double_descent.in_time.finite_time import finite_time_risk
from eigenflow.theory.double_descent.measured.peaks_over_seeds import (
    MeasuredCurve,
    PeakMoves,
    compare_curves,
    measured_curve,
)
from eigenflow.theory.double_descent.random_features import random_features_risk
from eigenflow.theory.double_descent.surface import RiskSurface
from eigenflow.theory.task_spectrum import TaskSpectrum

__all__ = ["Control", "DoubleDescentComparison", "FeaturesRow", "NetworksRow", "compare_measured", "population_task"]

# Within this distance of ln(features / samples) from the threshold a mean over draws says nothing: without ridge its
# variance is infinite.
NEAR = 0.25
# Share of the initial training error below which samples count as fitted.
FITTED = 0.01
NAMES = {"width": "model-wise", "features": "model-wise", "samples": "sample-wise", "time": "epoch-wise"}


@dataclass(frozen=True)
class NetworksRow:
    """One curve of networks beside its predictions.

    Attributes:
        axis: "width", "samples" or "time".
        where: The other coordinates.
        threshold: Place on the axis at which there are as many parameters as training outputs; None for time.
        fits: Smallest width, or largest number of samples, at which training ends below 1 % of its initial error: the
            threshold that was reached; None if there is none, and for time.
        moves: What moved the peak; None where a prediction is not finite.
        reason: Why it is None.
    """

    axis: str
    where: dict[str, float]
    threshold: float | None
    fits: float | None
    moves: PeakMoves | None
    reason: str = ""

    @property
    def name(self) -> str:
        """In words: model-wise, 100 samples, noise 0.2."""
        return _named(self.axis, self.where)


@dataclass(frozen=True)
class FeaturesRow:
    """One curve of random features at the end of training, beside the deterministic equivalent.

    Attributes:
        axis: "features" or "samples".
        where: The other coordinates, with the ridge.
        measured: Geometric means over draws.
        predicted: Places of the peaks that the equivalent has.
        deviation: Root mean square of ln(mean over draws / equivalent) away from the threshold; None if nothing is.
        expected: The same of the exact expectation over the noise of labels.
    """

    axis: str
    where: dict[str, float]
    measured: MeasuredCurve
    predicted: list[float]
    deviation: float | None
    expected: float | None

    @property
    def name(self) -> str:
        """In words."""
        return _named(self.axis, self.where)


@dataclass(frozen=True)
class Control:
    """Whether a peak is found where there must be one, and none where there must be none.

    Attributes:
        statement: What must be.
        passed: How many curves have it so.
        of: Of how many.
    """

    statement: str
    passed: int
    of: int


@dataclass(frozen=True, repr=False)
class DoubleDescentComparison(AbstractPrinted):
    """Everything that a measurement of double descent says.

    Attributes:
        networks: Rows of networks at the end of training, and in time.
        features: Rows of random features.
        controls: Of the verdicts.
        closure: |ln(measured / full)| of the risk, of each network at its worst time: median, 95 % quantile and
            largest. It is what quadrature between recorded steps misses; None without networks.
        edge: Share of networks with an eigenvalue above 2 / learning rate at a recorded step: at the edge of stability,
            where quadrature is worst; None without networks.
        epochs: Root mean square of ln(mean over draws / equivalent) over times, of the largest number of features
            beside the kernel itself, by samples and noise.
    """

    networks: list[NetworksRow] = field(default_factory=list)
    features: list[FeaturesRow] = field(default_factory=list)
    controls: list[Control] = field(default_factory=list)
    closure: tuple[float, float, float] | None = None
    edge: float | None = None
    epochs: list[dict[str, float]] = field(default_factory=list)

    @property
    def miss(self) -> str:
        """How well both kernels together give the networks back, in words."""
        if self.closure is None or self.edge is None:
            return "no networks"
        middle, most, largest = (f"{100 * np.expm1(value):.2g} %" for value in self.closure)
        edge = f"; {self.edge:.0%} of networks come to the edge of stability" if self.edge else ""
        return f"gives the measured risk back within {middle} (median), {most} (of 95 %), {largest} (of all){edge}"

    def summary(self) -> dict[str, Any]:
        """All numbers, for machines."""
        return {
            "controls": [vars(control) for control in self.controls],
            "networks": [
                {
                    "kind": NAMES[row.axis],
                    "axis": row.axis,
                    "where": row.where,
                    "threshold": row.threshold,
                    "fits": row.fits,
                    "reason": row.reason,
                    **({} if row.moves is None else _moves(row.moves)),
                }
                for row in self.networks
            ],
            "features": [
                {
                    "kind": NAMES[row.axis],
                    "axis": row.axis,
                    "where": row.where,
                    "measured": _curve(row.measured),
                    "predicted_positions": row.predicted,
                    "rms_log_ratio": row.deviation,
                    "rms_log_ratio_expected": row.expected,
                }
                for row in self.features
            ],
            "quadrature": None
            if self.closure is None
            else dict(zip(("median", "quantile_95", "largest"), self.closure, strict=True)),
            "edge_of_stability": self.edge,
            "epochs_of_features": self.epochs,
        }

    def _card(self) -> Card:
        rows = [(f"control {c.passed} of {c.of}", c.statement) for c in self.controls]
        for axis in ("width", "samples", "time"):
            of_axis = [row for row in self.networks if row.axis == axis and row.moves is not None]
            if of_axis:
                kinds = [row.moves.curves["measured"].verdict for row in of_axis if row.moves is not None]
                count = ", ".join(f"{kinds.count(k)} {k}" for k in dict.fromkeys(kinds))
                rows.append((f"{NAMES[axis]}, networks", f"peak {count} of {len(kinds)} curves"))
        highest = [row for row in self.networks if row.axis == "width" and row.moves is not None]
        for row in sorted(highest, key=lambda r: -r.where["noise"])[:4]:
            assert row.moves is not None
            measured = row.moves.curves["measured"]
            place = interval(*measured.position) if measured.position else measured.shape
            rows.append((row.name, f"{place}, threshold {figure(row.threshold, 3)}; {row.moves.sentence}"))
        deviations = [row.deviation for row in self.features if row.deviation is not None]
        if deviations:
            rows.append(
                ("random features", f"rms ln(measured / theory) {figure(float(np.median(deviations)), 2)}, median")
            )
        if self.closure is not None:
            rows.append(("full prediction", f"{self.miss}"))
        return Card(f"Double descent: {len(self.networks)} curves of networks, {len(self.features)} of features", rows)


def compare_measured(
    networks: xr.Dataset | None,
    features: xr.Dataset | None,
    *,
    seed: int = 0,
    progress: Callable[[], None] = lambda: None,
) -> DoubleDescentComparison:
    """Read measured surfaces and put the theory beside them.

    Args:
        networks: Over (width, samples, noise, seed, time), or None.
        features: Over (features, samples, noise, draw, time) and (..., ridge), with the spectrum of the population.
        seed: Of the draws for intervals.
        progress: Called after every curve.
    """
    rng = np.random.default_rng(seed)
    rows: list[NetworksRow] = []
    closure = edge = None
    if networks is not None:
        for axis in ("width", "samples", "time"):
            rows += list(_network_rows(networks, axis, rng, progress))
        closure, edge = _closure(networks)
    readouts: list[FeaturesRow] = []
    epochs: list[dict[str, float]] = []
    if features is not None:
        for axis in ("features", "samples"):
            readouts += list(_feature_rows(features, axis, rng, progress))
        epochs = list(_kernel_in_time(features))
    return DoubleDescentComparison(rows, readouts, _controls(readouts, features), closure, edge, epochs)


def _closure(networks: xr.Dataset) -> tuple[tuple[float, float, float], float]:
    """What the full prediction misses, and the share of networks at the edge of stability."""
    miss = np.abs(np.log(networks["risk"].values / networks["risk_full"].values)).max(axis=-1)
    quantiles = np.quantile(miss, [0.5, 0.95, 1.0])
    rate = json.loads(networks.attrs["config"])["networks"]["learning_rate"]
    above = networks["largest"].values.max(axis=-1) > 2.0 / rate
    return (float(quantiles[0]), float(quantiles[1]), float(quantiles[2])), float(above.mean())


def _network_rows(data: xr.Dataset, axis: str, rng: np.random.Generator, progress: Callable[[], None]):
    chosen = data if axis == "time" else data.isel(time=-1)
    if axis == "time":
        chosen = chosen.isel(time=slice(1, None))
    if chosen.sizes[axis] < 3:
        return
    others = [name for name in ("noise", "samples", "width") if name != axis]
    stacked = chosen.stack(curve=others) if others else chosen
    for index in range(stacked.sizes["curve"]):
        one = stacked.isel(curve=index)
        where = {name: float(one[name]) for name in others}
        risks = {
            name: one["risk" if name == "measured" else f"risk_{name}"].transpose("seed", axis).values
            for name in ("measured", "lazy", "drift", "full")
        }
        fits = None if axis == "time" else _fits(data.sel(where), axis)
        progress()
        bad = [name for name, values in risks.items() if not (np.isfinite(values).all() and (values > 0).all())]
        if bad:
            reason = f"{', '.join(bad)} not finite: the learning rate times an eigenvalue exceeds 2"
            yield NetworksRow(axis, where, _threshold(data, axis, where), fits, None, reason)
            continue
        moves = compare_curves(axis, one[axis].values, risks, rng)
        yield NetworksRow(axis, where, _threshold(data, axis, where), fits, moves)


def _fits(data: xr.Dataset, axis: str) -> float | None:
    """The border of what is fitted to 1 % of the initial error, by the mean over seeds."""
    error = data["train_error"].mean("seed").transpose(axis, "time").values
    fitted = data[axis].values[error[:, -1] < FITTED * error[:, 0]]
    return float(fitted[0] if axis == "width" else fitted[-1]) if len(fitted) else None


def _threshold(data: xr.Dataset, axis: str, where: dict[str, float]) -> float | None:
    """Where parameters equal training outputs; parameters are linear in the width."""
    outputs, slope, constant = (float(data.attrs[name]) for name in ("outputs", "per_width", "constant"))
    if axis == "width":
        return (where["samples"] * outputs - constant) / slope
    return (slope * where["width"] + constant) / outputs if axis == "samples" else None


def _feature_rows(data: xr.Dataset, axis: str, rng: np.random.Generator, progress: Callable[[], None]):
    other = "samples" if axis == "features" else "features"
    if data.sizes[axis] < 3:
        return
    for noise in data["noise"].values:
        task = population_task(data, float(noise))
        for ridge in data["ridge"].values:
            for place in data[other].values:
                one = data.sel({"noise": noise, "ridge": ridge, other: place})
                risk, expected = (one[name].transpose("draw", axis).values for name in ("risk_end", "expected_end"))
                places = one[axis].values.astype(float)
                curve = measured_curve(axis, places, risk, rng)
                surface = _equivalent(task, axis, places, float(place), float(ridge))
                away = np.abs(np.log(places / place)) > (NEAR if ridge == 0.0 else 0.0)
                peaks = surface.peaks(axis).table
                predicted = peaks[peaks["prominence"] > 0.05 * peaks["base"]]["position"]
                yield FeaturesRow(
                    axis,
                    {"noise": float(noise), other: float(place), "ridge": float(ridge)},
                    curve,
                    [float(found) for found in predicted],
                    _deviation(risk.mean(axis=0), surface, away),
                    _deviation(expected.mean(axis=0), surface, away),
                )
                progress()


def _equivalent(task: TaskSpectrum, axis: str, places: np.ndarray, other: float, ridge: float) -> RiskSurface:
    """The deterministic equivalent along an axis; its ridge stands beside a sum over samples."""
    if axis == "features":
        return random_features_risk(task, other, places, other * ridge)
    if ridge == 0.0:
        return random_features_risk(task, places, other, 0.0)
    values = [random_features_risk(task, float(n), other, float(n) * ridge).data for n in places]
    target, gain, error = (
        np.array([float(one[name]) for one in values]) for name in ("from_target", "from_noise", "error")
    )
    return RiskSurface.over(
        {"samples": places},
        from_target=target,
        from_noise=gain,
        error=error,
        noise=task.noise,
        formula="random features, the ridge beside a mean over samples",
    )


def _deviation(mean: np.ndarray, surface: RiskSurface, away: np.ndarray) -> float | None:
    away = away & np.isfinite(surface.risk.values)
    return float(np.sqrt(np.mean(np.log(mean[away] / surface.risk.values[away]) ** 2))) if away.any() else None


def population_task(data: xr.Dataset, noise: float) -> TaskSpectrum:
    """The population's spectrum, with the target and the noise of labels of which a share is random."""
    kept = (1.0 - noise) ** 2
    return TaskSpectrum(
        data["eigenvalues"].values, kept * data["target"].values, (1.0 - kept) * float(data.attrs["energy"])
    )


def _kernel_in_time(data: xr.Dataset):
    """The largest number of features beside the flow of the kernel itself, by the deterministic equivalent in time."""
    largest = data.isel(features=-1)
    for noise in data["noise"].values:
        for samples in data["samples"].values:
            one = largest.sel(noise=noise, samples=samples)["risk"].mean("draw")
            surface = finite_time_risk(population_task(data, float(noise)), float(samples), one["time"].values)
            yield {
                "noise": float(noise),
                "samples": float(samples),
                "features": float(largest["features"]),
                "rms_log_ratio": float(np.sqrt(np.mean(np.log(one.values / surface.risk.values) ** 2))),
            }


def _controls(rows: Sequence[FeaturesRow], data: xr.Dataset | None) -> list[Control]:
    """A peak where features equal samples, with noise and without ridge; none with the largest ridge."""
    if data is None or data.sizes["features"] < 3:
        return []
    counts = data["features"].values.astype(float)
    noisy, ridges = float(data["noise"].max()), data["ridge"].values
    inside = [r for r in rows if r.axis == "features" and r.where["noise"] == noisy and noisy > 0]
    inside = [r for r in inside if counts[1] < r.where["samples"] < counts[-2]]
    must = [r for r in inside if r.where["ridge"] == 0.0]
    found = [r for r in must if r.measured.position is not None and r.measured.verdict == "present"]
    near = [r for r in found if r.measured.position is not None and _is_at(r.measured, r.where["samples"])]
    none = [r for r in inside if r.where["ridge"] == ridges[-1] > 0.0 and not r.predicted]
    return [
        Control(
            "random features with noisy labels and no ridge have a peak at as many features as samples",
            len(near),
            len(must),
        ),
        Control(
            f"random features with ridge {ridges[-1]:g} have no peak, where the theory has none",
            sum(r.measured.shape != "peak" and r.measured.verdict != "present" for r in none),
            len(none),
        ),
    ]


def _is_at(curve: MeasuredCurve, place: float) -> bool:
    """Whether the peak lies within a place of the grid of where it must be."""
    top = curve.top
    return bool(curve.places[max(top - 1, 0)] < place < curve.places[min(top + 1, len(curve.places) - 1)])


def _named(axis: str, where: dict[str, float]) -> str:
    return f"{NAMES[axis]}, " + ", ".join(f"{name} {figure(value, 3)}" for name, value in where.items())


def _curve(curve: MeasuredCurve) -> dict[str, Any]:
    rows = {name: getattr(curve, name).tolist() for name in ("places", "mean", "lower", "upper")}
    names = ("shape", "prominence", "verdict", "seeds", "position", "height", "base", "width")
    return {**rows, **{name: getattr(curve, name) for name in names}}


def _moves(moves: PeakMoves) -> dict[str, Any]:
    return {
        "place": moves.place,
        "log_height": moves.height,
        "log_position": moves.position,
        "sentence": moves.sentence,
        "curves": {name: _curve(curve) for name, curve in moves.curves.items()},
    }
