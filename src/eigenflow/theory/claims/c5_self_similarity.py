"""C5: coupling between shells is weak, and the solution is self-similar."""

from dataclasses import replace

import numpy as np

from eigenflow.core.errors import ArgumentError, EigenflowError
from eigenflow.core.resampling import correlated_interval
from eigenflow.theory.claims.assertions import (
    DESCENT,
    RECORD,
    RECORDING,
    UPDATES,
    Assertion,
    ClaimTest,
    asserts,
    median_interval,
)
from eigenflow.theory.claims.evidence import Evidence
from eigenflow.theory.coupling.locality import Locality
from eigenflow.theory.coupling.log_shift import EXPONENTS
from eigenflow.theory.modes.initial_basis import why_initial_basis_is_unknown
from eigenflow.theory.self_similarity import Frontier, PowerInTime
from eigenflow.theory.verdicts import Claim, Verdict

__all__ = ["CLAIM"]

# Updates or intervals that a statement about a run needs: a bootstrap of fewer has no width to speak of.
FEW = 6
# Shell widths that the null distance must reach: from there on neighbours alone would lie well inside the band.
RESOLVED = 3.0
# Share of exchange or energy in the open shells above which the rest says little.
UNRESOLVED = 0.5
# An exponent that swings by less than 30 % over a decade is one exponent. exp(-t^.3) swings by .7, an exponential by 1;
# finite spectra make those of exact solutions swing by up to .3. Amplitudes rest on few modes, and are given .5.
STEADY = (None, 0.3)
AMPLITUDE_SWING = 0.5
LONGER = "a run in which the frontier stays inside the spectrum for two decades of time"


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


def _positive(values: np.ndarray) -> np.ndarray:
    return np.maximum(values, np.finfo(np.float64).tiny)


def _unresolved(found: Locality) -> str:
    return (
        f"{np.median(found.open_share):.0%} of all exchange (median) is with the open shells below and above the "
        f"resolved ones, at a distance that is not known; measure all modes, or track more of them"
    )


