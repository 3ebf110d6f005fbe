"""What a constant rate leaves open of the noise: the mixture against dense integration and against fresh truths."""

from dataclasses import replace

import numpy as np
import pytest

from eigenflow.forecast import Curve, CurveSet, Schedule, fit_parameters
from eigenflow.forecast.fitting.fit import Fit
from eigenflow.forecast.fitting.objective import FitSettings
from eigenflow.forecast.fitting.posterior import KNOWN, Component
from eigenflow.forecast.fitting.priors import learned_prior
from eigenflow.forecast.fitting.search import build_objective
from eigenflow.forecast.laws import TransportLaw
from eigenflow.forecast.laws.protocol import History
from eigenflow.forecast.study.schema import FitForm
from eigenflow.forecast.study.stored_fit import fit_from_form, fit_to_dict

TOTAL = 4000
CONSTANT = Schedule.constant(total=TOTAL, peak=1e-3)
DECAYED = Schedule.cosine(total=TOTAL, peak=1e-3, end=0.0)
WIDE = learned_prior("wide")
LAW = TransportLaw()
NOISE = [parameter.name for parameter in LAW.parameters].index("B")
STEPS = np.unique(np.geomspace(40, TOTAL, 60).astype(np.int64))


def true_losses(theta, schedule, steps, reference=float(TOTAL)):
    law = replace(LAW, reference=reference)
    return np.exp(law.evaluate(theta, law.prepare(History(steps, schedule.rates)))[0])


def own_theta(noise, rng=None):
    """The middle of the wide prior with a level of 3; or a draw from it, but for the level."""
    values = dict(zip(WIDE.parameters, WIDE.mean, strict=True))
    if rng is not None:
        values = dict(zip(WIDE.parameters, rng.multivariate_normal(WIDE.mean, WIDE.covariance), strict=True))
    theta = np.array([np.log(3.0) if p.name == "L_inf" else values[p.name] for p in LAW.parameters])
    if noise is not None:
        theta[NOISE] = noise
    low = np.array([p.to_theta(p.lower) for p in LAW.parameters])
    high = np.array([p.to_theta(p.upper) for p in LAW.parameters])
    return np.clip(theta, low + 1e-3, high - 1e-3)


def seen(theta, rng, schedule=CONSTANT):
    losses = true_losses(theta, schedule, STEPS) * np.exp(1e-3 * rng.normal(size=len(STEPS)))
    return Curve("seen", STEPS, losses, schedule)


def end_of(fit, schedule):
    mean, variance = fit.log_moments(History(np.array([TOTAL]), schedule.rates))
    return float(mean[0]), float(np.sqrt(variance[0]))


def held_but_level_and_noise(fit):
    own = {p.name: float(p.to_value(fit.theta[k])) for k, p in enumerate(LAW.parameters)}
    rest = {name: float(fit.theta[k]) for k, name in enumerate(fit.covariates.names) if name not in own}
    # Noise that is always in balance, so that a constant rate tells nothing of it.
    fast = {"r": 1e4}
    return {name: value for name, value in (own | rest | fast).items() if name not in ("L_inf", "B")}


def densely(fit, held, curve):
    """Mean and standard deviation of ln(loss) after a decay, integrated over level and noise on a grid; the noise is
    within 2.5 standard deviations of its optimum, since the mixture has no node farther out."""
    objective = build_objective([curve], TransportLaw(), WIDE, FitSettings())
    noise = np.sqrt(max(fit.noise**2 - fit.point_noise**2, FitSettings().smallest_noise ** 2))
    objective = objective.with_noise(float(noise))
    sd = float(np.sqrt(fit.covariance[NOISE, NOISE]))
    history = History(np.array([TOTAL]), DECAYED.rates)
    prepared = fit.law.prepare(history)
    weights, values = [], []
    for b in fit.theta[NOISE] + sd * np.linspace(-2.5, 2.5, 41):
        # Noise and level are one factor to a constant rate: the level moves against ln(1 + B).
        level = fit.theta[0] + np.log1p(np.exp(fit.theta[NOISE])) - np.log1p(np.exp(b))
        for shift in np.linspace(-0.02, 0.02, 41):
            theta = fit.theta.copy()
            theta[NOISE], theta[0] = b, level + shift
            weights.append(-0.5 * float((objective.scaled(theta)[0] ** 2).sum()))
            own, _ = fit.covariates.own(theta, None, 1e-3)
            values.append(float(fit.law.evaluate(own, prepared)[0][0]))
    weights = np.exp(np.array(weights) - max(weights))
    mean = np.average(values, weights=weights)
    return mean, float(np.sqrt(np.average((values - mean) ** 2, weights=weights)))


@pytest.fixture(scope="module")
def constant():
    curve = seen(own_theta(-2.0), np.random.default_rng(0))
    return curve, fit_parameters([curve], prior=WIDE, starts=1)


def test_the_mixture_is_what_dense_integration_gives(constant):
    """Level and noise free, all else held: one Gaussian has two fifths of the true width after a decay, and its middle
    lies high; five nodes have both to a sixth of the width (the outer ones stand for all beyond them)."""
    curve, free = constant
    held = held_but_level_and_noise(free)
    fit = fit_parameters([curve], prior=WIDE, starts=1, fixed=held)
    assert len(fit.posterior) == 5
    mean, width = densely(fit, held, curve)
    found, found_width = end_of(fit, DECAYED)
    gaussian, gaussian_width = end_of(replace(fit, posterior=()), DECAYED)
    assert gaussian_width < 0.6 * width and gaussian - mean > 0.2 * width
    assert abs(found - mean) < width / 6 and found_width == pytest.approx(width, rel=1 / 6)


