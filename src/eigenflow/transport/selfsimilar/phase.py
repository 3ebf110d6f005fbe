"""The phase of one drift law: what the loss does in the end, why, and with which constants."""

from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln

from eigenflow.core.checks import check_number
from eigenflow.core.display import AbstractPrinted, Card, figure
from eigenflow.core.errors import ArgumentError
from eigenflow.transport.selfsimilar.laws import Laws, PowerLaw, Setting, laws_of
from eigenflow.transport.selfsimilar.profile import SelfSimilar
from eigenflow.transport.selfsimilar.regimes import (
    REGIMES,
    Regime,
    check_parameters,
    decide,
    front_constant,
    locate,
)

__all__ = ["Phase", "classify"]


@dataclass(frozen=True, repr=False)
class Phase(AbstractPrinted):
    """The late behaviour under v = -c0 (1 + t/t0)^-p lambda^b from a start lambda^(s-1), cut off above.

    Energies are meant (they dissipate at 2 lambda), except in `amplitude`.

    Attributes:
        b: Drift exponent.
        c0: Strength at t = 0; positive for decay (modes sink), negative for growth.
        p: Decay exponent of c(t).
        s: Exponent of the start.
        t0: Time scale of c(t).
        regime: Which of the regimes.
        law: What the loss does, in words.
        formula: The same as a formula; b, p, s as above, C the integral of |c|.
        reason: Which condition puts the point there.
        loss_exponent: Limit of -d ln L / d ln t; 0.0 on a plateau and where L is a power of ln t,
            None where L falls faster than any power.
        has_log: Whether a power of ln t stands beside the power of t.
        stretch_exponent: x of -ln L ~ t^x where L falls faster than any power, else None.
        beta: (1 - p) / (b - 1), None at b = 1. On beta = 1 transport and dissipation scale alike.
        kappa: On beta = 1, (|c0| t0^p)^(-1/(b-1)), else None: sinking modes end as kappa / t.
        frontier: Instantaneous eigenvalue of the mode that has just been learned, ~ t^-exponent.
        frontier_label: What that mode's eigenvalue was at t = 0, ~ t^-exponent.
        compression: Growth t^exponent of a density through (lambda0 / lambda)^b, the factor by which
            the conservative equation raises it along a path of fixed label
            (equations/hypotheses.md#spurious-source).
        amplitude: The same for the amplitude density, with its dissipation at rate lambda.
        dissipation: -dL/dt ~ t^-exponent.
    """

    b: float
    c0: float
    p: float
    s: float
    t0: float
    regime: Regime
    law: str
    formula: str
    reason: str
    loss_exponent: float | None
    has_log: bool
    stretch_exponent: float | None
    beta: float | None
    kappa: float | None
    frontier: PowerLaw
    frontier_label: PowerLaw
    compression: PowerLaw
    amplitude: PowerLaw
    dissipation: PowerLaw

    def _card(self) -> Card:
        powers = ("frontier", "frontier_label", "compression", "amplitude", "dissipation")
        falls = "faster than any power" if self.loss_exponent is None else figure(self.loss_exponent)
        rows = [
            ("regime", self.regime.value),
            ("law", self.law),
            ("formula", self.formula),
            ("reason", self.reason),
            ("loss exponent", falls + (", with a logarithm" if self.has_log else "")),
            *((name.replace("_", " "), getattr(self, name).words) for name in powers),
        ]
        start = f"lambda^{self.s - 1:g}"
        return Card(f"Phase: v = {-self.c0:g} (1 + t/{self.t0:g})^-{self.p:g} lambda^{self.b:g}, start {start}", rows)

    @property
    def has_plateau(self) -> bool:
        """Whether L(inf) > 0; `plateau_loss` computes it from a start."""
        return self.regime in (Regime.PLATEAU, Regime.ARREST)

    def asymptote(self, time: float | int) -> float | None:
        """Give the leading term of L where the start is lambda^(s-1) (factor 1) at small lambda.

        Returns:
            Prefactor included, without an error bound: corrections die slowly. None where the
            prefactor depends on how the start is cut, or the law is no power of t or ln t.
        """
        time = check_number("time", time)
        if not time > 1:
            raise ArgumentError(f"`time` must be finite and above 1, but is {time}. The law holds for late times.")
        log_clock = _log_clock(self, float(time))
        if self.regime is Regime.SELF_SIMILAR:
            return SelfSimilar(self.b, self.c0 * self.t0**self.p, self.s).loss_constant * float(time) ** -self.s
        if log_clock is None:
            return None
        # Escape leaves the labels below the clock's inverse untouched: integral of lambda^(s-1).
        factor = -np.log(self.s) if self.regime is Regime.ESCAPE else gammaln(self.s)
        return float(np.exp(factor - self.s * log_clock))


