"""C1: training is the evolution de/dt = -M(t) e in function space, M(t) being heavy-tailed and its basis drifting."""

from collections import Counter

import numpy as np
import xarray as xr

from eigenflow.core.errors import EigenflowError
from eigenflow.core.resampling import LEVEL, block_indices, block_interval
from eigenflow.theory.claims.evidence import Evidence
from eigenflow.theory.claims.rows import SINGLE_UPDATES, make_claim, make_row, undecided
from eigenflow.theory.modes.basis import basis_drift
from eigenflow.theory.modes.heavy_tail import spectrum_tails
from eigenflow.theory.verdicts import Claim

__all__ = ["evolution"]

STATEMENT = "Exact evolution de/dt = -M(t) e in function space"
IDENTITY = "e' - e = Jbar dtheta, with the Jacobian averaged along the update"
FLOW = "one update is one step of de/dt = -M e: e' - e = -dt M e"


def evolution(evidence: Evidence) -> list[Claim]:
    """C1 and its assertions. What kind of operator M is does not decide on the evolution, and has rows by itself."""
    data, rng = evidence.data, evidence.rng()
    if evidence.why_no_updates is not None:
        parts = {"C1.identity": IDENTITY, "C1.flow": FLOW}
        rows = [undecided(key, text, evidence.why_no_updates, SINGLE_UPDATES) for key, text in parts.items()]
        whole = make_claim("C1", STATEMENT, rows, rows[1])
        return [*whole, _heavy_tail_row(data, evidence.seed), _basis_row(data, rng)]
    identity, flow = data["identity_residual"].values, data["flow_residual"].values
    exact = make_row(
        "C1.identity",
        IDENTITY,
        float(identity.max()),
        block_interval(identity, lambda v: float(v.max()), rng),
        f"largest |e' - e - Jbar dtheta| over {len(identity)} measured updates, relative to the outputs' scale",
    )
    gradient = make_row(
        "C1.flow",
        FLOW,
        float(np.median(flow)),
        block_interval(flow, lambda v: float(np.median(v)), rng),
        f"median |e' - e + dt M e| / |e' - e| over {len(flow)} updates; what is missing is the optimizer "
        f"(batch, momentum) and the curvature of the network",
    )
    whole = make_claim("C1", STATEMENT, [exact, gradient], gradient)
    return [*whole, _heavy_tail_row(data, evidence.seed), _basis_row(data, rng)]


def _heavy_tail_row(data: xr.Dataset, seed: int) -> Claim:
    """The exponent over training; its interval holds the scatter of times and of resampled modes."""
    statement = "the spectrum of M is heavy-tailed: its upper tail is a power law, density lambda^-alpha"
    try:
        tails = spectrum_tails(data, seed=seed)
    except EigenflowError as error:
        return undecided("C1.heavy_tail", statement, str(error))
    rng, draws = np.random.default_rng(seed), np.stack([fit.exponent_draws for fit in tails.fits])
    medians = [np.median(draws[index, d % draws.shape[1]]) for d, index in enumerate(block_indices(len(draws), rng))]
    low, high = np.quantile(medians, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    counted = Counter(str(fit.verdict) for fit in tails.fits)
    margin = float(np.median([fit.margin for fit in tails.fits]))
    return make_row(
        "C1.heavy_tail",
        statement,
        float(np.median(tails.exponent)),
        (float(low), float(high)),
        f"median exponent at {len(tails.fits)} times, {tails.exponent[0]:.3g} at first, {tails.exponent[-1]:.3g} at "
        f"last, from {min(fit.modes for fit in tails.fits)} modes or more; likelihoods say: "
        f"{', '.join(f'{law} {n}' for law, n in counted.most_common())}; AIC of the best of log-normal, exponential "
        f"cut-off and exponential less that of the power law: {margin:.3g} (median)",
        beats_alternatives=margin > 0,
    )


def _basis_row(data: xr.Dataset, rng: np.random.Generator) -> Claim:
    """The part of M outside of its first eigenbasis, over the last decade of time."""
    statement = "the eigenbasis of M drifts: a good part of M acts outside of the basis that it began with"
    try:
        drift = basis_drift(data)
    except EigenflowError as error:
        return undecided("C1.basis", statement, str(error))
    if drift.outside is None or drift.outside_lower is None:
        reason = "only tracked modes were measured, and this needs every mode of the first measurement"
        return undecided("C1.basis", statement, reason, "a run with all modes measured")
    ends = data["time"].values + data["step_size"].values
    is_late = (ends >= ends[-1] / 10.0) & (np.arange(len(ends)) > 0)
    if not is_late.any():
        return undecided("C1.basis", statement, "the run has one measurement", "a second measurement")
    low = block_interval(drift.outside_lower[is_late], lambda v: float(np.median(v)), rng)[0]
    high = block_interval(drift.outside[is_late], lambda v: float(np.median(v)), rng)[1]
    start, before = drift.since_start, drift.since_before
    turned = (
        "" if np.isnan(before.whole).all() else f", {np.nanmedian(before.whole):.3g} from one measurement to the next"
    )
    return make_row(
        "C1.basis",
        statement,
        float(np.median(drift.outside[is_late])),
        (low, high),
        f"median share of ||M||_F^2 off the diagonal in the first eigenbasis, over {int(is_late.sum())} times of the "
        f"last decade. Of the modes, a share of {start.whole[-1]:.3g} ends in the shell it began in or a neighbour, "
        f"after the spectrum as a whole moved by {start.shift[-1]} shells of a quarter decade{turned}",
    )
