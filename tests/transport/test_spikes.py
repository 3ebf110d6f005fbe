"""Drift strengths that are narrow in time: integrals in closed form, paths by scipy, and few panels."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from eigenflow.transport import PointMasses, PowerDrift, SolveStatus, TransportProblem, solve
from eigenflow.transport.flows.time_integral import integrate_strength

pytestmark = pytest.mark.long

HORIZON = 100.0


def spike(t, place, width):
    """Unit area, for places some widths above zero."""
    return np.exp(-0.5 * ((t - place) / width) ** 2) / (width * np.sqrt(2 * np.pi))


@pytest.mark.parametrize("share", [1e-1, 1e-2, 1e-3, 2e-4])
def test_every_spike_of_a_width_of_a_look_is_found(share):
    """Looks are 7e-4 of the time apart. Of a Gaussian 12 standard deviations count as its width, so 1e-4 is enough.

    Its own time is known to a rounding, which through its slope is 1e-13 of its area at the narrowest.
    """
    rng = np.random.default_rng(0)
    for place in np.exp(rng.uniform(np.log(1e-3), np.log(60.0), 50)):
        table = integrate_strength(lambda t, place=place: 0.3 + spike(t, place, share * place), HORIZON)
        assert table(np.array([HORIZON]))[0] == pytest.approx(0.3 * HORIZON + 1.0, rel=1e-11)
        assert len(table.edges) < 1000  # 13,000 when its flanks were bisected down to roundings


def test_a_jump_lies_between_the_last_node_of_a_panel_and_its_end_as_well():
    rng = np.random.default_rng(1)
    for place in np.exp(rng.uniform(np.log(1e-3), np.log(90.0), 200)):
        table = integrate_strength(lambda t, place=place: np.where(t < place, 0.3, -0.5), HORIZON)
        assert table(np.array([HORIZON]))[0] == pytest.approx(0.3 * place - 0.5 * (HORIZON - place), rel=1e-12)
        assert table.turning_times == pytest.approx([place], rel=1e-14)


@pytest.mark.parametrize("b", [0.8, 1.0, 1.5, 2.0])
@pytest.mark.parametrize(("area", "width"), [(1.0, 1e-3), (-0.4, 1e-3), (0.7, 1e-2)])
def test_modes_under_a_spike_agree_with_scipy(b, area, width):
    """DOP853 in three parts, so that it cannot step over the spike, to 1e-11."""
    place, modes, times = 3.3, np.array([0.02, 0.1, 0.6]), np.array([1.0, 3.3, 20.0])

    def c(t):
        return 0.3 / (1 + t) + area * spike(t, place, width)

    expected = np.zeros(len(times))
    for mode in modes:
        state, parts, steps = (
            np.array([np.log(mode), 0.0]),
            [],
            (0.0, place - 9 * width, place, place + 9 * width, 20.0),
        )
        for begin, end in pairwise(steps):
            path = solve_ivp(
                lambda t, y: [-c(t) * np.exp((b - 1) * y[0]), 2 * np.exp(y[0])],
                (begin, end),
                state,
                method="DOP853",
                rtol=1e-12,
                atol=1e-13,
                dense_output=True,
            )
            state = path.y[:, -1]
            parts.append(path.sol)
        part = np.searchsorted(steps[1:-1], times, side="left")
        expected += [np.exp(-parts[i](t)[1]) for i, t in zip(part, times, strict=True)]
    problem = TransportProblem(PowerDrift(c=c, b=b), 2.0, PointMasses(modes, np.ones(3)), (1e-6, 1e3))
    solution = solve(problem, times, cells=20)
    np.testing.assert_allclose(solution.total, expected, rtol=1e-9)
    assert solution.status is SolveStatus.CONVERGED


def test_a_spike_does_not_exhaust_the_work_that_a_solve_may_take():
    """Its flanks are no smoother than the roundings of the time; bisecting them down to those took 13,000 panels."""
    rng = np.random.default_rng(5)
    for b in (0.8, 1.5, 2.0):
        width, place = 1e-3 * 10 ** rng.uniform(-1, 0), rng.uniform(1.0, 60.0)
        drift = PowerDrift(c=lambda t, p=place, w=width * place: 0.3 / (1 + t) - 0.5 * spike(t, p, w), b=b)
        problem = TransportProblem(drift, 2.0, lambda lam: np.exp(-1e-4 / lam - lam), (1e-6, 1e2))
        solution = solve(problem, np.geomspace(1e-2, HORIZON, 10), cells=50)
        assert solution.status is not SolveStatus.INACCURATE
