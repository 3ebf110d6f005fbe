"""The learning-curve prior against its printed formulas, brute force over the prior, and the published chain."""

import numpy as np
import pytest
from scipy.special import expit

from eigenflow.core.errors import ArgumentError
from eigenflow.forecast import Curve, Schedule
from eigenflow.forecast.fitting.pooled import history_of
from eigenflow.forecast.intervals.calibration import shipped_calibration
from eigenflow.forecast.intervals.model import Fitted, predict_interval
from eigenflow.forecast.laws import History
from eigenflow.forecast.laws.learning_curves import LearningCurveStatus, fit_learning_curve, learning_curve_fitter
from eigenflow.forecast.laws.learning_curves.posterior import Posterior, effective_size, sample_posterior
from eigenflow.forecast.laws.learning_curves.units import Units
from forecast.laws import learning_curve_chain as chain

WHOLE = np.arange(1.0, 101.0)
LEVELS = (0.05, 0.5, 0.95)


def printed_parameters(posterior: Posterior) -> np.ndarray:
    """As the published chain orders them."""
    w, (alpha, k, delta) = posterior.weights, posterior.log_shapes.T
    c1, a1, c2, a2, a3, b3 = (posterior.amounts / w[:, [0, 0, 1, 1, 2, 2]]).T
    return np.column_stack([w, c1, a1, alpha, c2, a2, a3, b3, k, delta, np.log(posterior.noises)])


def drawn_curve(rng: np.random.Generator) -> np.ndarray:
    """One set of parameters from the prior, excluded ones left out."""
    while True:
        found = chain.draw_prior(64, rng)
        found = found[chain.is_allowed(found, WHOLE)]
        if len(found):
            return found[:1]


def weighted_quantiles(values: np.ndarray, weights: np.ndarray, levels: tuple[float, ...]) -> np.ndarray:
    order = np.argsort(values)
    return np.interp(levels, np.cumsum(weights[order]) / weights.sum(), values[order])


def test_draws_are_curves_of_the_printed_prior():
    """Put into the printed formulas, every draw lies in the prior's box and bounds, and is the curve it says."""
    x, rng = np.arange(1.0, 21.0), np.random.default_rng(0)
    y = 0.5 - 0.4 * x**-0.5 + rng.normal(0.0, 0.01, 20)
    posterior = sample_posterior(x, y, WHOLE, rng)
    parameters = printed_parameters(posterior)
    assert ((parameters >= chain.LOWER) & (parameters <= chain.UPPER)).all()
    assert chain.is_allowed(parameters, WHOLE).all()
    np.testing.assert_allclose(posterior.curves(WHOLE), chain.curves(parameters, WHOLE), rtol=0, atol=1e-12)


@pytest.mark.long
def test_quantiles_are_those_of_brute_force_over_the_prior():
    """A million draws from the prior, weighed by the likelihood of four noisy points.

    The standard error of a quantile near q is sqrt(q (1 - q) / effective) / density; for a normal density that is
    below 2.2 sd / sqrt(effective) at 5 and 95 %. Four of the sum of both errors are allowed.
    """
    rng = np.random.default_rng(1)
    x, y = np.array([1.0, 4.0, 9.0, 16.0]), np.array([0.12, 0.31, 0.36, 0.44])
    at = np.array([16.0, 40.0, 100.0])
    values, weights = [], []
    for _ in range(10):
        drawn = chain.draw_prior(100_000, rng)
        likely = chain.log_likelihood(drawn, x, y)
        # What is e^-25 less likely than the best adds nothing, and need not be looked at.
        drawn, likely = drawn[likely > likely.max() - 25], likely[likely > likely.max() - 25]
        held = chain.is_allowed(drawn, WHOLE)
        values.append(chain.curves(drawn[held], at))
        weights.append(likely[held])
    weights, values = np.concatenate(weights), np.concatenate(values)
    posterior = sample_posterior(x, y, WHOLE, rng)
    error = 2.2 / np.sqrt(effective_size(weights)) + 2.2 / np.sqrt(posterior.effective)
    weights = np.exp(weights - weights.max())
    for k, ours in enumerate(posterior.curves(at).T):
        expected = weighted_quantiles(values[:, k], weights, LEVELS)
        sd = (expected[2] - expected[0]) / 3.29
        np.testing.assert_allclose(np.quantile(ours, LEVELS), expected, rtol=0, atol=4 * error * sd)


