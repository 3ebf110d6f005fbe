r"""Data collapse: do spectra of different times fall on one curve?

A self-similar energy per unit ln(lambda) is E(lambda, t) = t^-a F(lambda t^z). F is a cubic spline in ln(lambda t^z)
with one knot a shell, fitted to ln(E) together with a; z is searched. Each time is predicted from the curve of all
others, else a large z, which pulls the times apart until none shares the curve with another, would seem perfect.
Points are weighted with their share of the energy at their time, so every time counts the same.

A finite spectrum has ends, which do not scale: the lowest and the highest shell with modes take no part. And a shell of
a few modes scatters about any law, by chance: with Gaussian coefficients the variance of ln(E) is trigamma(k / 2) for k
modes of equal energy. That `floor` is told beside the mismatch, and `excess` is what is left beyond it.

The alternative stands still: one shape of lambda, with a free amplitude at every time.
"""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float
from scipy.interpolate import BSpline
from scipy.special import polygamma

from eigenflow.core.errors import ArgumentError
from eigenflow.core.grid import coarsen_edges, shell_index
from eigenflow.core.resampling import block_indices, correlated_interval, percentile_interval
from eigenflow.core.rounding import above_rounding, whole_parts
from eigenflow.shells import ShellBudget, ShellEnergies
from eigenflow.theory.modes.initial_basis import why_initial_basis_is_unknown
from eigenflow.theory.self_similarity.power_in_time import MIN_TIMES

__all__ = ["Collapse", "attenuation_collapse", "collapse", "shell_collapse"]

SHIFTS = np.linspace(-0.5, 3.0, 71)
# Bends the spline where there are no data; small beside the weight of the data elsewhere.
STIFFNESS = 1e-5
DEGREE = 3
SHELLS_PER_DECADE = 4
LEFT = (0.05, 0.95)  # of a shell's first energy: beyond, it is not being learned


@dataclass(frozen=True)
class Collapse:
    """The best data collapse of a run's spectra.

    Attributes:
        shift_exponent: z; lambda t^z is the same at all times. 1 in instantaneous lambda for every
            self-similar solution, rho in initial labels.
        shift_interval: Its 90 % interval, block bootstrap over times.
        decay_exponent: a, of the height; the loss exponent if all energy is in the profile.
        decay_interval: Its 90 % interval.
        mismatch: Root mean square of ln(E / curve of the other times), weighted with energy: 0.1 is 10 %.
        mismatch_interval: Its 90 % interval.
        floor: What the finite number of modes in each shell leaves of the mismatch by chance.
        excess: Root of the squared mismatch less the squared floor; 0 where chance explains all.
        excess_interval: Its 90 % interval.
        still_mismatch: The same for the alternative that stands still.
        skill: 1 - (mismatch / still mismatch)^2.
        skill_interval: Its 90 % interval.
        times: Times used.
        scaled: ln(lambda t^z) of every point (time, shell).
        height: ln(E t^a) of every point; -inf where there is no energy.
        weights: Share of its time's energy of every point.
        curve_scaled: ln(lambda t^z) along the curve.
        curve_height: ln F there.
    """

    shift_exponent: float
    shift_interval: tuple[float, float]
    decay_exponent: float
    decay_interval: tuple[float, float]
    mismatch: float
    mismatch_interval: tuple[float, float]
    floor: float
    excess: float
    excess_interval: tuple[float, float]
    still_mismatch: float
    skill: float
    skill_interval: tuple[float, float]
    times: Float[np.ndarray, " time"]
    scaled: Float[np.ndarray, "time shell"]
    height: Float[np.ndarray, "time shell"]
    weights: Float[np.ndarray, "time shell"]
    curve_scaled: Float[np.ndarray, " point"]
    curve_height: Float[np.ndarray, " point"]


