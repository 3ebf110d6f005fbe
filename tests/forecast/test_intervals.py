"""Intervals on synthetic curves whose truth is known, and what a calibration learns."""

from dataclasses import replace

import numpy as np
import pytest

from eigenflow.core.errors import ArgumentError
from eigenflow.forecast.fitting.covariates import Covariates
from eigenflow.forecast.fitting.pooled import history_of, pooled_fit
from eigenflow.forecast.fitting.priors import conflict_with_prior, learned_prior
from eigenflow.forecast.fitting.search import fit_parameters
from eigenflow.forecast.intervals.calibration import HeldOut, calibrate, leave_out, shipped_calibration
from eigenflow.forecast.intervals.error_scale import COMPONENTS, Calibration
from eigenflow.forecast.intervals.model import measure_spread, posterior_moments, predict_interval
from eigenflow.forecast.laws import History
from eigenflow.forecast.laws.published import PUBLISHED_LAWS
from eigenflow.forecast.laws.transport import TransportLaw
from forecast.synthetic_curves import SCHEDULES, TOTAL, synthetic
from rounding import SEEDS, last_bits


def column(spread, name):
    return spread[:, COMPONENTS.index(name)]


def fitted(law, curves):
    return pooled_fit(curves, PUBLISHED_LAWS[law], rng=np.random.default_rng(0))


@pytest.mark.long
def test_calibration_recovers_weights_and_covers_what_was_left_out():
    """Student errors (4 degrees) with a variance of 2 x first + 0.5 x third component. 300 curves of 20 points: ln of
    a weight is known to about 0.1, coverage of 100 fresh curves to about 1 %."""
    rng = np.random.default_rng(0)

    def cases(group, count):
        found = []
        for _ in range(count):
            spread = np.zeros((20, len(COMPONENTS)))
            spread[:, 0], spread[:, 2] = 1e-6 * np.exp(rng.normal(0, 1.5, (2, 20)))
            scale = np.sqrt(2.0 * spread[:, 0] + 0.5 * spread[:, 2])
            found.append(HeldOut(group, scale * rng.standard_t(4, 20), spread))
        return found

    # Every curve a set of its own, so that they outweigh what was likely before.
    learned = calibrate("any", [case for k in range(300) for case in cases(f"set {k}", 1)])
    assert learned.weights[0] == pytest.approx(2.0, rel=0.25)
    assert learned.weights[2] == pytest.approx(0.5, rel=0.35)
    assert learned.freedom == pytest.approx(4.0, rel=0.25)
    assert learned.factor == pytest.approx(1.0, abs=0.05)  # the model is true: nothing is left to correct
    assert learned.own_freedom == 0.0  # there was no backtest to learn it from
    fresh = cases("c", 100)
    inside = [np.mean(np.abs(case.errors) <= learned.half_width(case.spread)) for case in fresh]
    assert np.mean(inside) == pytest.approx(0.9, abs=0.03)


@pytest.mark.long
def test_a_set_is_never_calibrated_on_itself():
    """The set with errors a hundred times larger does not move its own calibration."""
    rng = np.random.default_rng(1)

    def cases(group, size):
        return [HeldOut(group, rng.normal(0, size, 10), np.full((10, len(COMPONENTS)), 1e-6)) for _ in range(12)]

    first, second, wild = cases("a", 1e-3), cases("b", 1e-3), cases("wild", 1e-1)
    held = leave_out("any", [*first, *second, *wild])
    alone = calibrate("any", [*first, *second])
    assert held["wild"].weights == alone.weights and held["wild"].factor == alone.factor
    assert held["wild"].sets == ("a", "b")


def test_every_component_is_there_for_its_reason():
    rng = np.random.default_rng(2)
    curves = synthetic(names=("constant", "cosine"), rng=rng)
    known = curves.curves
    fit, other = fitted("momentum", known), fitted("power_time", known)
    longer = History(np.array([TOTAL, 4 * TOTAL]), np.full(4 * TOTAL, 1e-3))
    log_loss, parameters = posterior_moments(fit, longer, None)
    alternative = other.log_prediction(longer)[0]
    spread = measure_spread(fit, known, longer, log_loss, parameters, [alternative], is_same_run=False)
    misfit = column(spread, "misfit")
    # Twice as far in steps, 4 times: (1 + ln 4)^2.
    assert misfit[1] / misfit[0] == pytest.approx((1 + np.log(4)) ** 2, rel=0.02)
    assert np.sqrt(column(spread, "noise")) == pytest.approx(1e-3, rel=0.3)
    np.testing.assert_allclose(column(spread, "laws"), (alternative - log_loss) ** 2)
    by_hand = [row @ fit.covariance @ row for row in fit.log_prediction(longer)[1]]
    np.testing.assert_allclose(column(spread, "parameters"), by_hand)
    assert (column(spread, "runs") > 0).all()
    again = measure_spread(fit, known, longer, log_loss, parameters, [], is_same_run=True)
    assert (column(again, "runs") == 0).all() and (column(again, "laws") == 0).all()
    assert (column(again, "size") == 0).all()