@pytest.mark.long
def test_spread_between_seeds_is_what_the_effective_size_says():
    """A median of n independent normal draws has a standard deviation of 1.25 sd / sqrt(n).

    The standard deviation of 12 seeds is known to a factor of 1.5 (95 %), and draws kept are fewer than those weighed.
    """
    x, rng = np.arange(2.0, 13.0), np.random.default_rng(2)
    y = 0.55 - 0.3 * x**-0.4 + rng.normal(0.0, 3e-3, len(x))
    found = [sample_posterior(x, y, WHOLE, np.random.default_rng(seed)) for seed in range(12)]
    ends = np.array([one.curves(WHOLE[-1:])[:, 0] for one in found])
    expected = 1.25 * ends.std() / np.sqrt(np.mean([one.effective for one in found]))
    assert np.median(ends, axis=1).std() < 2.0 * expected


@pytest.mark.slow
@pytest.mark.parametrize("noise", [2e-2, 1e-3])
def test_chain_of_all_parameters_leaves_the_draws_as_they_are(noise):
    """The published chain, begun at our draws: were these not the posterior, it would carry them away.

    In runs of ten thousand steps quantiles of the end move by 0.1 to 0.2 sd, as its halves differ among themselves.
    """
    rng = np.random.default_rng(3)
    x = np.arange(2.0, 17.0)
    y = 0.6 - 0.35 * x**-0.5 + rng.normal(0.0, noise, len(x))
    posterior = sample_posterior(x, y, WHOLE, rng)
    begin = printed_parameters(posterior)[rng.permutation(2000)[:800]]
    moved = chain.ensemble(chain.log_posterior(x, y, WHOLE), begin, 2000, 50, rng)[20:]
    expected = np.quantile(chain.curves(moved.reshape(-1, 13), WHOLE[-1:])[:, 0], LEVELS)
    ours = np.quantile(posterior.curves(WHOLE[-1:])[:, 0], LEVELS)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=0.3 * (expected[2] - expected[0]) / 3.29)


@pytest.mark.slow
def test_intervals_hold_for_curves_that_come_from_the_prior():
    """Curves drawn from the prior, 20 of 100 points known: the rank of the end is uniform, so 90 % lie inside.

    Of 120 curves, between 100 and 115 with a probability of 99 % (binomial).
    """
    rng, inside = np.random.default_rng(4), 0
    for _ in range(120):
        truth = drawn_curve(rng)
        y = chain.curves(truth, WHOLE)[0] + np.exp(truth[0, 12]) * rng.standard_normal(100)
        posterior = sample_posterior(WHOLE[:20], y[:20], WHOLE, rng)
        end = posterior.curves(WHOLE[-1:])[:, 0] + posterior.noises * rng.standard_normal(len(posterior.noises))
        inside += int(np.quantile(end, 0.05) <= y[-1] <= np.quantile(end, 0.95))
    assert 100 <= inside <= 115


def test_units_are_the_published_map_for_losses():
    """With bounds 0 and infinity and soft bounds 0 and top, `pfn_normalize` is 1 - (a s(l) + b), b = 1 - a."""
    units, losses = Units(2000, 3.0), np.array([1e-3, 0.5, 2.0, 3.0, 9.0])
    a = 1.0 / (1.0 - 1.0 / (1.0 + np.exp(1.0)))
    expected = 1.0 - (a * expit(2.0 * losses / 3.0 - 1.0) + (1.0 - a))
    np.testing.assert_allclose(units.values(losses), expected, rtol=1e-12)
    assert units.values(np.array([3.0]))[0] == pytest.approx(np.exp(-1.0))
    np.testing.assert_allclose(units.losses(units.values(losses)), losses, rtol=1e-9)
    np.testing.assert_allclose(units.positions(np.array([20, 2000])), [1.0, 100.0])


@pytest.fixture(scope="module")
def power_curve():
    rng = np.random.default_rng(5)
    steps = np.arange(100, 10_001, 100)
    losses = (2.0 + 30.0 * steps**-0.5) * np.exp(rng.normal(0.0, 2e-3, len(steps)))
    return Curve("power", steps, losses, Schedule.constant(total=10_000, peak=1e-3))