def shell_collapse(
    budget: ShellBudget | ShellEnergies,
    *,
    data: xr.Dataset | None = None,
    start: float = 0.0,
    end: float = np.inf,
    seed: int = 0,
) -> Collapse:
    """Collapse the energies of a run's bounded shells between two times.

    Args:
        budget: As from `shell_budget`, or `shell_energies`.
        data: `run.measurements`, whose modes say what chance leaves; without them the floor is 0.
        start: First time.
        end: Last time.
        seed: Of the bootstrap.

    Returns:
        The best collapse.

    Raises:
        ArgumentError: If there are fewer than 8 times, or energy in fewer than 4 shells.
    """
    times, energies = budget.time.values, budget.energy.values
    kept = (times >= max(start, np.finfo(np.float64).tiny)) & (times <= end) & above_rounding(energies.sum(1))
    inner = energies[kept, 1:-1].copy()
    inner[~_inside(budget.mode_count.values[kept, 1:-1])] = 0.0
    variance = None if data is None else _chance(data, budget.edges, np.flatnonzero(kept))
    return collapse(times[kept], budget.centres, inner, variance=variance, seed=seed)


def attenuation_collapse(data: xr.Dataset, *, start: float = 0.0, end: float = np.inf, seed: int = 0) -> Collapse:
    """Collapse what is left of the first modes' energies, by shells of their first eigenvalues.

    A self-similar solution is its start times what is left, and a power law as start scales by itself. So what is left,
    A(lambda0, t), falls on one curve of lambda0 t^z, and since both sides hold the same modes, the chance of their
    energies cancels. The height is ln(-ln A), which is ln(2 lambda0 tau) where one clock serves all; points count where
    between 5 and 95 % are left. A mismatch of 0.1 is 10 % in the energy at the frontier.

    Args:
        data: `run.measurements`; in the eigenbasis of the first measurement where that was followed, else by rank.
        start: First time.
        end: Last time.
        seed: Of the bootstrap.

    Returns:
        The best collapse; a = 0.

    Raises:
        ArgumentError: If there are fewer than 8 times, or fewer than 4 shells are learned.
    """
    name = "coefficient" if why_initial_basis_is_unknown(data) else "initial_coefficient"
    times, squares, labels = data["time"].values, data[name].values ** 2, data["eigenvalue"].values[0]
    kept = (times >= max(start, np.finfo(np.float64).tiny)) & (times <= end) & (times > times[0])
    edges = data["edge"].values
    edges = edges[coarsen_edges(edges, SHELLS_PER_DECADE)]
    index = shell_index(labels, edges)
    member = (index[:, None] == np.arange(1, len(edges))).astype(float)
    first = squares[0] @ member
    left = np.divide(squares[kept] @ member, first, out=np.ones((kept.sum(), member.shape[1])), where=first > 0)
    seen = (left > LEFT[0]) & (left < LEFT[1])
    with_points = seen.any(1)
    spent = np.where(seen, -np.log(np.where(seen, left, 0.5)), 0.0)[with_points]
    weight = np.where(seen, left * -np.log(np.where(seen, left, 0.5)), 0.0)[with_points]
    centres = np.sqrt(edges[1:] * edges[:-1])
    place = np.divide(labels @ member, member.sum(0), out=centres, where=member.sum(0) > 0)
    return collapse(times[kept][with_points], place, spent, weight=weight, sinks=False, seed=seed)


def _inside(count: np.ndarray) -> Bool[np.ndarray, "time shell"]:
    """Shells with modes, but for the lowest and the highest of each time."""
    held, place = count > 0, np.arange(count.shape[1])
    low = held.argmax(1)[:, None]
    high = (count.shape[1] - 1 - held[:, ::-1].argmax(1))[:, None]
    return held & (place > low) & (place < high)


def _chance(data: xr.Dataset, edges: np.ndarray, rows: np.ndarray) -> Float[np.ndarray, "time shell"]:
    """Variance of ln(E) by chance: that of ln chi^2_k, k from the sums of g^2 and g^4 as for equal Gaussians."""
    squares, fourths = (np.zeros((len(rows), len(edges) + 1)) for _ in range(2))
    for i, row in enumerate(rows):
        index = shell_index(data["eigenvalue"].values[row], edges)
        energy = data["coefficient"].values[row] ** 2
        energy = energy / max(float(energy.max()), np.finfo(np.float64).tiny)
        np.add.at(squares[i], index, energy)
        np.add.at(fourths[i], index, energy**2)
    effective = np.where(fourths > 0, squares**2 / np.where(fourths > 0, fourths, 1.0), 1.0)
    return polygamma(1, 0.5 * np.maximum(1.0, 3.0 * effective - 2.0))[:, 1:-1]


