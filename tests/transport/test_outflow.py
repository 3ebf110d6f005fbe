"""What leaves the domain, against closed forms: the budget's residual cannot see how outflow and dissipation divide."""

import warnings

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import exp1

from eigenflow.transport import PowerDrift, SolveStatus, TransportProblem, solve

DOMAIN = (1e-6, 1e2)


def density(x):
    return x**-0.5 * np.exp(-1e-4 / x - x)


def kept_at_the_top(start, s):
    """Share of a mode at `start` that is left when it leaves through the top, for c = -1 / (t + s) and b = 2.

    C = -ln(1 + t/s), so 1/lambda = 1/start + C, and with u = 1/lambda the exponent, the integral of 2 lambda dt, is
    2 s e^(1/start) (E1(1/top) - E1(1/start)).
    """
    return np.exp(-2 * s * np.exp(1 / start) * (exp1(1 / DOMAIN[1]) - exp1(1 / start)))


@pytest.mark.long
@pytest.mark.parametrize("s", [1.0, 1e-3, 1e-6, 1e-9, 1e-14])
def test_outflow_under_a_drift_that_is_fastest_at_the_start(s):
    """What is left at the exit falls from all to nothing within 1 / 27 of an e-fold of departures at s = 1e-9."""
    times = np.array([1e-3, 1.0, 1e3])
    drift = PowerDrift(c=lambda t: -1.0 / (t + s), b=2.0)
    problem = TransportProblem(drift=drift, dissipation=2.0, initial=density, domain=DOMAIN)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solution = solve(problem, times, cells=50)
    assert solution.status in {SolveStatus.LEFT_DOMAIN, SolveStatus.CONVERGED}
    first = 1 / (1 / DOMAIN[1] + np.log1p(times / s))  # whatever departs above has left
    where = np.log([*first, DOMAIN[1]])

    def leaving(x):
        return density(np.exp(x)) * np.exp(x) * kept_at_the_top(np.exp(x), s)

    out = [
        quad(leaving, low, where[-1], points=np.linspace(low, where[-1], 80)[1:-1], limit=2000, epsabs=1e-14)[0]
        for low in where[:-1]
    ]
    # Panels are resolved to 1e-13 of the mass each, exponents to 1e-12.
    np.testing.assert_allclose(solution.budget.outflow_above, out, atol=1e-11 * solution.budget.initial)


@pytest.mark.parametrize("s", [1e-2, 1e-9])
def test_outflow_where_all_modes_share_one_clock(s):
    """b = 1: lambda grows by 1 + t/s, leaves at t = s (top / lambda0 - 1); its exponent is lambda0 (t^2 / s + 2 t)."""
    times = np.array([1e-3, 1.0])
    drift = PowerDrift(c=lambda t: -1.0 / (t + s), b=1.0)
    problem = TransportProblem(drift=drift, dissipation=2.0, initial=density, domain=DOMAIN)
    solution = solve(problem, times, cells=50)
    top = DOMAIN[1]

    def leaving(x):
        t = s * (top * np.exp(-x) - 1)
        return density(np.exp(x)) * np.exp(x - np.exp(x) * (t * t / s + 2 * t))

    lows = np.maximum(np.log(top / (1 + times / s)), np.log(DOMAIN[0]))
    out = [
        quad(leaving, low, np.log(top), limit=2000, epsabs=1e-15, points=np.linspace(low, 4, 60)[1:-1])[0]
        for low in lows
    ]
    np.testing.assert_allclose(solution.budget.outflow_above, out, atol=1e-11 * solution.budget.initial)
    assert solution.status is not SolveStatus.INACCURATE
