"""C1: training is the evolution de/dt = -M(t) e in function space, M(t) being heavy-tailed and its basis drifting.

What kind of operator M is does not decide on the evolution, and has rows by itself.
"""

from collections import Counter

import numpy as np

from eigenflow.core.resampling import LEVEL, block_indices, block_interval
from eigenflow.theory.claims.assertions import UPDATES, Assertion, ClaimTest, asserts, median_interval
from eigenflow.theory.claims.evidence import Evidence
from eigenflow.theory.verdicts import Claim

__all__ = ["CLAIM"]

# Differences of AIC: within 2 models are alike, beyond 10 the worse one has no support [@burnham2002model].
TIE, LOST = 2.0, 10.0
FEWEST_KNOWN = 0.05  # share of samples of which the identity must be known


@asserts(
    "C1.identity",
    "e' - e = Jbar dtheta, with the Jacobian averaged along the update",
    band=(None, 1e-10),  # rounding, with room for networks that are not smooth
    needs=[UPDATES],
)
def identity(this: Assertion, evidence: Evidence, rng: np.random.Generator) -> Claim:
    """The largest miss of the identity over the measured updates, and what it may be wrong by."""
    data = evidence.data
    miss = data["identity_residual"].values
    told = f"largest |e' - e - Jbar dtheta| over {len(miss)} measured updates, relative to the outputs' scale"
    if "identity_error" not in data:
        return this.row(float(miss.max()), block_interval(miss, lambda v: float(v.max()), rng), told)
    error, share = data["identity_error"].values, float(np.median(data["identity_share"].values))
    if share < FEWEST_KNOWN:
        told = f"{told}: {miss.max():.2g}, but the path of most samples has more kinks than the budget resolves"
        return this.undecided(f"{told}; the average is known of {share:.0%} of them", "shorter updates")
    return this.row(
        float(miss.max()),
        (float(np.maximum(miss - error, 0.0).max()), float((miss + error).max())),
        f"{told}; it may be wrong by {error.max():.2g}, and is known of {share:.0%} of the samples",
    )


@asserts(
    "C1.flow",
    "one update is one step of de/dt = -M e: e' - e = -dt M e",
    band=(None, 0.1),
    needs=[UPDATES],
)
def flow(this: Assertion, evidence: Evidence, rng: np.random.Generator) -> Claim:
    """The typical miss of a step of the flow."""
    miss = evidence.data["flow_residual"].values
    return this.row(
        float(np.median(miss)),
        median_interval(miss, rng),
        f"median |e' - e + dt M e| / |e' - e| over {len(miss)} updates; what is missing is the optimizer "
        f"(batch, momentum) and the curvature of the network",
    )


@asserts(
    "C1.heavy_tail",
    "the spectrum of M is heavy-tailed: its upper tail is a power law, density lambda^-alpha",
    # Heavy-tailed as the word is used: below an exponent of 3 the variance of the spectrum has no limit.
    band=(None, 3.0),
    decides=False,
    integrates=False,
)
def heavy_tail(this: Assertion, evidence: Evidence, rng: np.random.Generator) -> Claim:
    """The exponent over training; its interval holds the scatter of times and of resampled modes."""
    tails, rng = evidence.tails, evidence.rng()
    draws = np.stack([fit.exponent_draws for fit in tails.fits])
    medians = [np.median(draws[index, d % draws.shape[1]]) for d, index in enumerate(block_indices(len(draws), rng))]
    low, high = np.quantile(medians, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    counted = Counter(str(fit.verdict) for fit in tails.fits)
    margin = float(np.median([fit.margin for fit in tails.fits]))
    return this.row(
        float(np.median(tails.exponent)),
        (float(low), float(high)),
        f"median exponent at {len(tails.fits)} times, {tails.exponent[0]:.3g} at first, {tails.exponent[-1]:.3g} at "
        f"last, from {min(fit.modes for fit in tails.fits)} modes or more; likelihoods say: "
        f"{', '.join(f'{law} {n}' for law, n in counted.most_common())}; AIC of the best of log-normal, exponential "
        f"cut-off and exponential less that of the power law: {margin:.3g} (median)",
        beats_alternatives=margin > -TIE,
        loses=margin < -LOST,
    )


@asserts(
    "C1.basis",
    "the eigenbasis of M drifts: a good part of M acts outside of the basis that it began with",
    band=(0.1, None),  # a tenth of the operator's square acts outside of the basis that it began with
    decides=False,
    integrates=False,
)
def basis(this: Assertion, evidence: Evidence, rng: np.random.Generator) -> Claim:
    """The part of M outside of its first eigenbasis at the last measurement, between the bounds of what is stored."""
    drift = evidence.basis
    if drift.outside is None or drift.outside_lower is None:
        reason = "only tracked modes were measured, and this needs every mode of the first measurement"
        return this.undecided(reason, "a run with all modes measured")
    if len(drift.outside) < 2:
        return this.undecided("the run has one measurement", "a second measurement")
    start, before = drift.since_start, drift.since_before
    turned = (
        "" if np.isnan(before.whole).all() else f", {np.nanmedian(before.whole):.3g} from one measurement to the next"
    )
    return this.row(
        float(drift.outside[-1]),
        (float(drift.outside_lower[-1]), float(drift.outside[-1])),
        f"share of ||M||_F^2 off the diagonal in the first eigenbasis, at the last measurement. Of the modes, a share "
        f"of {start.whole[-1]:.3g} ends in the shell it began in or a neighbour, after "
        f"the spectrum as a whole moved by {start.shift[-1]} shells of a quarter decade{turned}",
    )


@asserts(
    "C1.rough",
    "the error is rough: its energy falls as a power of the eigenvalue, with a finite exponent",
    # The energy below lambda goes as lambda^sigma; beyond 2 a network would learn its target as a smooth one.
    band=(0.0, 2.0),
    decides=False,
    integrates=False,
)
def rough(this: Assertion, evidence: Evidence, rng: np.random.Generator) -> Claim:
    """The source exponent of the first error, against energies that fall faster than any power."""
    found = evidence.roughness
    return this.row(
        found.source,
        found.interval,
        f"source exponent of the error at first, from {found.modes} modes; AIC of the better of energies that fall "
        f"exponentially in the rank or in the inverse eigenvalue, less that of the power: {found.margin:.3g}",
        beats_alternatives=found.margin > -TIE,
        loses=found.margin < -LOST,
    )


CLAIM = ClaimTest(
    "C1",
    "Exact evolution de/dt = -M(t) e in function space",
    (identity, flow, heavy_tail, basis, rough),
    needs_clock=False,
)