@asserts(
    "C5.weak",
    "exchange beyond neighbouring shells is weak beside all exchange between shells",
    # A tenth of what is exchanged: what a closure without a nonlocal source may neglect.
    band=(None, 0.1),
    needs=[UPDATES],
)
def weak_exchange(this: Assertion, evidence: Evidence, rng: np.random.Generator) -> Claim:
    """The energy exchanged beyond neighbours over all energy exchanged."""
    if not evidence.exchanges:
        return this.row(0.0, (0.0, 0.0), "no shell exchanges energy with another one, beyond rounding")
    found = evidence.locality
    if np.median(found.open_share) > UNRESOLVED:
        return this.undecided(_unresolved(found))
    row = _median(
        this,
        found.jumping_share,
        evidence,
        f"median of the energy exchanged beyond neighbours, shells a quarter of a decade wide, over all that shells "
        f"exchange, {len(found.times)} updates; beside the dissipation it is {np.median(found.nonlocal_share):.2g}, "
        f"and exchange between neighbours {np.median(found.near / _positive(found.dissipated)):.2g}; "
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
    if evidence.is_of_states:
        # On controls with evenly spaced states it was decided the wrong way, in both directions.
        told = (
            f"between states a median share of {np.median(found.left):.2g} of the directions leaves for distant shells "
            f"({len(found.left)} intervals, a median of {np.median(found.growth):.2g} e-folds long), but between them "
            f"turns may be undone, and drift may carry eigenvalues over more than one shell"
        )
        return this.undecided(told, RECORDING)
    steady, loose = (_late(evidence, found.times, rates) for rates in (found.steady_rate, found.rate))
    if len(steady) < FEW:
        few = f"{len(steady)} intervals between measurements, and {FEW} are needed"
        return this.undecided(few, "a run with more measurements")
    rng = evidence.rng()
    # Between two measurements nothing tells whether a turn goes on or is undone, so both count.
    low, high = median_interval(np.minimum(loose, steady), rng)[0], median_interval(np.maximum(loose, steady), rng)[1]
    return this.row(
        float(np.median(steady)),
        (low, high),
        f"median over {len(steady)} intervals of the share of directions that leave for shells which are not "
        f"neighbours in an e-fold of time, weighted by energy, if turns go on; {np.median(loose):.2g} if they have "
        f"nothing to do with each other; intervals are {np.median(found.growth):.2g} e-folds long (median)",
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
    decides=False,  # of the sister papers
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
    band=STEADY,
)
def frontier_power(this: Assertion, evidence: Evidence, rng: np.random.Generator) -> Claim:
    """How far the frontier's exponent swings over the last decade."""
    found = evidence.frontiers
    name = "label" if "label" in found else "rank"
    if name not in found:
        return this.undecided("the frontier never lies inside the modes stored one by one")
    told = ", ".join(f"{label} {_exponent(frontier)}" for label, frontier in found.items())
    if "label" not in found:
        told += f"; the label is not known, {why_initial_basis_is_unknown(evidence.data) or 'no crossing'}"
    return _steady(
        this,
        found[name].power,
        f"frontier in the {name}; exponents: {told} (in lambda it is -1 for every clock, in the label for v = 0)",
    )


def _steady(this: Assertion, power: PowerInTime, what: str) -> Claim:
    """A row about how far an exponent swings."""
    if power.swing is None or power.swing_interval is None:
        return this.undecided(f"{what}; {power.decades:.2g} decades of time are resolved, and 1.9 are needed", LONGER)
    return this.row(
        power.swing,
        power.swing_interval,
        f"range of ln[x(8 t) / x(t)] / ln 8 over the last decade, relative to its mean, x = {what}; {power.times} "
        f"times over {power.decades:.2g} decades, held out it has a skill of {power.skill:.2g} against "
        f"{power.best_alternative}",
    )


def _exponent(frontier: Frontier) -> str:
    try:
        return f"{frontier.power.exponent:.2g}"
    except EigenflowError:
        return "unknown"


@asserts(
    "C5.collapse",
    "what is left of the first energies falls on one curve of lambda t^z",
    # 20 % in the energy at the frontier: two clocks that differ by a fifth.
    band=(None, 0.2),
)
def one_curve(this: Assertion, evidence: Evidence, rng: np.random.Generator) -> Claim:
    """How far scaled attenuations miss their common curve."""
    energy = evidence.shells.energy.values
    held = float(np.median(energy[:, 1:-1].sum(1) / _positive(energy.sum(1))))
    if held < UNRESOLVED:
        told = f"the resolved shells hold {held:.0%} of the energy (median); measure all modes, or track more of them"
        return this.undecided(told)
    found = evidence.attenuation
    return this.row(
        found.excess,
        found.excess_interval,
        f"root mean square of ln(-ln(energy left) / curve of the other times) by shells of the first eigenvalue, at "
        f"lambda t^z with z = {found.shift_exponent:.2g} [{found.shift_interval[0]:.2g}, "
        f"{found.shift_interval[1]:.2g}], {len(found.times)} times. It holds for v = 0 too. {_energies(evidence)}",
    )


def _energies(evidence: Evidence) -> str:
    """The same of the energies themselves, in words."""
    try:
        found = evidence.collapse
    except EigenflowError as error:
        return f"Energies themselves: {error}"
    return (
        f"Energies by shells of lambda miss their curve by {found.mismatch:.2g} at E = t^-a F(lambda t^z), a = "
        f"{found.decay_exponent:.2g}, z = {found.shift_exponent:.2g}, of which so few modes explain {found.floor:.2g}"
    )


@asserts(
    "C5.amplitude",
    "the amplitude density at the frontier grows as a power of time",
    band=(0.0, None),
)
def amplitude_grows(this: Assertion, evidence: Evidence, rng: np.random.Generator) -> Claim:
    """The exponent of the amplitude density, if it has one."""
    if "eigenvalue" not in evidence.frontiers:
        return this.undecided("the frontier never lies inside the modes stored one by one")
    grown = evidence.amplitude
    density, energy, single = (grown.power(n) for n in ("amplitude_density", "energy_density", "amplitude"))
    if density.swing is None or density.swing_interval is None:
        return this.undecided(f"{density.decades:.2g} decades of time are resolved, and 1.9 are needed", LONGER)
    low, high = density.swing_interval
    return this.row(
        density.exponent,
        density.interval,
        f"exponent of sum |g| / lambda at the frontier, {density.times} times; it swings by {density.swing:.2g} "
        f"[{low:.2g}, {high:.2g}] over the last decade, and a power by less than {AMPLITUDE_SWING:g}; of the energy "
        f"density {energy.exponent:.2g}, of a single mode's amplitude {single.exponent:.2g}. It grows for v = 0 too",
        beats_alternatives=high <= AMPLITUDE_SWING,
        loses=low > AMPLITUDE_SWING,
    )


@asserts(
    "C5.dissipation",
    "energy dissipates as a power of time",
    band=STEADY,
    needs=[UPDATES, DESCENT],
)
def dissipation_power(this: Assertion, evidence: Evidence, rng: np.random.Generator) -> Claim:
    """How far the exponent of the dissipation swings over the last decade."""
    law = evidence.dissipation
    return _steady(this, law, f"dissipation ~ t^{law.exponent:.2f}")


@asserts(
    "C5.noise",
    "batches add energy to the modes as the exact second moment of SGD says",
    # Exact for independent batches; those of one epoch are not, and a few dozen updates scatter by a tenth.
    band=(0.75, 1.25),
    needs=[RECORD],
    decides=False,  # that noise weakens coupling takes runs of several batch sizes, see `batch_sweep`
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
        correlated_interval(ratio, lambda v: float(v.mean()), evidence.rng(), is_inside=True),
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
)
