"""Modes that decay, grow together, and jump upwards, on a grid of ln(lambda) that moves with them (b = 1).

Over a step the decay is exact, and so are the jumps: their generator has equal cells, no negative entry off the
diagonal and columns that add up to zero, so its exponential is a sum of positive terms (uniformisation). Half a step of
decay, the jumps, half a step of decay, with the strength of the drift half-way: second order, never negative, and
jumps lose nothing. Jumps change neither E nor F, so the drift feels them through decay alone.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from eigenflow.transport.methods.state_paths import FARTHEST, Followed, relative_error
from eigenflow.transport.state_drift import StateDrift, StateProblem

__all__ = ["CELLS_PER_DECADE", "COARSEST", "JumpGrid", "carry_jumping", "march"]

CELLS_PER_DECADE = 12
COARSEST = 0.16  # step over the time that has passed
MOST_HALVINGS = 7
LEAST_TERM = 1e-16  # of the series of jumps, whose terms fall at least as fast as 1 / n!


@dataclass(frozen=True)
class JumpGrid:
    """Cells of ln(lambda), and where jumps from each of them land.

    Attributes:
        labels: Eigenvalue of each cell at the start, the mean of its modes by energy.
        energies: At the start.
        overlaps: At the start.
        landing: Share of the jumps from a cell (column) that land in another (row), or in the same one.
    """

    labels: Float[np.ndarray, " cell"]
    energies: Float[np.ndarray, " cell"]
    overlaps: Float[np.ndarray, " cell"]
    landing: Float[np.ndarray, "cell cell"]

    @classmethod
    def of(cls, problem: StateProblem, reach: float) -> "JumpGrid":
        """Gather modes into cells; those at eigenvalue 0 are a cell of their own, which never jumps."""
        lam, energies, overlaps = problem.eigenvalues, problem.energies, problem.starting_overlaps
        moves = lam > 0
        width = np.log(10.0) / CELLS_PER_DECADE
        place = np.floor(np.log(lam[moves]) / width).astype(int)
        first = place.min()
        place -= first
        count = int(place.max()) + 1
        centres = np.exp((first + np.arange(count) + 0.5) * width)
        held, moments, paired = (
            np.bincount(place, values[moves], count) for values in (energies, energies * lam, overlaps)
        )
        labels = np.where(held > 0, moments / np.where(held > 0, held, 1.0), centres)
        labels = np.append(0.0, labels)
        landing = np.zeros((count + 1, count + 1))
        landing[0, 0] = 1.0
        landing[1:, 1:] = _landing(count, width, reach)
        rest = [float(values[~moves].sum()) for values in (energies, overlaps)]
        return cls(labels, np.append(rest[0], held), np.append(rest[1], paired), landing)


def _landing(count: int, width: float, reach: float) -> Float[np.ndarray, "cell cell"]:
    """Shares for departures spread evenly over a cell, jumps exponential; the top cell takes what overshoots."""
    ratio = width / reach
    inside = 1.0 + np.expm1(-ratio) / ratio
    onward = (1.0 - inside) * -np.expm1(-ratio)
    shares = np.concatenate([[inside], onward * np.exp(-ratio * np.arange(count - 1))])
    step = np.arange(count)[:, None] - np.arange(count)[None, :]
    landing = np.where(step >= 0, shares[np.maximum(step, 0)], 0.0)
    landing[-1] += 1.0 - landing.sum(0)
    return landing


def carry_jumping(
    problem: StateProblem, times: Float[np.ndarray, " time"], tolerance: float, coarsest: float
) -> Followed:
    """Halve the steps until two marches agree to the tolerance.

    Args:
        problem: With jumps, b = 1.
        times: Positive and increasing.
        tolerance: Relative error of the total energy that is wanted.
        coarsest: First step, as a share of the time that has passed.
    """
    assert problem.jumps is not None
    grid = JumpGrid.of(problem, problem.jumps.reach)
    kappas, rates = np.array([problem.drift.kappa]), np.array([problem.jumps.rate])
    states, growth, steps = march(grid, problem.drift, kappas, rates, times, coarsest)
    evaluations, error = 2 * steps, np.inf
    for halving in range(1, MOST_HALVINGS + 1):
        before = states[:, 0, :, 0].sum(1)
        states, growth, steps = march(grid, problem.drift, kappas, rates, times, coarsest / 2**halving)
        evaluations += 2 * steps
        total = states[:, 0, :, 0].sum(1)
        # Second order: the finer march is off by a third of the difference.
        error = relative_error(before, total, problem) / 3.0
        if error <= tolerance:
            break
    is_singular = not np.isfinite(growth).all()
    states, growth = _last_repeated(states, growth)
    scale = np.exp(growth[:, 0])
    eigenvalues = grid.labels * scale[:, None]
    energies, overlaps = states[:, 0, :, 0], states[:, 1, :, 0]
    return Followed(eigenvalues, energies, overlaps, scale, error, None, evaluations, is_singular)


def _last_repeated(states: np.ndarray, growth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    good = np.isfinite(growth[:, 0])
    last = np.maximum.accumulate(np.where(good, np.arange(len(good)), 0))
    return states[last], np.where(good[last, None], growth[last], 0.0)


def march(
    grid: JumpGrid,
    drift: StateDrift,
    kappas: Float[np.ndarray, " variant"],
    rates: Float[np.ndarray, " variant"],
    times: Float[np.ndarray, " time"],
    step: float,
) -> tuple[Float[np.ndarray, "time 2 cell variant"], Float[np.ndarray, "time variant"], int]:
    """Carry several variants of a law at once.

    Args:
        grid: Cells and the start.
        drift: The law; its kappa is replaced by those given.
        kappas: Of each variant.
        rates: Jumps per e-fold of growth of each variant.
        times: Positive and increasing.
        step: Over the time that has passed, once that exceeds the decay time of the fastest mode and of the drift.

    Returns:
        Energies and overlaps, ln(s), and the number of steps. Where ln(s) left every bound it is not finite, and the
        state there is that of the step before.
    """
    variants = len(kappas)
    now = np.repeat(np.stack([grid.energies, grid.overlaps])[:, :, None], variants, axis=2)
    growth = np.zeros(variants)
    # Neither decay nor the drift changes anything in less time than this.
    onset = 1.0 / (2.0 * float(grid.labels.max()) + float(np.abs(_rate(now, growth, drift, kappas)).max()))
    labels = grid.labels[:, None]
    kept, grown, t, steps = [], [], 0.0, 0
    for end in times:
        span = float(np.log1p((end - t) / (t + onset)))
        count = max(1, int(np.ceil(span / step)))
        for h in np.diff((t + onset) * np.expm1(span * np.arange(count + 1) / count)):
            now, growth = _stepped(now, growth, h, grid.landing, labels, drift, kappas, rates)
        steps += count
        t = end
        kept.append(now)
        grown.append(growth)
    return np.array(kept), np.array(grown), steps


def _stepped(
    now: np.ndarray,
    growth: np.ndarray,
    h: float,
    landing: np.ndarray,
    labels: np.ndarray,
    drift: StateDrift,
    kappas: np.ndarray,
    rates: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    is_well = np.isfinite(growth)
    before = np.where(is_well, growth, 0.0)
    ahead = before + 0.5 * h * _rate(now, before, drift, kappas)
    ahead = np.clip(ahead, -FARTHEST, FARTHEST)
    middle = _decayed(now, labels, 0.25 * h * (np.exp(before) + np.exp(ahead)))
    w = _rate(middle, ahead, drift, kappas)
    after = before + h * w
    is_well &= np.abs(after) < FARTHEST
    after = np.where(is_well, after, before)
    jumped = _jumped(middle, landing, np.where(is_well, rates * np.maximum(h * w, 0.0), 0.0))
    later = _decayed(jumped, labels, 0.25 * h * (np.exp(0.5 * (before + after)) + np.exp(after)))
    return np.where(is_well, later, now), np.where(is_well, after, np.nan)


def _rate(state: np.ndarray, growth: np.ndarray, drift: StateDrift, kappas: np.ndarray) -> np.ndarray:
    energy, overlap = state.sum(1)
    return kappas * drift.strength(energy, overlap - energy) * np.exp(-drift.scale_power * growth)


def _decayed(state: np.ndarray, labels: np.ndarray, tau: np.ndarray) -> np.ndarray:
    left = np.exp(-labels * tau)
    return state * np.stack([left * left, left])


def _jumped(state: np.ndarray, landing: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """exp(size (landing - 1)) of each variant, as a sum of positive terms; many jumps in parts of at most one."""
    largest = float(sizes.max())
    if largest == 0.0:
        return state
    parts = int(np.ceil(largest))
    sizes = sizes / parts
    for _ in range(parts):
        term, weight, order = state, np.exp(-sizes), 0
        state = weight * term
        while weight.max() >= LEAST_TERM:
            order += 1
            term = landing @ term
            weight = weight * sizes / order
            state = state + weight * term
    return state
