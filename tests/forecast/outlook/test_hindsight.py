"""A forecast as of an earlier update: nothing later is known, and what came is told beside it."""

import numpy as np
import pytest

import eigenflow as ef
from eigenflow.core.errors import ArgumentError
from eigenflow.forecast import Curve, CurveSet, Schedule
from eigenflow.forecast.outlook.hindsight import hide_rest
from eigenflow.forecast.outlook.picture import outlook_figure

COSINE = Schedule.cosine(total=2000, peak=1e-3, end=1e-4, warmup=100)


def curve(name="a", late=1.0):
    """Losses that do not depend on the rates; after step 1000 they are multiplied by `late`."""
    steps = np.arange(20, 2001, 20)
    losses = (2.0 + 30.0 / (steps + 100.0)) * np.where(steps > 1000, late, 1.0)
    return Curve(name, steps, losses, COSINE)


@pytest.mark.long
def test_what_comes_later_changes_nothing_of_the_forecast():
    """Two logs that differ after the cut alone have the same forecast, to the last bit, and different ends."""
    pasts = [hide_rest(CurveSet((curve(late=late),)), 1000) for late in (1.0, 1.2)]
    same, other = (ef.forecast_logs(past.curves, run=past.run) for past in pasts)
    assert (same.end.loss, same.end.lower, same.end.upper) == (other.end.loss, other.end.lower, other.end.upper)
    assert same.run.last == 1000 and same.run.total == 2000
    low, high = pasts[0].interval(same)
    assert (low, high) == pytest.approx((same.end.lower, same.end.upper))
    assert "inside the interval" in pasts[0].told(same)
    assert "outside of the interval" in pasts[1].told(other)


@pytest.mark.long
def test_the_hidden_points_are_drawn_where_they_are():
    past = hide_rest(CurveSet((curve(),)), 1000)
    ax = outlook_figure(ef.forecast_logs(past.curves), came=past.came).axes[0]
    (drawn,) = [line for line in ax.get_lines() if line.get_label() == "what came, hidden"]
    np.testing.assert_array_equal(drawn.get_xdata(), np.arange(1020, 2001, 20))
    np.testing.assert_array_equal(drawn.get_ydata(), curve().losses[50:])


def test_of_several_runs_the_named_one_is_cut():
    past = hide_rest(CurveSet((curve("a"), curve("b"))), 1000, run="b")
    assert [len(one) for one in past.curves] == [100, 50] and past.run == "b" and len(past.came) == 50


@pytest.mark.rejects
@pytest.mark.parametrize("step", [10, 2000, 5000])
def test_a_cut_needs_points_on_both_sides(step):
    with pytest.raises(ArgumentError, match=rf"`until` .* 20 to 1,999, but is {step:,}"):
        hide_rest(CurveSet((curve(),)), step)
