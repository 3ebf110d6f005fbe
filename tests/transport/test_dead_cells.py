"""Cells in which nearly all has been dissipated: relative accuracy down to what floats hold, against closed forms.

Oracles are exponential integrals of mpmath with 40 digits and, where there are none, quadratures of scipy over each
cell with its largest value taken out.
"""

from functools import partial
from itertools import pairwise

import mpmath
import numpy as np
import pytest
from scipy.integrate import quad

from eigenflow.transport import CellMasses, PowerDrift, TransportProblem, solve

DOMAIN = (1e-6, 1e2)
TIMES = np.array([0.1, 1.0, 30.0, 1e3, 1e5])


def flat(lam):
    return 1.0 / lam


@pytest.mark.parametrize("cells", [7, 60, 200])
def test_modes_at_rest(cells):
    """The integral of e^(-2 lambda t) / lambda is a difference of exponential integrals.

    Panels alone gave 1e-5 at 1e-12 of the largest cell, and nothing right below 1e-18. Cells that are not dead, down to
    e^-5, are differences on interpolants that are good to 1e-12 of the largest.
    """
    problem = TransportProblem(PowerDrift(c=0.0, b=1.0), 2.0, flat, DOMAIN)
    solution = solve(problem, TIMES, cells=cells)
    with mpmath.workdps(40):
        left = [[mpmath.e1(2 * mpmath.mpf(t) * mpmath.mpf(float(e))) for e in solution.edges] for t in TIMES]
        expected = np.array([[float(a - b) for a, b in pairwise(row)] for row in left])
    is_float = expected > 1e-300
    np.testing.assert_allclose(solution.mass[is_float], expected[is_float], rtol=1e-10)
    assert np.all(solution.mass[~is_float] <= 1e-299)


def one_cell(exponent, a, b):
    """Integrate e^-Q over departures from a to b in ln(lambda), relative to its largest value."""
    least = min(exponent(np.exp(a)), exponent(np.exp(b)))
    if least > 690:
        return 0.0
    points = a + (b - a) * np.linspace(0, 1, 60)[1:-1] ** 3
    found = quad(lambda x: np.exp(least - exponent(np.exp(x))), a, b, points=points, limit=400, epsabs=0, epsrel=1e-12)
    return found[0] * np.exp(-least)


def by_quadrature(solution, exponent_of, origin_of):
    """Integrate each cell over its departures."""
    result = np.zeros(solution.mass.shape)
    for row, t in enumerate(solution.times):
        starts = np.clip(np.log(origin_of(solution.edges, t)), *np.log(DOMAIN))
        for cell, (a, b) in enumerate(pairwise(starts)):
            if b > a:
                result[row, cell] = one_cell(partial(exponent_of, t=t), a, b)
    return result


@pytest.mark.parametrize(
    ("c", "b"),
    [(1e-2, 2.0), (1e-3, 2.0), (-0.02, 1.0), (0.01, 1.0), (0.2, 1.5), (-0.002, 1.5)],
)
def test_modes_that_move(c, b):
    """Q = 2 ln(1 + c x t) / c at b = 2, 2 x (1 - e^(-ct)) / c at b = 1, 4 (sqrt(x) - sqrt(x(t))) / c at b = 1.5."""

    def exponent(x, t):
        if b == 2.0:
            return 2 * np.log1p(c * x * t) / c
        if b == 1.0:
            return -2 * x * np.expm1(-c * t) / c
        return 4 * (np.sqrt(x) - 1 / (1 / np.sqrt(x) + 0.5 * c * t)) / c

    def origin(x, t):
        if b == 1.0:
            return x * np.exp(np.minimum(c * t, 50.0))
        level = x ** (1 - b) - (b - 1) * c * t
        return np.where(level > 0, np.abs(level) ** (1 / (1 - b)), np.inf)

    times = np.array([0.3, 4.0, 20.0])
    solution = solve(TransportProblem(PowerDrift(c=c, b=b), 2.0, flat, DOMAIN), times, cells=40)
    expected = by_quadrature(solution, exponent, origin)
    is_known = expected > 1e-290
    assert expected[is_known].min() < 1e-40
    np.testing.assert_allclose(solution.mass[is_known], expected[is_known], rtol=1e-8)


def test_a_drift_of_which_exponents_are_quadratures():
    """c = 0.5 / (1 + t), b = 2: with s = ln(1 + t) / 2 and u = 1/x, Q = the integral of 2 dt / (u + s), e^(2s) = 1 + t.

    dt = 2 e^(2s) ds, so Q = 4 e^(-2u) (Ei(2u + 2s) - Ei(2u)).
    """
    times = np.array([1.0, 10.0])
    problem = TransportProblem(PowerDrift(c=lambda t: 0.5 / (1 + t), b=2.0), 2.0, flat, DOMAIN)
    solution = solve(problem, times, cells=40)

    def exponent(x, t):
        u, s = mpmath.mpf(1 / x), mpmath.log(1 + t) / 2
        return float(4 * mpmath.exp(-2 * u) * (mpmath.ei(2 * u + 2 * s) - mpmath.ei(2 * u)))

    for row, t in enumerate(times):
        shift = 0.5 * np.log1p(t)
        for cell in range(28, 40, 2):
            level = 1 / solution.edges[[cell, cell + 1]] - shift
            if level[1] <= 1e-2:
                continue
            expected = one_cell(partial(exponent, t=t), *np.log(1 / level))
            assert solution.mass[row, cell] == pytest.approx(expected, rel=1e-8)


def test_masses_of_cells():
    """One cell of even density in ln(lambda): the same exponential integrals, for the parabola of one cell is flat."""
    width = np.log(1e2 / 1e-1)
    problem = TransportProblem(
        PowerDrift(c=0.0, b=1.0), 2.0, CellMasses(np.array([1e-1, 1e2]), np.array([width])), DOMAIN
    )
    solution = solve(problem, [3.0], cells=64)
    with mpmath.workdps(40):
        left = [mpmath.e1(6 * mpmath.mpf(float(e))) for e in solution.edges]
        expected = np.array([float(a - b) for a, b in pairwise(left)])
    first = np.searchsorted(solution.edges, 0.11)
    is_float = np.flatnonzero(expected > 1e-300)
    rows = is_float[is_float >= first]
    np.testing.assert_allclose(solution.mass[0, rows], expected[rows], rtol=1e-10)
