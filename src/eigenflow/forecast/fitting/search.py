"""Fit a loss law to curves: joint, robust, with a prior, from several starts."""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from eigenflow.core.checks import check_kind, check_number, check_whole
from eigenflow.core.errors import ArgumentError
from eigenflow.forecast.curves import Curve
from eigenflow.forecast.fitting.covariates import Covariates
from eigenflow.forecast.fitting.fit import Certificate, Fit, FitStatus
from eigenflow.forecast.fitting.objective import FitSettings, FittedCurve, Objective, observation_weights
from eigenflow.forecast.fitting.priors import Prior, learned_prior, priors_for
from eigenflow.forecast.laws.protocol import History, Law, ScaledLaw
from eigenflow.forecast.laws.registry import law_named

__all__ = ["build_objective", "checked_curves", "curvature", "fit_parameters", "observed_history"]

# Starts whose cost is this close (in units of half a squared standard deviation) have found the same optimum.
SAME_COST = 0.05
EVALUATIONS = 150
MOST_STARTS = 10_000
# Logarithm of the odds at which a fit leaves the first prior for another one.
CLEARLY = 6.0
# The noise is measured after a first fit; a second one follows where it was off by more than this factor.
NOISE_OFF = 1.3

Theta = Float[np.ndarray, " parameter"]


