"""Gradient flow and gradient descent in a kernel at rest: exact sums over modes, and the power law they tend to.

    flow               E(t) = sum of w_k^2 exp(-2 lambda_k t)
    gradient descent   E(t) = sum of w_k^2 (1 - eta lambda_k)^(2 t / eta)
    late               E(t) ~ K Gamma(1 + source) (2 Lambda t)^-source

with lambda_k = Lambda k^-capacity and K k^-(capacity source) left beyond mode k. E is a mean square, half of it the
loss. The sum over all modes is the integral up to terms that fall exponentially in a power of t: every derivative of
w^2 exp(-2 lambda t) vanishes as k goes to 0. So the law holds from a few learned modes on, and what bends a measured
curve at late times is the spectrum's end, whose share is an incomplete gamma function.

Source: [@velikanov2021explicit] (equations/exponents.md#kernel-gradient-descent).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import gamma, gammaincc, gammaincinv

from eigenflow.core.checks import check_kind, check_number, real_array
from eigenflow.core.display import AbstractPrinted, Card, figure
from eigenflow.core.errors import ArgumentError, NonFiniteError, ShapeError
from eigenflow.theory.task_spectrum import TaskSpectrum

__all__ = ["FlowLaw", "checked_times", "flow_law", "flow_risk"]

CHUNK = 4_000_000  # numbers held at once
TOLERANCE = 0.01
EARLIEST, LATEST, TIMES_A_DECADE = -2.0, 6.0, 40
MODES_ONE_BY_ONE = 3000


def flow_risk(
    task: TaskSpectrum, times: Float[np.ndarray, " time"], *, learning_rate: float | int | None = None
) -> Float[np.ndarray, " time"]:
    """Give the mean squared distance from the target at times of training, exactly.

    Args:
        task: Modes and target. Its noise plays no part: population training does not see it.
        times: Sum of learning rates, >= 0, in 1 / eigenvalue.
        learning_rate: eta of gradient descent, below 2 / (largest eigenvalue); None for gradient flow.

    Returns:
        E(t), in the square of the output's unit; half of it is the loss. Costs modes times times.

    Raises:
        ArgumentError: If a time is negative, or the learning rate is not stable.
    """
    check_kind("task", task, TaskSpectrum, "a TaskSpectrum")
    times = checked_times(times)
    if learning_rate is None:
        rates = 2.0 * task.eigenvalues
    else:
        rate, stable = check_number("learning_rate", learning_rate), 2.0 / float(task.eigenvalues[0])
        if not 0.0 < rate < stable:
            raise ArgumentError(
                f"`learning_rate` must be > 0 and below 2 / (largest eigenvalue) = {stable:.6g}, but is {rate:g}. "
                f"Beyond, the first mode grows."
            )
        with np.errstate(divide="ignore"):  # a mode learned in one update has an infinite rate
            rates = -2.0 * np.log(np.abs(1.0 - rate * task.eigenvalues)) / rate
    found = np.empty(len(times))
    for block in np.array_split(np.arange(len(times)), max(1, -(-len(times) * len(rates) // CHUNK))):
        with np.errstate(invalid="ignore"):  # 0 times infinity, at time 0
            left = np.exp(-rates * times[block, None])
        found[block] = np.where(times[block, None] == 0, 1.0, left) @ task.target
    return found


@dataclass(frozen=True, repr=False)
class FlowLaw(AbstractPrinted):
    """The power law of a kernel at rest, E(t) ~ prefactor t^-exponent, and where a finite spectrum leaves it.

    Attributes:
        capacity: Of lambda_k = scale k^-capacity.
        source: Exponent of the energy below lambda, and of E in 1 / t.
        scale: Lambda, a rate.
        beyond: K: K k^-(capacity source) of the target's mean square lies beyond mode k, for large k.
        modes: Modes that there are; infinite for a whole spectrum.
    """

    capacity: float
    source: float
    scale: float
    beyond: float
    modes: float = np.inf

    def _card(self) -> Card:
        low, high = self.validity()
        return Card(
            f"FlowLaw: E ~ {figure(self.prefactor)} t^-{figure(self.exponent)}",
            [
                ("capacity, source", f"{figure(self.capacity)}, {figure(self.source)}"),
                ("modes", figure(self.modes)),
                ("holds to 1 %", f"from t = {figure(low, 3)} to {figure(high, 3)}" if low < high else "nowhere"),
            ],
        )

    @property
    def exponent(self) -> float:
        """Of E in 1 / t; the norm of the error has half of it."""
        return self.source

    @property
    def prefactor(self) -> float:
        """Of t^-exponent."""
        return self.beyond * float(gamma(1.0 + self.source)) * (2.0 * self.scale) ** -self.source

    def risk(self, times: Float[np.ndarray, " time"], *, is_finite: bool = True) -> Float[np.ndarray, " time"]:
        """Give the law at times > 0.

        Args:
            times: Sum of learning rates, in 1 / eigenvalue.
            is_finite: Leave out what lies beyond the last mode, in closed form; False for the pure power.

        Raises:
            ArgumentError: If a time is not positive.
        """
        times = checked_times(times)
        if not (times > 0).all():
            raise ArgumentError("`times` must be > 0: the power law is infinite at 0.")
        pure = self.prefactor * times**-self.source
        if not is_finite or np.isinf(self.modes):
            return pure
        return pure * gammaincc(self.source, 2.0 * self.last_eigenvalue * times)

    @property
    def last_eigenvalue(self) -> float:
        """Half a mode beyond the last one, where the integral that stands for the sum ends."""
        return self.scale * (self.modes + 0.5) ** -self.capacity

    def validity(self, tolerance: float | int = TOLERANCE) -> tuple[float, float]:
        """Give the range of time in which the pure power describes the spectrum to a relative tolerance.

        The beginning is found on the exact sum (few learned modes are no continuum), the end from the spectrum's end.

        Args:
            tolerance: Relative, between 0 and 1.

        Returns:
            First and last time; the last is infinite for infinitely many modes. If the first is not below the last,
            the spectrum is too short to show the law.

        Raises:
            ArgumentError: If `tolerance` is not between 0 and 1.
        """
        if not 0.0 < check_number("tolerance", tolerance) < 1.0:
            raise ArgumentError(f"`tolerance` must be between 0 and 1, but is {tolerance:g}.")
        count = int((LATEST - EARLIEST) * TIMES_A_DECADE) + 1
        scaled = np.logspace(EARLIEST, LATEST, count)
        decay = self.capacity * self.source + 1.0
        # Energies in the continuum's own unit, so that the sum has `beyond` = 1 far down.
        ranks = np.arange(1.0, MODES_ONE_BY_ONE + 1.0)
        squares = (decay - 1.0) * ranks**-decay
        left = np.exp(-2.0 * scaled[:, None] * ranks**-self.capacity) @ squares
        end = (MODES_ONE_BY_ONE + 0.5) ** -self.capacity
        pure = float(gamma(1.0 + self.source)) * (2.0 * scaled) ** -self.source
        beyond = pure * (1.0 - gammaincc(self.source, 2.0 * end * scaled))
        off = np.flatnonzero(np.abs((left + beyond) / pure - 1.0) > tolerance)
        low = scaled[min(off[-1] + 1, count - 1)] if off.size else scaled[0]
        if np.isinf(self.modes):
            return float(low / self.scale), np.inf
        return float(low / self.scale), float(gammaincinv(self.source, tolerance) / (2.0 * self.last_eigenvalue))


def flow_law(
    capacity: float | int,
    target_decay: float | int,
    *,
    scale: float | int = 1.0,
    energy: float | int = 1.0,
    modes: int | None = None,
) -> FlowLaw:
    """Give the law of lambda_k = scale k^-capacity and w_k^2 = energy k^-target_decay.

    Args:
        capacity: > 0.
        target_decay: > 1, or the target has no finite mean square.
        scale: Largest eigenvalue, > 0.
        energy: Of the first mode, > 0.
        modes: Number of modes; None for infinitely many.

    Raises:
        NonFiniteError: If a number is not finite.
        ArgumentError: If a number lies outside of its region.
    """
    regions = {
        "capacity": (capacity, 0.0, "eigenvalues fall"),
        "target_decay": (target_decay, 1.0, "the target's mean square is finite; below, E does not fall as a power"),
        "scale": (scale, 0.0, "the operator is positive"),
        "energy": (energy, 0.0, "there is a target"),
    }
    for name, (value, least, region) in regions.items():
        if not check_number(name, value) > least:
            raise ArgumentError(f"`{name}` must be > {least:g}, but is {value:g}. The law's region is where {region}.")
    if modes is not None and not check_number("modes", modes) >= 1:
        raise ArgumentError(f"`modes` must be at least 1, or None for infinitely many, but is {modes}.")
    source = (target_decay - 1.0) / capacity
    beyond = energy / (target_decay - 1.0)
    return FlowLaw(float(capacity), source, float(scale), beyond, np.inf if modes is None else float(modes))


def checked_times(times: object) -> Float[np.ndarray, " time"]:
    """Give times as a row of finite numbers, not negative."""
    found = np.atleast_1d(real_array("times", times))
    if found.ndim != 1 or not found.size:
        raise ShapeError(f"`times` must be one row of numbers, but has shape {found.shape}.")
    if not np.isfinite(found).all():
        raise NonFiniteError(f"`times` must be finite, but is {found[~np.isfinite(found)][0]}.")
    if (found < 0).any():
        raise ArgumentError(f"`times` must be >= 0, but the least is {found.min():g}.")
    return found
