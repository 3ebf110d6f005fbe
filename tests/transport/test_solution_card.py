"""What a solution says of itself: what lies below its domain, and errors of sources that are split off."""

import numpy as np
import pytest
from scipy.special import gamma, gammainc

import eigenflow as ef
from eigenflow.transport import CellMasses, IntegratingFactor, SgdNoise, Strang


def power_problem(lowest, exponent=0.5, **changes):
    parts = {
        "drift": ef.PowerDrift(c=0.0, b=1.0),
        "dissipation": 2.0,
        "initial": lambda lam: lam ** (exponent - 1.0) * np.exp(-lam),
        "domain": (lowest, 1e2),
    }
    return ef.TransportProblem(**(parts | changes))


@pytest.mark.parametrize("exponent", [0.3, 0.5, 1.5])
def test_what_lies_below_the_domain_is_the_integral_of_the_power_law(exponent):
    """The incomplete gamma function is the mass below; far below 1 the density is a power law to the edge's size."""
    lowest = 1e-6
    below = gammainc(exponent, lowest) * gamma(exponent)
    found = ef.solve(power_problem(lowest, exponent), [1.0]).missing_below
    assert found == pytest.approx(below, rel=3 * lowest / exponent)


def test_a_domain_that_cuts_off_what_counts_late_says_so():
    """Lazy, s = 1/2: the total goes as t^-1/2 until the modes below the domain are all that would be left."""
    times = np.geomspace(1.0, 1e5, 20)
    cut, whole = (ef.solve(power_problem(lowest), times) for lowest in (1e-6, 1e-14))
    exact = gamma(0.5) * (1.0 + 2.0 * times) ** -0.5
    assert whole.total == pytest.approx(exact, rel=1e-4) and cut.total[-1] < 0.7 * exact[-1]
    # Modes below 1e-6 have hardly decayed at t = 1e5, so that what is missing is what was there, to 2 lambda t.
    assert exact[-1] - cut.total[-1] == pytest.approx(cut.missing_below, rel=0.2)
    assert "left out" in repr(cut) and "left out" not in repr(whole)


def test_densities_without_an_integral_and_masses():
    assert ef.solve(power_problem(1e-6, initial=lambda lam: 1.0 / lam**1.5), [1.0]).missing_below == np.inf
    assert ef.solve(power_problem(1e-6, initial=lambda lam: np.where(lam > 1e-3, 1.0, 0.0)), [1.0]).missing_below == 0
    masses = CellMasses(np.geomspace(1e-6, 1e2, 9), np.ones(8))
    assert ef.solve(power_problem(1e-6, initial=masses), [1.0]).missing_below == 0


@pytest.mark.parametrize("b", [0.7, 1.5])
@pytest.mark.parametrize("method", ["positive", IntegratingFactor(step=0.08), Strang(step=0.02)])
def test_error_of_split_noise_covers_what_steps_longer_than_dissipation_do(method, b):
    """Noise on eigenvalues up to 100 in steps of 100: splitting is of first order at best. The ladder has no steps."""
    noise = SgdNoise(0.1, 8, lambda lam: lam**-0.5 * np.exp(-lam), 0.01)
    problem = power_problem(1e-8, 0.6, source=noise, drift=ef.PowerDrift(c=1e-3, b=b))
    times = np.array([1.0, 10.0, 100.0, 1000.0])
    exact = ef.solve(problem, times, cells=160, method="ladder")
    found = ef.solve(problem, times, cells=80, method=method)
    wrong = np.abs(found.mass.reshape(4, 40, 2).sum(2) - exact.mass.reshape(4, 40, 4).sum(2)).sum(1)
    assert np.all(wrong <= found.error + exact.error)
    # And says little more than that where it is the largest part.
    assert np.all(found.error <= 20 * wrong + 1e-4)
    assert found.mass.min() >= 0


@pytest.mark.long
def test_error_of_split_noise_covers_under_a_drift_that_sweeps_modes_down():
    """Against the ladder on eight times the cells, whose own error is not small at the front and counts too."""
    noise = SgdNoise(0.1, 8, lambda lam: lam**-0.5 * np.exp(-lam), 0.01)
    problem = power_problem(1e-8, 0.6, source=noise, drift=ef.PowerDrift(c=2.0, b=2.0))
    times = np.array([1.0, 1000.0])
    exact = ef.solve(problem, times, cells=640, method="ladder")
    found = ef.solve(problem, times, cells=80, method="positive")
    wrong = np.abs(found.mass.reshape(2, 40, 2).sum(2) - exact.mass.reshape(2, 40, 16).sum(2)).sum(1)
    assert np.all(wrong <= found.error + exact.error) and np.all(found.error <= 10 * wrong)
