"""Fits of synthetic curves whose truth is known, with noise as real curves have it."""

from dataclasses import replace

import numpy as np
import pytest

from eigenflow.core.errors import ArgumentError
from eigenflow.forecast import Curve, CurveSet, FitStatus, fit_law, fit_study, read_fit, save_study, write_fit
from eigenflow.forecast.fitting.priors import learned_prior, priors_for
from eigenflow.forecast.laws import History
from forecast.synthetic_runs import SCHEDULES, TOTAL, TRUTH, UNSEEN, curve, three, true_losses

pytestmark = pytest.mark.long


def test_truth_lies_in_its_intervals_and_the_forecast_is_within_the_noise():
    """90 % intervals over 10 seeds and 9 parameters: 81 expected; fewer than 70 of 90 would be 4 sigma off."""
    inside, errors = 0, []
    steps = np.arange(16_000, TOTAL, 500)
    for seed in range(10):
        fit = fit_law(three(seed), starts=1)
        rows = {row["name"]: row for row in fit.parameters}
        inside += sum(rows[name]["lower"] <= TRUTH[name] <= rows[name]["upper"] for name in TRUTH if name != "s0")
        forecast = fit.predict(UNSEEN, every=500)
        errors.append(np.log(forecast.loss[-len(steps) - 1 : -1] / true_losses(UNSEEN, steps)))
    assert inside >= 70
    # Point noise is 3e-4 in ln(loss) and three curves hold about 100 independent points.
    assert np.abs(np.mean(errors)) < 3e-4
    assert np.sqrt(np.mean(np.square(errors))) < 4e-4


def test_every_start_reaches_the_same_optimum():
    fit = fit_law(three(0), starts=6)
    assert fit.status is FitStatus.CONVERGED
    assert fit.certificate.starts == 6
    assert fit.certificate.agreed >= 5


def test_without_a_prior_the_fit_is_the_least_squares_fit():
    """The gradient of the cost vanishes, and moving any parameter raises it."""
    fit = fit_law(three(1), prior=None, starts=1)
    assert fit.prior is None
    assert np.isinf(fit.prior_sd).all()
    residuals = np.concatenate(fit.residuals)
    assert np.sqrt(np.mean(residuals**2)) < 4e-4


def test_a_single_constant_rate_leaves_relaxation_to_the_prior():
    """One constant rate has no change of rate: nothing in it tells q, r or b, and the fit must say so.

    With a prior that is independent from parameter to parameter, what a fit "learned" is what the data said.
    """
    shipped = learned_prior("language")
    independent = replace(shipped, covariance=np.diag(np.diag(shipped.covariance)), name="independent")
    fit = fit_law([curve("constant", np.random.default_rng(3))], starts=1, prior=independent)
    learned = {row["name"]: row["learned"] for row in fit.parameters}
    assert max(learned[name] for name in ("q", "r", "b", "alpha")) < 0.1
    assert learned["L_inf"] > 0.9


def test_sizes_are_fitted_jointly_and_extrapolated():
    """ln(L_inf), A and B move with phi(N) (`covariates`), so a third size follows exactly from two without noise."""
    from eigenflow.forecast.fitting.covariates import size_coordinate

    rng = np.random.default_rng(5)
    reference = float(np.sqrt(25e6 * 100e6))

    def at(size: float) -> dict[str, float]:
        x = size_coordinate(size, reference)[0]
        return {"L_inf": 2.6 * np.exp(-0.1 * x), "A": 0.08 * np.exp(-0.1 * x)}

    curves = [curve(name, rng, noise=1e-5, size=size, **at(size)) for size in (25e6, 100e6) for name in SCHEDULES]
    fit = fit_law(curves, starts=1)
    steps = np.arange(5000, TOTAL, 500)
    value, _ = fit.log_prediction(History(steps, SCHEDULES["cosine"].rates), size=400e6)
    np.testing.assert_allclose(value, np.log(true_losses(SCHEDULES["cosine"], steps, **at(400e6))), atol=2e-3)


