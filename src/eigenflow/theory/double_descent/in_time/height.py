"""How high the peak of double descent grows in time, by the way eigenvalues drift, and how narrow it becomes.

Isotropic least squares on as many samples as features has a density 1 / (pi sqrt(l)) of eigenvalues near zero, so noise
adds

    V(t) ~ K sqrt(T(t)),      T = 1 / (the label of the mode that has just been learned),

with K = 2 (2 - sqrt 2) / sqrt(pi) where modes rest or share a clock, and the peak has a width of 1 / sqrt(T) in p / n:
width times height stays. Modes that sink too fast are never learned, and cap it.

With v = -c (1 + t / t0)^-p lambda^b and beta = (1 - p) / (b - 1), growth (c < 0) beyond beta = 1 gives T ~ t^beta.
Decay beyond beta = 1 leaves a share 1 - exp(-Q) ~ l^(1 - 1 / beta) of a mode to be learned in all time, so that V is
finite for beta > 4/3 and grows as t^(2 - 3 beta / 2) below.

Derivation: equations/double_descent.md#height-law, #arrest.
"""

from dataclasses import dataclass
from enum import Enum

import numpy as np
from jaxtyping import Float

from eigenflow.core.display import AbstractPrinted, Card, figure
from eigenflow.theory.double_descent.in_time.marchenko_pastur import GRADED, NODES, MarchenkoPastur
from eigenflow.transport import Phase, classify, lasting_share

__all__ = ["LAZY_HEIGHT", "STEP_HEIGHT", "HeightLaw", "HeightRegime", "height_law", "step_collapse"]

LAZY_HEIGHT = 2.0 * (2.0 - np.sqrt(2.0)) / np.sqrt(np.pi)
# The same constant where modes are learned or not, by a sharp frontier: growth that ends in finite time.
STEP_HEIGHT = 2.0 / np.pi
BORDER = 1e-12


class HeightRegime(Enum):
    """What the peak does.

    POWER: it grows as a power of time. LOGARITHMIC: as a power of its logarithm. FASTER: faster than any power. CAPPED:
    it stays finite for ever. AT_ONCE: it is infinite at any time above 0.
    """

    POWER = "a power of time"
    LOGARITHMIC = "a power of the logarithm of time"
    FASTER = "faster than any power of time"
    CAPPED = "capped for ever"
    AT_ONCE = "infinite at once"


@dataclass(frozen=True, repr=False)
class HeightLaw(AbstractPrinted):
    """The late height V(t) / sigma^2 of the peak at p = n.

    Attributes:
        regime: What it does.
        exponent: Limit of d ln V / d ln t; infinite where it grows faster.
        limit: V at infinite time, infinite unless the peak is capped; None where it is known to be finite only.
        factor: V / t^exponent in the end, None where it is not known in closed form.
        reason: Which condition decides.
        phase: Of the transport equation with this drift.
    """

    regime: HeightRegime
    exponent: float
    limit: float | None
    factor: float | None
    reason: str
    phase: Phase

    def _card(self) -> Card:
        rows = [("regime", self.regime.value), ("exponent", figure(self.exponent))]
        rows += [("limit", figure(self.limit, 6))] if self.regime is HeightRegime.CAPPED else []
        rows += [("factor", figure(self.factor, 6))] if self.factor is not None else []
        rows.append(("reason", self.reason))
        drift = f"b = {self.phase.b:g}, c0 = {self.phase.c0:g}, p = {self.phase.p:g}"
        return Card(f"HeightLaw of the peak under {drift}", rows)


def height_law(b: float | int, c: float | int, *, p: float | int = 0.0, t0: float | int = 1.0) -> HeightLaw:
    """Say what the height of the peak does in the end under v = -c (1 + t / t0)^-p lambda^b.

    Args:
        b: Exponent of the drift.
        c: Strength at t = 0; positive where modes sink, negative where they grow, 0 at rest.
        p: Exponent with which the strength falls.
        t0: Time after which it does.

    Returns:
        The law. Exponents are limits: near b = 7/4, p = 0 and other borders they are reached over tens of decades, so
        compare values of `isotropic_noise` and not slopes.

    Raises:
        ArgumentError: If t0 is not positive.
    """
    phase = classify(b, c, p, 0.5, t0)
    if c == 0.0:
        return _power(phase, 0.5, "eigenvalues rest", LAZY_HEIGHT)
    if abs(b - 1.0) <= BORDER:
        return _by_clock(phase)
    if b < 1.0:
        if c < 0.0:
            return HeightLaw(HeightRegime.AT_ONCE, np.inf, np.inf, None, "b < 1: even modes at 0 grow", phase)
        return _capped(phase, "b < 1: modes reach zero before they are learned")
    beta = (1.0 - phase.p) / (phase.b - 1.0)
    if beta < 1.0 - BORDER:
        return _power(phase, 0.5, f"beta = {beta:.4g} < 1: the drift is too weak to matter", LAZY_HEIGHT)
    if beta <= 1.0 + BORDER:
        return _power(phase, 0.5, "beta = 1: drift and learning scale alike", None)
    if c < 0.0 and b <= 2.0:
        factor = STEP_HEIGHT * _front(phase) ** 0.5
        return _power(phase, 0.5 * beta, f"growth with beta = {beta:.4g} > 1: modes leave to infinity", factor)
    how = "decay" if c > 0.0 else "growth beyond b = 2, where modes leave before they are learned,"
    if beta < 4.0 / 3.0 - BORDER:
        return _power(phase, 2.0 - 1.5 * beta, f"{how} with 1 < beta = {beta:.4g} < 4/3", None)
    if beta <= 4.0 / 3.0 + BORDER:
        return HeightLaw(HeightRegime.LOGARITHMIC, 0.0, np.inf, None, f"{how} with beta = 4/3", phase)
    return _capped(phase, f"{how} with beta = {beta:.4g} > 4/3: too little of small modes is ever learned")


