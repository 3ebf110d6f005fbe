"""The theory's claims, tested on a measured run: one row a claim, and one for each of its assertions.

The bands below are the same for every run; docs/theory.md says which choices were made after looking at the
shipped experiments. A band says where the estimate lies if the claim holds; the
verdict follows from the estimate's 90 % interval by `verdicts.judge`.
"""

from collections.abc import Callable, Sequence

import numpy as np
import xarray as xr

from eigenflow.core.errors import EigenflowError
from eigenflow.core.resampling import block_indices, block_interval
from eigenflow.core.scores import score_curve
from eigenflow.shells import ShellBudget, shell_budget
from eigenflow.store import Run
from eigenflow.theory.limits import lazy_forecast, transport_forecast
from eigenflow.theory.observed import CUTS, observe_until
from eigenflow.theory.verdicts import Claim, Verdict, judge, overall
from eigenflow.transport import fit_closure

__all__ = ["BANDS", "claims"]

Band = tuple[float | None, float | None]

BANDS: dict[str, Band] = {
    "C1.identity": (None, 1e-10),  # rounding, with room for networks that are not smooth
    "C1.flow": (None, 0.1),
    "C2.eigenvalues": (None, 0.05),
    "C2.coefficients": (None, 0.05),
    "C2.isolated": (0.9, None),
    "C3.closes": (None, 1e-12),
    "C3.remainder": (None, 0.05),
    "C4.form": (0.5, None),
    "C4.sign": (0.0, None),
    "C8.moving": (0.0, None),
    "C8.still": (-0.1, 0.1),
}

# A mode is isolated if one update rotates it by less than this angle. The mode equations are of first order in
# it, so over a finite update they miss about this share of the change: it has to stay below the band of 0.05.
ISOLATED = 0.03
# Eigenvalues that change by less than this many roundings of the largest one are not compared.
ROUNDINGS = 1e3
# |gamma| below this counts as an operator that stands still.
STILL = 0.02


def claims(run: Run, *, seed: int = 0) -> list[Claim]:
    """Test the theory's claims on a run.

    Args:
        run: As from `open_run`, with at least one measurement.
        seed: Of the bootstrap intervals.

    Returns:
        Rows for C1, C2, C3, C4 and C8: first the claim as a whole, then its assertions.

    Raises:
        RunFolderError: If the run holds no measurement.
    """
    budget = shell_budget(run)
    data = run.measurements
    rows: list[Claim] = []
    for test in (_evolution, _mode_equations):
        rows += test(data, np.random.default_rng(seed))
    rows += _coarse_graining(budget, np.random.default_rng(seed))
    rows += _attempt("C4", "Drift v = -c(t) lambda^b", lambda: _drift_law(budget, seed))
    rows += _attempt("C8", "Lazy (v = 0) and feature-learning (v != 0) limits", lambda: _limits(run, seed))
    return rows


def _evolution(data: xr.Dataset, rng: np.random.Generator) -> list[Claim]:
    identity, flow = data["identity_residual"].values, data["flow_residual"].values
    exact = _row(
        "C1.identity",
        "e' - e = Jbar dtheta, with the Jacobian averaged along the update",
        float(identity.max()),
        block_interval(identity, lambda v: float(v.max()), rng),
        f"largest |e' - e - Jbar dtheta| over {len(identity)} measured updates, relative to the outputs' scale",
    )
    gradient = _row(
        "C1.flow",
        "one update is one step of de/dt = -M e: e' - e = -dt M e",
        float(np.median(flow)),
        block_interval(flow, lambda v: float(np.median(v)), rng),
        f"median |e' - e + dt M e| / |e' - e| over {len(flow)} updates; what is missing is the optimizer "
        f"(batch, momentum) and the curvature of the network",
    )
    return _claim("C1", "Exact evolution de/dt = -M(t) e in function space", [exact, gradient], gradient)


