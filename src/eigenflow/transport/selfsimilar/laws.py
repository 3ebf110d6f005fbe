"""What each regime means for frontier, amplitude and dissipation: exponents and words, with derivations.

Notation: k = |c0|, a = b - 1, C = integral of |c|, beta = (1 - p) / a, gamma = c0 t0. Along a path
lambda^-a = lambda0^-a + a C for modes that sink, with -a C for modes that grow. A label is lambda0.

What equations/solutions.md#phase-diagram does not derive:

* p > 1: C ends at k t0 / (p - 1). For b > 1 small labels feel a C lambda0^a -> 0: lazy, law and prefactor. For
  b = 1 all modes end rescaled by e^-C or e^C: exponent s, another prefactor. For b < 1 it is not lazy, since the
  relative speed lambda^(b-1) is greatest at small lambda: growth lifts the whole spectrum above
  lambda_min = [(1-b) C]^(1/(1-b)), so that L ~ e^(-2 lambda_min t); decay brings every label below lambda_min
  to zero in finite time, and what it holds then stays: a plateau.
* b > 1, beta < 1 and p = 1 or p > 1: the same argument as for p < 1, with C ~ ln t or constant.
* b = 1, p < 1: tau = integral of e^(-+C). Growth: tau ~ e^C / |c|, so -ln L ~ s C ~ t^(1-p), whatever p < 1.
  Decay: tau converges, a plateau.
* b < 1, growth, p = 1: the lowest modes are at [(1-b) gamma ln t]^(1/(1-b)): exponential with a power of ln t.
* b < 1, decay, p > 1, approach to the plateau: labels just above lambda_min, at lambda0^(1-b) = lambda_min^(1-b) + d,
  follow lambda = (d + D t^(1-p))^(1/(1-b)). Where beta > 1, those with d < t^(b-1) still dissipate:
  L - L(inf) ~ t^(b-1).
  Where beta = 1 they also fall as t^(-2 kappa). Where beta < 1, as exp(-t^(1-beta)).
* growth, beta > 1, frontier: near its escape at time T a mode has spent Q = 2 lambda^(2-b) / (c(T) (2-b)) for b < 2, so
  that Q = 1 is at lambda = [c (2-b) / 2]^(1/(2-b)) ~ t^(-p/(2-b)). For b = 2 it is at e^(c/2) times the label;
  for b > 2 no mode spends that much: they leave to infinity undamped.
"""

from dataclasses import dataclass

from eigenflow.transport.selfsimilar.regimes import Regime

__all__ = ["Laws", "PowerLaw", "laws_of"]


@dataclass(frozen=True)
class PowerLaw:
    """A power law of time, if it is one.

    Attributes:
        exponent: Of t, with the sign as the attribute that holds it says; None if it is no power of t.
        words: The law in words or as a formula.
    """

    exponent: float | None
    words: str


@dataclass(frozen=True)
class Laws:
    """The laws of a regime; see `Phase` for what they mean."""

    law: str
    formula: str
    reason: str
    frontier: PowerLaw
    frontier_label: PowerLaw
    compression: PowerLaw
    amplitude: PowerLaw
    dissipation: PowerLaw
    stretch_exponent: float | None = None


@dataclass(frozen=True)
class Setting:
    """A point of the phase diagram; p_side is -1, 0, 1 for p below, on, above 1, line_side likewise for 2 - b."""

    b: float
    c0: float
    p: float
    s: float
    t0: float
    beta: float | None
    kappa: float | None
    p_side: int
    line_side: int

    @property
    def grows(self) -> bool:
        """Whether modes grow."""
        return self.c0 < 0

    @property
    def gamma(self) -> float:
        """c(t) t at late times for p = 1."""
        return self.c0 * self.t0


_GONE = PowerLaw(None, "a mode of fixed label dies exponentially, faster than any compression")
_ESCAPED = PowerLaw(None, "a mode of fixed label has left to infinity")