def step_collapse(u: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Give V(p / n = 1 + u / sqrt(T)) / V(1) for a sharp frontier T >> 1, the end of growth with beta > 1.

    u = 2 is where the smallest eigenvalue passes the frontier: from there on it is pi / (2 u).
    """
    size = np.abs(np.asarray(u, dtype=np.float64))
    near = np.minimum(0.5 * size, 1.0)
    # The integral of sqrt(x - u^2 / 4) / x^2 from the larger of 1 and u^2 / 4 on, over its value 2 at u = 0.
    return 0.5 * np.sqrt(1.0 - near**2) + np.where(size > 0.0, np.arcsin(near) / np.maximum(size, 1e-300), 0.5)


def _power(phase: Phase, exponent: float, reason: str, factor: float | None) -> HeightLaw:
    return HeightLaw(HeightRegime.POWER, exponent, np.inf, factor, reason, phase)


def _capped(phase: Phase, reason: str) -> HeightLaw:
    return HeightLaw(HeightRegime.CAPPED, 0.0, _lasting_height(phase), None, reason, phase)


def _by_clock(phase: Phase) -> HeightLaw:
    """b = 1: every mode keeps the clock tau, the integral of exp(-C), and V is the lazy one at tau."""
    c, p, t0 = phase.c0, phase.p, phase.t0
    if p > 1.0 + BORDER:
        factor = LAZY_HEIGHT * np.exp(-0.5 * c * t0 / (p - 1.0))
        return _power(phase, 0.5, "b = 1 and p > 1: the drift dies, and the clock is a multiple of time", factor)
    if abs(p - 1.0) <= BORDER:
        gamma = c * t0
        if gamma < 1.0 - BORDER:
            factor = LAZY_HEIGHT * (t0**gamma / (1.0 - gamma)) ** 0.5
            return _power(phase, 0.5 * (1.0 - gamma), f"b = 1, p = 1: a clock t^{1.0 - gamma:.4g}", factor)
        if gamma <= 1.0 + BORDER:
            return HeightLaw(HeightRegime.LOGARITHMIC, 0.0, np.inf, None, "b = 1, p = 1: a clock t0 ln t", phase)
        return _capped(phase, "b = 1, p = 1 and c t0 > 1: the clock stops")
    if c < 0.0:
        return HeightLaw(HeightRegime.FASTER, np.inf, np.inf, None, "b = 1, p < 1: the clock runs away", phase)
    return _capped(phase, "b = 1, p < 1: the clock stops")


def _front(phase: Phase) -> float:
    """T t^-beta of growth that ends in finite time: the label that has just left is [(b - 1) |C(t)|]^(-1 / (b - 1))."""
    a = phase.b - 1.0
    return float((a * abs(phase.c0) * phase.t0**phase.p / (1.0 - phase.p)) ** (1.0 / a))


def _lasting_height(phase: Phase) -> float | None:
    """V at infinite time, with what lies below the last panel added as the power law that it is there."""
    if not phase.has_plateau:
        return None
    rule = MarchenkoPastur.of(1.0)
    rates, weights = rule.eigenvalues[NODES:], rule.weights[NODES:]
    # Where the panels end: the edge of the first, of which the nodes are left out.
    lowest = 4.0 * np.sin(0.5 * np.pi * 0.5**GRADED) ** 2
    learned = -np.expm1(-_lasting_exponents(phase, np.append(rates, lowest)))
    terms = learned**2 / np.append(rates, lowest)
    below = terms[-1] * np.sqrt(lowest) / np.pi / _power_at_zero(phase)
    return float(terms[:-1] @ weights + below)


def _lasting_exponents(phase: Phase, rates: np.ndarray) -> np.ndarray:
    if phase.p == 0.0 and phase.b < 2.0:
        return rates ** (2.0 - phase.b) / (phase.c0 * (2.0 - phase.b))
    with np.errstate(divide="ignore"):
        return -np.log(lasting_share(phase, rates, 1.0))


def _power_at_zero(phase: Phase) -> float:
    """Exponent of l in the integral of V from 0 to l."""
    slope = 1.0
    if phase.b > 1.0 + BORDER:
        slope = 1.0 - (phase.b - 1.0) / (1.0 - phase.p)
    elif phase.b < 1.0 - BORDER:
        slope = 1.0 + (1.0 - phase.b) / (1.0 - phase.p) if phase.p < 1.0 else 1.0
    return 2.0 * slope - 0.5
