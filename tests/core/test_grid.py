"""Logarithmic grids of steps and shells."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import eigenflow as ef
from eigenflow.core.errors import ArgumentError
from eigenflow.core.grid import ON_EDGE, coarsen_edges, first_steps, shell_edges, shell_index
from eigenflow.core.rounding import whole_parts
from rounding import SEEDS, last_bits


@pytest.mark.long
@given(total=st.integers(1, 10**7), count=st.integers(1, 200))
def test_log_steps_are_increasing_whole_and_span_the_run(total, count):
    steps = ef.log_steps(total, count=count)
    assert steps[0] == 0 and np.all(np.diff(steps) > 0)
    assert steps[-1] == (total - 1 if count > 1 else 0)
    assert len(steps) <= total


def test_log_steps_are_even_in_the_logarithm():
    steps = ef.log_steps(10_000, count=60)
    assert 60 <= len(steps) <= 63
    late = np.log10(steps[steps > 300] + 1.0)
    np.testing.assert_allclose(np.diff(late), np.diff(late).mean(), rtol=0.1)  # whole steps round by 1 in 300


@pytest.mark.rejects
@pytest.mark.parametrize(("name", "values"), [("total", {"total": 0}), ("count", {"total": 5, "count": 0})])
def test_log_steps_out_of_range(name, values):
    with pytest.raises(ArgumentError, match=rf"`{name}` must be a whole number of \w+ in \[1, .*, but is 0"):
        ef.log_steps(**values)


@given(exponent=st.floats(-30, 30))
def test_shells_are_sixteen_a_decade_on_a_grid_common_to_all_runs(exponent):
    edges = shell_edges(10.0**exponent)
    np.testing.assert_allclose(np.diff(np.log10(edges)), 1 / 16, rtol=1e-9)
    position = np.log10(edges) * 16
    np.testing.assert_allclose(position, np.round(position), atol=1e-6)
    room = 1 + 2 * ON_EDGE  # what is nearer to a power of ten counts as it
    assert edges[0] <= 10.0 ** (exponent - 11) * room and edges[-1] * room >= 10.0 ** (exponent + 3)


def test_shell_index_puts_edges_into_the_shell_above():
    edges = np.array([1.0, 10.0, 100.0])
    found = shell_index(np.array([-1.0, 0.5, 1.0, 9.9, 10.0, 100.0, 1e9]), edges)
    np.testing.assert_array_equal(found, [0, 0, 1, 1, 2, 3, 3])


@pytest.mark.parametrize("seed", SEEDS)
def test_eigenvalues_on_edges_do_not_change_shells_by_rounding(seed):
    """Every edge, and the largest eigenvalue that lays them, some last bits off: nothing moves."""
    edges = shell_edges(1.0)
    np.testing.assert_array_equal(shell_index(last_bits(edges, seed), edges), 1 + np.arange(len(edges)))
    np.testing.assert_array_equal(shell_index(edges * (1 - 1e-3), edges), np.arange(len(edges)))
    for power in range(-12, 13):
        exact = shell_edges(10.0**power)
        np.testing.assert_array_equal(shell_edges(float(last_bits(10.0**power, seed))), exact)
        assert exact[-1] == pytest.approx(10.0 ** (power + 3), rel=1e-12)


@given(percent=st.integers(1, 99), total=st.integers(1, 10**7))
def test_first_steps_are_those_of_exact_arithmetic(percent, total):
    assert first_steps(percent / 100, total) == Fraction(percent, 100) * total // 1


@given(parts=st.integers(1, 1000), part=st.floats(1e-3, 1e3))
def test_a_length_of_whole_parts_is_covered_by_them(parts, part):
    for seed in SEEDS:
        assert whole_parts(float(last_bits(parts * part, seed)), part) == parts
    assert whole_parts((parts + 1e-3) * part, part) == parts + 1


@pytest.mark.parametrize("per_decade", [1, 2, 4, 8, 16])
def test_coarse_edges_are_stored_edges(per_decade):
    edges = shell_edges(3.0)
    kept = edges[coarsen_edges(edges, per_decade)]
    np.testing.assert_allclose(np.diff(np.log10(kept)), 1 / per_decade, rtol=1e-9)
    assert kept[0] == edges[0] and kept[-1] == edges[-1]


@pytest.mark.rejects
@pytest.mark.parametrize("per_decade", [0, 3, 32])
def test_shells_that_cannot_be_merged(per_decade):
    with pytest.raises(ArgumentError, match="`shells_per_decade` must be 1, 2, 4, 8 or 16"):
        coarsen_edges(shell_edges(1.0), per_decade)