def test_a_prediction_of_every_step_is_the_law_itself():
    """Interpolated between nodes within 2e-4 of ln(loss): the law itself steps by that much from block to block."""
    fit = fit_law(three(2), starts=1)
    forecast = fit.predict(UNSEEN)
    steps = forecast.steps[::53]
    value, _ = fit.log_prediction(History(steps, UNSEEN.rates))
    np.testing.assert_allclose(np.log(forecast.loss[::53]), value, atol=2e-4)
    assert np.all(forecast.lower < forecast.loss) and np.all(forecast.loss < forecast.upper)


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"law": "rk9"}, "Unknown law 'rk9'. Available: 'transport'"),
        ({"prior": "vision"}, "Unknown prior 'vision'"),
        ({"fixed": {"beta": 1.0}}, "`fixed` names 'beta', which is no parameter"),
    ],
)
def test_unknown_names_are_refused(change, message):
    with pytest.raises(ArgumentError, match=message):
        fit_law(three(0), **change)


@pytest.mark.rejects
def test_two_points_are_refused():
    curve = Curve("short", np.array([10, 20]), np.array([3.0, 2.9]), SCHEDULES["constant"])
    with pytest.raises(ArgumentError, match="3 points or more in all, but curve short has 2"):
        fit_law([curve])


@pytest.mark.rejects
def test_a_size_that_the_fit_cannot_know_is_refused():
    fit = fit_law(three(0), starts=1)
    with pytest.raises(ArgumentError, match="the fitted curves have no size"):
        fit.predict(UNSEEN, size=1e9)


def test_a_fit_comes_back_from_its_file_to_the_last_bit(tmp_path):
    fit = fit_law(three(4), starts=1)
    write_fit(fit, tmp_path / "fit.json")
    again = read_fit(tmp_path / "fit.json")
    one, other = fit.predict(UNSEEN, every=100), again.predict(UNSEEN, every=100)
    for name in ("steps", "loss", "lower", "upper"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert again.parameters == fit.parameters
    assert again.status is fit.status


def test_a_published_law_is_fitted_and_stored_too(tmp_path):
    fit = fit_law(three(4), "momentum", starts=2)
    assert fit.prior is None
    write_fit(fit, tmp_path / "fit.json")
    np.testing.assert_array_equal(
        read_fit(tmp_path / "fit.json").predict(UNSEEN, every=500).loss, fit.predict(UNSEEN, every=500).loss
    )


@pytest.mark.rejects
def test_files_that_are_no_fit_are_refused(tmp_path):
    (tmp_path / "a.json").write_text("{")
    (tmp_path / "b.json").write_text("{}")
    with pytest.raises(ArgumentError, match="is not JSON"):
        read_fit(tmp_path / "a.json")
    with pytest.raises(ArgumentError, match="is not a fit of eigenflow"):
        read_fit(tmp_path / "b.json")
    with pytest.raises(ArgumentError, match=r"There is no file .*forecast fit"):
        read_fit(tmp_path / "c.json")


@pytest.mark.rejects
def test_a_file_of_several_fits_and_a_fit_without_curves_are_refused(tmp_path):
    save_study(fit_study(CurveSet(tuple(three(0))), ["power_time", "momentum"], starts=1), tmp_path / "two.json")
    with pytest.raises(ArgumentError, match="has 2 fits"):
        read_fit(tmp_path / "two.json")
    fit = fit_law(three(0), "power_time", starts=1)
    with pytest.raises(ArgumentError, match="`fit` has no curves behind its intervals"):
        write_fit(fit.at(fit.theta), tmp_path / "lost.json")


def test_shipped_priors_say_where_they_come_from_and_are_proper():
    priors = priors_for("transport")
    assert priors[0].name == "language"
    for prior in priors:
        assert "families" in prior.provenance or (prior.is_wide and "set by hand" in prior.provenance)
        assert np.linalg.eigvalsh(prior.covariance).min() > 0
        assert set(prior.parameters) == set(TRUTH) - {"L_inf"}
