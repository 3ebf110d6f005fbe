"""The exponent of the size: its derivatives, what two sizes leave open, and that its spread counts."""

from dataclasses import replace

import numpy as np
import pytest

from eigenflow.core.errors import ArgumentError
from eigenflow.forecast import fit_law, fit_parameters
from eigenflow.forecast.fitting.covariates import SIZE_EXPONENT, SIZE_EXPONENT_SD, Covariates, size_coordinate
from eigenflow.forecast.fitting.size_profile import size_profile
from eigenflow.forecast.laws import History
from eigenflow.forecast.laws.transport import TransportLaw
from forecast.synthetic_runs import SCHEDULES, TOTAL, curve, true_losses

pytestmark = pytest.mark.long

SIZES = (25e6, 100e6)
REFERENCE = float(np.sqrt(SIZES[0] * SIZES[1]))


@pytest.mark.parametrize("exponent", [-0.3, -1e-6, 0.0, 1e-5, 0.14, 0.9])
@pytest.mark.parametrize("size", [1e6, 1e8, 1e8 * (1 + 1e-9), 3e10])
def test_the_coordinate_is_its_formula_and_its_derivative(exponent, size):
    """Against extended precision and a central difference (1e-6: its own error)."""
    x = np.longdouble(np.log(size / 1e8))
    value, slope = size_coordinate(size, 1e8, exponent)
    wide = np.longdouble(exponent)
    formula = x if exponent == 0 else -np.expm1(-wide * x) / wide
    assert value == pytest.approx(float(formula), rel=1e-9, abs=1e-12)
    step = 1e-5
    central = (size_coordinate(size, 1e8, exponent + step)[0] - size_coordinate(size, 1e8, exponent - step)[0]) / (
        2 * step
    )
    assert slope == pytest.approx(central, rel=1e-6, abs=1e-7)


def test_a_curve_s_own_parameters_and_their_derivatives():
    law = TransportLaw()
    covariates = Covariates.choose(law, [1e7, 1e8], [1e-3, 2e-3], rate_slopes=("B",))
    assert covariates.names[-1] == "nu | size" and covariates.count == 10 + 3 + 1 + 1
    rng = np.random.default_rng(0)
    theta = rng.normal(0, 0.3, covariates.count)
    own, matrix = covariates.own(theta, 4e8, 5e-4)
    for k in range(covariates.count):
        step = np.zeros(covariates.count)
        step[k] = 1e-6
        central = (covariates.own(theta + step, 4e8, 5e-4)[0] - covariates.own(theta - step, 4e8, 5e-4)[0]) / 2e-6
        np.testing.assert_allclose(matrix[:, k], central, atol=1e-8)
    assert len(own) == 10


def ladder(exponent, seed, sizes=SIZES, noise=3e-4):
    """Curves whose L_inf and A move with phi of an exponent of our choice."""
    rng, curves = np.random.default_rng(seed), []
    for size in sizes:
        x = size_coordinate(size, REFERENCE, exponent)[0]
        values = {"L_inf": 2.6 * np.exp(-0.1 * x), "A": 0.08 * np.exp(-0.1 * x)}
        curves += [curve(name, rng, noise=noise, size=size, **values) for name in SCHEDULES]
    return curves


@pytest.fixture(scope="module")
def two_sizes():
    return fit_parameters(ladder(0.2, 0), starts=1)


def test_two_sizes_leave_the_exponent_to_its_prior(two_sizes):
    assert two_sizes.theta[-1] == pytest.approx(SIZE_EXPONENT, abs=0.03)
    assert np.sqrt(two_sizes.covariance[-1, -1]) == pytest.approx(SIZE_EXPONENT_SD, rel=0.1)
    assert "nu | size" in two_sizes.not_identified


