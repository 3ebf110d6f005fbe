"""C4: the drift is one signed power of the eigenvalue, v = -c(t) lambda^b, and the residual keeps its regularity."""

import numpy as np

from eigenflow.core.errors import EigenflowError
from eigenflow.core.resampling import correlated_interval
from eigenflow.theory.claims.assertions import DESCENT, RECORD, Assertion, ClaimTest, asserts
from eigenflow.theory.claims.c3_closure import advantage
from eigenflow.theory.claims.evidence import Evidence
from eigenflow.theory.modes.initial_basis import why_initial_basis_is_unknown
from eigenflow.theory.verdicts import Claim

__all__ = ["CLAIM"]

# Times of the last decade that a statement about regularity needs.
FEW = 3


@asserts(
    "C4.form",
    "v is one power of lambda, also at later times than it was fitted to",
    band=(0.5, None),
)
def form(this: Assertion, evidence: Evidence, rng: np.random.Generator) -> Claim:
    """The skill of the power at later times."""
    held, law = evidence.closure.held_out, evidence.closure
    return this.row(
        held.skill,
        held.interval,
        f"skill of lambda^{held.b:.2f} on {held.times} later times against the best alternative "
        f"({held.best_alternative} v), c(t) free in both; all times explain {law.explained:.0%}",
        beats_alternatives=held.skill > 0,
    )


@asserts(
    "C4.sign",
    "c > 0: modes drift towards small eigenvalues",
    band=(0.0, None),
    decides=False,  # a power law may have either sign
)
def sign(this: Assertion, evidence: Evidence, rng: np.random.Generator) -> Claim:
    """The median strength, signed."""
    law = evidence.closure
    grows = "grow" if law.gamma < 0 else "shrink"
    return this.row(
        law.gamma,
        law.gamma_interval,
        f"median of t c(t) lambda^(b-1) at lambda = {law.reference:.2g}; eigenvalues {grows} in "
        f"{law.sign_share:.0%} of shells and times; |c| ~ t^-{law.decay:.2g}",
    )


@asserts(
    "C4.regularity",
    "regularity is preserved: the residual's source exponent stays what it was at the start",
    # A loss exponent is the source exponent times that of the clock, and is wanted to a tenth.
    band=(-0.1, 0.1),
    needs=[DESCENT],
)
def keeps_regularity(this: Assertion, evidence: Evidence, rng: np.random.Generator) -> Claim:
    """The change of the source exponent, in the eigenbasis of M(t), over the last decade of time."""
    moving = evidence.regularity
    value, interval, count = moving.late("source")
    capacity, (low, high), _ = moving.late("capacity")
    if count < FEW:
        few = f"{count} times of the last decade have enough unlearned modes, and {FEW} are needed"
        return this.undecided(few, "a run with more measurements or modes")
    return this.row(
        value,
        interval,
        f"median change over the last decade of time ({count} times, {int(moving.modes[-1])} unlearned modes at last) "
        f"of sigma in energy(< lambda) ~ lambda^sigma, on the same ranks; sigma is {moving.source[0]:.2g} "
        f"+- {moving.source_half_width[0]:.2g} at first and {moving.source[-1]:.2g} +- "
        f"{moving.source_half_width[-1]:.2g} at last; in {_fixed(evidence)}; the capacity exponent of the eigenvalues "
        f"changed by {capacity:.2g} [{low:.2g}, {high:.2g}]",
    )


def _fixed(evidence: Evidence) -> str:
    """The same in the basis of the first measurement, in words."""
    try:
        fixed = evidence.fixed_regularity
    except EigenflowError:
        why = why_initial_basis_is_unknown(evidence.data) or "too few modes"
        return f"the fixed basis of the start it is not known ({why})"
    value, (low, high), _ = fixed.late("source")
    return f"the fixed basis of the start it changed by {value:.2g} [{low:.2g}, {high:.2g}]"


