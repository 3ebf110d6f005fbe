"""The frontier of any series in four coordinates, its exponents with intervals, and what a given rho says of each.

`frontier` finds the frontier of a recorded run. Here it is found from arrays: eigenvalues and energies of modes over
time, or an effective time beside a spectrum. With tau ~ t^rho, lambda0 ~ rank^-nu, and energy below lambda0 ~
lambda0^sigma (equations/hypotheses.md#frontier-coordinates):

    eigenvalue   -1, whatever rho: lambda* t -> rho / 2. It tells nothing of rho; the constant does.
    label        -rho
    rank         rho / nu
    energy       -rho sigma

The slope of -1 holds where all eigenvalues scale alike (b = 1), and wherever attenuation is a function of lambda t
alone. It fails where a frontier stops, as for decay with 1 < b < 2 and a constant c, whose slow modes are never
learned.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float

from eigenflow.core.checks import check_number, real_array
from eigenflow.core.display import AbstractPrinted, Card, figure, interval
from eigenflow.core.errors import ArgumentError
from eigenflow.core.resampling import block_indices, correlated_quantiles
from eigenflow.theory.effective_time.given import Spectrum, checked_series, checked_spectrum, require_sorted
from eigenflow.theory.effective_time.series import EffectiveTime
from eigenflow.theory.estimate import Estimate
from eigenflow.theory.self_similarity.frontier import COORDINATES, Coordinate, Frontier, frontiers
from eigenflow.theory.self_similarity.power_in_time import PowerInTime, fit_power
from eigenflow.theory.task_spectrum import TaskSpectrum

__all__ = [
    "FrontierExponent",
    "Frontiers",
    "frontiers_of_effective_time",
    "frontiers_of_modes",
    "frontiers_of_run",
]

Range = tuple[float, float]


@dataclass(frozen=True)
class FrontierExponent:
    """The exponent of a frontier in one coordinate, measured and as a given rho would have it.

    Attributes:
        coordinate: Which.
        measured: The power of time; None where the frontier has too few times.
        expected: The exponent for the rho that was given; None without one, or where the spectrum is no power law.
        expected_interval: For the interval of rho, and of the spectrum's exponents.
        is_automatic: Whether `expected` is the same for every rho, so that a match says nothing of it.
    """

    coordinate: Coordinate
    measured: PowerInTime | None
    expected: float | None
    expected_interval: Range | None
    is_automatic: bool


@dataclass(frozen=True, repr=False)
class Frontiers(AbstractPrinted):
    """Frontiers of one series by coordinate.

    Attributes:
        found: Those that were found. Eigenvalue and label in 1 / time, rank in modes, energy as a share.
        initial: Eigenvalues at the start.
        counts: Modes that share each.
        unlearned: Share of the first energy in modes of smaller or equal eigenvalue, half of a mode's own counted.
        is_assumed: Coordinates that hold only if all eigenvalues scale alike (b = 1).
        start: First time of the fits, beyond the transient.
    """

    found: dict[Coordinate, Frontier]
    initial: Float[np.ndarray, " mode"]
    counts: Float[np.ndarray, " mode"]
    unlearned: Float[np.ndarray, " mode"]
    is_assumed: tuple[Coordinate, ...] = ()
    start: float = 0.0

    def since(self, start: float | int) -> "Frontiers":
        """The same with exponents from a time on: at early times 1 stands beside t."""
        start = check_number("start", start, 0.0)
        return Frontiers(self.found, self.initial, self.counts, self.unlearned, self.is_assumed, start)

    def power(self, coordinate: Coordinate) -> PowerInTime | None:
        """The power of time in one coordinate; None where there are too few times."""
        kept = self._kept(coordinate)
        if kept is None:
            return None
        try:
            return fit_power(*kept, name=f"frontier in {coordinate}")
        except ArgumentError:
            return None

    @Estimate
    def capacity(self) -> tuple[float, Range]:
        """nu of lambda0 ~ rank^-nu and its 90 % interval, over the modes that the frontier passes."""
        ranks = np.cumsum(self.counts) - 0.5 * self.counts + 0.5
        slope, (low, high) = self._slope(ranks, self.initial, np.log(ranks))
        return -slope, (-high, -low)

    @Estimate
    def source(self) -> tuple[float, Range]:
        """sigma of energy below lambda0 ~ lambda0^sigma and its 90 % interval, over the same modes."""
        return self._slope(self.initial, self.unlearned, -np.log(self.initial))

    def constant(self) -> tuple[float, Range]:
        """lambda* t over the last decade: its median, and its smallest and largest value. rho / 2 where b = 1.

        Raises:
            ArgumentError: If there is no frontier in the eigenvalue.
        """
        kept = self._kept("eigenvalue")
        if kept is None:
            raise ArgumentError("The series has no frontier in the eigenvalue: at no time is a part of it learned.")
        times, position = kept
        late = times >= times[-1] / 10.0
        product = (times * position)[late]
        return float(np.median(product)), (float(product.min()), float(product.max()))

    def exponents(self, rho: float | None = None, rho_interval: Range | None = None) -> tuple[FrontierExponent, ...]:
        """Measured exponents beside those of a given rho.

        Args:
            rho: Index of the effective time; None: measured exponents alone.
            rho_interval: Of it; None: it is known.
        """
        return tuple(self._exponent(name, rho, rho_interval) for name in COORDINATES)

    def _exponent(self, name: Coordinate, rho: float | None, rho_interval: Range | None) -> FrontierExponent:
        measured = self.power(name)
        if name == "eigenvalue":
            return FrontierExponent(name, measured, -1.0, (-1.0, -1.0), is_automatic=True)
        if rho is None:
            return FrontierExponent(name, measured, None, None, is_automatic=False)
        low, high = (rho, rho) if rho_interval is None else rho_interval
        try:
            factor, ends = self._factor(name)
        except ArgumentError:
            return FrontierExponent(name, measured, None, None, is_automatic=False)
        products = [one * other for one in (low, high) for other in ends]
        return FrontierExponent(name, measured, rho * factor, (min(products), max(products)), is_automatic=False)

    def _factor(self, name: Coordinate) -> tuple[float, Range]:
        """What stands beside rho in an exponent, and its interval."""
        if name == "label":
            return -1.0, (-1.0, -1.0)
        if name == "rank":
            value, (low, high) = self.capacity
            return 1.0 / value, (1.0 / high, 1.0 / low)
        value, (low, high) = self.source
        return -value, (-high, -low)

    def _kept(self, name: Coordinate) -> tuple[np.ndarray, np.ndarray] | None:
        if name not in self.found:
            return None
        one = self.found[name]
        late = one.times >= self.start
        return (one.times[late], one.position[late]) if late.any() else None

    def _slope(self, x: np.ndarray, y: np.ndarray, order: np.ndarray) -> tuple[float, Range]:
        """Of ln y against ln x over the modes that the frontier passes, with neighbours that are alike."""
        kept = self._kept("label")
        if kept is None:
            raise ArgumentError("The series has no frontier in the label, so no modes are passed by one.")
        passed = (self.initial <= kept[1].max()) & (self.initial >= kept[1].min()) & (y > 0)
        if passed.sum() < 3:
            raise ArgumentError(f"The frontier passes {int(passed.sum())} modes, and an exponent needs 3.")
        # Evenly over the logarithm: each mode stands for the gap to its neighbours.
        at = np.linspace(order[passed].min(), order[passed].max(), 64)
        u, v = (np.interp(at, order[passed], np.log(one[passed])) for one in (x, y))
        slope, offset = np.polyfit(u, v, 1)
        centred, left = u - u.mean(), v - slope * u - offset
        parts = len(u) * centred * left / float((centred**2).sum())
        index = block_indices(len(u), np.random.default_rng(0))
        return float(slope), correlated_quantiles(float(slope), slope + parts[index].mean(1), parts, index)

    def _card(self) -> Card:
        rows = []
        for one in self.exponents():
            told = "too few times" if one.measured is None else interval(one.measured.exponent, *one.measured.interval)
            said = "  (-1 for every rho)" if one.is_automatic else ""
            rows.append((one.coordinate, told + said + ("  if b = 1" * (one.coordinate in self.is_assumed))))
        if self._kept("eigenvalue") is not None:
            middle, (low, high) = self.constant()
            rows.append(("lambda* t", f"{figure(middle)}, {figure(low)} to {figure(high)} in the last decade"))
        try:
            rows.append(("rank^-nu", interval(self.capacity[0], *self.capacity[1])))
            rows.append(("lambda0^sigma", interval(self.source[0], *self.source[1])))
        except ArgumentError:
            rows.append(("spectrum", "the frontier passes too few modes"))
        return Card(f"Frontiers over {len(self.initial)} modes", rows)


def frontiers_of_modes(times: Any, eigenvalues: Any, energies: Any, *, start: float | int = 0.0) -> Frontiers:
    """Find the frontier of modes that are followed one by one.

    Args:
        times: Increasing, at least 2; energies are compared with the first.
        eigenvalues: (time, mode), >= 0, in the order of decreasing first eigenvalue: a column is a mode, not a rank.
        energies: (time, mode), >= 0: of the same modes.
        start: First time of the fits.

    Raises:
        ArgumentError: If arguments are not as above, or no time has a frontier among the modes.
    """
    at, values = checked_series("eigenvalues", times, real_array("eigenvalues", eigenvalues))
    _, squares = checked_series("energies", times, real_array("energies", energies))
    if values.shape != squares.shape:
        raise ArgumentError(
            f"`energies` must have the shape of `eigenvalues`, {values.shape}, but has {squares.shape}."
        )
    for name, array in (("eigenvalues", values), ("energies", squares)):
        if (array < 0).any():
            raise ArgumentError(f"`{name}` must be >= 0, but the least is {array.min():.3g}.")
    require_sorted(values[0])
    if len(at) < 2:
        raise ArgumentError(f"`times` must be 2 or more, but are {len(at)}.")
    amplitudes = np.sqrt(squares)
    record = xr.Dataset(
        {
            "time": ("step", at),
            "probe_loss": ("step", 0.5 * squares.sum(1)),
            **{
                name: (("step", "mode"), array)
                for name, array in (
                    ("eigenvalue", values),
                    ("coefficient", amplitudes),
                    ("initial_coefficient", amplitudes),
                )
            },
        }
    )
    found = frontiers(record)
    if not found:
        raise ArgumentError(
            "`energies` have no frontier: at no time have some modes lost more than 1 - 1/e of what they had, and "
            "others less. Give later times, or more modes."
        )
    return Frontiers(
        found, values[0], np.ones(values.shape[1]), _share(squares[0]), (), check_number("start", start, 0.0)
    )


def frontiers_of_run(data: xr.Dataset, *, start: float | int = 0.0) -> Frontiers:
    """The frontiers of a recorded run, in the ranks of its modes and in the eigenbasis of its first measurement.

    Args:
        data: `run.measurements`.
        start: First time of the fits.

    Raises:
        RunFolderError: If there are fewer than two measurements.
    """
    squares = data["coefficient"].values[0] ** 2
    total = (
        float(data["total_energy"].values[0]) if "total_energy" in data else 2.0 * float(data["probe_loss"].values[0])
    )
    never, initial = max(0.0, total - float(squares.sum())), data["eigenvalue"].values[0]
    kept = initial > 0
    shares = _share(squares, never)[kept]
    ones = np.ones(int(kept.sum()))
    return Frontiers(frontiers(data), initial[kept], ones, shares, (), check_number("start", start, 0.0))


def frontiers_of_effective_time(effective: EffectiveTime, spectrum: Spectrum, *, start: float | int = 0.0) -> Frontiers:
    """Find the frontier that an effective time implies: 2 lambda0 tau = 1.

    Label, rank and energy follow from tau alone. The instantaneous eigenvalue is (dtau / dt) lambda0 only if all
    eigenvalues scale alike, and is marked so.

    Args:
        effective: As from `effective_time_of_losses`.
        spectrum: A task, or eigenvalues and energies.
        start: First time of the fits.

    Raises:
        ArgumentError: If fewer than 3 times have a frontier inside the spectrum.
    """
    rates, energies, never = checked_spectrum(spectrum)
    counts = np.ones(len(rates))
    if isinstance(spectrum, TaskSpectrum):
        counts = spectrum.sizes[spectrum.target > 0]
    require_sorted(rates)
    label = 0.5 / effective.tau
    inside = (label <= rates[0]) & (label >= rates[-1])
    if inside.sum() < 3:
        raise ArgumentError(
            f"`effective` has {int(inside.sum())} times with 1 / (2 tau) inside the spectrum, from {rates[-1]:.3g} to "
            f"{rates[0]:.3g}, and a frontier needs 3. Give other times, or a spectrum with more modes."
        )
    times, label = effective.times[inside], label[inside]
    speed = np.gradient(np.log(effective.tau), np.log(effective.times), edge_order=2)[inside]
    share = _share(energies, never * 2.0)
    ranks = np.cumsum(counts) - 0.5 * counts + 0.5
    place, order = np.log(label), slice(None, None, -1)  # np.interp wants increasing places
    at_log = np.log(rates)[order]
    positions: dict[Coordinate, np.ndarray] = {
        "eigenvalue": 0.5 * np.maximum(speed, 0.0) / times,
        "label": label,
        "rank": np.exp(np.interp(place, at_log, np.log(ranks)[order])),
        "energy": np.exp(np.interp(place, at_log, np.log(np.maximum(share, np.finfo(np.float64).tiny))[order])),
    }
    found: dict[Coordinate, Frontier] = {name: Frontier(name, times, positions[name]) for name in COORDINATES}
    return Frontiers(found, rates, counts, share, ("eigenvalue",), check_number("start", start, 0.0))


def _share(energies: np.ndarray, never: float = 0.0) -> np.ndarray:
    """Of the energy in modes of smaller eigenvalue, and half of the mode's own; what is never learned is below all."""
    below = energies[::-1].cumsum()[::-1] - 0.5 * energies + never
    return below / max(float(energies.sum()) + never, np.finfo(np.float64).tiny)
