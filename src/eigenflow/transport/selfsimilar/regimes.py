"""The regimes of pure transport, for every (b, p) and both directions, decided in one place.

The drift is v = -c(t) lambda^b with c(t) = c0 (1 + t/t0)^-p; the start is eps0 ~ lambda^(s-1) at small
lambda, cut off above. Three lines divide the plane: b = 1, p = 1, and p = 2 - b, on which
beta = (1 - p) / (b - 1) is 1 and the drift has the scaling of self-similar solutions.

Reference: equations/solutions.md#phase-diagram; what it does not list is derived in `phase` beside the case.
"""

from dataclasses import dataclass
from enum import Enum

import numpy as np
from jaxtyping import Bool, Float

from eigenflow.core.display import AbstractPrinted, Card, span
from eigenflow.core.errors import ArgumentError, NonFiniteError
from eigenflow.transport.flows.paths import Values

__all__ = ["PhaseDiagram", "Regime", "decide", "phase_diagram"]

# b = 1, p = 1 and the other lines are hit by rounded numbers such as 2 - 1.9 too.
_ROUNDING = 1e-12


class Regime(Enum):
    """What the loss does in the end. The value is the name for people."""

    LAZY = "lazy"
    RESCALED = "lazy, clock rescaled"
    SELF_SIMILAR = "self-similar"
    MARGINAL = "marginal, logarithm"
    FRONT = "dissipated at the front"
    EFFECTIVE_TIME = "power-law effective time"
    LOGARITHMIC = "logarithmic effective time"
    ESCAPE = "escape"
    PLATEAU = "plateau"
    ARREST = "arrest at zero"
    STRETCHED = "faster than any power"


REGIMES = tuple(Regime)


@dataclass(frozen=True)
class Lines:
    """Where points of the plane lie, decided with the tolerance for rounding; arrays of one shape."""

    b: Float[np.ndarray, "..."]
    p: Float[np.ndarray, "..."]
    is_one: Bool[np.ndarray, "..."]
    is_above: Bool[np.ndarray, "..."]
    p_side: Float[np.ndarray, "..."]
    line_side: Float[np.ndarray, "..."]


@dataclass(frozen=True, repr=False)
class PhaseDiagram(AbstractPrinted):
    """Regime and loss exponent over a grid of drift exponents b and decay exponents p of c(t).

    Attributes:
        b: Drift exponents, shape (b,).
        p: Decay exponents of c(t), shape (p,).
        c0: Strength at t = 0; negative for growth, positive for decay.
        s: Exponent of the start.
        t0: Time scale of c(t).
        regime: Index into `REGIMES`, shape (b, p).
        loss_exponent: Limit of -d ln L / d ln t, shape (b, p): 0 on a plateau (and where L is a power
            of ln t), inf where L falls faster than any power.
    """

    b: Float[np.ndarray, " b"]
    p: Float[np.ndarray, " p"]
    c0: float
    s: float
    t0: float
    regime: np.ndarray
    loss_exponent: Float[np.ndarray, "b p"]

    def _card(self) -> Card:
        shares = [(regime.value, np.count_nonzero(self.is_in(regime)) / max(self.regime.size, 1)) for regime in REGIMES]
        rows = [("b", span(self.b)), ("p", span(self.p))]
        rows += [(name, f"{share:.0%} of the grid") for name, share in shares if share > 0]
        word = "growth" if self.c0 < 0 else "decay"
        return Card(f"PhaseDiagram: {word}, {len(self.b)} x {len(self.p)} points, s = {self.s:g}", rows)

    def is_in(self, regime: Regime) -> Bool[np.ndarray, "b p"]:
        """Say which points of the grid are in a regime."""
        return self.regime == REGIMES.index(regime)


def check_parameters(
    b: Values, c0: float | int, p: Values, s: float | int, t0: float | int
) -> tuple[np.ndarray, np.ndarray, float, float, float]:
    """Refuse what is not finite, s <= 0 and t0 <= 0; return float64."""
    for name, value in (("b", b), ("c0", c0), ("p", p), ("s", s), ("t0", t0)):
        array = np.asarray(value, dtype=np.float64)
        if not np.all(np.isfinite(array)):
            raise NonFiniteError(
                f"`{name}` must be finite, but is {array.squeeze()}. The phases are those of finite numbers."
            )
    if not s > 0:
        raise ArgumentError(
            f"`s` must be positive, but is {s}. It is the exponent of eps0 ~ lambda^(s-1), "
            f"which has no finite energy at small eigenvalues otherwise."
        )
    if not t0 > 0:
        raise ArgumentError(f"`t0` must be positive, but is {t0}. It is the time at which c(t) begins to fall.")
    return np.asarray(b, dtype=np.float64), np.asarray(p, dtype=np.float64), float(c0), float(s), float(t0)


