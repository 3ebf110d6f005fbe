"""Fits of synthetic curves whose truth is known, with noise as real curves have it."""

import numpy as np
import pytest

from eigenflow.core.errors import ArgumentError
from eigenflow.forecast import Curve, FitStatus, Schedule, fit_law
from eigenflow.forecast.laws import History, TransportLaw

TRUTH = {"L_inf": 2.6, "A": 0.08, "a": 0.5, "s0": 0.01, "B": 0.08, "q": 0.65, "r": 250.0, "b": 1.8}
TRUTH |= {"alpha": 0.35, "p": 1.0}
PEAK, WARMUP, TOTAL = 3e-4, 1000, 20_000
SCHEDULES = {
    "cosine": Schedule.cosine(total=TOTAL, peak=PEAK, end=PEAK / 10, warmup=WARMUP),
    "constant": Schedule.constant(total=TOTAL, peak=PEAK, warmup=WARMUP),
    "two stage": Schedule.two_stage(total=12_000, peak=PEAK, end=0.3 * PEAK, change=7000, warmup=WARMUP),
}
UNSEEN = Schedule.wsd(total=TOTAL, peak=PEAK, end=PEAK / 10, decay_start=16_000, warmup=WARMUP)


def true_losses(schedule: Schedule, steps: np.ndarray, **values: float) -> np.ndarray:
    law = TransportLaw(reference=SCHEDULES["constant"].times[-1] / PEAK)
    truth = TRUTH | values
    theta = np.array([float(p.to_theta(truth[p.name])) for p in TransportLaw.parameters])
    return np.exp(law.evaluate(theta, law.prepare(History(steps, schedule.rates)))[0])


def curve(name: str, rng: np.random.Generator, *, noise: float = 3e-4, size: float | None = None, **values) -> Curve:
    """Points every 128 steps, correlated over about four of them, as logged averages are."""
    schedule = SCHEDULES[name]
    steps = np.arange(WARMUP, schedule.total + 1, 128)
    white = rng.standard_normal(len(steps) + 3)
    smooth = np.convolve(white, np.full(4, 0.5), mode="valid")
    return Curve(name, steps, true_losses(schedule, steps, **values) * np.exp(noise * smooth), schedule, size=size)


def three(seed: int, **values) -> list[Curve]:
    rng = np.random.default_rng(seed)
    return [curve(name, rng, **values) for name in SCHEDULES]


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
    """One constant rate has no change of rate: nothing in it tells alpha, r or b, and the fit must say so."""
    fit = fit_law([curve("constant", np.random.default_rng(3))], starts=1)
    learned = {row["name"]: row["learned"] for row in fit.parameters}
    assert max(learned[name] for name in ("q", "r", "b", "alpha")) < 0.1
    assert learned["L_inf"] > 0.9


def test_sizes_are_fitted_jointly_and_extrapolated():
    """ln(L_inf), A and B move with phi(N) (`covariates`), so a third size follows exactly from two without noise."""
    from eigenflow.forecast.covariates import size_coordinate

    rng = np.random.default_rng(5)
    reference = float(np.sqrt(25e6 * 100e6))

    def at(size: float) -> dict[str, float]:
        x = size_coordinate(size, reference)
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
