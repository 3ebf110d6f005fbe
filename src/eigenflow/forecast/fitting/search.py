"""Fit a loss law to curves: joint, robust, with a prior, from several starts."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float

from eigenflow.core.checks import check_kind, check_number, check_whole
from eigenflow.core.errors import ArgumentError
from eigenflow.forecast.curves import Curve
from eigenflow.forecast.fitting.covariates import SIZE_EXPONENT, SIZE_EXPONENT_SD, Covariates
from eigenflow.forecast.fitting.description import describes
from eigenflow.forecast.fitting.fit import Certificate, Fit, FitStatus
from eigenflow.forecast.fitting.objective import FitSettings, FittedCurve, Objective, allowed_misfit
from eigenflow.forecast.fitting.points import fitted_points, point_noise
from eigenflow.forecast.fitting.posterior import Candidate, curvature, log_evidence, mixture
from eigenflow.forecast.fitting.priors import Prior, conflict_with_prior, learned_prior, priors_for
from eigenflow.forecast.laws.protocol import History, Law, ScaledLaw
from eigenflow.forecast.laws.registry import law_named

__all__ = ["build_objective", "checked_curves", "fit_parameters", "measured_noise", "observed_history"]

# Starts whose cost is this close (in units of half a squared standard deviation) have found the same optimum.
SAME_COST = 0.05
EVALUATIONS = 150
MOST_STARTS = 10_000
# Logarithm of the odds at which a fit leaves the first prior for another one.
CLEARLY = 6.0
# The noise is measured after a first fit; a second one follows where it was off by more than this factor.
NOISE_OFF = 1.3
# Median of the absolute value of a normal variable.
NORMAL_MEDIAN = 0.6744897501960817
# Relative standard deviation of the median of n squares of it, times the root of n.
MEDIAN_ERROR = 2.33

Theta = Float[np.ndarray, " parameter"]


def fit_parameters(
    curves: Iterable[Curve],
    law: str | Law = "transport",
    *,
    prior: str | Prior | Sequence[Prior] | None = "learned",
    starts: int = 4,
    seed: int = 0,
    settings: FitSettings | None = None,
    fixed: dict[str, float] | None = None,
    mixes: bool = True,
) -> Fit:
    """Fit one law to curves that share its parameters; curves of several sizes and peak rates are fitted jointly.

    Args:
        curves: A `CurveSet` or several `Curve`.
        law: A name, or a law.
        prior: "learned" (the shipped prior for this law that fits the curves best, none if there is none), a name, a
            prior, several to choose from (the first is preferred), or None.
        starts: Number of starts: the prior's centre, then draws around it.
        seed: Draws the starts.
        settings: None for the defaults.
        fixed: Values to hold parameters at, by name.
        mixes: Whether forecasts are means over what the curves leave open (`Fit.posterior`); without, over one Gaussian
            around the optimum, which is enough for backtests within a study.

    Returns:
        The fit; look at `status` before its numbers.

    Raises:
        ArgumentError: If there are too few points, or unknown names.
    """
    begun = time.process_time()
    known = list(checked_curves(curves))
    chosen = law if isinstance(law, Law) and not isinstance(law, str) else law_named(law)
    _check_enough(known, chosen)
    _check_options(prior, starts, seed, settings, fixed)
    given = settings or FitSettings()
    found: list[tuple[Objective, Any, Prior | None]] = []
    for candidate in _candidates(known, chosen, prior):
        objective = build_objective(known, chosen, candidate, given)
        found.append((*_first_fit(objective, _held(objective.covariates, fixed)), candidate))
    log_weights = _log_weights(found, fixed)
    best = int(np.argmax(log_weights))
    objective, result, candidate = found[best]
    spent = sum(one[1].nfev for one in found)
    result, costs, more = _further_starts(objective, result, starts, np.random.default_rng(seed), fixed)
    held = _held(objective.covariates, fixed)
    posterior, further = (), 0
    if mixes:
        # The best one first, at the optimum that all starts found.
        found[best] = (objective, result, candidate)
        order = np.argsort([-weight for weight in log_weights], kind="stable")
        posterior, further = mixture([Candidate(found[k][0], found[k][1].x, log_weights[k]) for k in order], held)
    spent += more + further
    agreed = int(sum(cost <= result.cost + SAME_COST for cost in costs))
    certificate = Certificate(len(costs), agreed, float(result.cost), max(costs), spent, time.process_time() - begun)
    return replace(_finished(objective, result, certificate, known, candidate, set(held)), posterior=posterior)


def checked_curves(curves: Iterable[Curve]) -> tuple[Curve, ...]:
    """Give the curves of an argument, or say what came instead."""
    how = "a `CurveSet` or a list of `Curve`; read a file first: `read_curves(path)`"
    if isinstance(curves, str | bytes | Mapping) or not isinstance(curves, Iterable):
        raise ArgumentError(f"`curves` must be {how}, but is of kind {type(curves).__name__}.")
    found = tuple(curves)
    for curve in found:
        check_kind("curves", curve, Curve, how)
    return found


def _check_options(
    prior: object, starts: object, seed: object, settings: object, fixed: dict[str, float] | None
) -> None:
    kinds = "'learned', the name of a prior, a `Prior`, a list of these, or None"
    check_kind("prior", prior, (str, Prior, list, tuple, type(None)), kinds)
    for one in prior if isinstance(prior, list | tuple) else ():
        check_kind("prior", one, Prior, kinds)
    check_whole("starts", starts, 1, MOST_STARTS, "number of starts")
    check_whole("seed", seed, what="number")
    check_kind("settings", settings, (FitSettings, type(None)), "a `FitSettings`")
    check_kind("fixed", {} if fixed is None else fixed, Mapping, "a dict of parameter and value")


def observed_history(curve: Curve) -> History:
    """Give where a curve was observed, from the first update on, and its learning rates."""
    return History(curve.steps[curve.steps >= 1], curve.schedule.rates, curve.schedule.batch)


def _check_enough(curves: Sequence[Curve], law: Law) -> None:
    if not curves:
        raise ArgumentError("`curves` must hold a curve, but is empty.")
    if sum(len(curve) for curve in curves) < 3:
        raise ArgumentError(
            f"`curves` must have 3 points or more in all, but curve {curves[0].label} has {len(curves[0])}. "
            f"A law cannot be fitted to less."
        )
    with_size = [curve.size is not None for curve in curves]
    if any(with_size) and not all(with_size):
        missing = curves[with_size.index(False)]
        raise ArgumentError(f"Curve {missing.name!r} has no size, but others have. Give all curves a size, or none.")


def _candidates(curves: Sequence[Curve], law: Law, prior: str | Prior | Sequence[Prior] | None) -> list[Prior | None]:
    """The priors to choose from; one that was learned on a single task serves losses like those of that task only."""
    if prior is None:
        return [None]
    if isinstance(prior, Prior):
        return [prior]
    if isinstance(prior, str) and prior != "learned":
        return [learned_prior(prior)]
    lowest = min(float(curve.losses.min()) for curve in curves)
    every = priors_for(law.name) if isinstance(prior, str) else prior
    return [one for one in every if one.serves(lowest)] or [None]


def build_objective(curves: Sequence[Curve], law: Law, prior: Prior | None, settings: FitSettings) -> Objective:
    """Prepare curves, weights and prior for a law; the noise is the smallest one until it is measured."""
    windows = [fitted_points(curve, settings.first_share, settings.points) for curve in curves]
    histories = [
        History(window.steps, curve.schedule.rates, curve.schedule.batch)
        for window, curve in zip(windows, curves, strict=True)
    ]
    if isinstance(law, ScaledLaw):
        law = law.scaled_to(histories)
    sizes, peaks = [curve.size for curve in curves], [float(history.rates.max()) for history in histories]
    covariates = Covariates.choose(law, sizes, peaks, rate_slopes=prior.rate_slopes if prior else ())
    allowed = allowed_misfit([window.log_losses for window in windows], sizes, settings)
    fitted = tuple(
        FittedCurve(prepared, window.log_losses, size, peak, window.white, missed)
        for prepared, window, size, peak, missed in zip(
            _prepared(law, histories), windows, sizes, peaks, allowed, strict=True
        )
    )
    mean, precision = np.zeros(covariates.count), np.zeros((covariates.count, covariates.count))
    if prior is not None:
        mean, precision = prior.for_fit(covariates)
    if covariates.has_size_exponent:
        mean[-1], precision[-1, -1] = SIZE_EXPONENT, SIZE_EXPONENT_SD**-2
    values, vectors = np.linalg.eigh(precision)
    root = (np.sqrt(np.maximum(values, 0.0)) * vectors).T[values > 0]
    return Objective(covariates, fitted, mean, root, settings.smallest_noise, settings)


def _prepared(law: Law, histories: Sequence[History]) -> list[Any]:
    """What a law makes of each history; equal ones, as of several sizes under one schedule, share it."""
    known: dict[tuple[bytes, ...], Any] = {}
    found = []
    for history in histories:
        batch = b"" if history.batch is None else history.batch.tobytes()
        key = (history.steps.tobytes(), history.rates.tobytes(), batch)
        if key not in known:
            known[key] = law.prepare(history)
        found.append(known[key])
    return found


def _log_weights(found: Sequence[tuple[Objective, Any, Prior | None]], fixed: dict[str, float] | None) -> list[float]:
    """How likely each prior is: the first of the file or the wide one, until data speak clearly for another one.

    All are compared with the noise of the one that describes the curves best: noise that is measured beside a poor fit
    would excuse it.
    """
    if len(found) == 1:
        return [0.0]
    noise = min(objective.noise for objective, _, _ in found)
    scores = []
    for objective, result, candidate in found:
        held, compared = _held(objective.covariates, fixed), objective.with_noise(noise)
        theta = result.x
        if objective.noise > NOISE_OFF * noise:
            again = compared.minimise(theta, EVALUATIONS, fixed=held)
            theta, result.nfev = again.x, result.nfev + again.nfev
        is_doubtful = candidate is not found[0][2] and not (candidate is not None and candidate.is_wide)
        scores.append(log_evidence(compared, theta, held.keys()) - CLEARLY * is_doubtful)
    return scores


def _held(covariates: Covariates, fixed: dict[str, float] | None) -> dict[int, float]:
    held = {}
    for name, value in (fixed or {}).items():
        if name not in covariates.names:
            raise ArgumentError(f"`fixed` names {name!r}, which is no parameter. There are: {covariates.names}.")
        k = covariates.names.index(name)
        own = covariates.law.parameters
        if k < len(own):
            check_number(f"fixed[{name!r}]", value, own[k].lower, own[k].upper)
        else:
            check_number(f"fixed[{name!r}]", value)
        held[k] = float(own[k].to_theta(value)) if k < len(own) else float(value)
    return held


def _starts(objective: Objective, count: int, rng: np.random.Generator | None) -> list[Theta]:
    """The prior's centre (or the law's own start), then draws around it."""
    law, own = objective.covariates.law, len(objective.covariates.law.parameters)
    prepared = [curve.prepared for curve in objective.curves]
    log_losses = [curve.log_losses for curve in objective.curves]
    is_known = (
        (objective.root**2).sum(axis=0) > 0 if len(objective.root) else np.zeros(objective.covariates.count, bool)
    )
    found = []
    for k in range(max(count, 1)):
        theta = objective.mean.copy()
        draw = law.start(prepared, log_losses, rng if k else None)
        centre = law.start(prepared, log_losses, None)
        theta[:own] = np.where(is_known[:own], objective.mean[:own] + draw - centre, draw)
        found.append(theta)
    return found


def _first_fit(objective: Objective, held: dict[int, float]) -> tuple[Objective, Any]:
    """Fit from the first start, measure the noise, and fit again if it was off."""
    result = objective.minimise(_starts(objective, 1, None)[0], EVALUATIONS, fixed=held)
    noise = measured_noise(objective, result.x)
    if not 1 / NOISE_OFF < noise / objective.noise < NOISE_OFF:
        spent = result.nfev
        objective = objective.with_noise(noise)
        result = objective.minimise(result.x, EVALUATIONS, fixed=held)
        result.nfev += spent
    return objective, result


def _further_starts(
    objective: Objective, result: Any, count: int, rng: np.random.Generator, fixed: dict[str, float] | None
) -> tuple[Any, list[float], int]:
    """The best optimum, the cost that every start reached, and the evaluations that this took."""
    held, spent, costs = _held(objective.covariates, fixed), 0, [float(result.cost)]
    for start in _starts(objective, count, rng)[1:]:
        other = objective.minimise(start, EVALUATIONS, fixed=held)
        spent += other.nfev
        costs.append(float(other.cost))
        if other.cost < result.cost:
            result = other
    return result, costs, spent


def measured_noise(objective: Objective, theta: Theta) -> float:
    """The law's misfit late in a run: of typical size beside the independent noise; never below the floor.

    Late is the half of the points at which the least is allowed. There the median of residual^2 / (white^2 + allowed^2
    + noise^2) is that of a normal variable.
    """
    parts = zip(objective.parts(theta), objective.curves, strict=True)
    rows = [np.stack([residual**2, curve.white**2 + curve.allowed**2, curve.allowed]) for (residual, _), curve in parts]
    squares, known, allowed = np.concatenate(rows, axis=1)
    is_late = allowed <= np.median(allowed)
    excess = float(np.median(squares[is_late] / NORMAL_MEDIAN**2 - known[is_late]))
    # So much the median of squares exceeds what is known by chance, one standard deviation.
    excess -= MEDIAN_ERROR / np.sqrt(is_late.sum()) * float(np.median(known[is_late]))
    return max(float(np.sqrt(max(excess, 0.0))), objective.settings.smallest_noise)


def _finished(
    objective: Objective,
    result: Any,
    certificate: Certificate,
    curves: Sequence[Curve],
    prior: Prior | None,
    held: set[int],
) -> Fit:
    precision, free = curvature(objective, result.x, held)
    covariance = np.zeros((objective.covariates.count, objective.covariates.count))
    covariance[np.ix_(free, free)] = np.linalg.inv(precision)
    prior_precision = objective.root.T @ objective.root
    known = np.diag(prior_precision) > 0
    prior_sd = np.full(objective.covariates.count, np.inf)
    prior_sd[known] = np.sqrt(np.diag(np.linalg.inv(prior_precision[np.ix_(known, known)])))
    parts = objective.parts(result.x)
    white = float(np.sqrt(np.mean([point_noise(curve) ** 2 for curve in curves])))
    return Fit(
        objective.covariates.law,
        objective.covariates,
        result.x,
        covariance,
        prior_sd,
        float(np.hypot(white, objective.noise)),
        white,
        _status(objective, result, certificate),
        certificate,
        tuple(curve.name for curve in curves),
        tuple(curve.size for curve in curves),
        tuple(residual for residual, _ in parts),
        tuple(jacobian for _, jacobian in parts),
        prior.name if prior else None,
        conflict_with_prior(objective.mean, prior_precision, result.x, covariance) if prior else 1.0,
    )


def _status(objective: Objective, result: Any, certificate: Certificate) -> FitStatus:
    found = zip(objective.curves, objective.parts(result.x), strict=True)
    if not all(describes(curve.log_losses, residual, curve.white) for curve, (residual, _) in found):
        return FitStatus.DOES_NOT_DESCRIBE
    if result.status == 0:
        return FitStatus.LIMIT
    lower, upper = objective.bounds()
    near = 1e-6 * np.maximum(np.abs(result.x), 1.0)
    if np.any(result.x - lower < near) or np.any(upper - result.x < near):
        return FitStatus.AT_BOUND
    if certificate.starts > 1 and certificate.agreed < 2:
        return FitStatus.SEVERAL_OPTIMA
    return FitStatus.CONVERGED
