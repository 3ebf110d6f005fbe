"""Paths and exponents where c depends on time: quadratures in time that many modes or many times share."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float

from eigenflow.core.limits import within
from eigenflow.transport.flows.flow import AbstractFlow, log_rate_of, rate_of
from eigenflow.transport.flows.inverse_integral import Inverse
from eigenflow.transport.flows.path_quadrature import (
    along_ending,
    along_time,
    along_time_until,
    time_panels,
)
from eigenflow.transport.flows.paths import accumulated_for_fall, fall, fall_by_exponent
from eigenflow.transport.flows.time_integral import TimeIntegral, integrate_panels, panel_nodes

__all__ = ["UnsteadyFlow"]

Array = Float[np.ndarray, "..."]

# With fewer modes than this for each pair of times, pairs are not worth a quadrature of their own.
_MODES_OF_PAIR = 20
# Knots times ended modes worked on at once.
_KNOTS_AT_ONCE = 10_000
_BISECTIONS = 60


@dataclass(frozen=True)
class UnsteadyFlow(AbstractFlow):
    """Drift of a strength that depends on time, and dissipation.

    Attributes:
        table: The integral of c.
    """

    table: TimeIntegral

    @property
    def is_closed(self) -> bool:
        return self._is_separable or self.is_frictionless

    @property
    def is_exact(self) -> bool:
        return self.is_frictionless

    @property
    def is_steady(self) -> bool:
        return False

    @property
    def turning_times(self) -> Float[np.ndarray, " turn"]:
        return self.table.turning_times

    @property
    def kinks(self) -> Float[np.ndarray, " kink"]:
        return self.table.kinks

    def accumulated(self, times: Array) -> Array:
        return self.table(times)

    def passed(self, start: Array, end: Array) -> Array:
        return self.accumulated(end) - self.accumulated(start)

    def passed_back(self, span: Array, share: Array, moments: Array, times: Array) -> Array:
        return self.accumulated(moments) - self.accumulated(times)

    def exponent(self, log_start: Array, times: Array, start: Array | float = 0.0) -> Array:
        log_start, times, start = np.broadcast_arrays(log_start, times, start)
        if self.is_frictionless:
            return np.zeros(log_start.shape)
        if self._is_separable and not np.any(start):
            return self._exponent_separable(log_start, times)
        return self._exponent_varying(log_start, times, start)

    def exponents(self, log_start: Array, times: Array) -> Array:
        if self.is_frictionless or (times[-1] == 0 and not self._is_separable):
            return np.zeros((len(times), len(log_start)))
        if self._is_separable:
            assert not callable(self.dissipation)
            with np.errstate(over="ignore"):
                return np.multiply.outer(self._scaled_time(times), self.dissipation * np.exp(log_start))
        within("entries", len(times) * len(log_start), "The exponents of all modes at all `times`")
        left, right = self._panels_for(log_start, self._breaks(0.0, float(times[-1]), times[times > 0]))
        panels = along_time(self.accumulated, left, right, self._rate_along(log_start))
        total = np.concatenate([np.zeros((len(log_start), 1)), np.cumsum(panels, axis=1)], axis=1)
        return total[:, np.searchsorted(left, times)].T

    def start_for_exponent(self, exponent: float, times: Array) -> Array | None:
        if callable(self.dissipation):
            return None
        if self.dissipation == 0:
            return np.full(times.shape, np.inf)
        if not self._is_separable:
            return None
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            return np.log(exponent / self.dissipation / self._scaled_time(times))

    def exit_exponent(self, log_start: Array, drop: Array, times: Array) -> Array:
        return self.exponent(log_start, times)

    def exit_times(self, log_start: Array, drop: Array) -> Array:
        return self._inverse.first_reached(accumulated_for_fall(log_start, drop, self.b))

    def residence(self, least: Array, most: Array, times: Array) -> Array:
        now = self.accumulated(times)
        corners = np.concatenate([[0.0], self.turning_times, [self.horizon]])
        entered, is_open = np.zeros(len(times)), np.ones(len(times), dtype=bool)
        for begin, end in zip(corners[-2::-1], corners[:0:-1], strict=True):
            here = self.accumulated(np.array([begin]))[0] - now
            is_out = is_open & (begin < times) & ((here < least) | (here > most))
            if is_out.any():
                bounds = now[is_out], least[is_out], most[is_out]
                entered[is_out] = self._entered(begin, np.minimum(end, times)[is_out], *bounds)
            is_open &= ~is_out
        return times - entered

    def _entered(self, begin: float, end: Array, now: Array, least: Array, most: Array) -> Array:
        low, high = np.full(len(end), begin), end
        for _ in range(_BISECTIONS):
            middle = 0.5 * (low + high)
            level = self.accumulated(middle) - now
            is_out = (level < least) | (level > most)
            low, high = np.where(is_out, middle, low), np.where(is_out, high, middle)
        return high

    def exponent_derivatives(self, slope: Callable[[Array], Array], log_start: Array, time: float) -> tuple:
        """Integrate over time; with c times a factor, the derivative of C by that factor is C itself."""
        inner = np.concatenate([self.table.edges, self.turning_times])
        inner = inner[(inner > 1e-15 * time) & (inner < time)]
        breaks = np.unique(np.concatenate([[0.0], inner, [time]]))
        ends = np.array([log_start.min(), log_start.max()])
        left, right = time_panels(self.accumulated, breaks, ends, self.b)
        start = log_start[:, None]

        def integrand(accumulated: Array) -> Array:
            drop = fall(start, accumulated, self.b)[0]
            x = start - drop
            pull = slope(x)
            by_strength = -pull * np.exp((self.b - 1.0) * x) * accumulated
            return np.stack([by_strength, -pull * fall_by_exponent(start, drop, self.b)])

        parts = along_time(self.accumulated, left, right, integrand).sum(axis=-1)
        return parts[0], parts[1]

    def reach_by_strength(self, time: float, reach: float, side: float) -> float:
        return reach

    @property
    def _is_separable(self) -> bool:
        return self.b == 1.0 and not callable(self.dissipation)

    def _exponent_separable(self, log_start: Array, times: Array) -> Array:
        assert not callable(self.dissipation)
        with np.errstate(over="ignore"):
            return self.dissipation * np.exp(log_start) * self._scaled_time(times)

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
        rate = log_rate_of(self.dissipation)
        start = log_start[:, None]
        return lambda C: rate(start - fall(start, C, self.b)[0])

    def _breaks(self, start: float, end: float, extra: Array | None = None) -> Array:
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
            result[~ended] = along_time(passed, left, right, self._rate_along(alive)).sum(axis=-1)
        return result

    def _exponent_until_end(self, log_start: Array, start: float, stop: Array) -> Array:
        """Exponents until `stop` of modes that reach zero or infinity before the horizon."""
        a = self.b - 1.0
        begun = float(self.accumulated(np.array([start]))[0])
        end = self._inverse.first_reached(-np.exp(-a * log_start) / a, start)
        rate = log_rate_of(self.dissipation)
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
            tail = rate_of(self.dissipation)(rest) * rest**-a / (abs(a) * c)
        else:
            tail = float(self.dissipation) * rest ** (2.0 - self.b) / (abs(2.0 - self.b) * c)
        return np.where(is_over, value + tail, value)

    @cached_property
    def _inverse(self) -> Inverse:
        """When C reaches a level."""
        inner = np.concatenate([self.table.edges, self.turning_times])
        knots = np.unique(np.concatenate([[0.0], inner[inner < self.horizon], [self.horizon]]))
        return Inverse(knots, self.accumulated, self.drift.strength)
