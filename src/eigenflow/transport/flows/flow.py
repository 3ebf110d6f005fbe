"""What drift and dissipation do to one mode up to a horizon: where it is, how much it has lost.

Everything here works on x = ln(lambda). The public face is `characteristics`. Two flows stand behind one interface:
`SteadyFlow`, where c does not depend on time and everything is a closed form of the fall of ln(lambda), and
`UnsteadyFlow`, where it does and exponents are quadratures in time.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from eigenflow.core.errors import ArgumentError
from eigenflow.transport.flows.drift import PowerDrift
from eigenflow.transport.flows.paths import fall

__all__ = ["FARTHEST", "AbstractFlow", "Dissipation", "log_rate_of", "rate_of"]

Array = Float[np.ndarray, "..."]
Dissipation = float | int | Callable
# |ln(lambda)| up to which exp neither overflows nor loses digits. Modes that go farther, as at b = 1 with growth, count
# as standing there: what they lose is nothing, or all, or what a rate that levels off says.
FARTHEST = 700.0
# Up to here squares of eigenvalues are floats too.
_FAR = 340.0


def rate_of(dissipation: Dissipation) -> Callable[[Array], Array]:
    """Turn a factor or a user's function into a checked rate of the eigenvalue, in 1 / time."""
    if not callable(dissipation):
        return lambda eigenvalues: dissipation * eigenvalues

    def rate(eigenvalues: Array) -> Array:
        flat = np.ravel(eigenvalues)
        # A power of a large eigenvalue is inf, and so is what the mode has lost.
        with np.errstate(over="ignore", invalid="ignore"):
            values = np.asarray(dissipation(flat), dtype=np.float64)
            if values.shape == flat.shape and np.isnan(values).any():
                values = np.where(np.isnan(values), dissipation(_brought_near(flat)), values)
        if values.shape not in ((), flat.shape):
            raise ArgumentError(
                f"`dissipation` must return one rate per eigenvalue, shape {flat.shape}, but returned "
                f"shape {values.shape}. Write it with numpy functions that work element by element."
            )
        if not np.all(values >= 0):
            where = flat[np.flatnonzero(~(np.broadcast_to(values, flat.shape) >= 0))[0]]
            raise ArgumentError(
                f"`dissipation` must return rates >= 0, but does not at eigenvalue {where:g}. "
                f"Gain belongs to a source, not to dissipation."
            )
        return np.broadcast_to(values, flat.shape).reshape(np.shape(eigenvalues))

    return rate


def log_rate_of(dissipation: Dissipation) -> Callable[[Array], Array]:
    """Turn a factor or a user's function into a checked rate of ln(lambda), of any size, in 1 / time."""
    rate = rate_of(dissipation)
    return lambda x: rate(np.exp(np.clip(x, -FARTHEST, FARTHEST)))


def _brought_near(eigenvalues: Array) -> Array:
    """Where a ratio such as lambda^2 / (1 + lambda^2) is inf / inf it has levelled off long before."""
    return np.clip(eigenvalues, np.exp(-_FAR), np.exp(_FAR))


