"""Places that no test had looked at closely, each against a closed form."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.integrate import quad

from eigenflow.transport import (
    CallableDrift,
    Characteristics,
    PowerDrift,
    TransportProblem,
    classify,
    lasting_share,
    plateau_loss,
    solve,
)
from eigenflow.transport.config import _density
from eigenflow.transport.flows.preparation import make_flow
from eigenflow.transport.inverse.model import KNOTS_PER_DECADE, bending_basis
from eigenflow.transport.methods.frontier import frontier
from eigenflow.transport.methods.traced_frontier import traced_frontier


def test_march_on_a_single_cell_keeps_its_mass():
    """One cell, evenly filled in ln(lambda): v = -lambda / 10 carries the share t / 10 / width out below."""
    width = np.log(1e2)
    drift = CallableDrift(lambda eigenvalues, times: -0.1 * eigenvalues)
    problem = TransportProblem(drift, 0.0, lambda lam: 1.0 / lam, (1e-1, 1e1))
    solution = solve(problem, [2.0], cells=1, method="march")
    assert solution.total[0] == pytest.approx(width - 0.2, rel=1e-9)
    assert solution.budget.outflow_below[0] == pytest.approx(0.2, rel=1e-8)


def test_the_density_that_a_file_describes():
    shape = SimpleNamespace(amplitude=3.0, exponent=-0.4, lower=1e-3, upper=5.0)
    lam = np.array([1e-3, 0.1, 2.0, 7.0])
    expected = [3.0 * x**-0.4 * np.exp(-1e-3 / x) * np.exp(-((x / 5.0) ** 2)) for x in lam]
    np.testing.assert_allclose(_density(shape)(lam), expected, rtol=1e-14)


@pytest.mark.parametrize("t0", [0.25, 1.0, 8.0])
def test_modes_below_a_label_reach_zero_before_the_drift_has_stopped(t0):
    """b < 1, p > 1: C(inf) = c0 t0 / (p - 1), and lambda^(1-b) falls by (1 - b) C: those of more never arrive."""
    b, c0, p = 0.5, 0.3, 2.0
    last = ((1 - b) * c0 * t0 / (p - 1)) ** (1 / (1 - b))
    shares = lasting_share(classify(b, c0, p, 0.5, t0), np.array([0.99, 1.01]) * last)
    assert shares[0] > 0.0 and shares[1] == 0.0


@pytest.mark.parametrize("b", [2.5, 3.5])
def test_a_mode_that_escapes_under_c_of_t_has_lost_what_the_closed_form_says(b):
    """Growth with b > 2: Q = 2 lambda^(2-b) / (|c| (b-2)) until the escape, a tenth of which is the last of the way.

    The quadrature leaves the last e^-20 of the path's time to a closed form, good to the change of c there: none here.
    """
    modes, c = np.array([0.3, 1.0, 4.0]), 0.2
    late = 2.0 / (c * (b - 1)) * modes.min() ** (1 - b)
    paths = Characteristics(PowerDrift(c=lambda t: np.full_like(t, -c), b=b), 2.0)
    expected = 2 * modes ** (2 - b) / (c * (b - 2))
    np.testing.assert_allclose(paths.exponent(modes, late), expected, rtol=1e-10)


def test_functions_of_the_bending_are_orthogonal_and_hold_no_straight_line():
    """Over four decades with 1.5 intervals between knots in each: seven knots, less constant and slope."""
    low, high = -1.0, -1.0 + 4 * np.log(10)
    basis = bending_basis(low, high)
    assert basis.size == round(4 * KNOTS_PER_DECADE) - 1
    x = np.linspace(low, high, 4001)
    second = np.gradient(np.gradient(basis(x), x, axis=0), x, axis=0)[2:-2]
    # Differences and the grid of the mean squares are good to some per mille.
    np.testing.assert_allclose(second.T @ second / len(second), np.eye(basis.size), atol=0.03)
    knots = np.linspace(low, high, basis.size + 2)
    straight = np.column_stack([np.ones(len(knots)), knots])
    np.testing.assert_allclose(straight.T @ basis(knots), 0.0, atol=1e-10)
    # Beyond the ends it goes on straight.
    beyond = basis(high + np.array([0.0, 0.5, 1.0]))
    np.testing.assert_allclose(np.diff(beyond, 2, axis=0), 0.0, atol=1e-10)


@pytest.mark.parametrize("dissipation", [0.05, 1e-3])
def test_a_plateau_that_jumps_at_the_last_mode_to_arrive(dissipation):
    """Little is lost up to that label and all beyond: an integral by scipy that ends there. Both are good to 1e-9."""
    phase = classify(0.5, 0.3, 2.0, 0.5, 8.0)
    last = np.log((0.5 * 0.3 * 8.0) ** 2)

    def left(x):
        return float(lasting_share(phase, np.array([np.exp(x)]), dissipation)[0]) * np.exp(0.5 * x)

    points = [last - 1.0, last - 0.1, last - 0.01]
    expected = quad(left, np.log(1e-4), last, limit=300, epsabs=0, epsrel=1e-11, points=points)[0]
    assert plateau_loss(phase, lambda lam: lam**-0.5, (1e-4, 10.0), dissipation) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("b", [0.8, 1.5, 2.5])
def test_the_frontier_under_c_of_t_is_that_of_followed_paths(b):
    """Three secant steps from a grid of a quarter e-fold, against paths that DOP853 follows to 1e-10."""
    drift, times, ends = PowerDrift(c=lambda t: 0.3 / (1 + t), b=b), np.array([0.05, 2.0, 40.0]), (-12.0, 4.0)
    by_grid = frontier(make_flow(drift, 2.0, 40.0), times, ends)
    followed = CallableDrift(lambda eigenvalues, times: drift.velocity(eigenvalues, times))
    np.testing.assert_allclose(by_grid, traced_frontier(followed, 2.0, times, ends), rtol=1e-9)
