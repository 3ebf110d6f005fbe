"""C2: perturbation theory of M gives coupled equations of single modes."""

import numpy as np
import xarray as xr

from eigenflow.core.errors import EigenflowError
from eigenflow.core.resampling import block_interval
from eigenflow.theory.claims.bands import BANDS
from eigenflow.theory.claims.evidence import Evidence
from eigenflow.theory.claims.rows import SINGLE_UPDATES, make_claim, make_row, median_row, undecided
from eigenflow.theory.modes.integration import integrate_modes
from eigenflow.theory.verdicts import Claim

__all__ = ["mode_equations"]

# A mode is isolated if one update rotates it by less than this angle. The mode equations are of first order in
# it, so over a finite update they miss about this share of the change: it has to stay below the band of 0.05.
ISOLATED = 0.03
# Eigenvalues that change by less than this many roundings of the largest one are not compared.
ROUNDINGS = 1e3
# Leading modes for a second look, to tell how the error depends on their number.
FEW = 16
# Windows that a statement about a run needs: a bootstrap of fewer has no width to speak of.
FEWEST = 3
STATEMENT = "Kato perturbation theory gives coupled mode equations"


def mode_equations(evidence: Evidence) -> list[Claim]:
    """C2 and its assertions."""
    data, rng = evidence.data, evidence.rng()
    if evidence.why_no_updates is not None:
        return [undecided("C2", STATEMENT, evidence.why_no_updates, SINGLE_UPDATES)]
    eigenvalue, coefficient = data["eigenvalue"].values, data["coefficient"].values
    moved = data["eigenvalue_after"].values - eigenvalue
    expected = data["step_size"].values[:, None] * data["eigenvalue_rate"].values
    is_isolated = (data["kato_parameter"].values <= ISOLATED) & (data["successor_overlap"].values >= 1.0 - ISOLATED)
    rounding = ROUNDINGS * np.finfo(np.float64).eps * eigenvalue.max(1, keepdims=True)
    is_compared = is_isolated & (np.abs(expected) > rounding)
    eigenvalue_error = _medians(np.abs(moved - expected) / np.maximum(np.abs(moved), rounding), is_compared)
    miss = (data["coefficient_after"].values - data["kato_after"].values) ** 2
    change = (data["coefficient_after"].values - coefficient) ** 2
    # Energy outside the modes that are stored one by one counts as not isolated.
    whole = np.maximum((coefficient**2).sum(1), data["energy"].sum("shell").values)
    share = (coefficient**2 * is_isolated).sum(1) / np.maximum(whole, np.finfo(float).tiny)
    coefficient_error = np.array(
        [np.sqrt(m[k].sum() / c[k].sum()) for m, c, k in zip(miss, change, is_isolated, strict=True) if c[k].sum() > 0]
    )
    kind = "tracked modes" if "cut" in data else "modes"
    count = f"{int(is_isolated.sum(1).mean())} of {eigenvalue.shape[1]} {kind} isolated on average"
    rows = [
        median_row(
            "C2.eigenvalues",
            "lambda-dot = <phi, Mdot phi> gives the change of every isolated eigenvalue",
            eigenvalue_error,
            rng,
            f"median relative error of dt lambda-dot against the measured change of eigenvalues; {count}",
        ),
        median_row(
            "C2.coefficients",
            "the coupled mode equations give the change of every isolated coefficient",
            coefficient_error,
            rng,
            f"relative error of g + dg from the Kato couplings against the measured change of coefficients; {count}",
        ),
        _isolated_row(share, 1.0 - (coefficient**2).sum(1) / whole if "cut" in data else None, rng),
        _interval_row(data, rng),
    ]
    return make_claim("C2", STATEMENT, rows, rows[1])


def _isolated_row(share: np.ndarray, unknown: np.ndarray | None, rng: np.random.Generator) -> Claim:
    """`unknown` is the share of the energy below the tracked modes, which may be in isolated modes or not."""
    statement = "the modes that carry the error are isolated, so that single-mode equations apply"
    reason = f"share of the energy in modes that one update rotates by less than {ISOLATED}; the rest is "
    if unknown is None:
        return median_row("C2.isolated", statement, share, rng, reason + "meaningful only as subspaces")
    low = block_interval(share, lambda v: float(np.median(v)), rng)[0]
    high = block_interval(share + unknown, lambda v: float(np.median(v)), rng)[1]
    reason += (
        f"meaningful only as subspaces, or one of the untracked modes, which hold a median share of "
        f"{float(np.median(unknown)):.3g} and count as either in the interval"
    )
    return make_row("C2.isolated", statement, float(np.median(share)), (low, high), reason)


def _interval_row(data: xr.Dataset, rng: np.random.Generator) -> Claim:
    """The equations between measurements, where these are close enough and every update is one of the flow."""
    statement = "the coupled mode equations, integrated between measured times, reproduce the coefficients there"
    try:
        found = integrate_modes(data)
        few, sparse = (integrate_modes(data, modes=min(FEW, found.modes), stride=s) for s in (1, 2))
    except EigenflowError as error:
        return undecided("C2.interval", statement, str(error))
    limit, flow_limit = BANDS["C2.interval"][1], BANDS["C1.flow"][1]
    assert limit is not None and flow_limit is not None
    flow = data["flow_residual"].values
    is_flow = np.array([flow[i : i + 3].max() <= flow_limit for i in found.start], dtype=bool)
    is_resolved = found.spacing_error <= 0.5 * limit
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
        return undecided(
            "C2.interval", statement, told, "measurements closer together, of updates that follow the flow"
        )
    error = found.error[used]
    return make_row(
        "C2.interval",
        statement,
        float(np.median(error)),
        block_interval(error, lambda v: float(np.median(v)), rng),
        "median error relative to the change of the coefficients; " + told,
        beats_alternatives=bool(np.median(error) < np.median(found.frozen_error[used])),
    )


def _medians(values: np.ndarray, is_used: np.ndarray) -> np.ndarray:
    return np.array([np.median(row[used]) for row, used in zip(values, is_used, strict=True) if used.any()])