@dataclass(frozen=True)
class AbstractFlow(ABC):
    """Drift and dissipation, prepared for times in [0, horizon]."""

    drift: PowerDrift
    dissipation: Dissipation
    horizon: float

    @property
    def b(self) -> float:
        """Exponent of the drift."""
        return float(self.drift.b)

    @property
    def is_frictionless(self) -> bool:
        """Whether nothing is dissipated."""
        return not callable(self.dissipation) and self.dissipation == 0

    @property
    @abstractmethod
    def is_closed(self) -> bool:
        """Whether exponents of many modes at many times need no quadrature in time."""

    @property
    @abstractmethod
    def is_exact(self) -> bool:
        """Whether exponents are good to roundings, those on the way out too."""

    @property
    @abstractmethod
    def is_steady(self) -> bool:
        """Whether c does not depend on time: exponents of modes that leave follow from their fall alone."""

    @property
    @abstractmethod
    def turning_times(self) -> Float[np.ndarray, " turn"]:
        """Times in the horizon at which the drift changes direction."""

    @property
    @abstractmethod
    def kinks(self) -> Float[np.ndarray, " kink"]:
        """Times inside the horizon at which c jumps or is otherwise not smooth, as far as its panels show."""

    @abstractmethod
    def accumulated(self, times: Array) -> Array:
        """Integrate c from 0 to each time."""

    @abstractmethod
    def passed(self, start: Array, end: Array) -> Array:
        """Integrate c between pairs of times."""

    @abstractmethod
    def passed_back(self, span: Array, share: Array, moments: Array, times: Array) -> Array:
        """Integrate c from `times` back by a share of a span, to `moments`; negative where c is positive."""

    @abstractmethod
    def exponent(self, log_start: Array, times: Array, start: Array | float = 0.0) -> Array:
        """Integrate the dissipation rate along characteristics from `start` to `times`.

        The arguments broadcast; the result has no unit, and inf says that nothing is left.
        """

    @abstractmethod
    def exponents(self, log_start: Array, times: Array) -> Array:
        """Integrate the dissipation rate from 0 to every time along every path.

        With c(t) all times share one quadrature, so this is much cheaper than `exponent`.

        Args:
            log_start: ln(lambda0), shape (mode,); no path may end within the times.
            times: Not negative, increasing, shape (time,).

        Returns:
            Shape (time, mode).
        """

    @abstractmethod
    def start_for_exponent(self, exponent: float, times: Array) -> Array | None:
        """Give ln(lambda0) of the modes whose exponent at each time has this value, where that is a closed form.

        Returns:
            Shape of `times`, inf where no mode has lost so much; None if there is no closed form.
        """

    @abstractmethod
    def exit_exponent(self, log_start: Array, drop: Array, times: Array) -> Array:
        """Give the exponent of modes that reach a domain end after a fall, at known exit times."""

    @abstractmethod
    def exit_times(self, log_start: Array, drop: Array) -> Array:
        """Give when modes have first fallen by `drop` (negative: risen); inf if not in the horizon."""

    @abstractmethod
    def residence(self, least: Array, most: Array, times: Array) -> Array:
        """Give for how long, looking back from `times`, the accumulated drift has stayed within bounds.

        Args:
            least: Bound on the drift accumulated back from each time, not positive.
            most: The same, not negative.
            times: Where to look back from; at most until t = 0.
        """

    @abstractmethod
    def exponent_derivatives(self, slope: Callable[[Array], Array], log_start: Array, time: float) -> tuple:
        """Differentiate the exponent at `time` by the strength and by b.

        Args:
            slope: Derivative of the rate with respect to x, as a function of x.
            log_start: ln(lambda0) of modes whose paths have not ended.
            time: Positive.
        """

    @abstractmethod
    def reach_by_strength(self, time: float, reach: float, side: float) -> float:
        """Differentiate an extreme of the accumulated drift, `reach`, by the strength; `side` is the way out."""

    def extremes(self, times: Array) -> tuple[Array, Array]:
        """Give the least and the greatest accumulated drift over [0, t], shape of `times`."""
        now = self.accumulated(times)
        if not len(self.turning_times):
            return np.minimum(now, 0.0), np.maximum(now, 0.0)
        turns = np.concatenate([[0.0], self.accumulated(self.turning_times)])
        passed = np.searchsorted(self.turning_times, times, side="right")
        least, greatest = np.minimum.accumulate(turns), np.maximum.accumulate(turns)
        return np.minimum(now, least[passed]), np.maximum(now, greatest[passed])

    def position(self, log_start: Array, times: Array, start: Array | None = None) -> Array:
        """Give ln(lambda) at `times` of modes at `log_start` at `start` (0); -inf or inf if gone."""
        passed = self.accumulated(times)
        if start is not None:
            passed = passed - self.accumulated(start)
        return log_start - fall(log_start, passed, self.b)[0]
