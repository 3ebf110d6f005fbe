"""C5: coupling between shells is weak, and the solution is self-similar."""

from dataclasses import replace

import numpy as np

from eigenflow.core.errors import ArgumentError, EigenflowError
from eigenflow.core.resampling import block_interval
from eigenflow.theory.claims.assertions import DESCENT, UPDATES, Assertion, ClaimTest, asserts
from eigenflow.theory.claims.evidence import Evidence
from eigenflow.theory.coupling.locality import Locality
from eigenflow.theory.coupling.log_shift import EXPONENTS
from eigenflow.theory.modes.initial_basis import why_initial_basis_is_unknown
from eigenflow.theory.self_similarity import Frontier
from eigenflow.theory.verdicts import Claim, Verdict

__all__ = ["CLAIM"]

# Updates or intervals that a statement about a run needs: a bootstrap of fewer has no width to speak of.
FEW = 6
# Shell widths that the null distance must reach: from there on neighbours alone would lie well inside the band.
RESOLVED = 3.0
# Share of exchange or energy in the open shells above which the rest says little.
UNRESOLVED = 0.5


def _late(evidence: Evidence, times: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The values since the frontier lies inside the spectrum; all of them if it never does."""
    late = values[times >= evidence.resolved_from]
    return late if len(late) else values


def _median(this: Assertion, values: np.ndarray, evidence: Evidence, reason: str) -> Claim:
    """The median over updates, if there are enough of them."""
    if len(values) < FEW:
        few = f"{len(values)} measured updates or intervals allow it, and {FEW} are needed"
        return this.undecided(f"{few}; {reason}", "a run with more measurements")
    return this.median_row(values, evidence.rng(), reason)


@asserts(
    "C5.local",
    "energy moves between neighbours in ln(lambda)",
    # Half the distance that exchange without regard to distance would cover.
    band=(None, 0.5),
    needs=[UPDATES],
)
def local_exchange(this: Assertion, evidence: Evidence, rng: np.random.Generator) -> Claim:
    """The mean distance of exchange over that without regard to distance."""
    found = evidence.locality
    if np.median(found.open_share) > UNRESOLVED:
        return this.undecided(_unresolved(found))
    if np.median(found.null_width) * found.shells_per_decade < RESOLVED:
        span = f"exchange without regard to distance would reach {np.median(found.null_width):.2g} decades"
        return this.undecided(f"the resolved shells span too little to tell: {span}")
    return _median(
        this,
        found.relative_width,
        evidence,
        f"mean distance of exchange, {np.median(found.width):.2g} decades, over that of exchange without regard to "
        f"distance, {np.median(found.null_width):.2g}; 90 % within {np.median(found.reach):.2g} decades, "
        f"{np.median(found.profile[:, 0]):.0%} between neighbours {1 / found.shells_per_decade:.2g} decade wide; "
        f"medians over {len(found.times)} updates",
    )


def _unresolved(found: Locality) -> str:
    return (
        f"{np.median(found.open_share):.0%} of all exchange (median) is with the open shells below and above the "
        f"resolved ones, at a distance that is not known; measure all modes, or track more of them"
    )


@asserts(
    "C5.weak",
    "exchange beyond neighbouring shells is weak beside dissipation",
    # A tenth of the dissipation: what a closure without a nonlocal source may neglect.
    band=(None, 0.1),
    needs=[UPDATES, DESCENT],
)
def weak_exchange(this: Assertion, evidence: Evidence, rng: np.random.Generator) -> Claim:
    """The energy exchanged beyond neighbours over the energy dissipated."""
    found = evidence.locality
    if np.median(found.open_share) > UNRESOLVED:
        return this.undecided(_unresolved(found))
    row = _median(
        this,
        found.nonlocal_share,
        evidence,
        f"median of the energy exchanged beyond neighbours over the energy dissipated, {len(found.times)} updates; "
        f"between neighbours it is {np.median(found.near / found.dissipated):.2g}, and "
        f"{np.median(found.open_share):.0%} of all exchange is with the open shells, which is not counted",
    )
    return _bound(row, evidence)


@asserts(
    "C5.kato",
    "the operator's motion turns shells into one another slowly",
    # sin^2(0.3) = 0.09: less than a tenth of a shell's energy turns out of it while time grows by a factor e.
    band=(None, 0.3),
    needs=[UPDATES],
)
def turns_slowly(this: Assertion, evidence: Evidence, rng: np.random.Generator) -> Claim:
    """The angle by which a vector leaves its shell in an e-fold of time."""
    found = evidence.kato
    angles = _late(evidence, found.times, found.angle)
    row = _median(
        this,
        angles,
        evidence,
        f"median over {len(angles)} updates of the angle, in radians an e-fold of time, by which a vector leaves its "
        f"shell (t ||P_a Mdot P_b||_F / |lambda_a - lambda_b| / sqrt(n_b), weighted by energy); beyond neighbours "
        f"{np.median(found.far_angle):.2g}, in one update {np.median(found.update_angle):.2g}",
    )
    return _bound(row, evidence)


@asserts(
    "C5.turned",
    "between measurements few directions of a shell leave for distant shells",
    # The same tenth as in C5.kato, as what remains between measurements.
    band=(None, 0.1),
)
def stays_near(this: Assertion, evidence: Evidence, rng: np.random.Generator) -> Claim:
    """The share of directions that left for shells which are not neighbours, an e-fold of time."""
    found = evidence.turning
    rates = _late(evidence, found.times, found.rate)
    return _median(
        this,
        rates,
        evidence,
        f"median over {len(rates)} intervals of the share of directions that left for shells which are not neighbours, "
        f"an e-fold of time, weighted by energy; intervals are {np.median(found.growth):.2g} e-folds long (median)",
    )


def _bound(row: Claim, evidence: Evidence) -> Claim:
    """A row of single updates: the noise of batches adds to it, so with batches it is an upper bound."""
    if not evidence.has_minibatches or row.verdict is not Verdict.CONTRADICTED:
        return row
    return replace(
        row,
        verdict=Verdict.UNDECIDED,
        reason=f"an upper bound, for minibatches make single updates noisy (see C5.turned): {row.reason}",
        would_change="supported if the upper bound lies inside the band; contradicted by a full-batch run outside it",
    )


@asserts(
    "C5.shift",
    "shells pass on energy by the same law everywhere in ln(lambda)",
    # One law for all shells explains at least half of what they pass on.
    band=(None, 0.5),
    needs=[UPDATES],
)
def shift_law(this: Assertion, evidence: Evidence, rng: np.random.Generator) -> Claim:
    """The part of what shells pass on that differs by shell."""
    found = evidence.shift
    reach = evidence.locality
    if np.median(reach.open_share) > UNRESOLVED:
        return this.undecided(_unresolved(reach))
    edge = " (an end of the search)" if found.exponent in (EXPONENTS[0], EXPONENTS[-1]) else ""
    told = (
        f"{found.shells:.0f} shells, {len(found.times)} updates; median score of single updates "
        f"{np.median(found.scores):.2g}; lambda^m times a law of the shift leaves {found.covariant_score:.0%} at its "
        f"best m = {found.exponent:.2g}{edge}"
    )
    if found.score is None or found.interval is None:
        return this.undecided(f"two halves of the updates share no pattern of transfer; {told}")
    return this.row(found.score, found.interval, f"part of the shares that differs by shell; {told}")


@asserts(
    "C5.frontier",
    "the frontier of learned modes moves as a power of time",
    # At most half the squared error of the best alternative, on later times.
    band=(0.5, None),
)
def frontier_power(this: Assertion, evidence: Evidence, rng: np.random.Generator) -> Claim:
    """The skill of a power of time on the later half of the times."""
    found = evidence.frontiers
    name = "label" if "label" in found else "rank"
    if name not in found:
        return this.undecided("the frontier never lies inside the modes stored one by one")
    power = found[name].power
    told = ", ".join(f"{label} {_exponent(frontier)}" for label, frontier in found.items())
    if "label" not in found:
        told += f"; the label is not known, {why_initial_basis_is_unknown(evidence.data) or 'no crossing'}"
    return this.row(
        power.skill,
        power.skill_interval,
        f"skill of the power of time on the later half of {power.times} times, against the best alternative "
        f"({power.best_alternative}), in the {name}; exponents: {told} (in lambda it is -1 for every clock)",
        beats_alternatives=power.skill > 0,
    )


def _exponent(frontier: Frontier) -> str:
    try:
        return f"{frontier.power.exponent:.2g}"
    except EigenflowError:
        return "unknown"


@asserts(
    "C5.collapse",
    "spectra of all times fall on one curve",
    # 20 %: the scatter of a sum of 50 random squares, about what a quarter of a decade holds of a thousand modes.
    band=(None, 0.2),
)
def one_curve(this: Assertion, evidence: Evidence, rng: np.random.Generator) -> Claim:
    """How far scaled spectra miss their common curve."""
    found = evidence.collapse
    energy = evidence.budget.energy.values
    held = float(np.median(energy[:, 1:-1].sum(1) / np.maximum(energy.sum(1), np.finfo(np.float64).tiny)))
    if held < UNRESOLVED:
        told = f"the resolved shells hold {held:.0%} of the energy (median); measure all modes, or track more of them"
        return this.undecided(told)
    return this.row(
        found.mismatch,
        found.mismatch_interval,
        f"root mean square of ln(energy / curve of the other times), weighted with energy, at E = t^-a F(lambda t^z), "
        f"a = {found.decay_exponent:.2g}, z = {found.shift_exponent:.2g} "
        f"[{found.shift_interval[0]:.2g}, {found.shift_interval[1]:.2g}], {len(found.times)} times; a spectrum that "
        f"only sinks misses by {found.still_mismatch:.2g}",
        beats_alternatives=found.skill > 0,
    )


@asserts(
    "C5.amplitude",
    "the amplitude density at the frontier grows as a power of time",
    band=(0.0, None),
)
def amplitude_grows(this: Assertion, evidence: Evidence, rng: np.random.Generator) -> Claim:
    """The exponent of the amplitude density."""
    found = evidence.frontiers
    if "eigenvalue" not in found:
        return this.undecided("the frontier never lies inside the modes stored one by one")
    grown = evidence.amplitude
    density, energy, single = (grown.power(n) for n in ("amplitude_density", "energy_density", "amplitude"))
    return this.row(
        density.exponent,
        density.interval,
        f"exponent of sum |g| / lambda at the frontier, {density.times} times; of the energy density "
        f"{energy.exponent:.2g}, of a single mode's amplitude {single.exponent:.2g}; skill on later times "
        f"{density.skill:.2g} against {density.best_alternative}",
        beats_alternatives=density.skill > 0,
    )


@asserts(
    "C5.dissipation",
    "energy dissipates as a power of time",
    band=(0.5, None),
    needs=[UPDATES, DESCENT],
)
def dissipation_power(this: Assertion, evidence: Evidence, rng: np.random.Generator) -> Claim:
    """The skill of a power of time on the later half of the times."""
    law = evidence.dissipation
    return this.row(
        law.skill,
        law.skill_interval,
        f"skill of t^{law.exponent:.2f} on the later half of {law.times} times against the best alternative "
        f"({law.best_alternative}); curvature of ln(dissipation) in ln(t) {law.curvature:.2g} "
        f"[{law.curvature_interval[0]:.2g}, {law.curvature_interval[1]:.2g}]",
        beats_alternatives=law.skill > 0,
    )


@asserts(
    "C5.noise",
    "batches add energy to the modes as the exact second moment of SGD says",
    # Exact for independent batches; those of one epoch are not, and a few dozen updates scatter by a tenth.
    band=(0.75, 1.25),
)
def batch_energy(this: Assertion, evidence: Evidence, rng: np.random.Generator) -> Claim | None:
    """The energy that batches added over its expectation; whether noise weakens coupling is asked by `batch_sweep`."""
    try:
        noise = evidence.noise
    except ArgumentError:  # full batches: nothing is asserted
        return None
    ratio = noise.ratio[noise.expected > 0]
    if len(ratio) == 0:
        return this.undecided("no measured update was to add energy")
    return this.row(
        float(ratio.mean()),
        block_interval(ratio, lambda v: float(v.mean()), evidence.rng()),
        f"mean over {len(ratio)} updates of the energy that batches of {noise.batch_size} of {noise.samples} "
        f"added, over its expectation; the expectation is {np.median(noise.share):.2g} of the dissipation (median)",
    )


CLAIM = ClaimTest(
    "C5",
    "Weak coupling gives self-similar solutions",
    (
        local_exchange,
        weak_exchange,
        turns_slowly,
        stays_near,
        shift_law,
        frontier_power,
        one_curve,
        amplitude_grows,
        dissipation_power,
        batch_energy,
    ),
    shown=one_curve,
)