def collapse(
    times: Float[np.ndarray, " time"],
    eigenvalues: Float[np.ndarray, " shell"],
    energies: Float[np.ndarray, "time shell"],
    *,
    variance: Float[np.ndarray, "time shell"] | None = None,
    weight: Float[np.ndarray, "time shell"] | None = None,
    sinks: bool = True,
    seed: int = 0,
) -> Collapse:
    """Find the exponents at which energies of different times fall on one curve.

    Args:
        times: Positive, at least 8 of them.
        eigenvalues: Positions of shells that are equally wide in ln(lambda).
        energies: Energy in each shell; shells without energy take no part.
        variance: Of ln(energies) by chance; none by default.
        weight: Of every point, 0 to leave it out; by default its share of the energy at its time.
        sinks: Whether the curve's height changes in time; False fixes a = 0.
        seed: Of the bootstrap.

    Returns:
        The best collapse.

    Raises:
        ArgumentError: If there are fewer than 8 times, or energy in fewer than 4 shells.
    """
    used = (energies > 0).any(0)
    if len(times) < MIN_TIMES or used.sum() < DEGREE + 1:
        raise ArgumentError(
            f"`energies` holds {len(times)} times and {int(used.sum())} shells with energy; a data collapse needs "
            f"{MIN_TIMES} and {DEGREE + 1}. Measure more steps, or use more shells per decade."
        )
    data = _Points.of(times, eigenvalues[used], energies[:, used], None if weight is None else weight[:, used], sinks)
    fits = [data.fit(z) for z in SHIFTS]
    errors = np.stack([fit.errors for fit in fits], axis=1)
    still = data.still_errors()
    draws = block_indices(len(times), np.random.default_rng(seed), draws=200)
    chosen = np.array([_vertex(row) for row in errors[draws].sum(1)])
    z = _vertex(errors.sum(0))
    best = data.fit(z)
    totals = np.array([errors[index].sum(0).min() for index in draws])
    stills = np.maximum(still[draws].sum(1), np.finfo(np.float64).tiny)
    decays = np.array([data.fit(value, index).decay for value, index in zip(chosen, draws, strict=True)])
    curve = np.linspace(*best.range, 200)
    chance = np.zeros(len(times)) if variance is None else (data.weight * variance[:, used]).sum(1)
    beyond = np.sqrt(np.maximum(best.errors - chance, 0.0))
    excess = float(np.sqrt(max(0.0, (best.errors - chance).mean())))
    low, high = correlated_interval(beyond, lambda v: float(v.mean()), np.random.default_rng(seed), is_inside=True)
    # The interval is that of the mean over times, which single times sway less than a root mean square.
    scale = excess / max(float(beyond.mean()), np.finfo(np.float64).tiny)
    tiny = np.finfo(np.float64).tiny
    return Collapse(
        shift_exponent=z,
        shift_interval=percentile_interval(chosen),
        decay_exponent=best.decay,
        decay_interval=percentile_interval(decays),
        mismatch=float(np.sqrt(best.errors.mean())),
        mismatch_interval=percentile_interval(np.sqrt(totals / len(times))),
        floor=float(np.sqrt(chance.mean())),
        excess=excess,
        excess_interval=(scale * low, scale * high),
        still_mismatch=float(np.sqrt(still.mean())),
        skill=float(1.0 - best.errors.sum() / max(still.sum(), tiny)),
        skill_interval=percentile_interval(1.0 - totals / stills),
        times=times,
        scaled=data.position[None, :] + z * data.log_time[:, None],
        height=data.height + best.decay * data.log_time[:, None],
        weights=data.weight,
        curve_scaled=curve,
        curve_height=best.spline(curve),
    )


@dataclass(frozen=True)
class _Fit:
    """One z: squared error of each time against the others' curve, a, and the curve of all."""

    errors: Float[np.ndarray, " time"]
    decay: float
    spline: BSpline
    range: tuple[float, float]


