"""Exact motion of modes: at rest in the spectrum, along a drift, or turning in pairs."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Int
from scipy.integrate import solve_ivp
from scipy.sparse import csr_array

from eigenflow.theory.controls.measuring import Instant, System, resting_modes

__all__ = ["Speed", "carried_modes", "powers_of_time", "scaled_modes", "still_modes", "turning_pairs"]

# d ln(lambda)/dt of every mode, from their eigenvalues and the time.
Speed = Callable[[np.ndarray, float], np.ndarray]

ACCURACY = 1e-10  # of integrated motion, relative
GROWTH = 1.004  # of 1 + t over one step of the exponential integrator for pairs
FIRST = 64  # steps to the first time


def scaled_modes(
    labels: Float[np.ndarray, " mode"],
    coefficients: Float[np.ndarray, " mode"],
    scale: Callable[[float], np.ndarray | float],
    clock: Callable[[float], np.ndarray | float],
    speed: Callable[[float], np.ndarray | float],
) -> System:
    """Modes with eigenvalue labels scale(t) and coefficient g exp(-labels clock(t)).

    Args:
        labels: Eigenvalues at t = 0.
        coefficients: At t = 0.
        scale: Common, or one for each mode; 1 at t = 0.
        clock: Its integral from 0.
        speed: Its logarithmic derivative.

    Returns:
        The system.
    """

    def at(time: float) -> Instant:
        lam = labels * scale(time)
        return resting_modes(lam, lam * speed(time), coefficients * np.exp(-labels * clock(time)))

    return at


def still_modes(labels: Float[np.ndarray, " mode"], coefficients: Float[np.ndarray, " mode"]) -> System:
    """Modes whose eigenvalues stand still at `labels`, with coefficients exp(-labels t)."""
    return scaled_modes(labels, coefficients, lambda t: 1.0, lambda t: t, lambda t: 0.0)


def powers_of_time(
    labels: Float[np.ndarray, " mode"], coefficients: Float[np.ndarray, " mode"], gamma: np.ndarray | float
) -> System:
    """Modes with eigenvalue labels (1 + t)^gamma; gamma is common, or one for each mode, and not -1."""
    return scaled_modes(
        labels,
        coefficients,
        lambda t: (1 + t) ** gamma,
        lambda t: ((1 + t) ** (1 + gamma) - 1) / (1 + gamma),
        lambda t: gamma / (1 + t),
    )


def carried_modes(
    labels: Float[np.ndarray, " mode"], coefficients: Float[np.ndarray, " mode"], speed: Speed, end: float
) -> System:
    """Modes that drift by any law and do not turn, integrated to ten digits.

    Args:
        labels: Eigenvalues at t = 0.
        coefficients: At t = 0.
        speed: d ln(lambda)/dt.
        end: Last time that will be asked for.

    Returns:
        The system.
    """
    count = len(labels)

    def rates(x: float, state: np.ndarray) -> np.ndarray:
        # In x = ln(1 + t) powers of time are smooth.
        lam = np.exp(state[:count])
        return np.exp(x) * np.concatenate([speed(lam, float(np.expm1(x))), lam])

    start = np.concatenate([np.log(labels), np.zeros(count)])
    found = solve_ivp(
        rates, (0.0, np.log1p(end)), start, "DOP853", dense_output=True, rtol=ACCURACY, atol=ACCURACY, max_step=0.2
    )

    def at(time: float) -> Instant:
        state = found.sol(np.log1p(time))
        lam, spent = np.exp(state[:count]), state[count:]
        return resting_modes(lam, lam * speed(lam, time), coefficients * np.exp(-spent))

    return at


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Two modes each, that turn into one another by a common angle; the rest do not turn."""

    labels: np.ndarray  # eigenvalues at t = 0, which all scale alike
    clock: Callable[[float], float]  # integral of that scale
    first: Int[np.ndarray, " pair"]
    second: Int[np.ndarray, " pair"]
    turn: np.ndarray  # angle of each pair per ln(1 + t)

    def step(self, state: np.ndarray, start: float, end: float) -> np.ndarray:
        """Coefficients in the turning frame over one short step: the exponential of the mean generator.

        The generator is symmetric in time about the middle of ln(1 + t) up to second order, so this is the Magnus
        series to fourth order in the step where the turn per time changes, and exact in the eigenvalues.
        """
        length = self.clock(end) - self.clock(start)
        decayed = state * np.exp(-self.labels * length)
        a, b = self.first, self.second
        angle = self.turn * np.log((1 + end) / (1 + start))
        half, middle = (
            0.5 * length * (self.labels[a] - self.labels[b]),
            -0.5 * length * (self.labels[a] + self.labels[b]),
        )
        # exp of [[-half, angle], [-angle, half]]
        square = half**2 - angle**2
        root = np.sqrt(np.abs(square))
        grows = square >= 0
        with np.errstate(over="ignore", invalid="ignore"):
            cosh = np.where(grows, 0.5 * (np.exp(middle + root) + np.exp(middle - root)), np.exp(middle) * np.cos(root))
            sinh = np.where(grows, 0.5 * (np.exp(middle + root) - np.exp(middle - root)), np.exp(middle) * np.sin(root))
        safe = np.where(root > 1e-12, root, 1.0)
        ratio = np.where(root > 1e-12, sinh / safe, np.exp(middle))
        decayed[a] = (cosh - half * ratio) * state[a] + angle * ratio * state[b]
        decayed[b] = -angle * ratio * state[a] + (cosh + half * ratio) * state[b]
        return decayed


