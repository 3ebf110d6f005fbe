"""The exact paths of modes under v = -c(t) lambda^b, on arrays.

A mode that starts at lambda0 follows lambda^(1-b) = lambda0^(1-b) + (b-1) C, with C the integral of
c over the time that passes, and loses exp(-Q) of what it carries, Q the integral of the rate.
Closed forms: equations/solutions.md#closed-solutions. Where there is none, Q is a quadrature good to about 1e-12.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from eigenflow.core.checks import check_kind
from eigenflow.core.errors import ArgumentError
from eigenflow.transport.flows.drift import PowerDrift
from eigenflow.transport.flows.flow import AbstractFlow, Dissipation
from eigenflow.transport.flows.paths import Values, fall
from eigenflow.transport.flows.preparation import make_flow

__all__ = ["Characteristics"]

Array = Float[np.ndarray, "..."]


@dataclass(frozen=True)
class Characteristics:
    """Maps along the characteristics of a drift. All arguments broadcast; float64.

    Attributes:
        drift: v = -c(t) lambda^b.
        dissipation: Factor of lambda (2.0 for energy, 1.0 for an amplitude), or a function that
            takes an array of eigenvalues and returns rates >= 0, in 1 / time.
    """

    drift: PowerDrift
    dissipation: Dissipation = 2.0

    def __post_init__(self) -> None:
        check_dissipation(self.dissipation)

    def forward(self, eigenvalues: Values, times: Values, start: Values = 0.0) -> Array:
        """Give where modes are at `times` that were at `eigenvalues` at `start`.

        Returns:
            Positive eigenvalues, 0 for a mode that has reached zero (b < 1), inf for one that has
            escaped (b > 1, growth). `times` may lie before `start`. Only the drift between the two
            counts: a path that ends under a c(t) which then turns round is not remembered here.
        """
        x, end, begin, flow, shape = self._prepare(eigenvalues, times, start)
        with np.errstate(over="ignore"):
            return np.exp(flow.position(x, end, begin)).reshape(shape)

    def backward(self, eigenvalues: Values, times: Values, start: Values = 0.0) -> Array:
        """Give where modes were at `start` that are at `eigenvalues` at `times`.

        Returns:
            Positive eigenvalues; inf where no mode can be (above the pile-up front, b > 1, decay),
            0 where modes came out of zero (b < 1, growth).
        """
        return self.forward(eigenvalues, start, times)

    def jacobian(self, eigenvalues: Values, times: Values, start: Values = 0.0) -> Array:
        """Give d lambda / d lambda0 = (lambda / lambda0)^b for modes at `eigenvalues` at `start`.

        Densities per unit eigenvalue are divided by it. It is 0 where modes have reached zero
        (b > 0) and inf where they have escaped.
        """
        x, end, begin, flow, shape = self._prepare(eigenvalues, times, start)
        passed = flow.accumulated(end) - flow.accumulated(begin)
        drop = fall(x, passed, flow.b)[0]
        if flow.b == 0:
            return np.ones(shape)
        with np.errstate(over="ignore"):
            return np.exp(-flow.b * drop).reshape(shape)

    def exponent(self, eigenvalues: Values, times: Values, start: Values = 0.0) -> Array:
        """Integrate the dissipation rate from `start` to `times` along the paths.

        Args:
            eigenvalues: Where the modes are at `start`, positive.
            times: Not before `start`.
            start: Not negative.

        Returns:
            Q >= 0 without unit; the mode keeps exp(-Q). A mode that has reached zero keeps the Q it
            had then. For one that has escaped Q is inf if b <= 2 (the integral diverges) or the rate
            is a function, else finite.
        """
        x, end, begin, flow, shape = self._prepare(eigenvalues, times, start)
        if np.any(end < begin):
            raise ArgumentError(
                "`times` must not lie before `start` in an attenuation. Exchange them, starting from `backward(...)`."
            )
        return flow.exponent(x, end, begin).reshape(shape)

    def attenuation(self, eigenvalues: Values, times: Values, start: Values = 0.0) -> Array:
        """Give exp(-Q), the share that is left of what a mode carried at `start`."""
        return np.asarray(np.exp(-self.exponent(eigenvalues, times, start)))

    def _prepare(
        self, eigenvalues: Values, times: Values, start: Values
    ) -> tuple[Array, Array, Array, AbstractFlow, tuple[int, ...]]:
        values = np.asarray(eigenvalues, dtype=np.float64)
        if not np.all((values > 0) & np.isfinite(values)):
            raise ArgumentError(
                "`eigenvalues` must be positive and finite: paths live on (0, inf). "
                "Leave out modes of eigenvalue 0, which never move nor decay."
            )
        end, begin = np.asarray(times, dtype=np.float64), np.asarray(start, dtype=np.float64)
        for name, item in (("times", end), ("start", begin)):
            if not np.all((item >= 0) & np.isfinite(item)):
                raise ArgumentError(f"`{name}` must be finite and at least 0. Time is the sum of learning rates.")
        horizon = float(max(end.max(initial=0.0), begin.max(initial=0.0)))
        flow = make_flow(self.drift, self.dissipation, horizon)
        values, end, begin = np.broadcast_arrays(values, end, begin)
        # One axis inside: numpy turns arrays without axes into scalars.
        return np.log(values.ravel()), end.ravel(), begin.ravel(), flow, values.shape


def check_dissipation(dissipation: Dissipation) -> None:
    """Refuse a negative or NaN factor."""
    if callable(dissipation):
        return
    check_kind("dissipation", dissipation, (int, float, np.number), "a factor >= 0, or a function of eigenvalues")
    if not (np.isfinite(dissipation) and dissipation >= 0):
        raise ArgumentError(
            f"`dissipation` must be a finite factor >= 0 or a function, but is {dissipation}. "
            f"Use 2.0 for energies, 1.0 for amplitudes."
        )
