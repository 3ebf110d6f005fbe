"""Training with a finite number of random features on infinitely many samples: the loss over time and width.

The features are N Gaussian combinations of the kernel's modes. Then the target's error is the Laplace transform of the
spectrum of their random operator K,

    E(t) = w' exp(-2 K t) w,      w' (K + s)^-1 w  ~  sum of w_i^2 gamma / (s (lambda_i + gamma)),
    s = gamma (1 - (1/N) sum of lambda_i / (lambda_i + gamma)),

where the equivalence holds for large N, and gamma of complex s is followed along the contour of the inverse transform.
At t = infinity the part of the target outside of the features is left, at s = 0.

Sources: [@bordelon2024dynamical], [@paquette2024phases] (equations/exponents.md#size-and-data-exponents).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Complex, Float

from eigenflow.core.checks import check_kind, check_number, check_whole
from eigenflow.core.display import AbstractPrinted, Card, figure, span
from eigenflow.core.errors import ArgumentError, ConvergenceError
from eigenflow.theory.exponents.kernel_flow import checked_times
from eigenflow.theory.task_spectrum import TaskSpectrum

__all__ = ["WidthCurve", "width_limit", "width_risk"]

# A hyperbola s = m (1 + sin(i u - angle)) about the negative axis, with the m t and the step that suit each other best:
# errors fall by a factor 10 a node, relative to E(0). The coarser rule is there to tell the error.
NODES, COARSE = 14, 10
STEP, PLACE, ANGLE = 1.081792140, 4.492075287, 1.172104229
NEWTON = 40
BISECTIONS = 200
ACCURACY = 1e-9
CHUNK = 1_000_000


@dataclass(frozen=True, repr=False)
class WidthCurve(AbstractPrinted):
    """The mean squared distance from the target over time, with N random features.

    Attributes:
        times: Sum of learning rates, in 1 / eigenvalue.
        risk: E(t); half of it is the loss. Noise plays no part.
        features: N.
        limit: E at infinite time.
        error: Bound of the error of the inversion, in the unit of `risk`. That of the equivalence is, relative to
            `risk`, of the order of 1 / (modes learned).
    """

    times: Float[np.ndarray, " time"]
    risk: Float[np.ndarray, " time"]
    features: int
    limit: float
    error: float

    def _card(self) -> Card:
        return Card(
            f"WidthCurve: {self.features} features at {len(self.times)} times",
            [
                ("time", span(self.times)),
                ("risk", span(self.risk)),
                ("at infinite time", figure(self.limit)),
                ("error", f"{figure(self.error, 2)} of the inversion"),
            ],
        )


def width_risk(task: TaskSpectrum, times: Float[np.ndarray, " time"], features: int) -> WidthCurve:
    """Give E(t) of gradient flow on the population with N random features.

    Args:
        task: Modes and target of the kernel that is the features' mean.
        times: Sum of learning rates, >= 0.
        features: N, at least 1.

    Raises:
        ArgumentError: If an argument is out of its range.
        ConvergenceError: If the equation for gamma is not solved.
    """
    check_kind("task", task, TaskSpectrum, "a TaskSpectrum")
    times = checked_times(times)
    count = check_whole("features", features, 1, what="number of features")
    found = np.full(len(times), task.energy)
    error = np.zeros(len(times))
    late = np.flatnonzero(times > 0)
    for block in np.array_split(late, max(1, -(-len(late) * len(task.eigenvalues) // CHUNK))):
        if block.size:
            found[block], coarse = (_inverted(task, times[block], count, nodes) for nodes in (NODES, COARSE))
            error[block] = np.abs(found[block] - coarse)
    return WidthCurve(times, found, count, width_limit(task, count), float(error.max(initial=0.0)))


def width_limit(task: TaskSpectrum, features: int | float) -> float:
    """Give what N random features leave of the target at infinite time on infinitely many samples.

    Args:
        task: Modes and target.
        features: N, > 0. With more features than modes nothing is left.

    Raises:
        ArgumentError: If `features` is not positive.
    """
    check_kind("task", task, TaskSpectrum, "a TaskSpectrum")
    count = check_number("features", features)
    if not count > 0:
        raise ArgumentError(f"`features` must be > 0, but is {count:g}.")
    if count >= task.modes:
        return 0.0
    gamma = _real_gamma(task, np.zeros(1), count)
    return float((gamma / (task.eigenvalues + gamma)) @ task.target)


def _inverted(task: TaskSpectrum, times: np.ndarray, count: int, nodes: int) -> Float[np.ndarray, " time"]:
    """The inverse transform at 2 t, by the trapezoidal rule on the hyperbola."""
    scale = PLACE * nodes / (2.0 * times)
    crossing = scale * (1.0 - np.sin(ANGLE))
    gamma = _real_gamma(task, crossing, count).astype(complex)
    total = np.zeros(len(times))
    for node in range(nodes + 1):
        angle = 1j * node * STEP / nodes - ANGLE
        s = scale * (1.0 + np.sin(angle))
        gamma = _followed(task, s, gamma, count)
        transform = (task.target / (task.eigenvalues + gamma[:, None])).sum(1) * gamma / s
        term = np.exp(2.0 * s * times) * transform * scale * np.cos(angle) * 1j
        # The lower half of the contour is the conjugate of the upper.
        total += (term * STEP / nodes / (2j * np.pi)).real * (1.0 if node == 0 else 2.0)
    return np.maximum(total, 0.0)


def _followed(
    task: TaskSpectrum, s: Complex[np.ndarray, " time"], gamma: Complex[np.ndarray, " time"], count: int
) -> Complex[np.ndarray, " time"]:
    """Solve for gamma from the solution at the node before, by Newton's method in its logarithm."""
    log_gamma, step = np.log(gamma), np.ones(len(gamma), dtype=complex)
    for _ in range(NEWTON):
        gamma = np.exp(log_gamma)
        share = task.eigenvalues / (task.eigenvalues + gamma[:, None])
        learned, spread = share @ task.sizes, (share * (1.0 - share)) @ task.sizes
        left = gamma * (1.0 - learned / count) - s
        step = left / (gamma * (1.0 - learned / count + spread / count))
        step /= np.maximum(1.0, np.abs(step) / 0.5)
        log_gamma = log_gamma - step
        if np.abs(step).max() < 1e-12:
            break
    gamma = np.exp(log_gamma)
    off = float(np.abs(step).max())
    if not off < ACCURACY or (np.imag(gamma) < -ACCURACY * np.abs(gamma)).any():
        raise ConvergenceError(
            f"The effective ridge of {count} features is known to {off:.1g} only, at a time of the {len(s)} asked for. "
            f"Ask for other times, or hold the task's modes in fewer decades."
        )
    return gamma


def _real_gamma(task: TaskSpectrum, s: Float[np.ndarray, " time"], count: float | int) -> Float[np.ndarray, " time"]:
    """Solve gamma - (1/N) sum lambda gamma / (lambda + gamma) = s >= 0 for the largest gamma, by bisection."""
    low = np.log(np.maximum(s, float(task.eigenvalues[-1]) * 1e-12))
    high = np.log(s + task.trace / count) + 1e-9
    for _ in range(BISECTIONS):
        middle = 0.5 * (low + high)
        gamma = np.exp(middle)
        learned = (task.eigenvalues / (task.eigenvalues + gamma[:, None])) @ task.sizes
        is_above = gamma * (1.0 - learned / count) > s
        low, high = np.where(is_above, low, middle), np.where(is_above, middle, high)
        if (high - low).max() < 1e-14:
            break
    return np.exp(0.5 * (low + high))