def locate(b: np.ndarray, p: np.ndarray) -> Lines:
    """Say on which side of the three lines points lie; sides are -1, 0 or 1, 0 on the line."""
    b, p = np.broadcast_arrays(b, p)
    scale = _ROUNDING * (1.0 + np.abs(b) + np.abs(p))
    off_one = b - 1.0
    is_one = np.abs(off_one) <= scale
    off_p, off_line = p - 1.0, p - (2.0 - b)
    return Lines(
        b=b,
        p=p,
        is_one=is_one,
        is_above=(off_one > 0) & ~is_one,
        p_side=np.where(np.abs(off_p) <= scale, 0.0, np.sign(off_p)),
        line_side=np.where(np.abs(off_line) <= scale, 0.0, np.sign(off_line)),
    )


def front_constant(b: np.ndarray, c0: float, p: np.ndarray, t0: float) -> np.ndarray:
    """Give kappa = (|c0| t0^p)^(-1/(b-1)): on beta = 1 sinking modes end as lambda = kappa / t."""
    with np.errstate(all="ignore"):
        exponent = -(np.log(np.abs(c0)) + p * np.log(t0)) / (b - 1.0)
    return np.exp(np.clip(np.nan_to_num(exponent), -700.0, 700.0))


def decide(b: np.ndarray, c0: float, p: np.ndarray, s: float, t0: float) -> tuple[np.ndarray, Float[np.ndarray, "..."]]:
    """Give the index of the regime and the limit of -d ln L / d ln t, shape of b and p broadcast."""
    at = locate(b, p)
    if c0 == 0:
        return np.full(at.b.shape, REGIMES.index(Regime.LAZY)), np.full(at.b.shape, s)
    growth, above, one, below = c0 < 0, at.is_above, at.is_one, ~at.is_above & ~at.is_one
    decay = not growth
    with np.errstate(all="ignore"):
        beta = np.where(one, 0.0, (1.0 - at.p) / np.where(one, 1.0, at.b - 1.0))
    # Energies lose 2 lambda, so that a mode on the front kappa / t falls as t^(-2 kappa).
    at_front = 2.0 * front_constant(at.b, c0, at.p, t0)
    is_tie = np.isclose(at_front, s, rtol=_ROUNDING, atol=0.0)
    rho = 1.0 - c0 * t0
    rho_side = 0.0 if abs(rho) <= _ROUNDING * (1.0 + abs(c0 * t0)) else float(np.sign(rho))
    line, on_p = above & (at.line_side == 0), one & (at.p_side == 0)
    steep = above & (at.line_side < 0)
    cases: list[tuple[np.ndarray, Regime, np.ndarray | float]] = [
        (above & (at.line_side > 0), Regime.LAZY, s),
        (line & growth, Regime.SELF_SIMILAR, s),
        (line & is_tie, Regime.MARGINAL, s),
        (line & (at_front > s), Regime.SELF_SIMILAR, s),
        (line, Regime.FRONT, at_front),
        (steep & growth, Regime.ESCAPE, s * beta),
        (steep, Regime.PLATEAU, 0.0),
        (one & (at.p_side > 0), Regime.RESCALED, s),
        (on_p & (rho_side > 0), Regime.EFFECTIVE_TIME, s * rho),
        (on_p & (rho_side == 0), Regime.LOGARITHMIC, 0.0),
        (one & decay, Regime.PLATEAU, 0.0),
        (below & decay, Regime.ARREST, 0.0),
        (np.ones(at.b.shape, dtype=bool), Regime.STRETCHED, np.inf),
    ]
    conditions = [case[0] for case in cases]
    codes = np.select(conditions, [np.full(at.b.shape, REGIMES.index(case[1])) for case in cases])
    exponents = np.select(conditions, [np.broadcast_to(np.asarray(case[2], dtype=float), at.b.shape) for case in cases])
    return codes, exponents


def phase_diagram(
    b_values: Values,
    p_values: Values,
    sign: int,
    s: float | int,
    strength: float | int = 0.5,
    t0: float | int = 1.0,
) -> PhaseDiagram:
    """Decide the regime and the loss exponent on a grid.

    Args:
        b_values: Drift exponents, shape (b,).
        p_values: Decay exponents of c(t), shape (p,).
        sign: Sign of c0: 1 for decay (modes sink), -1 for growth.
        s: Exponent of eps0 ~ lambda^(s-1), positive.
        strength: Size of c0, positive; it matters on the lines beta = 1 and b = p = 1 only.
        t0: Time scale of c(t).

    Raises:
        ArgumentError: If an argument is out of its range, naming it.
    """
    if sign not in (1, -1):
        raise ArgumentError(f"`sign` must be 1 (decay) or -1 (growth), but is {sign!r}. It is the sign of c0.")
    if not strength > 0:
        raise ArgumentError(f"`strength` must be positive, but is {strength}. Give the direction as `sign`.")
    b, p, c0, s, t0 = check_parameters(np.ravel(b_values), sign * strength, np.ravel(p_values), s, t0)
    codes, exponents = decide(b[:, None], c0, p[None, :], s, t0)
    return PhaseDiagram(b=b, p=p, c0=c0, s=s, t0=t0, regime=codes, loss_exponent=exponents)
