"""Paths and exponents where c does not depend on time: closed forms of the fall of ln(lambda)."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from eigenflow.transport.flows.flow import AbstractFlow, log_rate_of
from eigenflow.transport.flows.path_quadrature import along_path
from eigenflow.transport.flows.paths import accumulated_for_fall, exp_ratio, fall, fall_by_exponent, panel_rule

__all__ = ["SteadyFlow"]

Array = Float[np.ndarray, "..."]

_NEWTON_STEPS = 20
_NODES, _WEIGHTS = panel_rule(12)


@dataclass(frozen=True)
class SteadyFlow(AbstractFlow):
    """Drift of constant strength, and dissipation."""

    @property
    def c(self) -> float:
        """Strength of the drift."""
        assert not callable(self.drift.c)
        return float(self.drift.c)

    @property
    def is_closed(self) -> bool:
        return True

    @property
    def is_exact(self) -> bool:
        return not callable(self.dissipation)

    @property
    def is_steady(self) -> bool:
        return True

    @property
    def turning_times(self) -> Float[np.ndarray, " turn"]:
        return np.zeros(0)

    @property
    def kinks(self) -> Float[np.ndarray, " kink"]:
        return np.zeros(0)

    def accumulated(self, times: Array) -> Array:
        return self.c * times

    def passed(self, start: Array, end: Array) -> Array:
        return self.c * (end - start)

    def passed_back(self, span: Array, share: Array, moments: Array, times: Array) -> Array:
        # Late times would cancel.
        return -self.c * span * share

    def exponent(self, log_start: Array, times: Array, start: Array | float = 0.0) -> Array:
        log_start, times, start = np.broadcast_arrays(log_start, times, start)
        if self.is_frictionless:
            return np.zeros(log_start.shape)
        return self._exponent_after(log_start, times - start)

    def exponents(self, log_start: Array, times: Array) -> Array:
        if self.is_frictionless:
            return np.zeros((len(times), len(log_start)))
        return self._exponent_after(log_start[None, :], times[:, None])

    def start_for_exponent(self, exponent: float, times: Array) -> Array | None:
        if callable(self.dissipation):
            return None
        if self.dissipation == 0:
            return np.full(times.shape, np.inf)
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            if self.c == 0 or self.b == 1.0:
                elapsed = times * exp_ratio(self.c * times) if self.b == 1.0 else times
                return np.log(exponent / self.dissipation / elapsed)
            if self.b == 2.0:
                return np.log(np.expm1(exponent * self.c / self.dissipation) / (self.c * times))
            if self.c > 0 and 1.0 < self.b < 2.0:
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
        stretch = drop * np.exp(-(self.b - 1.0) * log_start) / self.c
        return self._exponent_of_path(log_start, drop, stretch)

    def exit_times(self, log_start: Array, drop: Array) -> Array:
        target = accumulated_for_fall(log_start, drop, self.b)
        with np.errstate(all="ignore"):
            times = target / self.c
        return np.where(times >= 0, times, np.inf)

    def residence(self, least: Array, most: Array, times: Array) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            back = np.where(self.c > 0, -least, most) / abs(self.c)
        return np.clip(np.nan_to_num(back, nan=np.inf, posinf=np.inf), 0.0, times)

    def exponent_derivatives(self, slope: Callable[[Array], Array], log_start: Array, time: float) -> tuple:
        """Integrate over the share y of the fall, so that dt = stretch e^(a d y) dy."""
        a = self.b - 1.0
        drop, slowing = fall(log_start, np.array(self.c * time), self.b)
        stretch = time * slowing
        panels = int(np.ceil(max(1.0, np.abs(drop).max() * max(1.0, abs(a)))))
        by_strength, by_exponent = np.zeros(log_start.shape), np.zeros(log_start.shape)
        for panel in range(panels):
            for node, weight in zip(_NODES, _WEIGHTS, strict=True):
                share = (panel + 0.5 * (1.0 + node)) / panels
                fallen = drop * share
                x = log_start - fallen
                pull = slope(x) * stretch * np.exp(a * fallen) * (0.5 * weight / panels)
                elapsed = stretch * share * exp_ratio(-a * fallen)
                by_strength -= pull * np.exp(a * x) * elapsed
                by_exponent -= pull * fall_by_exponent(log_start, fallen, self.b)
        return by_strength, by_exponent

    def reach_by_strength(self, time: float, reach: float, side: float) -> float:
        if self.c == 0:
            return 0.5 * time
        return time if np.sign(self.c) == -side else 0.0

    def _exponent_after(self, log_start: Array, elapsed: Array) -> Array:
        if self.c == 0:
            return log_rate_of(self.dissipation)(log_start) * elapsed
        drop, slowing = fall(log_start, self.c * elapsed, self.b)
        ended = np.isinf(drop)
        if not ended.any():
            return self._exponent_of_path(log_start, drop, elapsed * slowing)
        drop, slowing = np.where(ended, 0.0, drop), np.where(ended, 0.0, slowing)
        value = self._exponent_of_path(log_start, drop, elapsed * slowing)
        return np.where(ended, self._exponent_of_ended(log_start), value)

    def _exponent_of_path(self, log_start: Array, drop: Array, stretch: Array) -> Array:
        """Exponent after a fall; `stretch` is d lambda0^(1-b) / c, in units of time."""
        if callable(self.dissipation):
            return along_path(log_rate_of(self.dissipation), log_start, drop, stretch, self.b)
        with np.errstate(over="ignore"):
            spent = stretch if self.b == 2.0 else stretch * exp_ratio((2.0 - self.b) * drop)
            return self.dissipation * np.exp(log_start) * spent

    def _exponent_of_ended(self, log_start: Array) -> Array:
        """Exponent of a mode that has reached zero or escaped to infinity."""
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
