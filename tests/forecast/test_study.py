"""Studies: what is stored forecasts the same again, sizes and laws are chosen with care."""

import json
from dataclasses import replace

import numpy as np
import pytest

import eigenflow as ef
from eigenflow.core.errors import ArgumentError
from eigenflow.forecast import fit_study, load_study, save_study, score_study
from forecast.logs import SCHEDULES, study

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def joint():
    curves = ef.read_curves(study(), schedules=SCHEDULES)
    return fit_study(curves, ["transport", "multi_power", "functional"], starts=1)


def test_a_stored_study_forecasts_the_same_to_the_last_bit(joint, tmp_path):
    again = load_study(save_study(joint, tmp_path / "fit.json"))
    for law in joint.laws:
        for size in (25e6, 4e8):
            for schedule in SCHEDULES.values():
                before = joint.predict(schedule, law=law, size=size, every=7)
                after = again.predict(schedule, law=law, size=size, every=7)
                for name in ("steps", "loss", "lower", "upper"):
                    np.testing.assert_array_equal(getattr(after, name), getattr(before, name))
    assert again.curves.sizes == joint.curves.sizes and again.curves.size_unit == 1e6
    assert [fit.status for fit in again.fits] == [fit.status for fit in joint.fits]


def test_a_study_carries_backtests_of_its_own_and_they_scale_its_intervals(joint, tmp_path):
    """Errors thirty times as large as they were make the interval wider, and move no forecast; a file that was written
    before studies had backtests opens, with the interval of an average study."""
    transport = joint.fit_for("transport", 25e6)
    own = transport.intervals.own
    assert {one.kind for one in own} == {"schedule"} and len(own) >= 3

    def with_backtests(own):
        return replace(transport, intervals=replace(transport.intervals, own=tuple(own)))

    worse = with_backtests(replace(one, errors=30 * one.errors) for one in own)
    schedule, steps = SCHEDULES["cosine"], np.array([500, 1000])
    before, after = (one.predict_steps(schedule, steps, size=25e6) for one in (transport, worse))
    np.testing.assert_array_equal(after.loss, before.loss)
    # Squares 900 times as large, of half a degree each beside the four of other studies.
    assert (after.upper - after.lower > 2.0 * (before.upper - before.lower)).all()
    content = json.loads(save_study(joint, tmp_path / "fit.json").read_text())
    for one in content["fits"]:
        del one["own"]
    del content["sha256"]
    (tmp_path / "old.json").write_text(json.dumps(content))
    old = load_study(tmp_path / "old.json").fit_for("transport", 25e6)
    average = with_backtests(()).predict_steps(schedule, steps, size=25e6)
    np.testing.assert_allclose(old.predict_steps(schedule, steps, size=25e6).upper, average.upper, rtol=1e-12)


def test_forecasts_at_a_curve_are_those_of_its_whole_schedule(joint):
    """What comes later in a schedule cannot change the forecast of an earlier step."""
    curve = joint.curves.select(size=25e6)["cosine"]
    whole = joint.predict(curve.schedule, size=25e6, first=1)
    at = joint.predict_at(curve)
    # Both are within 5e-5 of the sum over every update.
    np.testing.assert_allclose(at.loss, whole.loss[curve.steps - 1], rtol=1e-4)


def test_scores_of_a_perfect_forecast_are_zero(joint):
    curve = joint.curves.select(size=25e6)["cosine"]
    found = joint.predict_at(curve)
    perfect = ef.read_curves(curve.to_dataframe().assign(loss=found.loss), schedules=SCHEDULES, keep_spikes=True)
    (row,) = score_study(joint, perfect, ["transport"])
    assert row.mae == pytest.approx(0.0, abs=1e-6) and row.coverage == 1.0 and row.is_fitted


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "`size` is missing: the fit has sizes 25M, 100M"),
        ({"size": 25e6, "law": "momentum"}, "Law 'momentum' was not fitted. There are: transport"),
        ({"size": 25e12}, "in the unit of the fitted table"),
    ],
)
def test_choices_that_cannot_be_served_say_what_there_is(joint, options, message):
    with pytest.raises(ArgumentError, match=message):
        joint.predict(SCHEDULES["cosine"], **options)