@pytest.mark.parametrize("correlation", [0.0, 0.8])
def test_interval_is_nominal_where_law_and_noise_are_known(correlation):
    """The true law, correlated noise of known size: parameters and noise alone must cover 90 % of fresh runs.

    40 runs of 15 points; coverage by run scatters by about 0.03 at correlation 0.8 (3 independent points a run)."""
    calibration = Calibration("momentum", (1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0), 1.0, 1e9, 0.0, 0, (), {})
    shares = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        curves = synthetic(rng=rng, sd=2e-3, correlation=correlation)
        known, truth = curves.curves[:3], curves["wsd"]
        fit = pooled_fit(known, PUBLISHED_LAWS["momentum"], rng=rng, starts=1)
        seen = replace(truth, steps=truth.steps[::4], losses=truth.losses[::4])
        forecast = predict_interval(fit, known, history_of(seen), calibration)
        shares.append(np.mean((seen.losses >= forecast.lower) & (seen.losses <= forecast.upper)))
    assert np.mean(shares) == pytest.approx(0.9, abs=0.05)


LADDER = (1e8, 2e8, 8e8)


@pytest.fixture(scope="module")
def ladder():
    """A joint fit of three sizes, and the variance that an unseen or a fitted size adds to one schedule's forecast."""
    known = synthetic(names=("constant", "cosine"), sizes=LADDER, rng=np.random.default_rng(5)).curves
    fit, history = fitted("momentum", known), history_of(known[0])

    def variance(size):
        log_loss, parameters = posterior_moments(fit, history, size)
        spread = measure_spread(fit, known, history, log_loss, parameters, [], size=size, is_same_run=False)
        nearest = min(LADDER, key=lambda one: (round(abs(np.log(one / size)), 9), one))  # of two, the smaller
        change = log_loss - fit.log_prediction(history, nearest)[0]
        return column(spread, "size"), change

    return variance


def kriging(at, size):
    """Universal kriging, dense: a random walk in ln(size) of unit variance per e-fold, its drift unknown."""
    x, there = np.log(at), np.log(size)
    origin = min(x[0], there) - 1.0
    basis = np.stack([np.ones(len(x)), x], axis=1)
    system = np.block([[np.minimum.outer(x - origin, x - origin), basis], [basis.T, np.zeros((2, 2))]])
    right = np.concatenate([np.minimum(x, there) - origin, [1.0, there]])
    return there - origin - right @ np.linalg.solve(system, right)


@pytest.mark.parametrize("size", [3e7, 1.3e8, 4e8, 7e8, 1e9, 6e9])
def test_an_unseen_size_has_the_variance_of_a_random_walk_with_unknown_drift(ladder, size):
    """Inside, at both ends, near and far, against the dense solution (1e-9: a 5 x 5 system)."""
    found, change = ladder(size)
    distance = min(abs(np.log(one / size)) for one in LADDER)
    np.testing.assert_allclose(found, (change / distance) ** 2 * kriging(np.array(LADDER), size), rtol=1e-9)


def test_the_variance_of_a_size_is_zero_where_it_was_fitted_and_grows_beyond(ladder):
    for size in LADDER:
        assert (ladder(size)[0] == 0).all()
    above = np.stack([ladder(factor * 8e8)[0] for factor in (1.01, 1.5, 2.0, 4.0, 16.0)])
    below = np.stack([ladder(1e8 / factor)[0] for factor in (1.01, 1.5, 2.0, 4.0)])
    assert (np.diff(above, axis=0) > 0).all() and (np.diff(below, axis=0) > 0).all()
    middle = ladder(4e8)[0]
    assert (middle < above[2]).all()  # ln 2 away from a fitted size both times


def test_half_way_between_two_sizes_the_smaller_one_counts_as_the_nearest(ladder):
    """Logarithms of 2 and of 1/2, of processors that round them differently, must not choose."""
    found = [ladder(float(size))[0] for size in (4e8, *(last_bits(4e8, seed) for seed in SEEDS))]
    for other in found:
        np.testing.assert_allclose(other, found[0], rtol=1e-9)
    np.testing.assert_allclose(found[0], ladder(4e8 * (1 - 1e-7))[0], rtol=1e-5)
    assert not np.allclose(found[0], ladder(4e8 * (1 + 1e-7))[0], rtol=1e-3)


