"""Fits without priors against scipy's own curve_fit, and what they refuse."""

import numpy as np
import pytest
from scipy.optimize import curve_fit

from eigenflow.core.errors import ArgumentError
from eigenflow.forecast.fitting.pooled import FitStatus, history_of, pooled_fit, refit
from eigenflow.forecast.laws import History
from eigenflow.forecast.laws.chinchilla import ChinchillaLaw
from eigenflow.forecast.laws.published import PUBLISHED_LAWS
from forecast.synthetic_curves import SCHEDULES, TOTAL, TRUTH, synthetic


def test_fit_finds_the_truth_without_noise():
    curves = synthetic(rng=np.random.default_rng(0), sd=0.0)
    fit = pooled_fit(curves.curves, PUBLISHED_LAWS["momentum"], rng=np.random.default_rng(0))
    assert fit.status is FitStatus.CONVERGED
    np.testing.assert_allclose(np.exp(fit.theta), TRUTH["momentum"], rtol=1e-5)


def test_fit_and_covariance_are_those_of_curve_fit():
    """With white noise far below the robust scale it is ordinary least squares; the covariances differ by the sample's
    own correlation length (about 1.1 here) and by the weak prior."""
    curves = synthetic(rng=np.random.default_rng(1), sd=2e-4)
    law = PUBLISHED_LAWS["momentum"]
    fit = pooled_fit(curves.curves, law, rng=np.random.default_rng(0))
    prepared = [law.prepare(history_of(curve)) for curve in curves]
    truth = np.concatenate([np.log(curve.losses) for curve in curves])
    theta, covariance = curve_fit(
        lambda _, *theta: np.concatenate([law.evaluate(np.array(theta), one)[0] for one in prepared]),
        None, truth, p0=np.log(TRUTH["momentum"]),
    )  # fmt: skip
    sd = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose(fit.theta, theta, atol=0.02 * sd.min())
    np.testing.assert_allclose(np.sqrt(np.diag(fit.covariance)), sd, rtol=0.25)


def test_chinchilla_along_runs_recovers_both_exponents():
    """Curves of E + A (N/N0)^-alpha + B n^-beta at five sizes, without noise: every parameter comes back."""
    from dataclasses import replace

    sizes = 1e8 * 2.0 ** np.arange(5)
    reference = float(np.exp(np.log(sizes).mean()))
    truth = {"E": 1.7, "A": 0.6, "B": 9.0, "alpha": 0.34, "beta": 0.37}
    bare = synthetic(names=("constant",), sizes=tuple(sizes), rng=np.random.default_rng(0), sd=0.0)
    curves = [
        replace(
            curve,
            losses=truth["E"]
            + truth["A"] * (curve.size / reference) ** -truth["alpha"]
            + truth["B"] * curve.steps ** -truth["beta"],
        )
        for curve in bare
    ]
    fit = pooled_fit(curves, ChinchillaLaw(), rng=np.random.default_rng(0))
    np.testing.assert_allclose(np.exp(fit.theta), list(truth.values()), rtol=1e-4)
    larger, _ = fit.log_prediction(History(np.array([TOTAL]), SCHEDULES["constant"].rates), size=64e8)
    expected = 1.7 + 0.6 * (64e8 / reference) ** -0.34 + 9.0 * TOTAL**-0.37
    assert np.exp(larger[0]) == pytest.approx(expected, rel=1e-6)


def test_parameters_linear_in_ln_size_carry_to_a_size_left_out():
    """The floor goes as size^-0.05, linear in its logarithm: the largest size is forecast to the last digits."""
    curves = synthetic(sizes=(1e8, 2e8, 4e8, 8e8), names=("cosine", "two_stage"), rng=np.random.default_rng(2), sd=0.0)
    known = [curve for curve in curves if curve.size != 8e8]
    fit = pooled_fit(known, PUBLISHED_LAWS["momentum"], rng=np.random.default_rng(0), evaluations=1000)
    for curve in curves.select(size=8e8):
        predicted, _ = fit.log_prediction(history_of(curve), 8e8)
        np.testing.assert_allclose(np.exp(predicted), curve.losses, rtol=1e-4)


def test_refits_to_fresh_noise_spread_like_the_covariance_when_the_law_is_true():
    """White noise and a true law: 40 refits give the forecast's standard deviation to about 11 %."""
    names, rng, sd = ("cosine", "constant", "two_stage"), np.random.default_rng(3), 1e-3
    curves = synthetic(rng=rng, sd=sd, names=names)
    fit = pooled_fit(curves.curves, PUBLISHED_LAWS["momentum"], rng=np.random.default_rng(0))
    target = History(np.array([TOTAL]), SCHEDULES["wsd"].rates)
    ends = [refit(fit, synthetic(rng=rng, sd=sd, names=names).curves).log_prediction(target)[0][0] for _ in range(40)]
    _, jacobian = fit.log_prediction(target)
    assert np.std(ends) == pytest.approx(float(np.sqrt(jacobian[0] @ fit.covariance @ jacobian[0])), rel=0.35)


@pytest.mark.rejects
def test_fit_refuses_too_few_points_step_zero_and_missing_sizes():
    curves = synthetic(rng=np.random.default_rng(0), names=("cosine",))
    law, rng = PUBLISHED_LAWS["multi_power"], np.random.default_rng(0)
    with pytest.raises(
        ArgumentError, match="'multi_power' has 7 free parameters here, but the curves have only 1 points"
    ):
        pooled_fit([curves[0].until(155)], law, rng=rng)
    from dataclasses import replace

    zero = replace(curves[0], steps=np.append(0, curves[0].steps), losses=np.append(9.0, curves[0].losses))
    with pytest.raises(ArgumentError, match="point at step 0"):
        pooled_fit([zero], law, rng=rng)
    with pytest.raises(ArgumentError, match="Some curves have a size and some have none"):
        pooled_fit([curves[0], replace(curves[0], name="other", size=None)], law, rng=rng)
    fit = pooled_fit([*curves, replace(curves[0], size=2e8)], PUBLISHED_LAWS["power_time"], rng=rng)
    with pytest.raises(ArgumentError, match="a prediction needs `size`"):
        fit.log_prediction(history_of(curves[0]))
