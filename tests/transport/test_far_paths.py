"""Paths that run out of what floats hold, under rates that are functions: no warning, and the closed exponent."""

import numpy as np
import pytest

from eigenflow.transport import Characteristics, PointMasses, PowerDrift, SolveStatus, TransportProblem, solve

pytestmark = pytest.mark.long

MODES = np.geomspace(1e-6, 1e3, 19)
TIMES = [1e-2, 1.0, 30.0, 1e3, 1e6]


def levels_off(x):
    return x**2 / (1 + x**2)


def steady(c):
    return PowerDrift(c=c, b=1.0)


def varying(c):
    return PowerDrift(c=lambda t: np.full_like(t, c), b=1.0)


@pytest.mark.parametrize("drift", [steady, varying])
@pytest.mark.parametrize("t", TIMES)
def test_a_rate_that_levels_off(drift, t):
    """b = 1, growth: lambda = lambda0 e^t, and the integral of lambda^2 / (1 + lambda^2) is ln(1 + lambda^2) / 2."""
    x = np.log(MODES)
    expected = 0.5 * (np.logaddexp(0.0, 2 * (x + t)) - np.logaddexp(0.0, 2 * x))
    found = Characteristics(drift(-1.0), levels_off).exponent(MODES, t)
    # Quadratures are good to 1e-12 of the exponent; the difference of logarithms to a rounding of their sizes.
    np.testing.assert_allclose(found, expected, rtol=3e-12, atol=1e-14)


@pytest.mark.parametrize("drift", [steady, varying])
@pytest.mark.parametrize("t", TIMES)
def test_a_rate_that_grows(drift, t):
    """The integral of sqrt(lambda) is 2 (sqrt(lambda) - sqrt(lambda0)) as long as floats hold it."""
    with np.errstate(over="ignore"):
        expected = 2 * np.sqrt(MODES) * np.expm1(0.5 * t)
    paths = Characteristics(drift(-1.0), np.sqrt)
    found = paths.exponent(MODES, t)
    if t < 1e3:
        np.testing.assert_allclose(found, expected, rtol=3e-12)
    else:
        assert np.all(found > 1e100)
    np.testing.assert_allclose(paths.attenuation(MODES, t), np.exp(-expected), atol=1e-12)


@pytest.mark.parametrize("drift", [steady, varying])
@pytest.mark.parametrize("t", TIMES)
def test_modes_that_fall_without_end(drift, t):
    """b = 1, decay at a rate 1 + lambda^2 / (1 + lambda^2): the exponent is t and half the fall of ln(1 + lambda^2)."""
    x = np.log(MODES)
    expected = t + 0.5 * (np.logaddexp(0.0, 2 * x) - np.logaddexp(0.0, 2 * (x - t)))
    found = Characteristics(drift(1.0), lambda lam: 1 + levels_off(lam)).exponent(MODES, t)
    np.testing.assert_allclose(found, expected, rtol=3e-12)


@pytest.mark.parametrize("b", [1.0 - 1e-9, 1.0 + 1e-9])
def test_beside_b_1_as_at_b_1(b):
    """w = (b - 1) C changes the path by a factor e^(w ln(lambda) / 2), here 1e-6 times its length in ln(lambda)."""
    near, at = (Characteristics(PowerDrift(c=c, b=e), levels_off) for c, e in ((-1.0, b), (-1.0, 1.0)))
    np.testing.assert_allclose(near.exponent(MODES, 1e3), at.exponent(MODES, 1e3), rtol=1e-5)


@pytest.mark.parametrize("c", [-5e5, 5e5])
def test_a_strong_drift_costs_no_more_than_the_way_to_the_ends_of_floats(c):
    """Millions of e-folds of a mode are not integrated one by one; all modes have left [1e-6, 100] early.

    At b = 1 a mode leaves after ln(lambda0 / end) / c, having lost (sqrt(lambda0) - sqrt(end)) 2 / c.
    """
    modes = np.geomspace(1e-5, 50, 25)
    problem = TransportProblem(
        drift=steady(c), dissipation=np.sqrt, initial=PointMasses(modes, np.ones(25)), domain=(1e-6, 1e2)
    )
    solution = solve(problem, [1e-8, 30.0], cells=30)
    end = 1e-6 if c > 0 else 1e2
    left = np.exp(-2 * (np.sqrt(modes) - np.sqrt(end)) / c).sum()
    assert solution.budget.outflow[-1] == pytest.approx(left, rel=1e-12)
    assert solution.total[-1] == 0 and solution.status is SolveStatus.LEFT_DOMAIN
    density = TransportProblem(drift=steady(c), dissipation=np.sqrt, initial=lambda x: 1 / x, domain=(1e-6, 1e2))
    # Every e-fold of every node would be beyond the limit on work.
    assert solve(density, [30.0], cells=30).total[0] == 0
