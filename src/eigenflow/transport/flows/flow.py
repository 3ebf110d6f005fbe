"""What drift and dissipation do to one mode up to a horizon: where it is, how much it has lost.

Everything here works on x = ln(lambda). The public face is `characteristics`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float

from eigenflow.core.errors import ArgumentError, NonFiniteError
from eigenflow.core.limits import within
from eigenflow.transport.flows.drift import PowerDrift
from eigenflow.transport.flows.inverse_integral import Inverse
from eigenflow.transport.flows.path_quadrature import (
    along_ending,
    along_path,
    along_time,
    along_time_until,
    time_panels,
)
from eigenflow.transport.flows.paths import accumulated_for_fall, exp_ratio, fall
from eigenflow.transport.flows.time_integral import (
    TimeIntegral,
    integrate_panels,
    integrate_strength,
    panel_nodes,
)

__all__ = ["Dissipation", "Flow", "make_flow", "rate_of"]

Array = Float[np.ndarray, "..."]
Dissipation = float | int | Callable

# With fewer modes than this for each pair of times, pairs are not worth a quadrature of their own.
_MODES_OF_PAIR = 20
_NEWTON_STEPS = 20
# Knots times ended modes worked on at once.
_KNOTS_AT_ONCE = 10_000


def rate_of(dissipation: Dissipation) -> Callable[[Array], Array]:
    """Turn a factor or a user's function into a checked rate of the eigenvalue, in 1 / time."""
    if not callable(dissipation):
        return lambda eigenvalues: dissipation * eigenvalues

    def rate(eigenvalues: Array) -> Array:
        flat = np.ravel(eigenvalues)
        values = np.asarray(dissipation(flat), dtype=np.float64)
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


