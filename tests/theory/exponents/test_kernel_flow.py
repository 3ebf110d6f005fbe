import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.linalg import expm

from eigenflow.core.errors import ArgumentError, NonFiniteError
from eigenflow.theory.exponents.kernel_flow import flow_law, flow_risk
from eigenflow.theory.task_spectrum import TaskSpectrum


def test_flow_is_the_exponential_of_the_operator():
    rng = np.random.default_rng(0)
    J = rng.standard_normal((6, 9))
    M, e = J @ J.T, rng.standard_normal(6)
    values, vectors = np.linalg.eigh(M)
    task = TaskSpectrum(values[::-1], (vectors.T @ e)[::-1] ** 2)
    for time in (0.0, 0.03, 0.4):
        left = expm(-M * time) @ e
        assert flow_risk(task, np.array([time]))[0] == pytest.approx(left @ left, rel=1e-12)


def test_descent_is_its_own_steps():
    rng = np.random.default_rng(1)
    values, e = np.sort(rng.uniform(0.1, 3.0, 8))[::-1], rng.standard_normal(8)
    task, rate, left = TaskSpectrum(values, e**2), 0.6, e.copy()
    found = flow_risk(task, rate * np.arange(12.0), learning_rate=rate)
    for step in range(12):
        assert found[step] == pytest.approx(left @ left, rel=1e-11)
        left = left - rate * values * left


def test_a_mode_learned_in_one_step_is_gone_after_it():
    task = TaskSpectrum(np.array([1.0, 0.5]), np.array([3.0, 1.0]))
    assert flow_risk(task, np.array([0.0, 1.0, 2.0]), learning_rate=1.0) == pytest.approx([4.0, 0.25, 0.0625])


# The numbers of equations/exponents.md#lazy-exponent: a line through 21 times from 100 to 10,000, a million modes.
@pytest.mark.long
@pytest.mark.parametrize(
    ("capacity", "decay", "fitted"), [(1.5, 1.6, -0.4026), (2.0, 1.5, -0.2519), (1.2, 2.2, -1.0002)]
)
def test_slopes_of_a_million_modes_and_with_their_tail(capacity, decay, fitted):
    task, times = TaskSpectrum.power_law(capacity, decay, modes=10**6), np.logspace(2, 4, 21)
    risk = flow_risk(task, times)
    assert np.polyfit(np.log(times), np.log(risk), 1)[0] == pytest.approx(fitted, abs=5e-5)
    law = flow_law(capacity, decay, modes=10**6)
    whole = risk + law.risk(times, is_finite=False) - law.risk(times)
    # The sum is the integral up to terms that are exponentially small in a power of t.
    assert np.polyfit(np.log(times), np.log(whole), 1)[0] == pytest.approx(-law.exponent, abs=1e-9)
    assert law.risk(times) == pytest.approx(risk, rel=1e-8)


def test_prefactor_at_a_thousand_is_a_half_percent_low_without_the_tail():
    task, law = TaskSpectrum.power_law(1.5, 1.6, modes=10**6), flow_law(1.5, 1.6)
    at = np.array([1e3])
    assert flow_risk(task, at)[0] / law.risk(at)[0] == pytest.approx(0.994, abs=5e-4)


def test_descent_beside_flow():
    task, times = TaskSpectrum.power_law(1.5, 1.6, modes=10**6), np.array([1e2, 1e3, 1e4])
    ratio = flow_risk(task, times, learning_rate=1.0) / flow_risk(task, times)
    assert ratio == pytest.approx([0.9986, 0.99986, 0.99999], abs=5e-6, rel=1e-5)


@given(
    capacity=st.floats(1.1, 4.0), source=st.floats(0.05, 3.0), scale=st.floats(1e-3, 1e3), energy=st.floats(1e-3, 1e3)
)
@settings(max_examples=25, deadline=None)
def test_prefactor_is_the_integral_over_all_modes(capacity, source, scale, energy):
    decay = capacity * source + 1.0
    law = flow_law(capacity, decay, scale=scale, energy=energy)
    time = 30.0 / scale
    middle = (2.0 * scale * time) ** (1.0 / capacity)

    def each(y):
        """Energy times modes per ln(rank)."""
        return energy * np.exp((1.0 - decay) * y - 2.0 * scale * time * np.exp(-capacity * y))

    ends = np.log(middle) + np.array([-5.0 / capacity, 0.0, 5.0 / capacity, 10.0 / capacity])
    inner = sum(quad(each, a, b, epsrel=1e-11)[0] for a, b in itertools.pairwise(ends))
    last = float(ends[-1])  # beyond, 2 lambda t is below 5e-5, and its first order is enough
    outer = energy * np.exp((1.0 - decay) * last) / (decay - 1.0)
    outer -= 2.0 * scale * time * energy * np.exp((1.0 - decay - capacity) * last) / (decay + capacity - 1.0)
    assert law.risk(np.array([time]))[0] == pytest.approx(inner + outer, rel=1e-7)


@pytest.mark.parametrize("tolerance", [0.01, 0.1])
@pytest.mark.parametrize(("capacity", "decay"), [(1.5, 1.6), (1.2, 2.2), (3.0, 5.0)])
def test_law_holds_within_its_range_and_not_beyond(capacity, decay, tolerance):
    modes = 20_000
    task, law = TaskSpectrum.power_law(capacity, decay, modes=modes), flow_law(capacity, decay, modes=modes)
    low, high = law.validity(tolerance)
    assert low < high
    inside = np.geomspace(low, high, 50)
    assert np.abs(flow_risk(task, inside) / law.risk(inside, is_finite=False) - 1.0).max() <= 1.01 * tolerance
    # Early deviations change their sign, so that some time just before the range is outside, and not each.
    before, after = np.linspace(0.9, 1.0, 30) * low, np.array([1.1 * high])
    assert np.abs(flow_risk(task, before) / law.risk(before) - 1.0).max() > tolerance
    assert abs(flow_risk(task, after)[0] / law.risk(after, is_finite=False)[0] - 1.0) > tolerance


def test_few_modes_hold_the_law_nowhere():
    low, high = flow_law(1.5, 1.6, modes=5).validity()
    assert high < low
    assert "nowhere" in repr(flow_law(1.5, 1.6, modes=5))


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"times": np.array([-1.0])}, ArgumentError, "`times` must be >= 0"),
        ({"times": np.array([np.nan])}, NonFiniteError, "`times` must be finite"),
        ({"learning_rate": 2.5}, ArgumentError, r"below 2 / \(largest eigenvalue\) = 2, but is 2.5"),
        ({"learning_rate": 0.0}, ArgumentError, "`learning_rate` must be > 0"),
        ({"task": 3}, ArgumentError, "`task` must be a TaskSpectrum"),
    ],
)
def test_refused_inputs(change, error, words):
    arguments = {"task": TaskSpectrum.power_law(1.5, 1.6, modes=9), "times": np.array([1.0])} | change
    with pytest.raises(error, match=words):
        flow_risk(**arguments)


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((0.0, 1.6), "`capacity` must be > 0"),
        ((1.5, 1.0), "`target_decay` must be > 1.*region"),
        ((1.5, np.inf), "inf"),
    ],
)
def test_law_names_its_region(arguments, words):
    with pytest.raises(ArgumentError, match=words):
        flow_law(*arguments)
