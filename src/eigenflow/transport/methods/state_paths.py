"""Paths of modes under a drift that their own energies set; nothing jumps.

S = ln(s) is one unknown; x = (lambda / reference)^(1 - b) moves by (1 - b) S in every mode. At b = 1 the exponents of
decay are lambda_u(0) tau with one effective time tau, else each is integrated. Nothing here is stiff: decay is a
quadrature, and what it feeds back is bounded.

At b = 1, dS/dtau = kappa z s^(-q - 1), so s^(q + 1) = 1 + (q + 1) kappa int z dtau, and the integral is elementary
where z is the energy or the overlap. That identity is no part of the integration and certifies it.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.integrate import DOP853

from eigenflow.transport.state_drift import StateProblem

__all__ = ["FARTHEST", "Followed", "follow_paths", "relative_error"]

# Growth by more than these e-folds is beyond what floats and any use can hold.
FARTHEST = 600.0
# A mode whose amplitude has decayed by this many e-folds holds less than the least float.
GONE = 350.0
# With b > 1 a mode that has grown by this factor is on its way to infinity; it decays at once.
ESCAPED = 1e4
MOST_EVALUATIONS = 400_000
NOTHING = 1e-30
LEAST_TOLERANCE = 1e-13  # what double precision allows


@dataclass(frozen=True)
class Followed:
    """What a method found; arrays as in `StateSolution`."""

    eigenvalues: Float[np.ndarray, "time mode"]
    energies: Float[np.ndarray, "time mode"]
    overlaps: Float[np.ndarray, "time mode"]
    scale: Float[np.ndarray, " time"]
    error: float
    certificate: float | None
    evaluations: int
    is_singular: bool


def follow_paths(problem: StateProblem, times: Float[np.ndarray, " time"], tolerance: float) -> Followed:
    """Integrate twice, with two tolerances; their difference is the error.

    Args:
        problem: Without jumps.
        times: Positive and increasing.
        tolerance: Relative error of the total energy that is wanted.
    """
    paths = _Paths(problem)
    # Exponents of decay count as they are, and the energy goes with twice of them.
    fine, coarse = (_integrated(paths, times, goal) for goal in (1e-3 * tolerance, 1e-2 * tolerance))
    states = paths.states(fine.unknowns)
    totals, others = states[1].sum(1), paths.states(coarse.unknowns)[1].sum(1)
    # A run that stopped early holds its last state, so a difference may say nothing: it did not reach the end.
    is_whole = fine.reached == coarse.reached == len(times) or fine.is_singular
    error = relative_error(others[: fine.reached], totals[: fine.reached], problem)
    return Followed(
        *states,
        scale=np.exp(fine.unknowns[:, 0]),
        error=error if is_whole else np.inf,
        certificate=paths.misfit(fine.unknowns),
        evaluations=fine.evaluations + coarse.evaluations,
        is_singular=fine.is_singular,
    )


def relative_error(found: np.ndarray, truth: np.ndarray, problem: StateProblem) -> float:
    """Largest relative difference of total energies; what is below 1e-30 of the first energy counts as that."""
    least = max(NOTHING * float(problem.energies.sum()), float(np.finfo(np.float64).tiny))
    return float((np.abs(found - truth) / np.maximum(truth, least)).max(initial=0.0))


@dataclass(frozen=True)
class _Integrated:
    unknowns: Float[np.ndarray, "time unknown"]
    reached: int
    evaluations: int
    is_singular: bool


def _integrated(paths: "_Paths", times: np.ndarray, tolerance: float) -> _Integrated:
    """From one output to the next: interpolation inside of a step would be of lower order than the step."""
    goal = max(tolerance, LEAST_TOLERANCE)
    y, now, step, found, evaluations = paths.start, 0.0, None, [], 0
    for end in times:
        first = None if step is None else min(step, end - now)
        solver = DOP853(lambda t, y: paths.rates(y), now, y, end, rtol=goal, atol=0.1 * goal, first_step=first)
        while solver.status == "running" and abs(solver.y[0]) < FARTHEST:
            if solver.step_size is not None and solver.t < end:
                step = solver.step_size
            solver.step()
            if evaluations + solver.nfev > MOST_EVALUATIONS:
                break
        evaluations += solver.nfev
        y, now = solver.y, end
        if solver.status != "finished" or abs(y[0]) >= FARTHEST:
            is_singular = evaluations <= MOST_EVALUATIONS
            return _Integrated(np.array(found + [y] * (len(times) - len(found))), len(found), evaluations, is_singular)
        found.append(y)
    return _Integrated(np.array(found), len(found), evaluations, False)


class _Paths:
    """The equations in ln(s) and the exponents of decay, int lambda dt: of each mode, or one in common at b = 1."""

    def __init__(self, problem: StateProblem):
        self.drift, self.energies, self.overlaps = problem.drift, problem.energies, problem.starting_overlaps
        self.eigenvalues = problem.eigenvalues
        self.bend = 1.0 - self.drift.b
        self.largest = float(self.eigenvalues.max())
        self.moves = self.eigenvalues > 0
        self.first = np.where(self.moves, self.eigenvalues, 1.0)
        if self.bend:
            self.first = (self.first / self.drift.reference) ** self.bend
            self.least = (self.largest * ESCAPED / self.drift.reference) ** self.bend if self.bend < 0 else 0.0
        size = 2 if not self.bend else 1 + len(self.eigenvalues)
        self.start = np.zeros(size)

    def exponents(self, unknowns: np.ndarray) -> np.ndarray:
        """int lambda dt of every mode; last axis modes."""
        if self.bend:
            return np.clip(unknowns[..., 1:], 0.0, GONE)
        return np.clip(unknowns[..., 1:] * (self.eigenvalues / self.largest), 0.0, GONE)

    def moved(self, growth: np.ndarray | float) -> np.ndarray:
        """Eigenvalues after ln(s) = growth, one axis more than it."""
        grown = np.asarray(growth)[..., None]
        if not self.bend:
            return self.eigenvalues * np.exp(grown)
        x = np.maximum(self.first + self.bend * grown, self.least)
        return np.where(self.moves, self.drift.reference * x ** (1.0 / self.bend), 0.0)

    def rates(self, y: np.ndarray) -> np.ndarray:
        spent = self.exponents(y)
        left = np.exp(-spent)
        overlap, energy = self.overlaps * left, float(self.energies @ (left * left))
        grown = float(np.clip(y[0], -FARTHEST, FARTHEST))
        growth = self.drift.strength(energy, float(overlap.sum()) - energy)
        growth *= self.drift.kappa * np.exp(-np.clip(self.drift.scale_power * grown, -FARTHEST, FARTHEST))
        if not self.bend:
            return np.array([growth, self.largest * np.exp(grown)])
        return np.concatenate([[growth], self.moved(grown)])

    def states(self, unknowns: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Eigenvalues, energies and overlaps at each time."""
        left = np.exp(-self.exponents(unknowns))
        return self.moved(unknowns[:, 0]), self.energies * left**2, self.overlaps * left

    def misfit(self, unknowns: np.ndarray) -> float | None:
        """Largest relative misfit of s^(q + 1) to 1 + (q + 1) kappa int z dtau; None where that is not elementary."""
        drift = self.drift
        if self.bend or not drift.is_linear:
            return None
        tau = unknowns[:, 1] / self.largest
        lam, t = self.eigenvalues, tau[:, None]

        def spent(rate: np.ndarray) -> np.ndarray:
            return np.where(rate > 0, -np.expm1(-rate * t) / np.where(rate > 0, rate, 1.0), t)

        energy = (self.energies * spent(2.0 * lam)).sum(1)
        whole = energy if drift.energy_power else (self.overlaps * spent(lam)).sum(1) - energy
        power = drift.scale_power + 1.0
        if power == 0:
            return float(np.abs(unknowns[:, 0] - drift.kappa * whole).max())
        expected = 1.0 + power * drift.kappa * whole
        return float(np.abs(np.exp(power * unknowns[:, 0]) / expected - 1.0).max())
