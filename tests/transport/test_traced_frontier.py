"""The frontier of followed paths against roots of the closed exponent (equations/solutions.md#closed-solutions).

With v = -c lambda^b a mode at lambda0 arrives at lambda^(1-b) = lambda0^(1-b) + (b-1) c t, and has lost the exponent
2 (lambda0^(2-b) - lambda^(2-b)) / (c (2-b)). scipy's brentq finds where that is 1. Paths are followed to 1e-10; between
the last two of them ln(exponent) is straight to about 1e-10: 1e-8 leaves room for both.
"""

import numpy as np
import pytest
from scipy.optimize import brentq

from eigenflow.transport import CallableDrift, TabulatedDrift
from eigenflow.transport.methods.traced_frontier import traced_frontier


class Hidden:
    """v = -c lambda^b, of which nothing is known but the velocity."""

    def __init__(self, c, b):
        self.c, self.b = c, b

    def velocity(self, eigenvalues, times=0.0):
        return -self.c * np.asarray(eigenvalues) ** self.b


def arrival(c, b, start, t):
    level = start ** (1 - b) + (b - 1) * c * t
    return level ** (1 / (1 - b)) if level > 0 else np.inf


def by_root(c, b, t, ends):
    """The frontier, by the formulas above; paths fall for c > 0 and rise for c < 0, so they leave at one end."""
    low, high = ends
    if c > 0:
        level = low ** (1 - b) - (b - 1) * c * t
        low = level ** (1 / (1 - b)) if level > 0 else high
    else:
        high = arrival(-c, b, high, t)

    def excess(x):
        start = np.exp(x)
        now = arrival(c, b, start, t)
        return np.log(2 * (start ** (2 - b) - now ** (2 - b)) / (c * (2 - b)))

    if low >= high or excess(np.log(high) - 1e-13) < 0:
        return np.inf
    if excess(np.log(low) + 1e-13) > 0:
        return 0.0
    return arrival(c, b, np.exp(brentq(excess, np.log(low) + 1e-13, np.log(high) - 1e-13, xtol=1e-15)), t)


@pytest.mark.long
@pytest.mark.parametrize(
    ("c", "b", "ends", "times"),
    [
        (0.5, 1.5, (1e-10, 1e3), [1e-2, 1.0, 1e4]),
        (0.7038, 2.31, (2e-10, 0.2), [3.9e6, 8.4e7]),  # piled up at a front
        (0.2, 0.6, (1e-6, 1e2), [0.1, 2.0]),  # modes leave below
        # Growth with b > 1 fans out: few departures are left, and they fill the domain.
        (-0.9872, 1.843, (7.1e-5, 6e7), [0.1, 2.0, 12.95, 60.0, 279.0]),
        (-0.2222, 2.159, (2e-10, 0.283), [5.7e3, 2.6e4, 1.2e5]),
        (-0.8525, 1.357, (1.9e-7, 0.17), [1.0, 33.0, 705.0]),
    ],
)
def test_frontier_is_the_root_of_the_closed_exponent(c, b, ends, times):
    found = traced_frontier(Hidden(c, b), 2.0, np.array(times), tuple(np.log(ends)))
    np.testing.assert_allclose(found, [by_root(c, b, t, ends) for t in times], rtol=1e-8)


def test_a_sliver_of_survivors_between_the_paths_of_the_first_grid():
    """At b = 1 modes of [2, 2 + 1e-4] are left of [1, 2 + 1e-4] after t = ln(2): 1e-4 of the domain.

    lambda0 - lambda is c / 2 at the frontier and lambda = lambda0 / 2 then, so it lies at c / 2 and lambda0 at c.
    """
    top = 2.0 + 1e-4
    drift = Hidden(2.00005, 1.0)
    t = np.array([np.log(2.0) / 2.00005])
    assert traced_frontier(drift, 2.0, t, (0.0, np.log(top)))[0] == pytest.approx(2.00005 / 2, rel=1e-8)
    assert traced_frontier(drift, 3.0, t, (0.0, np.log(top)))[0] == 0.0  # all survivors have lost more than 1
    assert traced_frontier(drift, 1.0, t, (0.0, np.log(top)))[0] == np.inf  # none has
    assert traced_frontier(drift, 3.0, 2 * t, (0.0, np.log(top)))[0] == np.inf  # none is left


@pytest.mark.parametrize("threshold", [0.31, 0.37])
def test_a_rate_that_jumps_puts_the_frontier_at_its_jump(threshold):
    """Without drift nothing is lost below the jump, and after t = 1 more than 1 above it."""
    still = CallableDrift(lambda eigenvalues, times: 0.0 * eigenvalues)
    found = traced_frontier(still, lambda lam: np.where(lam < threshold, 0.0, 5.0), np.array([1.0]), (-5.0, 3.0))
    assert found[0] == pytest.approx(threshold, rel=1e-9)


@pytest.mark.long
def test_a_table_of_a_drift_that_turns():
    """v = 0.1 lambda (1 - ln(lambda)) draws x to 1: x(t) = 1 + (x0 - 1) e^(-t/10).

    In ln(lambda) the velocity is straight, which a table keeps; the exponent is a quadrature of e^x.
    """
    lam = np.exp(np.linspace(-12, 5, 171))
    table = TabulatedDrift(lam, 0.1 * lam * (1.0 - np.log(lam)))
    nodes, weights = np.polynomial.legendre.leggauss(40)

    def exponent(start, t):
        s = 0.5 * t * (1 + nodes)
        return t * np.sum(weights * np.exp(1 + (start - 1) * np.exp(-0.1 * s)))

    times = np.array([0.1, 1.0, 8.0])
    starts = [brentq(lambda x, t=t: np.log(exponent(x, t)), -11, 4, xtol=1e-15) for t in times]
    expected = np.exp(1 + (np.array(starts) - 1) * np.exp(-0.1 * times))
    np.testing.assert_allclose(traced_frontier(table, 2.0, times, (-12.0, 5.0)), expected, rtol=1e-8)
