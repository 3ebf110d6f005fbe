"""The best loss at every compute."""

import numpy as np
import pandas as pd
import pytest

from eigenflow.core.errors import ArgumentError
from eigenflow.theory.over_sizes import compute_frontier, fit_size_law


def curves_of(widths: np.ndarray, of_width: float, of_time: float) -> pd.DataFrame:
    times = np.geomspace(1.0, 1e6, 121)
    rows = [(width, time, width**-of_width + time**-of_time) for width in widths for time in times]
    return pd.DataFrame(rows, columns=["width", "time", "loss"])


@pytest.mark.parametrize(("of_width", "of_time"), [(0.6, 0.4), (1.0, 0.5)])
def test_frontier_of_two_powers(of_width: float, of_time: float):
    """min of N^-x + t^-y at N t = C falls as C^-(x y / (x + y)); widths a factor 1.2 apart give it to 2 %."""
    sweep = compute_frontier(curves_of(1.2 ** np.arange(0, 60, 1.0), of_width, of_time), places=12)
    assert sweep.resource == "compute"
    expected = of_width * of_time / (of_width + of_time)
    assert fit_size_law(sweep).exponent.value == pytest.approx(expected, rel=0.02)


def test_work_of_a_unit_of_time_may_grow_faster_than_the_width():
    """With N^2 t = C the width costs twice its exponent: x y / (x + 2 y)."""
    sweep = compute_frontier(curves_of(1.2 ** np.arange(0, 60, 1.0), 1.0, 0.5), power=2.0, places=12)
    assert fit_size_law(sweep).exponent.value == pytest.approx(0.25, rel=0.03)


def test_repeats_have_frontiers_of_their_own():
    one = curves_of(2.0 ** np.arange(10), 0.6, 0.4).assign(repeat=0)
    other = one.assign(loss=one["loss"] * 1.5, repeat=1)
    sweep = compute_frontier(pd.concat([one, other]))
    assert sweep.repeats is not None and set(sweep.repeats) == {0, 1}
    assert sweep.losses[sweep.repeats == 1] == pytest.approx(1.5 * sweep.losses[sweep.repeats == 0], rel=1e-9)


@pytest.mark.rejects
def test_tables_without_a_frontier():
    table = curves_of(2.0 ** np.arange(10), 0.6, 0.4)
    with pytest.raises(ArgumentError, match="has no 'loss'"):
        compute_frontier(table.drop(columns="loss"))
    with pytest.raises(ArgumentError, match="3 widths or more"):
        compute_frontier(table[table["width"] < 3])
    best = table.assign(loss=table["time"] ** -0.4 * table["width"] ** -5.0)  # the widest is always best
    with pytest.raises(ArgumentError, match="no range of compute"):
        compute_frontier(best[best["width"] <= 4])