@dataclass(frozen=True)
class Flow:
    """Drift and dissipation, prepared for times in [0, horizon]."""

    drift: PowerDrift
    dissipation: Dissipation
    horizon: float
    table: TimeIntegral | None

    @property
    def b(self) -> float:
        """Exponent of the drift."""
        return float(self.drift.b)

    @property
    def c(self) -> float:
        """Strength of a drift that does not depend on time."""
        assert not callable(self.drift.c)
        return float(self.drift.c)

    @property
    def is_closed(self) -> bool:
        """Whether exponents of many modes at many times need no quadrature in time."""
        return self.table is None or self._is_separable or (not callable(self.dissipation) and self.dissipation == 0)

    @property
    def turning_times(self) -> Float[np.ndarray, " turn"]:
        """Times in the horizon at which the drift changes direction."""
        return np.zeros(0) if self.table is None else self.table.turning_times

    @property
    def kinks(self) -> Float[np.ndarray, " kink"]:
        """Times inside the horizon at which c jumps or is otherwise not smooth, as far as its panels show."""
        return np.zeros(0) if self.table is None else self.table.kinks

    def accumulated(self, times: Array) -> Array:
        """Integrate c from 0 to each time."""
        return self.c * times if self.table is None else self.table(times)

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

    def exponent(self, log_start: Array, times: Array, start: Array | float = 0.0) -> Array:
        """Integrate the dissipation rate along characteristics from `start` to `times`.

        The arguments broadcast; the result has no unit, and inf says that nothing is left.
        """
        log_start, times, start = np.broadcast_arrays(log_start, times, start)
        if not callable(self.dissipation) and self.dissipation == 0:
            return np.zeros(log_start.shape)
        if self.table is None:
            return self._exponent_constant(log_start, times - start)
        if self._is_separable and not np.any(start):
            with np.errstate(over="ignore"):
                return self.dissipation * np.exp(log_start) * self._scaled_time(times)
        return self._exponent_varying(log_start, times, start)

    def exponents(self, log_start: Array, times: Array) -> Array:
        """Integrate the dissipation rate from 0 to every time along every path.

        With c(t) all times share one quadrature, so this is much cheaper than `exponent`.

        Args:
            log_start: ln(lambda0), shape (mode,); no path may end within the times.
            times: Not negative, increasing, shape (time,).

        Returns:
            Shape (time, mode).
        """
        if not callable(self.dissipation) and self.dissipation == 0:
            return np.zeros((len(times), len(log_start)))
        if self.table is None:
            return self._exponent_constant(log_start[None, :], times[:, None])
        if self._is_separable:
            with np.errstate(over="ignore"):
                return np.multiply.outer(self._scaled_time(times), self.dissipation * np.exp(log_start))
        if times[-1] == 0:
            return np.zeros((len(times), len(log_start)))
        within("entries", len(times) * len(log_start), "The exponents of all modes at all `times`")
        left, right = self._panels_for(log_start, self._breaks(0.0, float(times[-1]), times[times > 0]))
        panels = along_time(self.accumulated, left, right, self._rate_along(log_start))
        total = np.concatenate([np.zeros((len(log_start), 1)), np.cumsum(panels, axis=1)], axis=1)
        return total[:, np.searchsorted(left, times)].T

    def start_for_exponent(self, exponent: float, times: Array) -> Array | None:
        """Give ln(lambda0) of the modes whose exponent at each time has this value, where that is a closed form.

        Returns:
            Shape of `times`, inf where no mode has lost so much; None if there is no closed form.
        """
        if callable(self.dissipation):
            return None
        if self.dissipation == 0:
            return np.full(times.shape, np.inf)
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            if self._is_separable and self.table is not None:
                return np.log(exponent / self.dissipation / self._scaled_time(times))
            if self.table is None and (self.c == 0 or self.b == 1.0):
                elapsed = times * exp_ratio(self.c * times) if self.b == 1.0 else times
                return np.log(exponent / self.dissipation / elapsed)
            if self.table is None and self.b == 2.0:
                return np.log(np.expm1(exponent * self.c / self.dissipation) / (self.c * times))
            if self.table is None and self.c > 0 and 1.0 < self.b < 2.0:
                return self._start_by_newton(exponent, times)
        return None

    def _start_by_newton(self, exponent: float, times: Array) -> Array | None:
        """Solve for ln(lambda0) where c > 0 and 1 < b < 2: no path ends, and Q grows with lambda0 without bound."""
        assert not callable(self.dissipation)
        x = np.log(exponent / (self.dissipation * times))
        for _ in range(_NEWTON_STEPS):
            drop, slowing = fall(x, self.c * times, self.b)
            spent = self._exponent_of_path(x, drop, times * slowing)
            # dQ / d ln(lambda0) = rate (lambda0 - lambda) / (c lambda0^(b - 1)).
            slope = self.dissipation * np.exp((2.0 - self.b) * x) * -np.expm1(-drop) / self.c
            step = np.log(spent / exponent) * spent / slope
            x = np.where(times > 0, x - step, np.inf)
            if np.all(np.abs(step[times > 0]) <= 1e-12 * np.maximum(1.0, np.abs(x[times > 0]))):
                return x
        return None

    def exit_exponent(self, log_start: Array, drop: Array, times: Array) -> Array:
        """Give the exponent of modes that reach a domain end after a fall, at known exit times."""
        if self.table is not None:
            return self.exponent(log_start, times)
        stretch = drop * np.exp(-(self.b - 1.0) * log_start) / self.c
        return self._exponent_of_path(log_start, drop, stretch)

    def exit_times(self, log_start: Array, drop: Array) -> Array:
        """Give when modes have first fallen by `drop` (negative: risen); inf if not in the horizon."""
        target = accumulated_for_fall(log_start, drop, self.b)
        if self.table is None:
            with np.errstate(all="ignore"):
                times = target / self.c
            return np.where(times >= 0, times, np.inf)
        return self._inverse.first_reached(target)

    @property
    def _is_separable(self) -> bool:
        return self.b == 1.0 and not callable(self.dissipation)

    def _exponent_constant(self, log_start: Array, elapsed: Array) -> Array:
        if self.c == 0:
            return rate_of(self.dissipation)(np.exp(log_start)) * elapsed
        drop, slowing = fall(log_start, self.c * elapsed, self.b)
        ended = np.isinf(drop)
        if not ended.any():
            return self._exponent_of_path(log_start, drop, elapsed * slowing)
        drop, slowing = np.where(ended, 0.0, drop), np.where(ended, 0.0, slowing)
        value = self._exponent_of_path(log_start, drop, elapsed * slowing)
        return np.where(ended, self._exponent_of_ended(log_start), value)

    def _exponent_of_path(self, log_start: Array, drop: Array, stretch: Array) -> Array:
        """Exponent at constant c; `stretch` is d lambda0^(1-b) / c, in units of time."""
        if callable(self.dissipation):
            return along_path(rate_of(self.dissipation), log_start, drop, stretch, self.b)
        with np.errstate(over="ignore"):
            spent = stretch if self.b == 2.0 else stretch * exp_ratio((2.0 - self.b) * drop)
            return self.dissipation * np.exp(log_start) * spent

    def _exponent_of_ended(self, log_start: Array) -> Array:
        """Exponent, at constant c, of a mode that has reached zero or escaped to infinity."""
        power, c = 2.0 - self.b, self.c
        if not callable(self.dissipation):
            if c * power <= 0:
                return np.full(log_start.shape, np.inf)
            return self.dissipation * np.exp(power * log_start) / (c * power)
        if c < 0:
            return np.full(log_start.shape, np.inf)
        # The rest of the way to zero takes a share 1e-16 of the time.
        a = self.b - 1.0
        drop = np.full(log_start.shape, min(37.0 / abs(a), 600.0))
        return self.exit_exponent(log_start, drop, np.zeros(log_start.shape))

    def _scaled_time(self, times: Array) -> Array:
        """Integrate exp(-C(s)) from 0 to each time, the common effective time at b = 1."""
        return self._scaled_clock(times)

    @cached_property
    def _scaled_clock(self) -> TimeIntegral:
        zero = np.zeros(1)
        horizon = self.horizon if self.horizon > 0 else 1.0
        left, right = time_panels(self.accumulated, self._breaks(0.0, horizon), zero, 1.0)
        edges = np.append(left, right[-1])
        # Where modes have grown by e^600 nothing is left of them, and sums of panels are still finite.
        return integrate_panels(edges, np.exp(np.minimum(-self.accumulated(panel_nodes(edges)), 600.0)))

    def _panels_for(self, log_start: Array, breaks: Array) -> tuple[Array, Array]:
        ends = np.array([log_start.min(), log_start.max()])
        return time_panels(self.accumulated, breaks, ends, self.b)

    def _rate_along(self, log_start: Array) -> Callable[[Array], Array]:
        """Give the rate of each mode as a function of C, shape (mode, time)."""
        rate = rate_of(self.dissipation)
        start = log_start[:, None]
        return lambda C: rate(np.exp(start - fall(start, C, self.b)[0]))

    def _breaks(self, start: float, end: float, extra: Array | None = None) -> Array:
        assert self.table is not None
        inner = np.concatenate([self.table.edges, self.turning_times])
        keep = (inner > start + 1e-15 * (end - start)) & (inner < end)
        more = np.zeros(0) if extra is None else extra
        return np.unique(np.concatenate([[start], inner[keep], more, [end]]))

    def _exponent_varying(self, log_start: Array, times: Array, start: Array) -> Array:
        """Quadrature in time, one pair (start, time) after the other, or all at once where each has few modes."""
        result = np.zeros(log_start.shape)
        unique, inverse = np.unique((start + 1j * times).ravel(), return_inverse=True)
        if len(unique) > 1 and log_start.size < _MODES_OF_PAIR * len(unique) and not np.any(start):
            return self._exponent_of_each(log_start.ravel(), times.ravel()).reshape(log_start.shape)
        order = np.argsort(inverse, kind="stable")
        bounds = np.searchsorted(inverse[order], np.arange(len(unique) + 1))
        flat = log_start.ravel()
        for i, pair in enumerate(unique):
            members = order[bounds[i] : bounds[i + 1]]
            result.flat[members] = self._exponent_of_pair(flat[members], float(pair.real), float(pair.imag))
        return result

    def _exponent_of_each(self, log_start: Array, times: Array) -> Array:
        """Exponents of modes with end times of their own."""
        breaks = self._breaks(0.0, float(times.max()))
        ended = np.isinf(fall(log_start[:, None], self.accumulated(breaks), self.b)[0]).any(axis=1)
        result = np.zeros(log_start.shape)
        if ended.any():
            result[ended] = self._exponent_until_end(log_start[ended], 0.0, times[ended])
        if not ended.all():
            alive = log_start[~ended]
            left, right = self._panels_for(alive, breaks)
            rate = self._rate_along(alive)
            result[~ended] = along_time_until(self.accumulated, left, right, rate, times[~ended])
        return result

    def _exponent_of_pair(self, log_start: Array, start: float, end: float) -> Array:
        if end <= start:
            return np.zeros(log_start.shape)
        begun = self.accumulated(np.array([start]))

        def passed(times: Array) -> Array:
            return self.accumulated(times) - begun

        breaks = self._breaks(start, end)
        drops = fall(log_start[:, None], passed(breaks), self.b)[0]
        ended = np.isinf(drops).any(axis=1)
        result = np.full(log_start.shape, np.inf)
        if ended.any():
            result[ended] = self._exponent_until_end(log_start[ended], start, np.full(int(ended.sum()), end))
        alive = log_start[~ended]
        if len(alive):
            ends = np.array([alive.min(), alive.max()])
            left, right = time_panels(passed, breaks, ends, self.b)
            rate = rate_of(self.dissipation)

            def weighted(C: Array) -> Array:
                return rate(np.exp(alive[:, None] - fall(alive[:, None], C, self.b)[0]))

            result[~ended] = along_time(passed, left, right, weighted).sum(axis=-1)
        return result

    def _exponent_until_end(self, log_start: Array, start: float, stop: Array) -> Array:
        """Exponents until `stop` of modes that reach zero or infinity before the horizon."""
        a = self.b - 1.0
        begun = float(self.accumulated(np.array([start]))[0])
        end = self._inverse.first_reached(-np.exp(-a * log_start) / a, start)
        rate = rate_of(self.dissipation)
        knots = self._inverse.knots
        knots = knots[knots < np.minimum(end, stop).max()]
        value, rest = np.zeros(log_start.shape), np.zeros(log_start.shape)
        last = np.full(log_start.shape, start)
        at_once = max(1, _KNOTS_AT_ONCE // (len(knots) + 64))
        for rows in np.array_split(np.arange(len(end)), -(-len(end) // at_once)):

            def position(times: Array, x: Array = log_start[rows, None]) -> Array:
                return x - fall(x, self.accumulated(times) - begun, self.b)[0]

            value[rows], last[rows] = along_ending(position, knots, start, end[rows], stop[rows], self.b, rate)
            rest[rows] = np.exp(position(last[rows, None])[:, 0])
        is_over = stop >= end
        if a > 0 and (callable(self.dissipation) or self.b <= 2.0):
            return np.where(is_over, np.inf, value)
        # The rest of the way with c as it is then.
        c = np.abs(self.drift.strength(last))
        if callable(self.dissipation):
            tail = rate(rest) * rest**-a / (abs(a) * c)
        else:
            tail = float(self.dissipation) * rest ** (2.0 - self.b) / (abs(2.0 - self.b) * c)
        return np.where(is_over, value + tail, value)

    @cached_property
    def _inverse(self) -> Inverse:
        """When C reaches a level."""
        assert self.table is not None
        inner = np.concatenate([self.table.edges, self.turning_times])
        knots = np.unique(np.concatenate([[0.0], inner[inner < self.horizon], [self.horizon]]))
        return Inverse(knots, self.accumulated, self.drift.strength)


def make_flow(drift: PowerDrift, dissipation: Dissipation, horizon: float) -> Flow:
    """Prepare drift and dissipation for times up to the horizon.

    Raises:
        NonFiniteError: If c or its integral is not finite on [0, horizon].
        ArgumentError: If c cannot be integrated, or its given integral does not start at 0.
    """
    if drift.is_constant:
        return Flow(drift, dissipation, horizon, None)
    assert callable(drift.c)
    table = integrate_strength(drift.c, horizon if horizon > 0 else 1.0, drift.integral)
    at_zero = float(table(np.zeros(1))[0])
    if abs(at_zero) > 1e-12 * max(1.0, float(np.abs(table(table.edges)).max())):
        raise ArgumentError(
            f"`integral` must be 0 at t = 0, but is {at_zero:g}. It is the integral of `c` from 0 to t; "
            f"subtract its value at 0."
        )
    if not np.all(np.isfinite(table.at_edges)):
        raise NonFiniteError("`c` must have a finite integral from 0 to the last time. Check its size.")
    return Flow(drift, dissipation, horizon, table)