def turning_pairs(
    labels: Float[np.ndarray, " mode"],
    coefficients: Float[np.ndarray, " mode"],
    first: Int[np.ndarray, " pair"],
    second: Int[np.ndarray, " pair"],
    turn: Float[np.ndarray, " pair"],
    times: Float[np.ndarray, " time"],
    gamma: float = 0.0,
) -> System:
    """Modes whose eigenvalues scale as (1 + t)^gamma, while pairs of eigenvectors turn by `turn` an e-fold of 1 + t.

    Args:
        labels: Eigenvalues at t = 0, decreasing.
        coefficients: At t = 0.
        first: One mode of each pair, all different.
        second: The other.
        turn: Angle of each pair an e-fold of 1 + t, in radians.
        times: All times that will be asked for.
        gamma: Of the eigenvalues; 0 where they stand still.

    Returns:
        The system.
    """

    def clock(time: float) -> float:
        return float(((1 + time) ** (1 + gamma) - 1) / (1 + gamma))

    pairs, count = _Pairs(labels, clock, first, second, turn), len(labels)
    states, state, now = {}, np.array(coefficients, dtype=float), 0.0
    for end in np.unique(np.append(0.0, times)):
        parts = max(1, int(np.ceil(np.log((1 + end) / (1 + now)) / np.log(GROWTH))), FIRST * int(now == 0))
        for low, high in pairwise(np.expm1(np.linspace(np.log1p(now), np.log1p(end), parts + 1))):
            state = pairs.step(state, low, high)
        states[float(end)], now = state, float(end)

    def at(time: float) -> Instant:
        angle = turn * np.log1p(time)
        cos, sin = np.ones(count), np.zeros(count)
        cos[first], cos[second], sin[first], sin[second] = np.cos(angle), np.cos(angle), np.sin(angle), -np.sin(angle)
        partner = np.arange(count)
        partner[first], partner[second] = second, first
        rows = np.arange(count)
        held = sin != 0
        frame = csr_array(
            (np.append(cos, sin[held]), (np.append(rows, rows[held]), np.append(rows, partner[held]))),
            shape=(count, count),
        )
        # phi_a' = w phi_b gives <phi_b, Mdot phi_a> = w (lambda_a - lambda_b).
        lam = labels * (1 + time) ** gamma
        mixed = turn / (1 + time) * (lam[first] - lam[second])
        places = (np.concatenate([rows, first, second]), np.concatenate([rows, second, first]))
        moved = np.concatenate([gamma / (1 + time) * lam, mixed, mixed])
        rates = csr_array((moved, places), shape=(count, count))
        return Instant(lam, frame, rates, frame.T @ states[float(time)])

    return at