def test_power_law_is_forecast_within_its_interval(power_curve):
    known = power_curve.until(2000)
    fit = fit_learning_curve(known.steps, known.losses, total=10_000, rng=np.random.default_rng(0))
    ahead = np.array([4000, 10_000])
    forecast, truth = fit.predict(ahead), 2.0 + 30.0 * ahead**-0.5
    assert fit.status is LearningCurveStatus.CONVERGED
    assert ((forecast.lower < truth) & (truth < forecast.upper)).all()
    assert (forecast.upper - forecast.lower)[1] > (forecast.upper - forecast.lower)[0] > 0
    # Where the curve is known best, the noise of single points, 1.645 * 2e-3 of the loss, is most of their interval.
    near, noisy = fit.predict([1500]), fit.predict([1500], rng=np.random.default_rng(1))
    added = np.sqrt((noisy.upper - noisy.lower) ** 2 - (near.upper - near.lower) ** 2) / 2
    assert added[0] == pytest.approx(1.645 * 2e-3 * near.median[0], rel=0.5)
    # 0.1 to 0.3 CPU-s where it was measured; a machine under load may take several times that.
    assert fit.cpu_s < 2.0
    assert len(repr(fit).splitlines()) <= 15 and "10000" in repr(fit)


def test_fit_stands_beside_the_laws(power_curve):
    """As a `Fitted`: intervals take the posterior's spread as the parameters' and see the residuals."""
    known, ahead = power_curve.until(2500), power_curve.after(2500)
    fit = learning_curve_fitter()([known])
    assert isinstance(fit, Fitted)
    log_loss, spread = fit.log_prediction(history_of(ahead))
    np.testing.assert_allclose(np.exp(log_loss), fit.predict(ahead.steps).median, rtol=1e-12)
    # The noise was 2e-3; 25 residuals have a standard deviation within 40 % of it.
    assert np.std(fit.residuals[0]) == pytest.approx(2e-3, rel=0.4)
    predicted = predict_interval(fit, [known], history_of(ahead), shipped_calibration("default"), is_same_run=True)
    np.testing.assert_allclose(predicted.spread[:, 0], spread[:, 0] ** 2, rtol=1e-12)


@pytest.mark.long
def test_what_the_prior_excludes_has_a_status():
    """No curve of the prior grows in the loss; a forecast is given, and it says so."""
    steps = np.arange(100, 2001, 100)
    fit = fit_learning_curve(steps, 2.0 + steps / 2000.0, total=10_000, rng=np.random.default_rng(0))
    forecast = fit.predict([10_000])
    assert fit.status is LearningCurveStatus.OUTSIDE
    assert np.isfinite(forecast.median).all() and (forecast.lower <= forecast.upper).all()


@pytest.mark.long
def test_unit_of_the_loss_does_not_matter():
    """Losses are divided by the largest one: the same draws in any unit.

    Powers of two change no digit. Powers of ten round, which a draw that is just accepted may feel: the median then
    moves by less than a tenth of the interval's half width.
    """
    steps = np.arange(100, 2001, 100)
    losses = 2.0 + 30.0 * steps**-0.5

    def end(unit):
        fit = fit_learning_curve(steps, unit * losses, total=10_000, rng=np.random.default_rng(0))
        found = fit.predict([10_000])
        return np.array([found.median[0], found.lower[0], found.upper[0]]) / unit

    whole = end(1.0)
    for unit in (2.0**-66, 2.0**66):
        np.testing.assert_allclose(end(unit), whole, rtol=1e-12)
    for unit in (1e-20, 1e20):
        assert abs(end(unit)[0] - whole[0]) < 0.1 * 0.5 * (whole[2] - whole[1])


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"total": 1000}, r"`total` must be the updates of the whole run, but is 1000.*go to 2000"),
        ({"total": 100_000}, r"`steps` must have 3 points or more from step 1000 on.*has 2"),
        ({"rng": 0}, r"`rng` must be a `numpy.random.Generator`"),
        ({"draws": 10}, r"`draws` must be a whole number in \[256"),
        ({"losses": [3.0, -1.0, 2.0]}, "losses must be positive and finite"),
    ],
)
def test_wrong_arguments_are_named(arguments, words):
    given = {"total": 10_000, "rng": np.random.default_rng(0), "losses": [3.0, 2.5, 2.2], **arguments}
    with pytest.raises(ArgumentError, match=words):
        fit_learning_curve([500, 1000, 2000], given.pop("losses"), **given)


@pytest.mark.rejects
def test_steps_before_the_prior_begins_are_refused(power_curve):
    fit = learning_curve_fitter()([power_curve.until(2000)])
    with pytest.raises(ArgumentError, match=r"from 100 on.*but are \[50\]"):
        fit.log_prediction(History(np.array([50]), np.ones(10_000)))
    with pytest.raises(ArgumentError, match="for one curve, but `curves` has 2"):
        learning_curve_fitter()([power_curve, power_curve])