def laws_of(regime: Regime, at: Setting) -> Laws:
    """Describe the regime that `decide` has found at a point."""
    if regime in (Regime.LAZY, Regime.RESCALED):
        return _lazy(at, regime)
    if regime in (Regime.SELF_SIMILAR, Regime.MARGINAL, Regime.FRONT):
        return _on_line(at, regime)
    if regime in (Regime.EFFECTIVE_TIME, Regime.LOGARITHMIC):
        return _effective_time(at, regime)
    if regime is Regime.ESCAPE:
        return _escape(at)
    if regime is Regime.PLATEAU:
        return _plateau(at)
    if regime is Regime.ARREST:
        return _arrest(at)
    return _rescaled_growth(at) if at.b == 1 else _lifted(at)


def _lazy(at: Setting, regime: Regime) -> Laws:
    if at.c0 == 0:
        reason, squeeze = "c = 0: nothing moves", PowerLaw(0.0, "none")
    elif regime is Regime.RESCALED:
        reason = f"b = 1 and p = {at.p:g} > 1: C ends at {abs(at.c0) * at.t0 / (at.p - 1):.4g}, a fixed change of scale"
        squeeze = PowerLaw(0.0, "a constant factor")
    elif at.p_side > 0:
        reason = f"b > 1 and p = {at.p:g} > 1: C converges, and small labels do not feel it"
        squeeze = PowerLaw(0.0, "a constant factor")
    else:
        reason = f"b > 1 and beta = {at.beta:.4g} < 1: at lambda0 ~ 1/t transport is slower than dissipation"
        squeeze = _ESCAPED if at.grows else _squeeze(at.b * (at.beta or 0.0))
    rate = "exp(C(inf)) " if at.grows else "exp(-C(inf)) "
    return Laws(
        law="every mode decays at its own fixed rate" if regime is Regime.LAZY else "lazy, all rates times one factor",
        formula=f"L ~ Gamma(s) (2 {rate if regime is Regime.RESCALED else ''}t)^-s",
        reason=reason,
        frontier=PowerLaw(1.0, "lambda* = 1 / (2 t)"),
        frontier_label=PowerLaw(1.0, "the label falls as 1 / t"),
        compression=squeeze,
        amplitude=_ESCAPED if squeeze is _ESCAPED else _GONE,
        dissipation=PowerLaw(1.0 + at.s, "-dL/dt = s L / t"),
    )


def _squeeze(exponent: float) -> PowerLaw:
    return PowerLaw(exponent, f"(lambda0 / lambda)^b ~ t^{exponent:.4g}")


def _on_line(at: Setting, regime: Regime) -> Laws:
    kappa = at.kappa or 0.0
    law, formula, exponent = {
        Regime.SELF_SIMILAR: ("transport and dissipation scale alike; one profile for all times", "A t^-s", at.s),
        Regime.MARGINAL: ("start and front contribute alike: a logarithm", "A t^-s ln t", at.s),
        Regime.FRONT: ("modes ride on the front kappa / t and dissipate there", "A t^(-2 kappa)", 2 * kappa),
    }[regime]
    order = {Regime.SELF_SIMILAR: ">", Regime.MARGINAL: "=", Regime.FRONT: "<"}[regime]
    sinks = f"; 2 kappa = {2 * kappa:.4g} {order} s = {at.s:g}"
    amplitude = PowerLaw(at.b - kappa, f"t^(b - kappa) = t^{at.b - kappa:.4g}")
    log = ", with a logarithm" if regime is Regime.MARGINAL else ""
    return Laws(
        law=law,
        formula=f"L ~ {formula}",
        reason=f"p = 2 - b, beta = 1: lambda t scales both terms{'' if at.grows else sinks}",
        frontier=PowerLaw(1.0, "lambda* = const / t"),
        frontier_label=PowerLaw(1.0, "the label falls as 1 / t too, with another constant"),
        compression=_ESCAPED if at.grows else _squeeze(at.b),
        amplitude=_ESCAPED if at.grows else amplitude,
        dissipation=PowerLaw(1.0 + exponent, f"-dL/dt = {exponent:.4g} L / t{log}"),
    )