@pytest.mark.parametrize("exponent", [SIZE_EXPONENT - 1.5 * SIZE_EXPONENT_SD, SIZE_EXPONENT + 1.5 * SIZE_EXPONENT_SD])
def test_a_larger_size_lies_within_what_the_exponent_leaves_open(two_sizes, exponent):
    """The loss at four times the larger size, for exponents 1.5 standard deviations of the prior away from its middle:
    within about 2 of the forecast's own, of which parameters without the exponent would say less than half."""
    steps = np.array([TOTAL])
    value, jacobian = two_sizes.log_prediction(History(steps, SCHEDULES["cosine"].rates), size=400e6)
    sd = float(np.sqrt(jacobian[0] @ two_sizes.covariance @ jacobian[0]))
    x = size_coordinate(400e6, REFERENCE, exponent)[0]
    # The two fitted sizes have their losses whatever the exponent is: the slope follows from it.
    ends = [size_coordinate(size, REFERENCE, exponent)[0] for size in SIZES]
    usual = [size_coordinate(size, REFERENCE, 0.2)[0] for size in SIZES]
    slope = -0.1 * (usual[1] - usual[0]) / (ends[1] - ends[0])
    base = -0.1 * usual[0] - slope * ends[0]
    values = {"L_inf": 2.6 * np.exp(base + slope * x), "A": 0.08 * np.exp(base + slope * x)}
    error = float(value[0] - np.log(true_losses(SCHEDULES["cosine"], steps, **values))[0])
    assert abs(error) < 2.2 * sd
    without = jacobian[0][:-1] @ two_sizes.covariance[:-1, :-1] @ jacobian[0][:-1]
    assert sd > 2.0 * np.sqrt(without)


def test_one_size_forecasts_another_by_the_learned_slopes():
    """The laws beside it know nothing of sizes, and have no say. The truth at four times the size is inside."""
    fit = fit_law(ladder(0.2, 0, sizes=(25e6,)), starts=1)
    found = fit.predict_steps(SCHEDULES["cosine"], np.array([TOTAL]), size=100e6)
    x = size_coordinate(100e6, REFERENCE, 0.2)[0]
    values = {"L_inf": 2.6 * np.exp(-0.1 * x), "A": 0.08 * np.exp(-0.1 * x)}
    truth = true_losses(SCHEDULES["cosine"], np.array([TOTAL]), **values)[0]
    assert found.lower[0] < truth < found.upper[0]


def test_three_sizes_find_the_exponent():
    """A factor 16 in size, noise of 1e-5: the exponent is found to a tenth of its prior's width."""
    curves = ladder(0.4, 1, sizes=(25e6, 100e6, 400e6), noise=1e-5)
    fit = fit_parameters(curves, starts=1)
    assert fit.theta[-1] == pytest.approx(0.4, abs=3 * np.sqrt(fit.covariance[-1, -1]))
    rise = size_profile(fit, curves, np.array([0.1, 0.4, 0.7]))
    assert rise[1] < rise[0] and rise[1] < rise[2]


@pytest.mark.rejects
def test_one_size_has_no_profile():
    curves = ladder(0.2, 0, sizes=(25e6,))
    fit = fit_parameters(curves, starts=1, prior=None)
    with pytest.raises(ArgumentError, match="two sizes or more"):
        size_profile(fit, curves, np.array([0.1]))


@pytest.mark.parametrize(("batches", "is_told"), [((1e5, 4e5), True), ((1e5, 1e5), False), ((None, None), False)])
def test_a_ladder_whose_batch_grows_is_cautioned_of(batches, is_told):
    tokens = dict(zip(SIZES, batches, strict=True))
    curves = [replace(one, tokens_per_step=tokens[one.size]) for one in ladder(0.2, 0)]
    fit = fit_law(curves, prior="wide", starts=1)
    told = fit.predict(SCHEDULES["cosine"], size=400e6, every=1000).cautions
    assert len(told) == is_told
    if is_told:
        assert "100,000 to 400,000 tokens per update" in told[0]
