"""The transport law as a solution of the transport equation, term by term.

See equations/loss_law.md#loss-law-and-equation.

Energy density eps(lambda, s) in intrinsic time s, with every eigenvalue rescaled by m(s) = (1 + s/s0)^(alpha - 1):

    d_s eps + d_lambda(v eps) = -2 lambda eps + S,    v = lambda d ln(m)/ds,
    eps(lambda, 0) ~ lambda^(xi - 1) exp(-2 lambda / C_s),    S ~ eta^q m^r f(lambda / m),  f ~ x^(k-1) exp(-2 x / C)

Its loss, the integral of eps, is A (1 + C_s tau)^-xi + B times the integral of eta^q m^(r-1) K(u) dtau over the past,
with K(u) = (1 + C u)^-k, tau the integral of m and u = tau(now) - tau(then). For r = 1 every block of constant eta is
closed; r = 2 is the noise of equations/identities.md#eq-s1, for which blocks are split until m hardly changes within
one.
"""

from dataclasses import dataclass
from math import gamma

import numpy as np
from jaxtyping import Float

from eigenflow.forecast.laws.transport import TransportLaw
from eigenflow.transport import GivenSource, PowerDrift, TransportProblem

__all__ = ["PdeForm"]

Array = Float[np.ndarray, "..."]

# ln(m) changes by at most this within a block of r = 2; the kernel weighs its end, so the error is of first order.
_SPLIT = 0.01


@dataclass(frozen=True)
class PdeForm:
    """Parameters of the equation above; times are sums of learning rates.

    Attributes:
        amplitude: A, initial energy.
        initial_cutoff: C_s.
        xi: Exponent of the initial spectrum.
        noise: B.
        power: q, of the learning rate per unit of time.
        cutoff: C of the noise.
        k: Exponent of the kernel, above 1 if the noise is to stay finite at a constant rate.
        offset: s0.
        alpha: 1: lazy; 0: self-similar.
        feed: r.
    """

    amplitude: float
    initial_cutoff: float
    xi: float
    noise: float
    power: float
    cutoff: float
    k: float
    offset: float
    alpha: float
    feed: int = 1

    @classmethod
    def of_law(cls, theta: Float[np.ndarray, " parameter"], law: TransportLaw, peak: float) -> "PdeForm":
        """Translate a `TransportLaw(feedback=False)` with p = 1; its L_inf is not part of the equation.

        With alpha > 0 the bias A X^-a is the solution for C_s = alpha / s0, xi = a / alpha. With alpha <= 0 it is a
        term of its own: only the noise can be compared.
        """
        value = {p.name: float(p.to_value(x)) for p, x in zip(law.parameters, theta, strict=True)}
        start = value["s0"] / (1.0 + value["s0"])  # X at s = 0
        offset, alpha = value["s0"] * law.reference * peak, value["alpha"]
        # The law's effective time is tau s0^-1 X(0)^alpha.
        per_tau = start**alpha / offset
        full_time = -np.log(start) if alpha == 0 else (1.0 - start**alpha) / alpha
        full = 1.0 - (1.0 + value["b"] * value["r"] * full_time) ** (-1.0 / value["b"])
        return cls(
            amplitude=value["L_inf"] * value["A"] * start ** -value["a"],
            initial_cutoff=max(alpha, 0.0) / offset,
            xi=value["a"] / alpha if alpha > 0 else 1.0,
            noise=value["B"] * value["L_inf"] * (1.0 + value["A"]) / full * value["r"] * per_tau / peak ** value["q"],
            power=value["q"],
            cutoff=value["b"] * value["r"] * per_tau,
            k=1.0 + 1.0 / value["b"],
            offset=offset,
            alpha=alpha,
        )

    def scale(self, times: Array) -> Array:
        """m(s)."""
        return (1.0 + times / self.offset) ** (self.alpha - 1.0)

    def tau(self, times: Array) -> Array:
        """Effective time: the integral of m."""
        log_age = np.log1p(times / self.offset)
        if self.alpha == 0.0:
            return self.offset * log_age
        return self.offset / self.alpha * np.expm1(self.alpha * log_age)

    def loss(
        self, edges: Float[np.ndarray, " edge"], rates: Float[np.ndarray, " block"], times: Float[np.ndarray, " time"]
    ) -> Float[np.ndarray, " time"]:
        """Evaluate the closed form.

        Args:
            edges: Times at which the learning rate changes, from 0 on.
            rates: Learning rate between two edges.
            times: Where to evaluate.
        """
        if self.feed != 1:
            edges, rates = self._split(edges, rates)
        tau, now = self.tau(edges), self.tau(times)
        sizes = rates**self.power
        if self.feed != 1:
            sizes = sizes * (np.diff(tau) / np.diff(edges)) ** (self.feed - 1)
        past = np.maximum(now[:, None] - tau, 0.0)
        integral = (1.0 - (1.0 + self.cutoff * past) ** (1.0 - self.k)) / (self.cutoff * (self.k - 1.0))
        noise = self.noise * (integral[:, :-1] - integral[:, 1:]) @ sizes
        return self.amplitude * (1.0 + self.initial_cutoff * now) ** -self.xi + noise

    def problem(self, domain: tuple[float, float], *, start: float | None = None) -> TransportProblem:
        """Give a part of the same as a problem for `eigenflow.solve`; the equation is linear, so that parts add up.

        Args:
            domain: Lowest and highest eigenvalue.
            start: None: the initial energy, without noise. Else: the noise of the learning rate 1, switched on at this
                time s, which is t = 0 of the problem; a schedule is a sum of these, each times the change of eta^q.
        """
        begin, half = start or 0.0, 0.5 * self.cutoff

        def initial(eigenvalues: Array) -> Array:
            if start is not None:
                return np.zeros_like(eigenvalues)
            x = eigenvalues / (0.5 * self.initial_cutoff)
            return self.amplitude * x ** (self.xi - 1.0) * np.exp(-x) / (0.5 * self.initial_cutoff * gamma(self.xi))

        def density(eigenvalues: Array, times: Array) -> Array:
            m = self.scale(begin + times)
            x = eigenvalues / (m * half)
            return self.noise * m ** (self.feed - 1.0) * x ** (self.k - 1.0) * np.exp(-x) / (gamma(self.k) * half)

        drift = PowerDrift(
            c=lambda t: (1.0 - self.alpha) / (self.offset + begin + t),
            b=1.0,
            integral=lambda t: (1.0 - self.alpha) * np.log1p(np.asarray(t) / (self.offset + begin)),
        )
        return TransportProblem(drift, 2.0, initial, domain, None if start is None else GivenSource(density))

    def _split(
        self, edges: Float[np.ndarray, " edge"], rates: Float[np.ndarray, " block"]
    ) -> tuple[Float[np.ndarray, " fine_edge"], Float[np.ndarray, " fine_block"]]:
        height = np.abs(self.alpha - 1.0) * np.log1p(edges / self.offset)
        counts = np.maximum(np.ceil(np.diff(height) / _SPLIT).astype(int), 1)
        log_age = np.log1p(edges / self.offset)
        fine = [
            np.linspace(log_age[j], log_age[j + 1], count, endpoint=False) for j, count in enumerate(counts.tolist())
        ]
        split = self.offset * np.expm1(np.append(np.concatenate(fine), log_age[-1]))
        split[np.searchsorted(split, edges[1:-1] - 1e-9 * edges[-1])] = edges[1:-1]
        return split, np.repeat(rates, counts)
