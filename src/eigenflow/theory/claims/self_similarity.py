"""C5: coupling between shells is weak, and the solution is self-similar."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from eigenflow.core.errors import ArgumentError, EigenflowError
from eigenflow.core.resampling import block_interval
from eigenflow.theory.claims.descent import why_not_descent
from eigenflow.theory.claims.evidence import Evidence
from eigenflow.theory.claims.rows import SINGLE_UPDATES, make_claim, make_row, median_row, undecided
from eigenflow.theory.coupling.batch_noise import batch_noise
from eigenflow.theory.coupling.kato import kato_ratio
from eigenflow.theory.coupling.locality import Locality, transfer_locality
from eigenflow.theory.coupling.log_shift import EXPONENTS, log_shift
from eigenflow.theory.coupling.turning import shell_turning
from eigenflow.theory.modes.initial_basis import why_initial_basis_is_unknown
from eigenflow.theory.self_similarity import (
    Frontier,
    amplitude_growth,
    dissipation_law,
    frontiers,
    shell_collapse,
)
from eigenflow.theory.verdicts import Claim, Verdict

__all__ = ["self_similarity"]

Row = Callable[[Evidence, str, str], Claim]

# Updates or intervals that a statement about a run needs: a bootstrap of fewer has no width to speak of.
FEW = 6
# Shell widths that the null distance must reach: from there on neighbours alone would lie well inside the band.
RESOLVED = 3.0
# Share of exchange or energy in the open shells above which the rest says little.
UNRESOLVED = 0.5
# Rows on what single updates do.
OF_UPDATES = ("C5.local", "C5.weak", "C5.kato", "C5.shift", "C5.dissipation")


def self_similarity(evidence: Evidence) -> list[Claim]:
    """C5 and its assertions."""
    tests: dict[str, tuple[str, Row]] = {
        "C5.local": ("energy moves between neighbours in ln(lambda)", _local),
        "C5.weak": ("exchange beyond neighbouring shells is weak beside dissipation", _weak),
        "C5.kato": ("the operator's motion turns shells into one another slowly", _kato),
        "C5.turned": ("between measurements few directions of a shell leave for distant shells", _turned),
        "C5.shift": ("shells pass on energy by the same law everywhere in ln(lambda)", _shift),
        "C5.frontier": ("the frontier of learned modes moves as a power of time", _frontier),
        "C5.collapse": ("spectra of all times fall on one curve", _collapse),
        "C5.amplitude": ("the amplitude density at the frontier grows as a power of time", _amplitude),
        "C5.dissipation": ("energy dissipates as a power of time", _dissipation),
    }
    rows = []
    for key, (statement, test) in tests.items():
        if key in OF_UPDATES and evidence.why_no_updates is not None:
            rows.append(undecided(key, statement, evidence.why_no_updates, SINGLE_UPDATES))
            continue
        try:
            why = why_not_descent(evidence) if key in ("C5.weak", "C5.dissipation") else None
            rows.append(test(evidence, key, statement) if why is None else undecided(key, statement, why))
        except EigenflowError as error:
            rows.append(undecided(key, statement, str(error)))
    rows.extend(_noise(evidence))
    leading = next(row for row in rows if row.claim == "C5.collapse")
    return make_claim("C5", "Weak coupling gives self-similar solutions", rows, leading)


def resolved_from(evidence: Evidence) -> float:
    """Time from which the frontier lies inside the spectrum: the largest shell's eigenvalue times t reaches 1."""
    budget = evidence.budget
    largest = np.where(budget.energy.values > 0, budget.mean_eigenvalue.values, 0.0).max(1)
    late = np.flatnonzero(largest * budget.time.values >= 1.0)
    return float(budget.time.values[late[0]]) if len(late) else np.inf


