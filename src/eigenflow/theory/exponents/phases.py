"""The 4+3 phases of compute: one-pass SGD on power-law random features, and which parts of its loss meet where.

Features are d random directions of inputs with covariance diag(j^-2 alpha), the target has coefficients j^-beta, and
r updates of batches of a fixed size cost f = d r. The loss is a sum of four parts, each a power of d and of the time
gamma r (gamma the learning rate):

    F_0   d^(-2 alpha + max(0, 1 - 2 beta))               what d features cannot hold
    F_pp  (gamma r)^-((2 alpha + 2 beta - 1) / 2 alpha)   what time has not reached
    F_ac  d^-1 (gamma r)^-(1 - 1 / 2 alpha)               distorted features; for 2 alpha > 1 and 2 beta > 1
    noise gamma (gamma r)^-(2 - 1 / 2 alpha)              of the gradients; for alpha > 1 / 4

For 2 alpha < 1 the eigenvalues' sum grows with d, and stability forces gamma ~ d^(2 alpha - 1). Which two parts
balance at the best d makes the phase.

Source: [@paquette2024phases] (equations/exponents.md#four-plus-three-phases). The borders are the paper's; the
exponents follow from the parts.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from eigenflow.core.checks import check_number
from eigenflow.core.display import AbstractPrinted, Card, figure
from eigenflow.core.errors import ArgumentError

__all__ = [
    "ComputePhase",
    "LossPart",
    "PhaseName",
    "balanced_exponents",
    "capacity_and_source",
    "compute_phase",
    "loss_parts",
    "plane_point",
]

PhaseName = Literal["Ia", "Ib", "Ic", "II", "III", "IVa", "IVb"]

# Borders are hit by rounded numbers too.
ROUNDING = 1e-12
# Above it, at 2 alpha < 1 < 2 beta, noise never shows before F_0: where both balances give the same exponent.
IV_BORDER = 1.0 - 1.0 / np.sqrt(2.0)

BALANCE: dict[PhaseName, str] = {
    "Ia": "F_pp = F_0",
    "Ib": "F_pp = F_0",
    "Ic": "F_pp = F_0",
    "II": "F_pp = F_ac",
    "III": "noise = F_ac",
    "IVa": "noise = F_0",
    "IVb": "F_pp = noise",
}


@dataclass(frozen=True)
class LossPart:
    """One part of the loss, ~ d^-width r^-time, the learning rate's own power of d included.

    Attributes:
        name: "F_0", "F_pp", "F_ac" or "noise".
        width: Exponent of 1 / d; negative where the part grows with d.
        time: Exponent of 1 / r.
    """

    name: str
    width: float
    time: float


@dataclass(frozen=True, repr=False)
class ComputePhase(AbstractPrinted):
    """What the best use of compute does at one point of the plane.

    Attributes:
        alpha: Of the covariance j^-2 alpha.
        beta: Of the target's coefficients j^-beta.
        phase: Its name in the paper.
        balance: The two parts that meet at the best width.
        loss_exponent: Loss ~ f^-loss_exponent.
        width_exponent: d ~ f^width_exponent.
        parts: The parts of the loss that exist here.
        is_proved: False for alpha < 1/4, where no proof is known.
        borders: Phases on whose border the point lies; all give these exponents, and a logarithm may stand beside.
    """

    alpha: float
    beta: float
    phase: PhaseName
    balance: str
    loss_exponent: float
    width_exponent: float
    parts: tuple[LossPart, ...]
    is_proved: bool
    borders: tuple[PhaseName, ...]

    def _card(self) -> Card:
        rows = [
            ("balance", self.balance),
            ("loss", f"~ f^-{figure(self.loss_exponent)}"),
            ("width", f"~ f^{figure(self.width_exponent)}"),
            *((part.name, f"~ d^{figure(0.0 - part.width)} r^{figure(0.0 - part.time)}") for part in self.parts),
            ("proved", "yes" if self.is_proved else "no: alpha < 1/4"),
        ]
        if self.borders:
            rows.append(("on the border to", ", ".join(self.borders)))
        return Card(f"ComputePhase {self.phase} at alpha = {self.alpha:g}, beta = {self.beta:g}", rows)


def compute_phase(alpha: float | int, beta: float | int) -> ComputePhase:
    """Find the phase of a point, and the exponents of loss and width in compute.

    Args:
        alpha: Half the capacity: inputs have covariance j^-2 alpha; > 0.
        beta: Of the target's coefficients; 2 (alpha + beta) > 1, or the loss is infinite with many inputs.

    Raises:
        NonFiniteError: If a number is not finite.
        ArgumentError: If the point lies outside of the plane's region.
    """
    alpha, beta = _checked(alpha, beta)
    phase = _phase(alpha, beta)
    scale = 4.0 * ROUNDING * (1.0 + alpha + abs(beta))
    sides = (-scale, 0.0, scale)
    around: set[PhaseName] = {_phase(max(alpha + i, ROUNDING), beta + j) for i in sides for j in sides}
    loss, width = _exponents(phase, alpha, beta)
    return ComputePhase(
        alpha=alpha,
        beta=beta,
        phase=phase,
        balance=BALANCE[phase],
        loss_exponent=loss,
        width_exponent=width,
        parts=loss_parts(alpha, beta),
        is_proved=alpha >= 0.25,
        borders=tuple(name for name in BALANCE if name in around - {phase}),
    )


def loss_parts(alpha: float | int, beta: float | int) -> tuple[LossPart, ...]:
    """Give the parts of the loss as powers of d and r, at the largest stable learning rate.

    Args:
        alpha: As for `compute_phase`.
        beta: As for `compute_phase`.

    Raises:
        NonFiniteError: If a number is not finite.
        ArgumentError: If the point lies outside of the plane's region.
    """
    alpha, beta = _checked(alpha, beta)
    rate = max(0.0, 1.0 - 2.0 * alpha)  # gamma ~ d^-rate
    slow = (2.0 * alpha + 2.0 * beta - 1.0) / (2.0 * alpha)
    parts = [
        LossPart("F_0", 2.0 * alpha - max(0.0, 1.0 - 2.0 * beta), 0.0),
        LossPart("F_pp", -rate * slow, slow),
    ]
    if 2.0 * alpha > 1.0 and 2.0 * beta > 1.0:
        parts.append(LossPart("F_ac", 1.0, 1.0 - 1.0 / (2.0 * alpha)))
    if alpha > 0.25:
        fast = 2.0 - 1.0 / (2.0 * alpha)
        parts.append(LossPart("noise", rate - rate * fast, fast))
    return tuple(parts)


def balanced_exponents(parts: tuple[LossPart, ...]) -> tuple[float, float]:
    """Minimise the largest part over d at fixed f = d r, for large f: a small linear program, solved exactly.

    Args:
        parts: As from `loss_parts`.

    Returns:
        Exponent of the loss in 1 / f, and of d in f.
    """
    # Part ~ f^-(width x + time (1 - x)) with d = f^x; the least of these lines is concave in x.
    starts = np.array([part.time for part in parts])
    slopes = np.array([part.width - part.time for part in parts])
    i, j = np.triu_indices(len(parts), 1)
    apart = slopes[i] - slopes[j]
    meets = np.divide(starts[j] - starts[i], apart, out=np.zeros(len(i)), where=np.abs(apart) > ROUNDING)
    corners: Float[np.ndarray, " corner"] = np.concatenate([[0.0, 1.0], meets[(meets >= 0) & (meets <= 1)]])
    values = (starts[:, None] + slopes[:, None] * corners).min(0)
    best = int(values.argmax())
    return float(values[best]), float(corners[best])


def capacity_and_source(alpha: float | int, beta: float | int) -> tuple[float, float]:
    """Translate a point of the plane into capacity 2 alpha and source (2 alpha + 2 beta - 1) / (2 alpha).

    Args:
        alpha: As for `compute_phase`.
        beta: As for `compute_phase`.

    Raises:
        ArgumentError: If the point lies outside of the plane's region.
    """
    alpha, beta = _checked(alpha, beta)
    return 2.0 * alpha, (2.0 * alpha + 2.0 * beta - 1.0) / (2.0 * alpha)


def plane_point(capacity: float | int, source: float | int) -> tuple[float, float]:
    """Translate capacity and source into alpha = capacity / 2 and beta = (1 + capacity (source - 1)) / 2.

    Args:
        capacity: Of lambda_k ~ k^-capacity, > 0.
        source: Of the target's energy below lambda, > 0.

    Raises:
        ArgumentError: If a number is not positive.
    """
    for name, value in (("capacity", capacity), ("source", source)):
        if not check_number(name, value) > 0:
            raise ArgumentError(f"`{name}` must be > 0, but is {value:g}. The plane's region is capacity, source > 0.")
    return capacity / 2.0, (1.0 + capacity * (source - 1.0)) / 2.0


def _checked(alpha: float | int, beta: float | int) -> tuple[float, float]:
    alpha, beta = check_number("alpha", alpha), check_number("beta", beta)
    if not alpha > 0:
        raise ArgumentError(f"`alpha` must be > 0, but is {alpha:g}. The phases are those of eigenvalues that fall.")
    if not 2.0 * (alpha + beta) > 1.0:
        raise ArgumentError(
            f"`beta` must be > 1/2 - alpha = {0.5 - alpha:g}, but is {beta:g}. The phases fill the region "
            f"2 (alpha + beta) > 1; elsewhere the target's energy has no finite sum and grows with the inputs."
        )
    return alpha, beta


def _phase(alpha: float, beta: float) -> PhaseName:
    if 2.0 * beta < 1.0:
        return "Ia" if 2.0 * alpha > 1.0 else "Ib"
    if 2.0 * alpha > 1.0:
        return "II" if beta < alpha else "III"
    if alpha < 0.25:
        return "Ic"
    return "IVb" if alpha < IV_BORDER else "IVa"


def _exponents(phase: PhaseName, alpha: float, beta: float) -> tuple[float, float]:
    """The paper's closed forms."""
    s = 2.0 * alpha + 2.0 * beta - 1.0
    c = 3.0 * alpha + 2.0 * beta - 1.0 - 2.0 * alpha * beta
    n = 2.0 * alpha * beta + alpha - 2.0 * beta
    if phase == "Ia":
        return s / (2.0 * alpha + 1.0), 1.0 / (2.0 * alpha + 1.0)
    if phase == "Ib":
        return s / 2.0, 0.5
    if phase == "Ic":
        return alpha * s / c, s / (2.0 * c)
    if phase == "II":
        return s / (2.0 * (alpha + beta)), beta / (alpha + beta)
    if phase == "III":
        return (4.0 * alpha - 1.0) / (4.0 * alpha), 0.5
    if phase == "IVa":
        return alpha, 0.5
    return (1.0 - 2.0 * alpha) * s / (-2.0 * n), (alpha - beta) / n
