r"""Data collapse: do spectra of different times fall on one curve?

A self-similar energy per unit ln(lambda) is E(lambda, t) = t^-a F(lambda t^z). F is a cubic spline in ln(lambda t^z)
with one knot a shell, fitted to ln(E) together with a; z is searched. Each time is predicted from the curve of all
others, else a large z, which pulls the times apart until none shares the curve with another, would seem perfect.
Points are weighted with their share of the energy at their time, so every time counts the same.

The alternative stands still: one shape of lambda, with a free amplitude at every time.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.interpolate import BSpline

from eigenflow.core.errors import ArgumentError
from eigenflow.core.resampling import block_indices, percentile_interval
from eigenflow.core.rounding import above_rounding, whole_parts
from eigenflow.shells import ShellBudget
from eigenflow.theory.self_similarity.power_in_time import MIN_TIMES

__all__ = ["Collapse", "collapse", "shell_collapse"]

SHIFTS = np.linspace(-0.5, 3.0, 71)
# Bends the spline where there are no data; small beside the weight of the data elsewhere.
STIFFNESS = 1e-5
DEGREE = 3


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
    still_mismatch: float
    skill: float
    skill_interval: tuple[float, float]
    times: Float[np.ndarray, " time"]
    scaled: Float[np.ndarray, "time shell"]
    height: Float[np.ndarray, "time shell"]
    weights: Float[np.ndarray, "time shell"]
    curve_scaled: Float[np.ndarray, " point"]
    curve_height: Float[np.ndarray, " point"]


def shell_collapse(budget: ShellBudget, *, start: float = 0.0, seed: int = 0) -> Collapse:
    """Collapse the energies of a run's bounded shells, from a time on.

    Raises:
        ArgumentError: If there are fewer than 8 times, or energy in fewer than 4 shells.
    """
    late = (budget.time.values >= start) & (budget.time.values > 0) & above_rounding(budget.energy.sum("shell").values)
    return collapse(budget.time.values[late], budget.centres, budget.energy.values[late, 1:-1], seed=seed)


def collapse(
    times: Float[np.ndarray, " time"],
    eigenvalues: Float[np.ndarray, " shell"],
    energies: Float[np.ndarray, "time shell"],
    *,
    seed: int = 0,
) -> Collapse:
    """Find the exponents at which energies of different times fall on one curve.

    Args:
        times: Positive, at least 8 of them.
        eigenvalues: Positions of shells that are equally wide in ln(lambda).
        energies: Energy in each shell; shells without energy take no part.
        seed: Of the bootstrap.

    Raises:
        ArgumentError: If there are fewer than 8 times, or energy in fewer than 4 shells.
    """
    used = (energies > 0).any(0)
    if len(times) < MIN_TIMES or used.sum() < DEGREE + 1:
        raise ArgumentError(
            f"`energies` holds {len(times)} times and {int(used.sum())} shells with energy; a data collapse needs "
            f"{MIN_TIMES} and {DEGREE + 1}. Measure more steps, or use more shells per decade."
        )
    data = _Points.of(times, eigenvalues[used], energies[:, used])
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
    tiny = np.finfo(np.float64).tiny
    return Collapse(
        shift_exponent=z,
        shift_interval=percentile_interval(chosen),
        decay_exponent=best.decay,
        decay_interval=percentile_interval(decays),
        mismatch=float(np.sqrt(best.errors.mean())),
        mismatch_interval=percentile_interval(np.sqrt(totals / len(times))),
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

    @classmethod
    def of(cls, times: np.ndarray, eigenvalues: np.ndarray, energies: np.ndarray) -> "_Points":
        total = energies.sum(1, keepdims=True)
        weight = energies / np.maximum(total, np.finfo(np.float64).tiny)
        with np.errstate(divide="ignore"):
            height = np.log(energies)
        return cls(np.log(times), np.log(eigenvalues), height, weight, energies > 0)

    def fit(self, z: float, drawn: np.ndarray | None = None) -> _Fit:
        """Fit the curve at one z; with `drawn` to a resampling of the times, without the errors."""
        width = float(np.min(np.diff(self.position)))
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
        design[..., size] = -(self.log_time - centre)[:, None]
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