def _late(evidence: Evidence, times: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The values since the frontier lies inside the spectrum; all of them if it never does."""
    late = values[times >= resolved_from(evidence)]
    return late if len(late) else values


def _median(key: str, statement: str, values: np.ndarray, evidence: Evidence, reason: str) -> Claim:
    """The median over updates, if there are enough of them."""
    if len(values) < FEW:
        few = f"{len(values)} measured updates or intervals allow it, and {FEW} are needed"
        return undecided(key, statement, f"{few}; {reason}", "a run with more measurements")
    return median_row(key, statement, values, evidence.rng(), reason)


def _local(evidence: Evidence, key: str, statement: str) -> Claim:
    found = transfer_locality(evidence.budget)
    if np.median(found.open_share) > UNRESOLVED:
        return undecided(key, statement, _unresolved(found))
    if np.median(found.null_width) * found.shells_per_decade < RESOLVED:
        span = f"exchange without regard to distance would reach {np.median(found.null_width):.2g} decades"
        return undecided(key, statement, f"the resolved shells span too little to tell: {span}")
    return _median(
        key,
        statement,
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


def _weak(evidence: Evidence, key: str, statement: str) -> Claim:
    found = transfer_locality(evidence.budget)
    if np.median(found.open_share) > UNRESOLVED:
        return undecided(key, statement, _unresolved(found))
    row = _median(
        key,
        statement,
        found.nonlocal_share,
        evidence,
        f"median of the energy exchanged beyond neighbours over the energy dissipated, {len(found.times)} updates; "
        f"between neighbours it is {np.median(found.near / found.dissipated):.2g}, and "
        f"{np.median(found.open_share):.0%} of all exchange is with the open shells, which is not counted",
    )
    return _bound(row, evidence)


def _kato(evidence: Evidence, key: str, statement: str) -> Claim:
    found = kato_ratio(evidence.data)
    angles = _late(evidence, found.times, found.angle)
    row = _median(
        key,
        statement,
        angles,
        evidence,
        f"median over {len(angles)} updates of the angle, in radians an e-fold of time, by which a vector leaves its "
        f"shell (t ||P_a Mdot P_b||_F / |lambda_a - lambda_b| / sqrt(n_b), weighted by energy); beyond neighbours "
        f"{np.median(found.far_angle):.2g}, in one update {np.median(found.update_angle):.2g}",
    )
    return _bound(row, evidence)


def _turned(evidence: Evidence, key: str, statement: str) -> Claim:
    found = shell_turning(evidence.data)
    rates = _late(evidence, found.times, found.rate)
    return _median(
        key,
        statement,
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


def _shift(evidence: Evidence, key: str, statement: str) -> Claim:
    found = log_shift(evidence.budget, seed=evidence.seed)
    reach = transfer_locality(evidence.budget)
    if np.median(reach.open_share) > UNRESOLVED:
        return undecided(key, statement, _unresolved(reach))
    edge = " (an end of the search)" if found.exponent in (EXPONENTS[0], EXPONENTS[-1]) else ""
    told = (
        f"{found.shells:.0f} shells, {len(found.times)} updates; median score of single updates "
        f"{np.median(found.scores):.2g}; lambda^m times a law of the shift leaves {found.covariant_score:.0%} at its "
        f"best m = {found.exponent:.2g}{edge}"
    )
    if found.score is None or found.interval is None:
        return undecided(key, statement, f"two halves of the updates share no pattern of transfer; {told}")
    return make_row(key, statement, found.score, found.interval, f"part of the shares that differs by shell; {told}")


def _frontier(evidence: Evidence, key: str, statement: str) -> Claim:
    found = frontiers(evidence.data, seed=evidence.seed)
    name = "label" if "label" in found else "rank"
    if name not in found:
        return undecided(key, statement, "the frontier never lies inside the modes stored one by one")
    power = found[name].power
    told = ", ".join(f"{label} {_exponent(frontier)}" for label, frontier in found.items())
    if "label" not in found:
        told += f"; the label is not known, {why_initial_basis_is_unknown(evidence.data) or 'no crossing'}"
    return make_row(
        key,
        statement,
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


def _collapse(evidence: Evidence, key: str, statement: str) -> Claim:
    found = shell_collapse(evidence.budget, start=resolved_from(evidence), seed=evidence.seed)
    energy = evidence.budget.energy.values
    held = float(np.median(energy[:, 1:-1].sum(1) / np.maximum(energy.sum(1), np.finfo(np.float64).tiny)))
    if held < UNRESOLVED:
        told = f"the resolved shells hold {held:.0%} of the energy (median); measure all modes, or track more of them"
        return undecided(key, statement, told)
    return make_row(
        key,
        statement,
        found.mismatch,
        found.mismatch_interval,
        f"root mean square of ln(energy / curve of the other times), weighted with energy, at E = t^-a F(lambda t^z), "
        f"a = {found.decay_exponent:.2g}, z = {found.shift_exponent:.2g} "
        f"[{found.shift_interval[0]:.2g}, {found.shift_interval[1]:.2g}], {len(found.times)} times; a spectrum that "
        f"only sinks misses by {found.still_mismatch:.2g}",
        beats_alternatives=found.skill > 0,
    )


def _amplitude(evidence: Evidence, key: str, statement: str) -> Claim:
    found = frontiers(evidence.data, seed=evidence.seed)
    if "eigenvalue" not in found:
        return undecided(key, statement, "the frontier never lies inside the modes stored one by one")
    grown = amplitude_growth(evidence.data, found["eigenvalue"], seed=evidence.seed)
    density, energy, single = (grown.power(n) for n in ("amplitude_density", "energy_density", "amplitude"))
    return make_row(
        key,
        statement,
        density.exponent,
        density.interval,
        f"exponent of sum |g| / lambda at the frontier, {density.times} times; of the energy density "
        f"{energy.exponent:.2g}, of a single mode's amplitude {single.exponent:.2g}; skill on later times "
        f"{density.skill:.2g} against {density.best_alternative}",
        beats_alternatives=density.skill > 0,
    )


def _dissipation(evidence: Evidence, key: str, statement: str) -> Claim:
    law = dissipation_law(evidence.budget, start=resolved_from(evidence), seed=evidence.seed)
    return make_row(
        key,
        statement,
        law.skill,
        law.skill_interval,
        f"skill of t^{law.exponent:.2f} on the later half of {law.times} times against the best alternative "
        f"({law.best_alternative}); curvature of ln(dissipation) in ln(t) {law.curvature:.2g} "
        f"[{law.curvature_interval[0]:.2g}, {law.curvature_interval[1]:.2g}]",
        beats_alternatives=law.skill > 0,
    )


def _noise(evidence: Evidence) -> list[Claim]:
    """One row if the run used batches; whether noise weakens coupling is asked of several runs, by `batch_sweep`."""
    key, statement = "C5.noise", "batches add energy to the modes as the exact second moment of SGD says"
    try:
        noise = batch_noise(evidence.run)
    except ArgumentError:  # full batches: nothing is asserted
        return []
    except EigenflowError as error:
        return [undecided(key, statement, str(error))]
    ratio = noise.ratio[noise.expected > 0]
    if len(ratio) == 0:
        return [undecided(key, statement, "no measured update was to add energy")]
    return [
        make_row(
            key,
            statement,
            float(ratio.mean()),
            block_interval(ratio, lambda v: float(v.mean()), evidence.rng()),
            f"mean over {len(ratio)} updates of the energy that batches of {noise.batch_size} of {noise.samples} "
            f"added, over its expectation; the expectation is {np.median(noise.share):.2g} of the dissipation (median)",
        )
    ]
