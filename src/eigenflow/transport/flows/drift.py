"""The drift of eigenvalues, v = -c(t) lambda^b."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from eigenflow.core.checks import check_kind
from eigenflow.core.errors import ArgumentError, NonFiniteError
from eigenflow.transport.flows.paths import Values
from eigenflow.transport.flows.time_integral import evaluate, integrate_strength

__all__ = ["PowerDrift"]


@dataclass(frozen=True)
class PowerDrift:
    """Power-law drift of eigenvalues: v(lambda, t) = -c(t) lambda^b.

    Source: claim C4 (equations.md#eq-c4); c > 0 moves modes down (towards small eigenvalues) and
    c < 0 lets them grow.

    Attributes:
        c: Strength, in eigenvalue^(1-b) per time: a number, or a function of time that takes an
            array of times and returns as many values. It is looked at 1,024 times in each doubling of the time, so
            that spikes and jumps as wide as 0.0007 of their time are found.
        b: Exponent, any finite number. b = 1 rescales all modes alike, b = 2 is scale-free.
        integral: Optional closed form C(t) of the integral of `c` from 0 to t, vectorised. Without
            it a function `c` is integrated numerically, to about 14 digits.

    Examples:
        >>> PowerDrift(c=0.5, b=2.0).velocity([1.0, 2.0]).tolist()
        [-0.5, -2.0]
    """

    c: float | int | Callable
    b: float | int
    integral: Callable | None = None

    def __post_init__(self) -> None:
        check_kind("b", self.b, (int, float, np.number), "a number, the exponent of v = -c lambda^b")
        if not callable(self.c):
            check_kind("c", self.c, (int, float, np.number), "a number, or a function of time")
        if not np.isfinite(self.b):
            raise NonFiniteError(
                f"`b` must be a finite number, but is {self.b}. It is the exponent of v = -c lambda^b."
            )
        if callable(self.c):
            return
        if not np.isfinite(self.c):
            raise NonFiniteError(
                f"`c` must be finite, but is {self.c}. Pass c=0.0 for a network whose kernel stands still."
            )
        if self.integral is not None:
            raise ArgumentError(
                f"`integral` is allowed only when `c` is a function of time, but `c` is {self.c}. Drop it."
            )

    @property
    def is_constant(self) -> bool:
        """Whether c does not depend on time."""
        return not callable(self.c)

    def strength(self, times: Values) -> Float[np.ndarray, "..."]:
        """Evaluate c(t), shape of `times`."""
        times = np.asarray(times, dtype=np.float64)
        if callable(self.c):
            return evaluate("c", self.c, times)
        return np.full(times.shape, float(self.c))

    def velocity(self, eigenvalues: Values, times: Values = 0.0) -> Float[np.ndarray, "..."]:
        """Evaluate v = -c(t) lambda^b on broadcast arrays, in eigenvalue per time; positive upwards."""
        return np.asarray(-self.strength(times) * np.asarray(eigenvalues, dtype=np.float64) ** self.b)

    def accumulated(self, times: Values) -> Float[np.ndarray, "..."]:
        """Integrate c from 0 to each time, shape of `times`, which must not be negative."""
        times = np.asarray(times, dtype=np.float64)
        if not callable(self.c):
            return np.asarray(self.c * times)
        if self.integral is not None:
            return evaluate("integral", self.integral, times)
        horizon = float(times.max(initial=0.0))
        if horizon == 0:
            return np.zeros(times.shape)
        return integrate_strength(self.c, horizon)(times)
