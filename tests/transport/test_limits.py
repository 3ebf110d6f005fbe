"""The limits v -> 0 and S -> 0: solutions go over into those without drift and without source, at first order."""

import numpy as np
import pytest

from eigenflow.transport import (
    CallableDrift,
    GivenSource,
    KernelSource,
    LogNormalKernel,
    PowerDrift,
    SgdNoise,
    TransportProblem,
    solve,
)

DOMAIN = (1e-5, 1e1)
TIMES = np.array([0.1, 3.0, 100.0])


def bump(x):
    return np.exp(-(np.log(x / 0.05) ** 2)) / x


def solved(drift, source=None, method="auto"):
    return solve(TransportProblem(drift, 2.0, bump, DOMAIN, source), TIMES, cells=60, method=method)


def masses(drift, source=None, method="auto"):
    return solved(drift, source, method).mass


def distances(small, limit):
    """L1 distances for a small parameter of 1e-2, 1e-3 and 1e-4."""
    return np.array([np.abs(small(10.0**-k) - limit).sum() for k in (2, 3, 4)])


def assert_first_order(found):
    """Each tenth of the parameter leaves a tenth of the distance; second order bends the first ratio more."""
    assert found[0] < 0.2
    assert found[0] / found[1] == pytest.approx(10.0, rel=0.15)
    assert found[1] / found[2] == pytest.approx(10.0, rel=0.02)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("b", [0.0, 0.5, 1.0, 1.5, 2.0, 3.0])
def test_vanishing_drift(b, sign):
    """The largest drift moves a mode of 0.05 by 0.05 e-folds until t = 100."""
    unit = sign * 0.05 * 0.05 ** (1 - b)
    still = masses(PowerDrift(0.0, b))
    assert_first_order(distances(lambda c: masses(PowerDrift(unit * c, b)), still))


def test_vanishing_drift_of_strength_in_time_and_of_any_form():
    still = masses(PowerDrift(0.0, 1.0))
    assert_first_order(distances(lambda c: masses(PowerDrift(lambda t: c / (1 + t), 1.0)), still))
    general = masses(PowerDrift(0.0, 1.0), method="march")
    drift = lambda c: CallableDrift(lambda x, t: -c * x / (1 + x + t))  # noqa: E731
    assert_first_order(distances(lambda c: masses(drift(c)), general))


JUMPS = lambda size: KernelSource(size, LogNormalKernel(0.5))  # noqa: E731


@pytest.mark.long
@pytest.mark.parametrize(
    ("source", "method"),
    [
        (lambda size: GivenSource(lambda x, t: size * bump(x) / (1 + t)), "exact"),
        (JUMPS, "ladder"),
        (lambda size: SgdNoise(size, 4, lambda x: 60 * bump(x), 0.1), "ladder"),
        (JUMPS, "lines"),
    ],
)
@pytest.mark.filterwarnings("ignore:The solution is inaccurate")
def test_vanishing_source(source, method):
    """The method's own limit is at first order, and it is the exact jump, to its own estimate of its error."""
    drift = PowerDrift(0.1, 1.5)
    none, exact = solved(drift, source(1e-12), method), masses(drift)
    assert np.all(np.abs(none.mass - exact).sum(axis=1) <= none.error + 1e-11)
    assert_first_order(distances(lambda size: masses(drift, source(size), method), none.mass))


@pytest.mark.filterwarnings("ignore:The solution is inaccurate")
def test_vanishing_source_in_steps():
    """Splitting lays other steps for other rates, so only the limit itself can be told."""
    drift = PowerDrift(0.1, 1.5)
    none = solved(drift, JUMPS(1e-12), "positive")
    assert np.all(np.abs(none.mass - masses(drift)).sum(axis=1) <= none.error)