def _mode_equations(data: xr.Dataset, rng: np.random.Generator) -> list[Claim]:
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
    whole = np.maximum((coefficient**2).sum(1), 2.0 * data["probe_loss"].values)
    share = (coefficient**2 * is_isolated).sum(1) / np.maximum(whole, np.finfo(float).tiny)
    coefficient_error = np.array(
        [np.sqrt(m[k].sum() / c[k].sum()) for m, c, k in zip(miss, change, is_isolated, strict=True) if c[k].sum() > 0]
    )
    kind = "tracked modes" if "cut" in data else "modes"
    count = f"{int(is_isolated.sum(1).mean())} of {eigenvalue.shape[1]} {kind} isolated on average"
    rows = [
        _median_row(
            "C2.eigenvalues",
            "lambda-dot = <phi, Mdot phi> gives the change of every isolated eigenvalue",
            eigenvalue_error,
            rng,
            f"median relative error of dt lambda-dot against the measured change of eigenvalues; {count}",
        ),
        _median_row(
            "C2.coefficients",
            "the coupled mode equations give the change of every isolated coefficient",
            coefficient_error,
            rng,
            f"relative error of g + dg from the Kato couplings against the measured change of coefficients; {count}",
        ),
        _isolated_row(share, 1.0 - (coefficient**2).sum(1) / whole if "cut" in data else None, rng),
    ]
    return _claim("C2", "Kato perturbation theory gives coupled mode equations", rows, rows[1])


def _coarse_graining(budget: ShellBudget, rng: np.random.Generator) -> list[Claim]:
    energy = budget.energy.sum("shell").values
    residual = np.abs(budget.residual.values).max(1) / energy
    terms = {
        name: np.abs(getattr(budget, name).values).sum(1)
        for name in ("dissipation", "optimizer", "transfer", "remainder")
    }
    total = np.maximum(sum(terms.values()), np.finfo(np.float64).tiny)
    shares = {name: float(np.median(values / total)) for name, values in terms.items()}
    listed = ", ".join(f"{name} {share:.3g}" for name, share in shares.items())
    closes = _row(
        "C3.closes",
        "the energy of every shell changes by dissipation, optimizer, transfer and remainder only",
        float(residual.max()),
        block_interval(residual, lambda v: float(v.max()), rng),
        f"largest unexplained change of a shell, relative to the whole energy, over {len(residual)} updates",
    )
    small = _median_row(
        "C3.remainder",
        "transport and dissipation suffice: the nonlinear remainder is negligible",
        terms["remainder"] / total,
        rng,
        f"median share of each term, as sums of absolute values over shells: {listed}" + _unresolved(budget),
    )
    statement = "Coarse-graining gives d_t g + d_lambda(v g) = -2 lambda g + S"
    return _claim("C3", statement, [closes, small], small)


def _isolated_row(share: np.ndarray, unknown: np.ndarray | None, rng: np.random.Generator) -> Claim:
    """`unknown` is the share of the energy below the tracked modes, which may be in isolated modes or not."""
    statement = "the modes that carry the error are isolated, so that single-mode equations apply"
    reason = f"share of the energy in modes that one update rotates by less than {ISOLATED}; the rest is "
    if unknown is None:
        return _median_row("C2.isolated", statement, share, rng, reason + "meaningful only as subspaces")
    low = block_interval(share, lambda v: float(np.median(v)), rng)[0]
    high = block_interval(share + unknown, lambda v: float(np.median(v)), rng)[1]
    reason += (
        f"meaningful only as subspaces, or one of the untracked modes, which hold a median share of "
        f"{float(np.median(unknown)):.3g} and count as either in the interval"
    )
    return _row("C2.isolated", statement, float(np.median(share)), (low, high), reason)


def _unresolved(budget: ShellBudget) -> str:
    """What a run of tracked modes does not resolve, in words."""
    if budget.cut is None:
        return ""
    energy = budget.energy.values
    share = float(np.median(energy[:, 0] / np.maximum(energy.sum(1), np.finfo(np.float64).tiny)))
    return f"; all below the cut counts as one shell, a median share of {share:.3g} of the energy"


def _drift_law(budget: ShellBudget, seed: int) -> list[Claim]:
    law = fit_closure(budget, seed=seed)
    held = law.held_out
    form = _row(
        "C4.form",
        "v is one power of lambda, also at later times than it was fitted to",
        held.skill,
        held.interval,
        f"skill of lambda^{held.b:.2f} on {held.times} later times against the best alternative "
        f"({held.best_alternative} v), c(t) free in both; all times explain {law.explained:.0%}",
        beats_alternatives=held.skill > 0,
    )
    grows = "grow" if law.gamma < 0 else "shrink"
    sign = _row(
        "C4.sign",
        "c > 0: modes drift towards small eigenvalues",
        law.gamma,
        law.gamma_interval,
        f"median of t c(t) lambda^(b-1) at lambda = {law.reference:.2g}; eigenvalues {grows} in "
        f"{law.sign_share:.0%} of shells and times; |c| ~ t^-{law.decay:.2g}",
    )
    verdict = overall([form.verdict, sign.verdict])
    whole = Claim(
        "C4",
        "Drift v = -c(t) lambda^b",
        law.b,
        law.b_interval,
        (None, None),
        verdict,
        f"b = {law.b:.2f} from {law.points} shell velocities at {len(law.times)} times, with c "
        f"{'negative (growth)' if law.gamma < 0 else 'positive'}; power-law form {form.verdict}, sign {sign.verdict}"
        + ("" if budget.cut is None else "; only shells above the cut are used"),
    )
    return [whole, form, sign]