@dataclass(frozen=True)
class _Points:
    """ln E over ln t and ln lambda, with the weight of every point."""

    log_time: Float[np.ndarray, " time"]
    position: Float[np.ndarray, " shell"]
    height: Float[np.ndarray, "time shell"]
    weight: Float[np.ndarray, "time shell"]
    is_held: Bool[np.ndarray, "time shell"]
    sinks: bool

    @classmethod
    def of(
        cls, times: np.ndarray, eigenvalues: np.ndarray, energies: np.ndarray, weight: np.ndarray | None, sinks: bool
    ) -> "_Points":
        counted = energies if weight is None else weight
        counted = counted / np.maximum(counted.sum(1, keepdims=True), np.finfo(np.float64).tiny)
        with np.errstate(divide="ignore"):
            height = np.log(energies)
        return cls(np.log(times), np.log(eigenvalues), height, counted, (energies > 0) & (counted > 0), sinks)

    def fit(self, z: float, drawn: np.ndarray | None = None) -> _Fit:
        """Fit the curve at one z; with `drawn` to a resampling of the times, without the errors."""
        width = float(np.median(np.diff(self.position)))
        y = self.position[None, :] + z * self.log_time[:, None]
        low, high = float(y[self.is_held].min()), float(y[self.is_held].max())
        inner = np.linspace(low, high, max(2, whole_parts(high - low, width) + 1))
        step = inner[1] - inner[0]
        knots = np.concatenate([inner[0] - step * np.arange(DEGREE, 0, -1), inner, inner[-1] + step * np.arange(1, 4)])
        size = len(knots) - DEGREE - 1
        design = np.zeros((*y.shape, size + 1))
        flat = BSpline.design_matrix(np.clip(y[self.is_held], low, high), knots, DEGREE).toarray()
        design[self.is_held, :size] = flat
        # Times are centred so that a and the height of the curve stay apart.
        centre = self.log_time.mean()
        design[..., size] = -(self.log_time - centre)[:, None] * self.sinks
        w, target = self.weight, np.where(self.is_held, self.height, 0.0)
        gram = np.einsum("tsi,ts,tsj->tij", design, w, design, optimize=True)
        right = np.einsum("tsi,ts->ti", design, w * target)
        bend = np.diff(np.eye(size + 1)[:size], 2, axis=0)
        stiff = STIFFNESS * len(self.log_time) * bend.T @ bend + 1e-12 * np.eye(size + 1)
        index = np.arange(len(self.log_time)) if drawn is None else drawn
        whole = gram[index].sum(0) + stiff
        solution = np.linalg.solve(whole, right[index].sum(0))
        errors = np.zeros(0)
        if drawn is None:
            others = np.linalg.solve(whole - gram, (right.sum(0) - right)[:, :, None])[:, :, 0]
            predicted = np.einsum("tsi,ti->ts", design, others)
            errors = (w * (target - predicted) ** 2).sum(1)
        decay = float(solution[size])
        # ln E = f - a (ln t - centre), and the curve is to be that of E t^a.
        spline = BSpline(knots, solution[:size] + decay * centre, DEGREE)
        return _Fit(errors, decay, spline, (low, high))

    def still_errors(self) -> Float[np.ndarray, " time"]:
        """The shape of all other times at z = 0, with the best amplitude for each time."""
        count = len(self.log_time)
        shape, amplitude = np.zeros(len(self.position)), np.zeros(count)
        target = np.where(self.is_held, self.height, 0.0)
        w = self.weight
        for _ in range(50):  # alternating least squares; each half-step is exact
            shape = (w * (target - amplitude[:, None])).sum(0) / np.maximum(w.sum(0), 1e-300)
            amplitude = (w * (target - shape)).sum(1)
        rest = w.sum(0)[None] - w
        part = (w * (target - amplitude[:, None])).sum(0)[None] - w * (target - amplitude[:, None])
        others = np.where(rest > 1e-300, part / np.maximum(rest, 1e-300), shape)
        miss = target - others
        miss = miss - (w * miss).sum(1, keepdims=True)
        return (w * miss**2).sum(1)


def _vertex(errors: np.ndarray) -> float:
    """The z of least error, by a parabola through the three points around the least one."""
    at = int(np.clip(errors.argmin(), 1, len(errors) - 2))
    left, middle, right = errors[at - 1 : at + 2]
    bend = left - 2 * middle + right
    offset = 0.5 * (left - right) / bend if bend > 0 else 0.0
    return float(SHIFTS[at] + np.clip(offset, -1, 1) * (SHIFTS[1] - SHIFTS[0]))
