"""Curves and sets of curves: what they refuse, how they are cut, thinned and chosen from."""

import numpy as np
import pytest

from eigenflow.core.errors import ArgumentError, NonFiniteError, ShapeError
from eigenflow.forecast import Curve, CurveSet, Schedule

SCHEDULE = Schedule.two_stage(total=10_000, warmup=100, peak=1e-3, end=1e-4, change=6000)


def curve(name="a", steps=None, losses=None, **more):
    steps = np.arange(0, 10_001, 50) if steps is None else np.asarray(steps)
    losses = 2.0 + 3.0 * (1 + steps) ** -0.3 if losses is None else losses
    return Curve(name, steps, losses, SCHEDULE, **more)


def test_time_at_a_point_is_the_sum_of_the_rates_before_it():
    made = curve()
    assert made.times[0] == 0
    assert made.times[-1] == pytest.approx(1e-3 * (99 / 2 + 5900) + 1e-4 * 4000, rel=1e-13)


def test_cut_gives_everything_up_to_it_and_the_rest():
    known, later = curve().cut(0.25)
    assert known.steps[-1] == 2500 and later.steps[0] == 2550
    assert len(known) + len(later) == len(curve())
    assert later.schedule is known.schedule


def test_averages_over_windows_keep_a_power_law_and_do_not_straddle_a_jump():
    """A window of a factor r moves the mean by O((ln r)^2): 100 windows over 4 decades, ln r < 0.1."""
    steps = np.arange(1, 10_001)
    losses = 3.0 * steps**-0.3
    thin = curve(steps=steps, losses=losses).binned(100)
    assert len(thin) <= 102
    np.testing.assert_allclose(thin.losses, 3.0 * thin.steps**-0.3, rtol=2e-3)
    jump = np.where(steps > 6000, 1.0, 2.0)
    assert set(np.round(curve(steps=steps, losses=jump).binned(30).losses, 12)) == {1.0, 2.0}


def test_steps_on_the_borders_of_windows_belong_to_the_later_one():
    """60 windows over 3 decades: step s is in window floor(20 log10 s), which whole numbers tell: 10^w <= s^20."""
    steps = np.arange(1, 1000)
    window = np.array([len(str(int(s) ** 20)) - 1 for s in steps])
    starts = np.flatnonzero(np.diff(window, prepend=-1))
    assert {10, 100} <= set(steps[starts])
    centres = np.add.reduceat(steps, starts) / np.diff(np.append(starts, len(steps)))
    np.testing.assert_array_equal(curve(steps=steps, losses=3.0 * steps**-0.3).binned(60).steps, np.rint(centres))


def test_sets_are_chosen_from_by_name_role_and_size():
    curves = CurveSet(
        (curve("a", size=25e6, role="fit"), curve("b", size=25e6, role="dev"), curve("a", size=1e8, role="fit"))
    )
    assert curves.names == ["a", "b"] and curves.sizes == [25e6, 1e8] and len(curves.select(role="fit")) == 2
    assert curves.select(size=25e6)["a"].label == "a (25M)"
    assert [len(part) for part in curves.per_size().values()] == [2, 1]
    frame = curves.to_dataframe()
    assert len(frame) == curves.points and set(frame.role) == {"fit", "dev"}


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: curve(steps=[1, 2], losses=[1.0]), ShapeError, "equally long"),
        (lambda: curve(steps=[], losses=[]), ShapeError, "not empty"),
        (lambda: curve(steps=[1.5, 2.0], losses=[1.0, 1.0]), ArgumentError, "whole numbers"),
        (lambda: curve(steps=[1, 3, 2], losses=[1.0, 1.0, 1.0]), ArgumentError, "point 1 has step 3 and the next 2"),
        (lambda: curve(steps=[1, 2], losses=[1.0, np.nan]), NonFiniteError, "step 2 has nan"),
        (lambda: curve(steps=[1, 2], losses=[1.0, 0.0]), NonFiniteError, "positive.*step 2 has 0.0"),
        (lambda: curve(steps=[1, 10_001], losses=[1.0, 1.0]), ArgumentError, "step 10001.*10000 updates"),
        (lambda: curve(size=0.0), ArgumentError, "`size`"),
        (lambda: curve().cut(1.0), ArgumentError, "`share`"),
        (lambda: curve().until(-1), ArgumentError, "no point up to step -1"),
        (lambda: CurveSet((curve(), curve())), ArgumentError, "a occurs twice"),
        (lambda: CurveSet((curve(),))["b"], ArgumentError, "Available: a"),
        (lambda: CurveSet((curve("a", size=1.0), curve("a", size=2.0)))["a"], ArgumentError, "there are 2.*select"),
        (lambda: CurveSet((curve(),)).select(role="fit"), ArgumentError, "No curve has.*role=fit"),
    ],
)
def test_wrong_curves_say_what_is_wrong(make, error, message):
    with pytest.raises(error, match=message):
        make()