def _log_clock(phase: Phase, time: float) -> float | None:
    """Give ln of the scale that the start's energy is taken at, L ~ scale^-s."""
    drift, log_time = abs(phase.c0), np.log(time)
    if phase.regime is Regime.LAZY:
        return float(np.log(2.0) + log_time)
    if phase.regime is Regime.RESCALED:
        return float(np.log(2.0) + log_time - phase.c0 * phase.t0 / (phase.p - 1.0))
    if phase.regime is Regime.EFFECTIVE_TIME:
        rho = 1.0 - phase.c0 * phase.t0
        return float(np.log(2.0 * phase.t0 / rho) + rho * (log_time - np.log(phase.t0)))
    if phase.regime is Regime.LOGARITHMIC:
        return float(np.log(2.0 * phase.t0 * log_time))
    if phase.regime is Regime.ESCAPE:
        a, q = phase.b - 1.0, 1.0 - phase.p
        return float(np.log(a * drift * phase.t0 / q) + q * (log_time - np.log(phase.t0))) / a
    return None


def classify(b: float | int, c0: float | int, p: float | int, s: float | int, t0: float | int = 1.0) -> Phase:
    """Find the phase of v = -c0 (1 + t/t0)^-p lambda^b for a start lambda^(s-1), cut off above.

    Lines are hit within rounding (1e-12); beside a line, corrections die as slowly as the distance
    is small, so a run of finite length looks as if it were on it.

    Args:
        b: Drift exponent.
        c0: Strength at t = 0; positive for decay (modes sink), negative for growth, 0 for lazy.
        p: Decay exponent of c(t); 0 for constant c.
        s: Exponent of the start, positive.
        t0: Time scale of c(t), positive.

    Raises:
        NonFiniteError: If an argument is NaN or infinite.
        ArgumentError: If s or t0 is not positive.
    """
    # One axis inside: numpy turns arrays without axes into scalars.
    b_array, p_array, c0, s, t0 = check_parameters([b], c0, [p], s, t0)
    codes, exponents = decide(b_array, c0, p_array, s, t0)
    regime, exponent = REGIMES[int(codes[0])], float(exponents[0])
    at = _setting(b_array, c0, p_array, s, t0)
    laws: Laws = laws_of(regime, at)
    is_marginal = regime in (Regime.MARGINAL, Regime.LOGARITHMIC)
    return Phase(
        b=at.b, c0=c0, p=at.p, s=s, t0=t0,
        regime=regime,
        law=laws.law,
        formula=laws.formula,
        reason=laws.reason,
        loss_exponent=exponent if np.isfinite(exponent) else None,
        has_log=is_marginal or (regime is Regime.STRETCHED and at.b < 1 and at.p_side == 0),
        stretch_exponent=laws.stretch_exponent,
        beta=at.beta,
        kappa=at.kappa,
        frontier=laws.frontier,
        frontier_label=laws.frontier_label,
        compression=laws.compression,
        amplitude=laws.amplitude,
        dissipation=laws.dissipation,
    )  # fmt: skip


def _setting(b: np.ndarray, c0: float, p: np.ndarray, s: float, t0: float) -> Setting:
    """Put a point that is on a line within rounding exactly there."""
    at = locate(b, p)
    is_one, line_side, p_side = bool(at.is_one[0]), int(at.line_side[0]), int(at.p_side[0])
    exact_b = 1.0 if is_one else float(b[0])
    exact_p = 1.0 if p_side == 0 else 2.0 - exact_b if line_side == 0 else float(p[0])
    beta = None if is_one else 1.0 if line_side == 0 else (1.0 - exact_p) / (exact_b - 1.0)
    has_front = line_side == 0 and not is_one and c0 != 0
    kappa = float(front_constant(np.array([exact_b]), c0, np.array([exact_p]), t0)[0]) if has_front else None
    return Setting(exact_b, c0, exact_p, s, t0, beta, kappa, p_side, line_side)
