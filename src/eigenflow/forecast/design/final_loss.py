"""The predicted final loss of a schedule made of blocks of constant rate, with its derivatives by the rates.

Two sources: the transport law (equations/loss_law.md#loss-law), in closed form with an exact gradient, and any
other law of `forecast/laws`, whose derivatives by the rates are central differences.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from eigenflow.core.errors import ArgumentError
from eigenflow.forecast.laws import History, Law

__all__ = ["FinalLoss", "LawFinalLoss", "TransportFinalLoss"]

# Relative step of central differences: the cube root of the rounding error of a loss.
STEP = 1e-5


@runtime_checkable
class FinalLoss(Protocol):
    """Predicted final losses for several draws of a law's parameters."""

    def __call__(
        self, lengths: Int[np.ndarray, " block"], rates: Float[np.ndarray, " block"], first: int = 0
    ) -> tuple[Float[np.ndarray, " draw"], Float[np.ndarray, "draw block"]]:
        """Give the loss after the last block, and its derivatives by the rates of the blocks from `first` on."""
        ...


@dataclass(frozen=True)
class TransportFinalLoss:
    """The transport law, one column of parameters a draw.

        L = L_inf + A (1 + s / s0)^-a + B * sum over blocks of rate^q * integral of (1 + C u)^-k dtau

    with s the sum of the rates, tau(s) = (s0 / alpha) [(1 + s / s0)^alpha - 1] the effective time, and u the
    effective time left until the end.

    Attributes:
        L_inf: Floor.
        A: Loss above it at s = 0.
        a: Exponent of its decay.
        s0: Length of the transient.
        B: Size of the noise term.
        C: Cut-off of the noise kernel, 1 / effective time.
        k: Exponent of the noise kernel.
        alpha: Exponent of the effective time; 1 is the lazy limit.
        q: Power of the rate.
    """

    L_inf: Float[np.ndarray, " draw"]
    A: Float[np.ndarray, " draw"]
    a: Float[np.ndarray, " draw"]
    s0: Float[np.ndarray, " draw"]
    B: Float[np.ndarray, " draw"]
    C: Float[np.ndarray, " draw"]
    k: Float[np.ndarray, " draw"]
    alpha: Float[np.ndarray, " draw"]
    q: Float[np.ndarray, " draw"]

    def __call__(
        self, lengths: Int[np.ndarray, " block"], rates: Float[np.ndarray, " block"], first: int = 0
    ) -> tuple[Float[np.ndarray, " draw"], Float[np.ndarray, "draw block"]]:
        """Give the loss after the last block, and its derivatives by the rate of each block."""
        a, s0, alpha, q = (getattr(self, name)[:, None] for name in ("a", "s0", "alpha", "q"))
        edges = np.concatenate([[0.0], np.cumsum(lengths * rates)])
        relative = 1.0 + edges / s0
        speed = relative ** (alpha - 1.0)
        tau = _effective_time(edges, s0, alpha)
        left = tau[:, -1:] - tau
        kernel, area = self._kernel(left)
        power = rates**q
        spent = area[:, :-1] - area[:, 1:]
        signal = self.A[:, None] * relative[:, -1:] ** -a
        value = self.L_inf + signal[:, 0] + self.B * (power * spent).sum(axis=1)

        # d area / d u is the kernel, and u of an edge moves with the end's time less its own.
        jump = np.diff(power, axis=1, prepend=0.0)
        weight = jump * kernel[:, :-1]
        of_end = weight.sum(axis=1, keepdims=True) * speed[:, -1:]
        # A rate moves every edge behind its block.
        own = weight * speed[:, :-1]
        behind = np.cumsum(own[:, ::-1], axis=1)[:, ::-1] - own
        noise = q * rates ** (q - 1.0) * spent + lengths * (of_end - behind)
        gradient = -a * signal / relative[:, -1:] / s0 * lengths + self.B[:, None] * noise
        return value, gradient

    def _kernel(self, left: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(1 + C u)^-k, and its integral from 0."""
        C, k = self.C[:, None], self.k[:, None]
        log = np.log1p(C * left)
        exponent = 1.0 - k
        near_one = np.abs(exponent) < 1e-8
        safe = np.where(near_one, 1.0, exponent)
        return np.exp(-k * log), np.where(near_one, log, np.expm1(safe * log) / safe) / C


def _effective_time(time: np.ndarray, s0: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    log = np.log1p(time / s0)
    near_zero = np.abs(alpha) < 1e-8
    safe = np.where(near_zero, 1.0, alpha)
    return s0 * np.where(near_zero, log, np.expm1(safe * log) / safe)


@dataclass(frozen=True)
class LawFinalLoss:
    """Any law, by its own predictions; derivatives by the rates are differences.

    Attributes:
        law: Of `forecast/laws`.
        thetas: Internal parameters, one row a draw.
        cautions: What the fitted runs do not cover.
    """

    law: Law
    thetas: Float[np.ndarray, "draw parameter"]
    cautions: tuple[str, ...] = ()

    def __call__(
        self, lengths: Int[np.ndarray, " block"], rates: Float[np.ndarray, " block"], first: int = 0
    ) -> tuple[Float[np.ndarray, " draw"], Float[np.ndarray, "draw block"]]:
        """Give the loss after the last block, and its derivatives by the rate of each block."""
        step, peak = STEP * rates.max(), rates.max()
        gradient = np.zeros((len(self.thetas), len(rates)))
        for block in range(first, len(rates)):
            # Laws measure rates by the schedule's peak, which must not move.
            up, down = min(rates[block] + step, peak), max(rates[block] - step, 0.0)
            above, below = (
                self._values(lengths, np.where(np.arange(len(rates)) == block, r, rates)) for r in (up, down)
            )
            gradient[:, block] = (above - below) / (up - down)
        return self._values(lengths, rates), gradient

    def _values(self, lengths: np.ndarray, rates: np.ndarray) -> np.ndarray:
        every = np.repeat(rates, lengths)
        prepared = self.law.prepare(History(np.array([len(every)]), every))
        values = np.array([self.law.evaluate(theta, prepared)[0][0] for theta in self.thetas])
        if not np.isfinite(values).all():
            raise ArgumentError(f"Law '{self.law.name}' gives no finite loss for one of the draws of its parameters.")
        return np.exp(values)