def fit_parameters(
    curves: Iterable[Curve],
    law: str | Law = "transport",
    *,
    prior: str | Prior | None = "learned",
    starts: int = 4,
    seed: int = 0,
    settings: FitSettings | None = None,
    fixed: dict[str, float] | None = None,
) -> Fit:
    """Fit one law to curves that share its parameters; curves of several sizes and peak rates are fitted jointly.

    Args:
        curves: A `CurveSet` or several `Curve`.
        law: A name, or a law.
        prior: "learned" (the shipped prior for this law that fits the curves best, none if there is none), a name, a
            prior, or None.
        starts: Number of starts: the prior's centre, then draws around it.
        seed: Draws the starts.
        settings: None for the defaults.
        fixed: Values to hold parameters at, by name.

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
    found: list[tuple[float, Objective, Any, Prior | None]] = []
    for candidate in _candidates(chosen, prior):
        objective = build_objective(known, chosen, candidate, given)
        held = _held(objective.covariates, fixed)
        objective, result = _first_fit(objective, held)
        found.append((_evidence(objective, result, held), objective, result, candidate))
    # The first prior of the file is preferred until the data speak clearly for another one.
    best = max(range(len(found)), key=lambda k: found[k][0] - (CLEARLY if k else 0.0))
    _, objective, result, candidate = found[best]
    spent = sum(one[2].nfev for one in found)
    result, costs, more = _further_starts(objective, result, starts, np.random.default_rng(seed), fixed)
    spent += more
    agreed = int(sum(cost <= result.cost + SAME_COST for cost in costs))
    certificate = Certificate(len(costs), agreed, float(result.cost), max(costs), spent, time.process_time() - begun)
    return _finished(objective, result, certificate, known, candidate, set(_held(objective.covariates, fixed)))


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
    check_kind("prior", prior, (str, Prior, type(None)), "'learned', the name of a prior, a `Prior`, or None")
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


def _candidates(law: Law, prior: str | Prior | None) -> list[Prior | None]:
    if prior is None:
        return [None]
    if isinstance(prior, Prior):
        return [prior]
    if prior == "learned":
        return list(priors_for(law.name)) or [None]
    return [learned_prior(prior)]


def build_objective(curves: Sequence[Curve], law: Law, prior: Prior | None, settings: FitSettings) -> Objective:
    """Prepare curves, weights and prior for a law; the noise is the smallest one until it is measured."""
    used = [_windows(curve, settings) for curve in curves]
    histories = [observed_history(curve) for curve in used]
    if isinstance(law, ScaledLaw):
        law = law.scaled_to(histories)
    sizes, peaks = [curve.size for curve in used], [float(history.rates.max()) for history in histories]
    covariates = Covariates.choose(law, sizes, peaks, rate_slopes=prior.rate_slopes if prior else ())
    log_losses = [np.log(curve.losses) for curve in used]
    weights = observation_weights(log_losses, sizes, settings)
    fitted = tuple(
        FittedCurve(law.prepare(history), values, covariates.design(size, peak), weight)
        for history, values, size, peak, weight in zip(histories, log_losses, sizes, peaks, weights, strict=True)
    )
    mean, root = np.zeros(covariates.count), np.zeros((0, covariates.count))
    if prior is not None:
        mean, precision = prior.for_fit(covariates)
        values, vectors = np.linalg.eigh(precision)
        root = (np.sqrt(np.maximum(values, 0.0)) * vectors).T
    return Objective(covariates, fitted, mean, root, settings.smallest_noise, settings.independent)


def _windows(curve: Curve, settings: FitSettings) -> Curve:
    """Leave out the beginning, and average the rest in windows."""
    begin = min(settings.first_share * curve.schedule.total, 0.3 * float(curve.steps[-1]))
    late = curve.steps >= max(begin, 1)
    kept = curve.after(int(np.ceil(max(begin, 1))) - 1) if late.sum() >= 3 else curve
    return kept.binned(settings.points) if kept.steps[0] >= 1 else kept.after(0).binned(settings.points)


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
    noise = _measured_noise(objective, result.x)
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


def _measured_noise(objective: Objective, theta: Theta) -> float:
    """Median absolute residual, as a standard deviation, of points as the latest; never below the floor."""
    weighted = np.concatenate(
        [
            residual * curve.weights
            for (residual, _), curve in zip(objective.parts(theta), objective.curves, strict=True)
        ]
    )
    return max(float(np.median(np.abs(weighted))) / 0.6745, objective.noise)


def curvature(objective: Objective, theta: Theta, held: dict[int, float] | set[int]) -> tuple[np.ndarray, np.ndarray]:
    """Precision of the free parameters at the optimum, and their indices."""
    free = np.array([k for k in range(objective.covariates.count) if k not in held])
    _, gradient = objective.scaled(theta)
    # A direction that neither data nor prior knows gets a standard deviation of 100.
    return gradient[:, free].T @ gradient[:, free] + 1e-4 * np.eye(len(free)), free


def _evidence(objective: Objective, result: Any, held: dict[int, float]) -> float:
    """Laplace's approximation of the logarithm of the marginal likelihood, to choose between priors."""
    precision, free = curvature(objective, result.x, held)
    own = objective.root.T @ objective.root
    known = [k for k in free if own[k, k] > 0]
    prior_volume = np.linalg.slogdet(own[np.ix_(known, known)])[1] if known else 0.0
    points = sum(min(len(curve.log_losses), objective.independent) for curve in objective.curves)
    volume = np.linalg.slogdet(precision)[1]
    return float(-result.cost - points * np.log(objective.noise) + 0.5 * (prior_volume - volume))


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
    return Fit(
        objective.covariates.law,
        objective.covariates,
        result.x,
        covariance,
        prior_sd,
        objective.noise,
        _status(objective, result, certificate),
        certificate,
        tuple(curve.name for curve in curves),
        tuple(curve.size for curve in curves),
        tuple(residual for residual, _ in parts),
        tuple(jacobian for _, jacobian in parts),
        prior.name if prior else None,
    )


def _status(objective: Objective, result: Any, certificate: Certificate) -> FitStatus:
    if result.status == 0:
        return FitStatus.LIMIT
    lower, upper = objective.bounds()
    near = 1e-6 * np.maximum(np.abs(result.x), 1.0)
    if np.any(result.x - lower < near) or np.any(upper - result.x < near):
        return FitStatus.AT_BOUND
    if certificate.starts > 1 and certificate.agreed < 2:
        return FitStatus.SEVERAL_OPTIMA
    return FitStatus.CONVERGED