def _effective_time(at: Setting, regime: Regime) -> Laws:
    rho = 1.0 - at.gamma
    reason = f"b = 1 and p = 1: one effective time for all modes, gamma = c0 t0 = {at.gamma:g}"
    compression = _squeeze(at.gamma)
    if regime is Regime.LOGARITHMIC:
        return Laws(
            law="the effective time grows like ln t",
            formula="L ~ Gamma(s) (2 t0 ln t)^-s",
            reason=reason + " = 1",
            frontier=PowerLaw(1.0, "lambda* ~ 1 / (2 t ln t)"),
            frontier_label=PowerLaw(0.0, "the label falls as 1 / ln t"),
            compression=compression,
            amplitude=PowerLaw(None, "t^(1 - lambda0 t0): a power that depends on the label"),
            dissipation=PowerLaw(1.0, "-dL/dt = s L / (t ln t)"),
        )
    return Laws(
        law="lazy in the effective time tau ~ t^(1 - gamma)",
        formula="L ~ Gamma(s) (2 tau)^-s, tau ~ t0 (t/t0)^(1-gamma) / (1-gamma)",
        reason=reason,
        frontier=PowerLaw(1.0, f"lambda* = {rho / 2:.4g} / t, whatever the loss exponent"),
        frontier_label=PowerLaw(rho, "the label falls as 1 / (2 tau)"),
        compression=compression,
        amplitude=_GONE,
        dissipation=PowerLaw(1.0 + at.s * rho, "-dL/dt = s (1 - gamma) L / t"),
    )


def _escape(at: Setting) -> Laws:
    beta = at.beta or 0.0
    if at.b < 2:
        frontier = PowerLaw(at.p / (2 - at.b), "lambda* = [c(t) (2 - b) / 2]^(1/(2-b))")
    elif at.b == 2:
        frontier = PowerLaw(None, "lambda* rises as exp(c(t) / 2) times the label")
    else:
        frontier = PowerLaw(None, "at infinity: modes leave before they have dissipated")
    return Laws(
        law="modes above a falling label have escaped to infinity and are learned",
        formula="L ~ (1/s) [(b-1) C(t)]^(-s/(b-1)) ~ t^(-s beta)",
        reason=f"growth, b > 1 and beta = {beta:.4g} > 1: transport is faster than dissipation at small lambda",
        frontier=frontier,
        frontier_label=PowerLaw(beta, "the label falls as [(b-1) C]^(-1/(b-1))"),
        compression=_ESCAPED,
        amplitude=_ESCAPED,
        dissipation=PowerLaw(
            1.0 + at.s * beta, "-dL/dt = s beta L / t" + ("" if at.b <= 2 else ", as flux to infinity")
        ),
    )


def _plateau(at: Setting) -> Laws:
    fall: float | None
    if at.b > 1:
        fall, reason = (
            at.beta or 0.0,
            f"decay, b > 1 and beta = {at.beta:.4g} > 1: modes sink faster than they dissipate",
        )
    elif at.p_side == 0:
        fall, reason = at.gamma, f"decay, b = 1, p = 1 and gamma = {at.gamma:g} > 1: the effective time converges"
    else:
        fall, reason = None, f"decay, b = 1 and p = {at.p:g} < 1: the effective time converges"
    speed = "exp(-C)" if fall is None else f"t^-{fall:.4g}"
    squeeze = PowerLaw(None, "exp(C)") if fall is None else _squeeze(at.b * fall)
    return Laws(
        law="modes sink before they are learned; what is left stays",
        formula="L -> integral of eps0 exp(-2 Q), Q = integral of lambda dt",
        reason=reason,
        frontier=PowerLaw(fall, f"every mode, so the frontier too, sinks as {speed}"),
        frontier_label=PowerLaw(0.0, "the label stops where Q = 1/2 for ever, if it gets there"),
        compression=squeeze,
        amplitude=PowerLaw(squeeze.exponent, f"{squeeze.words}, undamped in the end"),
        dissipation=PowerLaw(fall, f"-dL/dt ~ L(inf) {speed}"),
    )