def _ladder(rng, sd):
    """Errors at twice and 16 times the larger of two fitted sizes, and the half-widths if the walk is known."""
    sizes = 1e8 * np.array([1.0, 4.0, 8.0, 64.0])
    walk = np.cumsum(sd * rng.normal(size=4) * np.sqrt(np.diff(np.log(sizes), prepend=0.0)))
    curves = [
        replace(curve, losses=curve.losses * np.exp(stray))
        for stray, curve in zip(
            walk, synthetic("power_time", ("cosine",), sizes=tuple(sizes), rng=rng, sd=1e-4, points=12), strict=True
        )
    ]
    known, history = curves[:2], history_of(curves[0])
    fit = pooled_fit(known, PUBLISHED_LAWS["power_time"], rng=rng, starts=1)
    nearest, found = fit.log_prediction(history, known[1].size)[0], []
    for truth in curves[2:]:
        log_loss, parameters = posterior_moments(fit, history, truth.size)
        spread = measure_spread(fit, known, history, log_loss, parameters, [], size=truth.size, is_same_run=False)
        per_fold = (log_loss - nearest) / np.log(truth.size / known[1].size)
        half = 1.645 * sd * np.sqrt(column(spread, "size")) / np.abs(per_fold)
        found.append(np.mean(np.abs(log_loss - np.log(truth.losses)) <= half))
    return found


@pytest.mark.long
def test_a_size_covers_ladders_that_walk_at_random_about_their_trend_near_and_far():
    """A step per e-fold of known size: 90 % of the losses at 2 and at 16 times the larger fitted size lie inside.

    200 ladders, each one independent error: coverage scatters by 0.021."""
    rng = np.random.default_rng(6)
    near, far = np.mean([_ladder(rng, sd=0.01) for _ in range(200)], axis=0)
    assert near == pytest.approx(0.9, abs=0.06) and far == pytest.approx(0.9, abs=0.06)


def test_forecast_carries_its_calibration():
    curves = synthetic(rng=np.random.default_rng(4), names=("constant", "cosine"))
    calibration = shipped_calibration("transport")
    fit = fitted("momentum", curves.curves)
    history = History(np.array([1000, TOTAL]), SCHEDULES["wsd"].rates)
    forecast = predict_interval(
        fit, curves.curves, history, calibration, alternatives={"power_time": fitted("power_time", curves)}
    )
    assert (forecast.lower < forecast.loss).all() and (forecast.loss < forecast.upper).all()
    assert forecast.calibration.cases > 100 and len(forecast.calibration.coverage) >= 5
    assert all(0 <= share <= 1 for share in forecast.calibration.coverage.values())


def test_unknown_law_gets_the_calibration_of_all_laws():
    assert shipped_calibration("my own law").law == "default"


@pytest.mark.rejects
def test_calibration_needs_cases_and_the_curves_of_the_fit():
    with pytest.raises(ArgumentError, match="needs 10 held-out curves or more, but law 'x' has 1"):
        calibrate("x", [HeldOut("a", np.ones(3), np.ones((3, len(COMPONENTS))))])
    curves = synthetic(rng=np.random.default_rng(0), names=("constant", "cosine"))
    fit = fitted("momentum", curves.curves)
    history = history_of(curves[0])
    with pytest.raises(ArgumentError, match="must be the 2 curves of the fit, but has 1"):
        measure_spread(fit, curves.curves[:1], history, *posterior_moments(fit, history, None), [], is_same_run=False)


def _conflict(distance: float, learned: float) -> float:
    """Of a fit as far from the language prior, in its metric, as asked; the data took `learned` of every variance."""
    law, prior = TransportLaw(), learned_prior("language")
    covariates = Covariates.choose(law, [None], [1.0], rate_slopes=())
    mean, precision = prior.for_fit(covariates)
    values, vectors = np.linalg.eigh(precision)
    theta = mean + vectors[:, -1] * np.sqrt(distance / values[-1])
    return conflict_with_prior(mean, precision, theta, (1 - learned) * np.linalg.pinv(precision))


def test_conflict_with_the_prior_is_distance_over_what_the_prior_expects():
    """Nine parameters have a prior; if the data determine half of each, a distance of 4.5 is what one expects."""
    assert _conflict(18.0, 0.5) == pytest.approx(18.0 / 4.5, rel=1e-6)
    assert _conflict(4.0, 0.5) == 1.0


@pytest.mark.long
def test_a_fit_knows_its_conflict_and_has_none_without_a_prior():
    curves = synthetic(rng=np.random.default_rng(4), names=("constant", "cosine")).curves
    assert fit_parameters(curves, "transport", starts=1).conflict >= 1.0
    assert fit_parameters(curves, "transport", prior=None, starts=1).conflict == 1.0