def test_along_the_posterior_the_known_points_are_met(constant):
    """Every node describes the constant run as well as the optimum does; after a decay they part."""
    curve, fit = constant
    ends = []
    for one in fit.posterior:
        at = fit.at(one.theta)
        told = at.log_prediction(History(curve.steps, CONSTANT.rates))[0]
        late = curve.steps > 400
        assert np.sqrt(np.mean((told - np.log(curve.losses))[late] ** 2)) < 2e-3
        ends.append(at.log_prediction(History(np.array([TOTAL]), DECAYED.rates))[0][0])
    assert np.ptp(ends) > 0.2
    assert sum(one.weight for one in fit.posterior) == pytest.approx(1.0, abs=1e-12)


def test_what_curves_tell_needs_no_mixture():
    """A constant run and a decay tell the noise: one Gaussian, and the mixture's moments are its own."""
    rng, theta = np.random.default_rng(1), own_theta(-2.0)
    fit = fit_parameters([seen(theta, rng), seen(theta, rng, DECAYED)], prior=WIDE, starts=1)
    assert np.sqrt(fit.covariance[NOISE, NOISE]) < KNOWN and fit.posterior == ()
    history = History(np.array([TOTAL]), DECAYED.rates)
    value, jacobian = fit.log_prediction(history)
    mean, variance = fit.log_moments(history)
    assert mean[0] == value[0]
    assert variance[0] == pytest.approx(fit.conflict * float(jacobian[0] @ fit.covariance @ jacobian[0]), rel=1e-9)


def test_priors_of_one_evidence_count_alike_and_a_useless_one_does_not(constant):
    curve, fit = constant
    twin = replace(WIDE, provenance="the same again")
    both = fit_parameters([curve], prior=[twin, WIDE], starts=1)
    assert len(both.posterior) == 10
    assert sum(one.weight for one in both.posterior[:5]) == pytest.approx(0.5, abs=1e-6)
    np.testing.assert_allclose(end_of(both, DECAYED), end_of(fit, DECAYED), rtol=1e-6)
    far = replace(WIDE, name="language", mean=WIDE.mean + 3.0, covariance=1e-4 * np.eye(len(WIDE.mean)))
    only = fit_parameters([curve], prior=[far, WIDE], starts=1)
    np.testing.assert_allclose(end_of(only, DECAYED), end_of(fit, DECAYED), rtol=1e-6)


def test_a_held_noise_is_not_followed(constant):
    curve, _ = constant
    assert fit_parameters([curve], prior=WIDE, starts=1, fixed={"B": 0.1}).posterior == ()
    assert fit_parameters([curve], prior=WIDE, starts=1, mixes=False).posterior == ()


def test_draws_are_of_the_mixture_and_as_wide_as_it(constant):
    """Two narrow components of weights 0.25 and 0.75: draws fall to either in these shares (1000 draws: standard
    deviation 0.014), and about each with the covariance times the conflict."""
    _, fit = constant
    low, high = fit.theta - 1.0, fit.theta + 1.0
    small = 1e-6 * np.eye(len(fit.theta))
    made = replace(fit, posterior=(Component(0.25, low, small, 1.0), Component(0.75, high, small, 4.0)))
    drawn = made.draws(1000, np.random.default_rng(0))
    is_high = drawn[:, 0] > fit.theta[0]
    assert is_high.mean() == pytest.approx(0.75, abs=0.05)
    assert (drawn[is_high] - high).std() == pytest.approx(2e-3, rel=0.05)
    assert (drawn[~is_high] - low).std() == pytest.approx(1e-3, rel=0.05)


def form_of(fit: Fit):
    return FitForm.model_validate({**fit_to_dict(fit)}, strict=True)


def test_a_stored_fit_keeps_its_posterior(constant):
    _, fit = constant
    again = fit_from_form(form_of(fit))
    assert end_of(again, DECAYED) == end_of(fit, DECAYED) and len(again.posterior) == len(fit.posterior)


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("weight", 0.9, "weights in `posterior` must add up to 1"),
        ("theta", [0.0], "`theta` must have .* entries"),
        ("covariance", [[0.0]], "`covariance` must have .* rows and columns"),
        ("conflict", 0.5, "conflict"),
    ],
)
@pytest.mark.rejects
def test_a_damaged_posterior_is_refused(constant, part, value, message):
    _, fit = constant
    form = fit_to_dict(fit)
    form["posterior"][0][part] = value
    with pytest.raises(ValueError, match=message):
        FitForm.model_validate(form, strict=True)


@pytest.mark.slow
def test_intervals_hold_truths_that_are_drawn_from_the_prior():
    """200 truths from the wide prior, a constant rate seen, the end after a decay hidden: 90 % intervals of the moments
    hold 90 % of them (standard deviation 0.02; a law with long tails holds a little more at this level). One Gaussian
    holds clearly fewer."""
    inside = {"mixture": [], "gaussian": []}
    for seed in range(200):
        rng = np.random.default_rng(seed)
        theta = own_theta(None, rng)
        curve = seen(theta, rng)
        fit = fit_parameters(CurveSet((curve,)), prior=WIDE, starts=1)
        truth = np.log(true_losses(theta, DECAYED, np.array([TOTAL]))[0])
        for name, one in (("mixture", fit), ("gaussian", replace(fit, posterior=()))):
            mean, sd = end_of(one, DECAYED)
            inside[name].append(abs(truth - mean) <= 1.645 * float(np.hypot(sd, 1e-3)))
    assert 0.86 <= np.mean(inside["mixture"]) <= 0.97
    assert np.mean(inside["gaussian"]) < np.mean(inside["mixture"]) - 0.03