def _arrest(at: Setting) -> Laws:
    kappa, reason = at.kappa or 0.0, "decay, b < 1: small modes reach zero in finite time"
    if at.p_side <= 0:
        dissipation = PowerLaw(None, "ends when the highest mode of the start has reached zero")
    elif at.line_side > 0:
        dissipation = PowerLaw(2 - at.b, "-dL/dt ~ t^(b-2), from labels just above those that reach zero")
    elif at.line_side == 0:
        dissipation = PowerLaw(2 - at.b + 2 * kappa, "-dL/dt ~ t^(b - 2 - 2 kappa)")
    else:
        dissipation = PowerLaw(None, "-dL/dt falls as exp(-t^(1-beta))")
    if at.p_side > 0:
        reason += ", those below [(1-b) C(inf)]^(1/(1-b)); p > 1 spares the others"
    return Laws(
        law="modes reach zero in finite time; what they hold then stays",
        formula="L -> integral of eps0 exp(-2 Q) over the modes that reach zero",
        reason=reason,
        frontier=PowerLaw(None, "reaches zero with the last label that can be learned"),
        frontier_label=PowerLaw(0.0, "the label stops where Q = 1/2 on arrival"),
        compression=PowerLaw(None, "the modes pile up at zero"),
        amplitude=PowerLaw(None, "the modes pile up at zero"),
        dissipation=dissipation,
    )


def _rescaled_growth(at: Setting) -> Laws:
    return Laws(
        law="all rates grow together, without bound faster than any power",
        formula="L ~ Gamma(s) (2 tau)^-s, tau ~ exp(C) / |c|; -ln L ~ s C ~ t^(1-p)",
        reason=f"growth, b = 1 and p = {at.p:g} < 1: C grows as a power of t",
        frontier=PowerLaw(at.p, "lambda* = |c(t)| / 2"),
        frontier_label=PowerLaw(None, "the label falls as |c| exp(-C)"),
        compression=PowerLaw(None, "dilution by exp(-C)"),
        amplitude=_GONE,
        dissipation=PowerLaw(None, "-dL/dt = s |c| L"),
        stretch_exponent=1.0 - at.p,
    )


def _lifted(at: Setting) -> Laws:
    lowest = "lambda_min = [(1-b) C]^(1/(1-b))"
    beta = at.beta or 0.0
    if at.p_side < 0:
        formula, stretch, squeeze = "-ln L ~ 2 integral of lambda_min ~ t^(1-beta)", 1.0 - beta, at.b * beta
        reason = f"growth, b < 1 and p = {at.p:g} < 1"
    elif at.p_side == 0:
        formula, stretch, squeeze = "-ln L ~ 2 t [(1-b) gamma ln t]^(1/(1-b))", 1.0, 0.0
        reason = "growth, b < 1 and p = 1"
    else:
        formula, stretch, squeeze = "L ~ exp(-2 lambda_min t)", 1.0, 0.0
        reason = f"growth, b < 1 and p = {at.p:g} > 1: C converges, but the spectrum keeps a gap"
    return Laws(
        law="all modes rise above a common lower end and are learned together",
        formula=formula,
        reason=f"{reason}; the smallest modes move fastest, all are above {lowest}",
        frontier=PowerLaw(None, "gone after a finite time"),
        frontier_label=PowerLaw(None, "reaches zero in finite time"),
        compression=_squeeze(squeeze),
        amplitude=_GONE,
        dissipation=PowerLaw(None, "-dL/dt = 2 lambda_min L"),
        stretch_exponent=stretch,
    )
