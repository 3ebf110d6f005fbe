"""C2: perturbation theory of M gives coupled equations of single modes."""

import numpy as np

from eigenflow.theory.claims.assertions import UPDATES, Assertion, ClaimTest, asserts, median_interval
from eigenflow.theory.claims.c1_evolution import flow
from eigenflow.theory.claims.evidence import Evidence
from eigenflow.theory.modes.integration import ModeIntegration
from eigenflow.theory.modes.single_updates import ISOLATED, SingleUpdates
from eigenflow.theory.verdicts import Claim

__all__ = ["CLAIM"]

# Windows that a statement about a run needs: a bootstrap of fewer has no width to speak of.
FEWEST = 3


def _counted(found: SingleUpdates, evidence: Evidence) -> str:
    kind = "tracked modes" if "cut" in evidence.data else "modes"
    return f"{int(found.isolated)} of {found.modes} {kind} isolated on average"


@asserts(
    "C2.eigenvalues",
    "lambda-dot = <phi, Mdot phi> gives the change of every isolated eigenvalue",
    band=(None, 0.05),
)
def eigenvalues(this: Assertion, evidence: Evidence, rng: np.random.Generator) -> Claim:
    """The typical relative error of the rates of eigenvalues."""
    found = evidence.single_updates
    return this.median_row(
        found.eigenvalue_error,
        rng,
        f"median relative error of dt lambda-dot against the measured change of eigenvalues; "
        f"{_counted(found, evidence)}",
    )


@asserts(
    "C2.coefficients",
    "the coupled mode equations give the change of every isolated coefficient",
    band=(None, 0.05),
)
def coefficients(this: Assertion, evidence: Evidence, rng: np.random.Generator) -> Claim:
    """The typical relative error of the coefficients by the Kato couplings."""
    found = evidence.single_updates
    return this.median_row(
        found.coefficient_error,
        rng,
        f"relative error of g + dg from the Kato couplings against the measured change of coefficients; "
        f"{_counted(found, evidence)}",
    )


@asserts(
    "C2.isolated",
    "the modes that carry the error are isolated, so that single-mode equations apply",
    band=(0.9, None),
)
def isolated(this: Assertion, evidence: Evidence, rng: np.random.Generator) -> Claim:
    """The energy in isolated modes; that of modes which are not tracked counts as either in the interval."""
    found = evidence.single_updates
    share, unknown = found.isolated_share, found.untracked_share
    reason = f"share of the energy in modes that one update rotates by less than {ISOLATED}; the rest is "
    if unknown is None:
        return this.median_row(share, rng, reason + "meaningful only as subspaces")
    low, high = median_interval(share, rng)[0], median_interval(share + unknown, rng)[1]
    reason += (
        f"meaningful only as subspaces, or one of the untracked modes, which hold a median share of "
        f"{float(np.median(unknown)):.3g} and count as either in the interval"
    )
    return this.row(float(np.median(share)), (low, high), reason)


@asserts(
    "C2.interval",
    "the coupled mode equations, integrated between measured times, reproduce the coefficients there",
    # A tenth of the change, as C1.flow allows for one update; half of it may be due to the spacing of measurements.
    band=(None, 0.1),
)
def interval(this: Assertion, evidence: Evidence, rng: np.random.Generator) -> Claim:
    """The error between measurements, where these are close enough and every update is one of the flow."""
    found, few, sparse = evidence.integrations
    is_flow, is_resolved, limit = _is_flow(found, evidence), _is_resolved(found, this), this.band[1]
    assert limit is not None
    used = is_flow & is_resolved
    told = (
        f"{int(used.sum())} of {len(used)} windows of two spacings count: {int((~is_flow).sum())} hold updates that "
        f"are no steps of the flow (C1), {int((is_flow & ~is_resolved).sum())} are too wide for the measured couplings"
        + (f", {found.gaps} lie over a gap" if found.gaps else "")
        + f". Medians over all windows: {np.median(found.error):.3g} with {found.modes} modes, "
        f"{np.median(found.closed_error):.3g} without the modes beyond them, {np.median(found.frozen_error):.3g} for a "
        f"standing operator; {np.median(few.error):.3g} with {few.modes} modes, {np.median(sparse.error):.3g} at twice "
        f"the spacing"
    )
    if used.sum() < FEWEST:
        return this.undecided(told, "measurements closer together, of updates that follow the flow")
    error = found.error[used]
    return this.row(
        float(np.median(error)),
        median_interval(error, rng),
        "median error relative to the change of the coefficients; " + told,
        # Where a standing operator is right too, the equations need not be better.
        beats_alternatives=bool(np.median(error) < max(float(np.median(found.frozen_error[used])), 0.5 * limit)),
    )


def _is_flow(found: ModeIntegration, evidence: Evidence) -> np.ndarray:
    """Windows all of whose updates are steps of the flow, by the band of C1.flow."""
    limit, miss = flow.band[1], evidence.data["flow_residual"].values
    assert limit is not None
    return np.array([miss[i : i + 3].max() <= limit for i in found.start], dtype=bool)


def _is_resolved(found: ModeIntegration, this: Assertion) -> np.ndarray:
    limit = this.band[1]
    assert limit is not None
    return found.spacing_error <= 0.5 * limit


CLAIM = ClaimTest(
    "C2",
    "Kato perturbation theory gives coupled mode equations",
    (eigenvalues, coefficients, isolated, interval),
    needs=[UPDATES],
    needs_clock=False,
)
