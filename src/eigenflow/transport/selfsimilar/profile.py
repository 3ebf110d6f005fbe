r"""Exact self-similar solutions of the transport-dissipation equation.

With c(t) = c0 t^(b-2) (p = 2 - b, the only power that brings in no scale of its own) and an uncut start
lambda^(s-1), every time looks like every other: g(lambda, t) = t^h G(lambda t). For b > 1, with
a = b - 1 and the rate r lambda, the equation becomes a first-order one for G, solved by

    G(z) = z^(s-1) (1 - c0 z^a)^(-1 - s/a) exp(-r H(z)),   H(z) = integral_0^z dy / (1 - c0 y^a),   h = 1 - s.

For c0 > 0 the support ends at the front kappa = c0^(-1/a). At b = 1 the strength is c0 / t, modes move as
lambda ~ t^-c0, and for c0 < 1, with rho = 1 - c0,

    G(z) = z^(s-1) exp(-r z / rho),   h = 1 - s rho.

There the start is not a density at t = 0 (c0 / t is not integrable) but a power of the label lambda t^c0.

Reference: equations/hypotheses.md#scale-covariance, equations/solutions.md#self-similar-line.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float
from scipy.special import gammaln

from eigenflow.core.display import AbstractPrinted, Card, figure
from eigenflow.core.errors import ArgumentError, NonFiniteError
from eigenflow.transport.flows.drift import PowerDrift
from eigenflow.transport.flows.paths import Values, panel_rule

__all__ = ["SelfSimilar"]

Array = Float[np.ndarray, "..."]

# Integrands fall below e^-REACH of their greatest value at the ends of the trapezoid rule, which converges
# exponentially for such functions: a step of 0.1 leaves less than 1e-14.
REACH = 40.0
STEP = 0.1
_NODES, _WEIGHTS = panel_rule(6)


@dataclass(frozen=True, repr=False)
class SelfSimilar(AbstractPrinted):
    """g(lambda, t) = t^h G(lambda t), which solves the equation with c(t) = c0 t^(b-2) exactly.

    The start is lambda^(s-1) without a cut (b > 1).

    Attributes:
        b: Drift exponent, at least 1.
        c0: Strength, without unit; positive when modes sink. At b = 1 less than 1. With c0 > 0 and
            b > 1, s must be less than `dissipation` * `front`, or the mass is not finite.
        s: Exponent of the start, positive.
        dissipation: Factor r of the rate r lambda (2.0 energy, 1.0 amplitude).
    """

    b: float | int
    c0: float | int
    s: float | int
    dissipation: float | int = 2.0

    def __post_init__(self) -> None:
        values = {"b": self.b, "c0": self.c0, "s": self.s, "dissipation": self.dissipation}
        for name, value in values.items():
            if not np.isfinite(value):
                raise NonFiniteError(f"`{name}` must be finite, but is {value}. Pass c0=0.0 for the lazy limit.")
        if not self.s > 0 or not self.dissipation > 0:
            raise ArgumentError(
                f"`s` and `dissipation` must be positive, but are {self.s} and {self.dissipation}. "
                f"Without dissipation the mass of a power law is not finite."
            )
        if self.b < 1:
            raise ArgumentError(
                f"`b` must be at least 1, but is {self.b}. For b < 1, c0 t^(b-2) cannot start at t = 0; use `classify`."
            )
        if self.b == 1 and self.c0 >= 1:
            raise ArgumentError(f"`c0` must be less than 1 at b = 1, but is {self.c0}. From 1 on modes outrun decay.")
        if self.b > 1 and self.c0 > 0 and self.s >= self.dissipation * self.front:
            raise ArgumentError(
                f"`s` must be less than dissipation * front = {self.dissipation * self.front:.6g}, but is {self.s}. "
                f"Beyond it the cut of the start decides the loss; use `classify`."
            )

    def _card(self) -> Card:
        rows = [
            ("drift", f"v = {-self.c0:g} t^{self.b - 2:g} lambda^{self.b:g}"),
            ("dissipation", f"{self.dissipation:g} lambda"),
            ("start", f"lambda^{self.s - 1:g}"),
            ("loss", f"{figure(self.loss_constant)} t^-{figure(self.loss_exponent)}"),
            ("front", f"lambda t = {figure(self.front)}"),
        ]
        return Card("SelfSimilar: g(lambda, t) = t^h G(lambda t)", rows)

    @property
    def front(self) -> float:
        """kappa = |c0|^(-1/(b-1)): lambda t never exceeds it for c0 > 0; labels above kappa / t escape for c0 < 0."""
        if self.c0 == 0 or self.b == 1:
            return np.inf
        return float(np.exp(min(700.0, -np.log(abs(self.c0)) / (self.b - 1.0))))

    @property
    def loss_exponent(self) -> float:
        """The mass is `loss_constant` t^-loss_exponent at every time."""
        return float(self.s * (1.0 - self.c0) if self.b == 1 else self.s)

    @property
    def height_exponent(self) -> float:
        """h of g = t^h G(lambda t): positive where the profile grows as it narrows."""
        return 1.0 - self.loss_exponent

    @property
    def drift(self) -> PowerDrift:
        """The drift for `TransportProblem` (b > 1), with the closed integral c0 t^(b-1) / (b-1)."""
        if self.b == 1:
            raise ArgumentError("`b` must exceed 1 for a drift from t = 0, but is 1: c0 / t is not integrable there.")
        c0, a = float(self.c0), float(self.b) - 1.0
        if c0 == 0 or a == 1.0:
            return PowerDrift(c=c0, b=self.b)
        return PowerDrift(lambda t: c0 * np.maximum(t, 1e-300) ** (a - 1.0), self.b, lambda t: c0 / a * t**a)

    def profile(self, scaled: Values) -> Array:
        """Evaluate G at z = lambda t, shape of `scaled`; 0 above the front."""
        values = np.asarray(scaled, dtype=np.float64)
        if not np.all((values > 0) & np.isfinite(values)):
            raise ArgumentError("`scaled` must be positive and finite: it is lambda times t.")
        z = values.ravel()
        result = np.zeros(z.shape)
        is_inside = (z < self.front) | (self.c0 <= 0)
        result[is_inside] = np.exp(self._log_profile(np.log(z[is_inside])))
        return result.reshape(values.shape)

    def density(self, eigenvalues: Values, time: float | int) -> Array:
        """Evaluate g(lambda, t) = t^h G(lambda t)."""
        scaled = np.asarray(np.asarray(eigenvalues, dtype=np.float64) * time)
        return np.asarray(time**self.height_exponent * self.profile(scaled))

    @cached_property
    def loss_constant(self) -> float:
        """Integral of G: the mass times t^loss_exponent, at every time; relative accuracy about 1e-12."""
        s, r, c0 = float(self.s), float(self.dissipation), float(self.c0)
        if c0 == 0 or self.b == 1:
            rho = 1.0 - (c0 if self.b == 1 else 0.0)
            return float(np.exp(gammaln(s) + s * np.log(rho / r)))
        a, log_front = self.b - 1.0, np.log(self.front)
        low = min(0.0, log_front) - REACH * (1.0 if c0 > 0 else max(1.0, 1.0 / a))
        # Above 1e3 / r nothing is left, unless the front comes before.
        high = np.log(1e3 / r) if r * self.front > 1e3 else min(600.0, log_front + REACH / a)
        x = grid(low, max(high, low + 1.0), a)
        # Sinking modes over labels y = lambda0 t, where the integrand is y^s e^(-r H); growing ones over z.
        logs = s * x - r * self._spent(x) if c0 > 0 else self._log_profile(x) + x
        terms, step = np.exp(logs), x[1] - x[0]
        # Beyond the ends the terms are geometric: y^s below, y^(s - r kappa) above.
        total = terms.sum() + terms[0] / np.expm1(s * step)
        if c0 > 0:
            total += terms[-1] / np.expm1((r * self.front - s) * step) if r * self.front <= 1e3 else 0.0
        return float(total * step)

    def _log_profile(self, log_z: Array) -> Array:
        s, r, c0 = self.s, self.dissipation, self.c0
        if c0 == 0 or self.b == 1:
            rho = 1.0 - (c0 if self.b == 1 else 0.0)
            return (s - 1.0) * log_z - r * np.exp(log_z) / rho
        a = self.b - 1.0
        narrowing = np.log1p(-c0 * np.exp(a * log_z))
        # Modes that sink are integrated over the label y = z (1 - c0 z^a)^(-1/a), which is not singular at the front.
        start = log_z - narrowing / a if c0 > 0 else log_z
        return (s - 1.0) * log_z - (1.0 + s / a) * narrowing - r * self._spent(start)

    def _spent(self, x: Array) -> Array:
        """H, from ln of the label for c0 > 0 and from ln z for c0 < 0.

        H = int_0^y (1 + c0 u^a)^(-1/a) du, or int_0^z du / (1 - c0 u^a), summed up over Gauss panels in
        ln(u); `scipy.special.hyp2f1` loses all digits near the front unless 1/a is whole.
        """
        a, log_size = self.b - 1.0, np.log(abs(float(self.c0)))
        power = 1.0 / a if self.c0 > 0 else 1.0
        # Below `low` the integrand is 1.
        low = min(0.0, -log_size / a) - REACH * max(1.0, 1.0 / a)
        flat = np.ravel(x)
        edges = grid(low, max(low, float(flat.max(initial=low))) + 1.0, a)

        def panels(left: Array, right: Array) -> Array:
            half = 0.5 * (right - left)[:, None]
            u = left[:, None] + half * (1.0 + _NODES)
            return (np.exp(u - power * np.logaddexp(0.0, a * u + log_size)) * half) @ _WEIGHTS

        below = np.exp(low) + np.concatenate([[0.0], np.cumsum(panels(edges[:-1], edges[1:]))])
        inside = np.maximum(flat, low)
        index = np.searchsorted(edges, inside, side="right") - 1
        spent = below[index] + panels(edges[index], inside)
        return np.where(flat > low, spent, np.exp(flat)).reshape(np.shape(x))


def grid(low: float, high: float, a: float) -> Float[np.ndarray, " node"]:
    """Nodes of the trapezoid rule; powers e^(a x) need a step in proportion to 1/a."""
    return np.linspace(low, high, int(np.ceil((high - low) * max(1.0, a) / STEP)) + 2)
