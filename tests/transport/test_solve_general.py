"""`solve` on drifts that are no power law: the march is chosen, its budget closes, its frontier is true."""

import numpy as np
import pytest

import eigenflow as ef
from eigenflow.transport import CallableDrift, March, SolveStatus, TabulatedDrift

TIMES = np.geomspace(1e-2, 1e3, 8)


def density(lam):
    return lam**-0.5 * np.exp(-1e-4 / lam - lam)


def problem(drift):
    return ef.TransportProblem(drift=drift, dissipation=2.0, initial=density, domain=(1e-6, 1e2))


@pytest.mark.parametrize(("c", "b"), [(0.5, 2.0), (0.3, 1.5), (-0.01, 1.0)])
def test_march_agrees_with_the_exact_jump(c, b):
    """Third order in 240 cells of 0.08 in ln(lambda): 1e-5 of the total; paths are followed to 1e-10."""
    exact = ef.solve(problem(ef.PowerDrift(c=c, b=b)), TIMES, cells=240)
    other = ef.solve(problem(CallableDrift(lambda lam, t: -c * lam**b)), TIMES, cells=240)
    assert other.method == "march" and "no power law" in other.reason
    np.testing.assert_allclose(other.total, exact.total, rtol=1e-5, atol=1e-8 * exact.budget.initial)
    np.testing.assert_allclose(other.frontier, exact.frontier, rtol=1e-8)
    assert np.abs(other.budget.residual).max() <= 1e-10 * other.budget.initial
    assert other.mass.min() >= 0


@pytest.mark.long
def test_table_of_a_measured_drift():
    """A table of v = lambda (2 s - lambda) / 10 (aligned network): modes gather at 2 s, so nothing leaves above.

    See equations/hypotheses.md#many-velocities.
    """
    lam = np.geomspace(1e-6, 1e2, 200)
    solved = ef.solve(problem(TabulatedDrift(lam, 0.1 * lam * (2.0 - lam))), TIMES, cells=200)
    assert solved.status in {SolveStatus.CONVERGED, SolveStatus.LEFT_DOMAIN}
    assert solved.budget.outflow_above[-1] <= 1e-12 * solved.budget.initial
    assert np.all(np.diff(solved.total) <= 0)


def test_methods_can_be_asked_for():
    asked = ef.solve(problem(ef.PowerDrift(c=0.5, b=2.0)), TIMES, cells=200, method="march")
    exact = ef.solve(problem(ef.PowerDrift(c=0.5, b=2.0)), TIMES, cells=200)
    assert asked.method == "march" and asked.reason == "as asked"
    np.testing.assert_allclose(asked.total, exact.total, rtol=1e-5)
    again = ef.solve(problem(ef.PowerDrift(c=0.5, b=2.0)), TIMES, cells=200, method=March())
    np.testing.assert_array_equal(again.mass, asked.mass)