def _limits(run: Run, seed: int) -> list[Claim]:
    lazy_errors, moving_errors, told, gammas = [], [], [], []
    for cut in CUTS:
        observed = observe_until(run, cut)
        lazy, moving = lazy_forecast(observed), transport_forecast(observed, seed=seed)
        truth = observed.later_losses
        lazy_errors.append(np.log(lazy.loss / truth) ** 2)
        moving_errors.append(np.log(moving.loss / truth) ** 2)
        gammas.append(moving.gamma)
        scores = [score_curve(f.loss, truth).rms_log_ratio for f in (lazy, moving)]
        told.append(f"{cut:.0%}: lazy {scores[0]:.3g}, transport {scores[1]:.3g}")
    rng = np.random.default_rng(seed)
    advantage = float(np.mean([_advantage(a, b) for a, b in zip(lazy_errors, moving_errors, strict=True)]))
    draws = [
        np.mean([_advantage(a[i], b[i]) for a, b, i in zip(lazy_errors, moving_errors, index, strict=True)])
        for index in zip(*(block_indices(len(a), rng) for a in lazy_errors), strict=True)
    ]
    interval = (float(np.quantile(draws, 0.05)), float(np.quantile(draws, 0.95)))
    is_still = all(abs(gamma) < STILL for gamma in gammas)
    row = _row(
        "C8.still" if is_still else "C8.moving",
        "where eigenvalues stand still, both limits forecast alike"
        if is_still
        else "where eigenvalues move, transport forecasts the rest of the run better than the lazy limit",
        advantage,
        interval,
        f"mean over cuts of ln(RMS log error lazy / transport), gamma = {', '.join(f'{g:.2g}' for g in gammas)}; "
        + "; ".join(told),
    )
    return _claim("C8", "Lazy (v = 0) and feature-learning (v != 0) are limits of one equation", [row], row)


def _advantage(lazy: np.ndarray, moving: np.ndarray) -> float:
    tiny = np.finfo(np.float64).tiny
    return 0.5 * float(np.log(max(lazy.sum(), tiny) / max(moving.sum(), tiny)))


def _row(
    key: str,
    statement: str,
    estimate: float,
    interval: tuple[float, float],
    reason: str,
    beats_alternatives: bool = True,
) -> Claim:
    verdict = judge(interval, BANDS[key], beats_alternatives)
    return Claim(key, statement, estimate, interval, BANDS[key], verdict, reason)


def _median_row(key: str, statement: str, values: np.ndarray, rng: np.random.Generator, reason: str) -> Claim:
    if len(values) == 0:
        return Claim(
            key,
            statement,
            None,
            None,
            BANDS[key],
            Verdict.UNDECIDED,
            "no mode is isolated at any measured time",
        )
    interval = block_interval(values, lambda v: float(np.median(v)), rng)
    return _row(key, statement, float(np.median(values)), interval, reason)


def _claim(name: str, statement: str, rows: Sequence[Claim], leading: Claim) -> list[Claim]:
    """Put the claim as a whole before its assertions; it shows the estimate of the leading one."""
    told = ", ".join(f"{row.claim} {row.verdict}" for row in rows)
    whole = Claim(
        name,
        statement,
        leading.estimate,
        leading.interval,
        leading.band,
        overall([row.verdict for row in rows]),
        f"{told}. Shown: {leading.claim}, {leading.reason}",
    )
    return [whole, *rows]


def _attempt(name: str, statement: str, test: Callable[[], list[Claim]]) -> list[Claim]:
    """A run too short for a claim leaves it undecided, with the reason."""
    try:
        return test()
    except EigenflowError as error:
        return [Claim(name, statement, None, None, (None, None), Verdict.UNDECIDED, str(error))]


def _medians(values: np.ndarray, is_used: np.ndarray) -> np.ndarray:
    return np.array([np.median(row[used]) for row, used in zip(values, is_used, strict=True) if used.any()])
