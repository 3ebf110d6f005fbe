"""`fit = ef.fit_law(curves); fit.predict(schedule)`: intervals that hold on runs of a law that was not fitted."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

import eigenflow as ef
from eigenflow.core.errors import ArgumentError
from eigenflow.forecast import Curve, fit_study, load_study, write_fit
from eigenflow.forecast.fitting.priors import learned_prior
from eigenflow.forecast.laws import History
from eigenflow.forecast.laws.transport import TransportLaw
from forecast.logs import SCHEDULES, study
from forecast.synthetic_curves import correlated

PEAK, WARMUP = 3e-4, 500
KNOWN = {
    "cosine": ef.Schedule.cosine(total=8000, warmup=WARMUP, peak=PEAK, end=3e-5),
    "constant": ef.Schedule.constant(total=8000, warmup=WARMUP, peak=PEAK),
    "two_stage": ef.Schedule.two_stage(total=6000, warmup=WARMUP, peak=PEAK, end=9e-5, change=3000),
}
AHEAD = {
    "wsd": ef.Schedule.wsd(total=16_000, warmup=WARMUP, peak=PEAK, decay_start=13_000, end=3e-5),
    "cosine": ef.Schedule.cosine(total=20_000, warmup=WARMUP, peak=PEAK, end=0.0),
}


# The shipped covariance is a quarter of the spread between families (docs/explanation/forecast_laws.md).
SPREAD = 4.0
Losses = Callable[[ef.Schedule, np.ndarray], np.ndarray]


def two_kinds(rng: np.random.Generator) -> Losses:
    """Losses whose means come from two families of language models: no transport law, but one would be near.

    Two draws of the learned prior differ in bias, noise, exponents, relaxation and clock; their mean has two powers,
    two relaxation spectra and two clocks.
    """
    prior = learned_prior("language")
    law = TransportLaw(reference=8000.0)
    floor = np.log(2.5)
    thetas = [np.insert(rng.multivariate_normal(prior.mean, SPREAD * prior.covariance), 0, floor) for _ in range(2)]

    def losses(schedule: ef.Schedule, steps: np.ndarray) -> np.ndarray:
        prepared = law.prepare(History(steps, schedule.rates))
        return np.mean([np.exp(law.evaluate(theta, prepared)[0]) for theta in thetas], axis=0)

    return losses


def run(losses: Losses, name: str, schedule: ef.Schedule, rng: np.random.Generator) -> Curve:
    steps = np.arange(WARMUP, schedule.total + 1, 100)
    # Together the 7e-4 by which repeats of language models differ.
    stray = np.exp(correlated(len(steps), 5e-4, 0.5, rng) + 5e-4 * rng.standard_normal())
    return Curve(name, steps, losses(schedule, steps) * stray, schedule)


def covered(forecast, truth: Curve) -> float:
    lower, upper = (np.interp(truth.steps, forecast.steps, ends) for ends in (forecast.lower, forecast.upper))
    return float(np.mean((truth.losses >= lower) & (truth.losses <= upper)))


@pytest.fixture(scope="module")
def shares():
    """Share inside, for intervals as `fit_law` gives them and for those of parameters and noise: one row a forecast."""
    found = []
    for seed in range(16):
        rng = np.random.default_rng(seed)
        losses = two_kinds(rng)
        fit = ef.fit_law([run(losses, name, schedule, rng) for name, schedule in KNOWN.items()], starts=1)
        bare = replace(fit, intervals=None)
        for name, schedule in AHEAD.items():
            truth = run(losses, name, schedule, rng)
            truth = truth.after(8000)
            found.append([covered(one.predict(schedule, every=100), truth) for one in (fit, bare)])
    return np.array(found)


@pytest.mark.slow
def test_intervals_of_the_contract_hold_where_the_law_is_wrong(shares):
    """Nine in ten points ahead, less two standard errors of 16 families (0.05 each); without calibration, fewer."""
    calibrated, bare = shares.mean(axis=0)
    assert calibrated >= 0.8
    assert bare < calibrated - 0.05


@pytest.mark.long
def test_a_fit_and_a_study_forecast_the_same():
    curves = ef.read_curves(study(), schedules=SCHEDULES).select(size=25e6)
    fit, all_laws = ef.fit_law(curves, starts=1), fit_study(curves, starts=1)
    one, other = fit.predict(SCHEDULES["two_stage"], every=50), all_laws.predict(SCHEDULES["two_stage"], every=50)
    inside = all_laws.fit_for().predict(SCHEDULES["two_stage"], every=50)
    for name in ("steps", "loss", "lower", "upper"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        np.testing.assert_array_equal(getattr(one, name), getattr(inside, name))


@pytest.mark.long
def test_the_file_of_a_fit_is_a_study_for_the_commands(tmp_path):
    curves = ef.read_curves(study(), schedules=SCHEDULES)
    fit = ef.fit_law(curves, starts=1)
    again = load_study(write_fit(fit, tmp_path / "fit.json"))
    one, other = (made.predict(SCHEDULES["two_stage"], size=4e8, every=50) for made in (fit, again))
    np.testing.assert_array_equal(one.upper, other.upper)
    assert again.laws == ("transport",) and again.curves.size_unit == 1e6


@pytest.mark.rejects
def test_a_fit_of_several_sizes_must_be_told_which():
    fit = ef.fit_law(ef.read_curves(study(), schedules=SCHEDULES), "power_time", starts=1)
    with pytest.raises(ArgumentError, match=r"`size` must be given: the fit has 2 sizes, 2\.5e\+07 to 1e\+08"):
        fit.predict(SCHEDULES["two_stage"])