@asserts(
    "C4.alternatives",
    "no richer form of v(lambda) is better at later times",
    # A true power law loses nothing to richer forms but what their parameters gain by chance: less than a tenth.
    band=(-0.1, None),
)
def best_form(this: Assertion, evidence: Evidence, rng: np.random.Generator) -> Claim:
    """The skill of the power against the best of the richer forms."""
    found = evidence.forms
    best = found.best_richer
    told = ", ".join(f"{one.name} {one.error:.2g}" for one in [found.power, *found.simple, *found.richer])
    return this.row(
        best.skill,
        best.interval,
        f"1 - squared error of lambda^{found.b:.2f} over that of the best richer form, {best.name}, at {found.times} "
        f"later times with free strengths; errors relative to v = 0: {told}; {evidence.velocities.kind} velocities",
    )


@asserts(
    "C4.strength",
    "c(t) = c0 (1 + t/t0)^-p with p >= 0, fitted earlier, holds at later times",
    # As C4.form, with c(t) continued instead of free: at most half of the squared velocity is missed.
    band=(0.5, None),
    decides=False,  # c(t) is left free by the claim
)
def strength(this: Assertion, evidence: Evidence, rng: np.random.Generator) -> Claim:
    """The skill of the continued strength against v = 0."""
    found = evidence.forms
    scores = {one.name: one for one in found.continued}
    mine = scores["c(t) fading"]
    told = ", ".join(f"{one.name} {one.skill:.2g}" for one in found.continued)
    return this.row(
        mine.skill,
        mine.interval,
        f"1 - squared error over that of v = 0 at {found.times} later times, b, c0, t0 and p from the earlier ones: "
        f"{told}; {evidence.velocities.kind} velocities",
        beats_alternatives=mine.skill > 0,
    )


@asserts(
    "C4.forward",
    "forecasts by the law are as good as by the last measured velocities",
    # Persistence is the same equation without the law; the law should cost less than a tenth in error.
    band=(-0.1, None),
    needs=[RECORD],
    decides=False,
)
def forecasts(this: Assertion, evidence: Evidence, rng: np.random.Generator) -> Claim:
    """The gain of the law over persistence."""
    test = evidence.forward
    if len(test.cuts) < 2:
        return this.undecided("; ".join(test.skipped), "a longer run with more measurements")
    gains = np.array([advantage(cut, others=("persistence",)) for cut in test.cuts])
    similar = np.array([advantage(cut, "self-similar", ("persistence",)) for cut in test.cuts])
    return this.row(
        float(gains.mean()),
        correlated_interval(gains, lambda v: float(v.mean()), evidence.rng(), is_inside=True),
        f"mean over {len(gains)} cuts of ln(RMS log error when every mode keeps the last t w of its shell / error of "
        f"v = -c0 (1 + t/t0)^-p lambda^b); with c = c0 t^(b-2) {similar.mean():.2g}; {test.kind} velocities",
    )


@asserts(
    "C4.asymptotic",
    "late in training v is one power of lambda, whatever it was before",
    # As C4.alternatives allows: less than a tenth of the squared velocity is of another form.
    band=(None, 0.1),
)
def late_power(this: Assertion, evidence: Evidence, rng: np.random.Generator) -> Claim:
    """What the best power leaves of the velocities of the last third."""
    found = evidence.late_form
    return this.row(
        found.left,
        found.interval,
        f"share of the squared velocity that lambda^{found.b:.2f} leaves in the last {found.times} measured times, "
        f"strengths free; {evidence.velocities.kind} velocities",
    )


def _law(evidence: Evidence) -> str:
    """The law itself, which no assertion is about: its exponent b."""
    law = evidence.closure
    (low, high), gap = law.b_interval, law.self_similar_interval
    return (
        f"b = {law.b:.2f} [{low:.2f}, {high:.2f}] from {law.points} shell velocities ({evidence.velocities.kind}) at "
        f"{len(law.times)} times, with c {'negative (growth)' if law.gamma < 0 else 'positive'}; a scale-free drift "
        f"has c ~ t^(b-2), that is b + p - 2 = 0: it is {law.self_similar_gap:.2f} [{gap[0]:.2f}, {gap[1]:.2f}]"
        + ("" if evidence.shells.cut is None else "; only shells above the cut are used")
    )


CLAIM = ClaimTest(
    "C4",
    "Drift v = -c(t) lambda^b",
    (form, sign, keeps_regularity, best_form, late_power, strength, forecasts),
    requires=lambda evidence: evidence.closure,
    told=_law,
)
