"""What training leaves of a residual along a direction of the sample covariance, by the way its eigenvalue moves.

Every way is a row of residuals a(l) a time, with 1 - a beside it: gradient flow, flow with a ridge, gradient descent, a
common clock, and flow whose eigenvalues drift, a = exp(-Q(l, t)) with Q the integral of the eigenvalue along the
characteristic that starts at l (equations/solutions.md#closed-solutions).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from eigenflow.core.checks import check_number
from eigenflow.core.errors import ArgumentError
from eigenflow.transport import CallableDrift, Characteristics, PowerDrift, StateDrift, TabulatedDrift
from eigenflow.transport.flows.tracing import trace
from eigenflow.transport.state_drift import StateProblem
from eigenflow.transport.state_solving import StateStatus, solve_state

__all__ = ["Attenuation", "Motion", "attenuate", "descent", "has_kinks", "one_motion", "ridge_flow"]

Motion = PowerDrift | CallableDrift | TabulatedDrift | StateDrift | Callable | None

# Traced paths may go this many e-folds beyond the eigenvalues.
REACH = 40.0
LEAST_ENERGY = 1e-290
WHOLE = 1e-6  # how far a time may lie from a whole number of steps, as a share of a step


@dataclass(frozen=True)
class Attenuation:
    """Residual and learned share of each direction.

    Attributes:
        residual: a.
        learned: 1 - a, where neither loses digits.
        rates: -d ln a / dt, the eigenvalue as it is then; None where it is not known.
        error: Relative error of the exponents.
    """

    residual: Float[np.ndarray, "time node"]
    learned: Float[np.ndarray, "time node"]
    rates: Float[np.ndarray, "time node"] | None
    error: float


def attenuate(
    motion: Motion,
    eigenvalues: Float[np.ndarray, " node"],
    times: Float[np.ndarray, " time"],
    energies: Float[np.ndarray, " node"],
    unseen: float = 0.0,
) -> Attenuation:
    """Give what flow leaves.

    Args:
        motion: None for eigenvalues at rest, a drift, or a function of an array of times that gives the common clock
            tau of a = exp(-l tau).
        eigenvalues: l > 0 at t = 0.
        times: Increasing, finite.
        energies: Mean square on the sample along each direction, which the drift of a `StateDrift` depends on.
        unseen: The same of what is never fitted.
    """
    if motion is None:
        return _of_exponents(
            np.multiply.outer(times, eigenvalues), np.broadcast_to(eigenvalues, _shape(times, eigenvalues))
        )
    if isinstance(motion, PowerDrift):
        return _by_power(motion, eigenvalues, times)
    if isinstance(motion, StateDrift):
        return _by_state(motion, eigenvalues, times, energies, unseen)
    if isinstance(motion, CallableDrift | TabulatedDrift):
        return _by_tracing(motion, eigenvalues, times)
    return _of_exponents(np.multiply.outer(_clock(motion, times), eigenvalues), None)


def ridge_flow(eigenvalues: Float[np.ndarray, " node"], times: Float[np.ndarray, " time"], shift: float) -> Attenuation:
    """Give what flow with a ridge leaves: a = (r + l exp(-(l + r) t)) / (l + r), with r = ridge / samples.

    Args:
        eigenvalues: l.
        times: Any.
        shift: r >= 0.
    """
    total = eigenvalues + shift
    kept = np.exp(-np.multiply.outer(times, total))
    share = eigenvalues / total
    residual = shift / total + share * kept
    learned = share * -np.expm1(-np.multiply.outer(times, total))
    with np.errstate(divide="ignore", invalid="ignore"):
        rates = np.where(residual > 0, eigenvalues * kept / residual, 0.0)
    return Attenuation(residual, learned, rates, 0.0)


def descent(
    eigenvalues: Float[np.ndarray, " node"], times: Float[np.ndarray, " time"], learning_rate: float
) -> Attenuation:
    """Give what full-batch gradient descent leaves: a = (1 - eta l)^k after k = t / eta steps.

    Args:
        eigenvalues: l.
        times: Whole multiples of the learning rate.
        learning_rate: eta; above 2 / l the residual grows.

    Raises:
        ArgumentError: If a time is no whole number of steps.
    """
    eta = check_number("learning_rate", learning_rate, 1e-300)
    steps = times / eta
    off = np.abs(steps - np.round(steps))
    if (off > WHOLE).any():
        place = int(np.argmax(off))
        raise ArgumentError(
            f"`times` must be whole multiples of `learning_rate` = {eta:g}, as time is the sum of learning rates, but "
            f"holds {times[place]:.9g}, which is {steps[place]:.6g} steps. Give `eta * np.array([0, 1, 10])`."
        )
    steps = np.round(steps)[:, None]
    factor = 1.0 - eta * eigenvalues
    with np.errstate(over="ignore", divide="ignore"):
        residual = np.where(steps % 2 == 1, np.sign(factor), 1.0) * np.abs(factor) ** steps
        small = steps * np.log1p(-np.minimum(eta * eigenvalues, 0.5))
    learned = np.where(eta * eigenvalues < 0.5, -np.expm1(small), 1.0 - residual)
    return Attenuation(residual, learned, None, 0.0)


def has_kinks(motion: Motion) -> bool:
    """Whether modes reach zero or infinity in finite time, so that what is left is not smooth in l."""
    if not isinstance(motion, PowerDrift) or motion.b == 1.0:
        return False
    return not motion.is_constant or float(motion.strength(0.0)) * (motion.b - 1.0) < 0.0


def one_motion(drift: Any, clock: Any) -> Motion:
    """Give the one of both that is given, or refuse what moves nothing."""
    known = (PowerDrift, CallableDrift, TabulatedDrift, StateDrift)
    if drift is not None and not isinstance(drift, known):
        raise ArgumentError(
            f"`drift` must be None, or a drift such as PowerDrift(c=0.5, b=1.5), TabulatedDrift, CallableDrift or "
            f"StateDrift, but is {drift!r:.60}. A common effective time is given as `clock`."
        )
    if clock is not None and not callable(clock):
        raise ArgumentError(f"`clock` must be a function of an array of times, or None, but is {clock!r:.60}.")
    if drift is not None and clock is not None:
        raise ArgumentError("Only one of `drift` and `clock` may be given: either moves all eigenvalues.")
    return clock if drift is None else drift


def _shape(times: np.ndarray, eigenvalues: np.ndarray) -> tuple[int, int]:
    return len(times), len(eigenvalues)


def _of_exponents(exponents: np.ndarray, rates: np.ndarray | None, error: float = 0.0) -> Attenuation:
    return Attenuation(np.exp(-exponents), -np.expm1(-exponents), rates, error)


def _by_power(drift: PowerDrift, eigenvalues: np.ndarray, times: np.ndarray) -> Attenuation:
    paths = Characteristics(drift, 1.0)
    exponents = paths.exponent(eigenvalues, times[:, None])
    rates = paths.forward(eigenvalues, times[:, None])
    return _of_exponents(exponents, np.where(np.isfinite(rates), rates, 0.0), 0.0 if drift.is_constant else 1e-12)


def _by_tracing(drift: CallableDrift | TabulatedDrift, eigenvalues: np.ndarray, times: np.ndarray) -> Attenuation:
    x = np.log(eigenvalues)
    ends = float(x.min()) - REACH, float(x.max()) + REACH
    exponents = np.zeros(_shape(times, eigenvalues))
    rates = np.empty_like(exponents)
    spent, now = np.zeros(len(x)), 0.0
    for row, time in enumerate(times):
        if time > now:
            traced = trace(drift, _itself, x, np.full(len(x), now), np.full(len(x), time), ends)
            x, spent, now = traced.x, spent + traced.exponent, float(time)
        exponents[row], rates[row] = spent, np.exp(x)
    return _of_exponents(exponents, rates, 1e-9)


def _itself(eigenvalues: np.ndarray) -> np.ndarray:
    return eigenvalues


def _by_state(
    drift: StateDrift, eigenvalues: np.ndarray, times: np.ndarray, energies: np.ndarray, unseen: float
) -> Attenuation:
    rates = np.broadcast_to(eigenvalues, _shape(times, eigenvalues)).copy()
    exponents, error = np.zeros_like(rates), 0.0
    later = times[times > 0]
    if len(later):
        # A direction without energy still needs an exponent, which is read off its energy.
        held = np.append(np.maximum(energies, LEAST_ENERGY), unseen)
        solved = solve_state(StateProblem(drift, np.append(eigenvalues, 0.0), held), later)
        if solved.status is not StateStatus.CONVERGED:
            raise ArgumentError(
                f"`drift` has no path up to the last of `times`, {later[-1]:g}: its solution is {solved.status.value}. "
                f"Ask for earlier times, or take a drift that does not feed on itself."
            )
        with np.errstate(divide="ignore"):
            exponents[times > 0] = 0.5 * (np.log(held[:-1]) - np.log(solved.energies[:, :-1]))
        rates[times > 0] = solved.eigenvalues[:, :-1]
        error = solved.error
    return _of_exponents(exponents, rates, error)


def _clock(motion: Any, times: np.ndarray) -> np.ndarray:
    passed = np.asarray(motion(times), dtype=np.float64)
    if passed.shape != times.shape or not np.isfinite(passed).all() or (np.diff(passed) < 0).any() or passed[0] < 0:
        raise ArgumentError(
            f"`clock` must give a finite, non-negative number that never falls for each of the {len(times)} times, but "
            f"gave {passed!r:.60}."
        )
    return passed
