"""Wrong calls: each ends in an error of eigenflow that names the argument."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import eigenflow as ef
from eigenflow.core.errors import ArgumentError, EigenflowError
from eigenflow.forecast import Curve, CurveSet, Schedule, fit_study, load_study, read_schedules, save_study, score_study
from eigenflow.scaling.table import make_table, read_scaling_table
from forecast.logs import SCHEDULES, rows, study

pytestmark = pytest.mark.rejects

LONE = rows("cosine").drop(columns=["curve", "model_size_M", "role"])
COSINE = SCHEDULES["cosine"]
STEPS, LOSSES = np.array([10, 20, 30]), np.array([3.0, 2.5, 2.2])
NAN = float("nan")


def curve(name="a", **changes):
    return Curve(**{"name": name, "steps": STEPS, "losses": LOSSES, "schedule": COSINE} | changes)


@pytest.fixture(scope="module")
def fitted():
    return fit_study(ef.read_curves(study((25,)), schedules=SCHEDULES), ["power_time"], starts=1)


READING = {
    "exclude as text": (lambda: ef.read_curves(study(), exclude="cosine"), "`exclude`.*list of names"),
    "exclude as number": (lambda: ef.read_curves(study(), exclude=3), "`exclude`"),
    "exclude of numbers": (lambda: ef.read_curves(study(), exclude=[3]), "`exclude`"),
    "no tokens per step": (lambda: ef.read_curves(LONE, tokens_per_step=0), "`tokens_per_step`"),
    "negative tokens": (lambda: ef.read_curves(LONE, tokens_per_step=-1), "`tokens_per_step`"),
    "tokens as text": (lambda: ef.read_curves(LONE, tokens_per_step="512"), "`tokens_per_step`"),
    "tokens NaN": (lambda: ef.read_curves(LONE, tokens_per_step=NAN), "`tokens_per_step`"),
    "unit as number": (lambda: ef.read_curves(LONE, unit=1.4), "`unit`"),
    "unit as list": (lambda: ef.read_curves(LONE, unit=["nats"]), "`unit`"),
    "columns as list": (lambda: ef.read_curves(LONE, columns=["loss"]), "`columns`"),
    "columns as text": (lambda: ef.read_curves(LONE, columns="loss"), "`columns`"),
    "warmup negative": (lambda: ef.read_curves(LONE, warmup=-1), "`warmup`"),
    "warmup as share": (lambda: ef.read_curves(LONE, warmup=0.1), "`warmup`"),
    "warmup as text": (lambda: ef.read_curves(LONE, warmup="100"), "`warmup`"),
    "source None": (lambda: ef.read_curves(None), "`source`"),
    "source as number": (lambda: ef.read_curves(7), "`source`"),
    "source of numbers": (lambda: ef.read_curves([7]), "`source`"),
    "source with NUL": (lambda: ef.read_curves("a\0.csv"), "exist"),
    "source of a long name": (lambda: ef.read_curves("a" * 5000), "path"),
    "schedules as number": (lambda: ef.read_curves(LONE, schedules=3), "`schedules`"),
    "schedules of numbers": (lambda: ef.read_curves(LONE, schedules={"a": [1.0, 2.0]}), "schedules"),
    "rates as schedules": (lambda: ef.read_curves(LONE, schedules=[0.1, 0.2]), "`schedules`"),
    "schedules to read": (lambda: read_schedules(None), "`schedules`"),
    "table path": (lambda: read_scaling_table(5), "`path`"),
    "table columns": (lambda: read_scaling_table("t.csv", columns="loss"), "`columns`"),
    "table where": (lambda: read_scaling_table("t.csv", where=["a"]), "`where`"),
    "table missing": (lambda: read_scaling_table("none.csv"), "`path`"),
    "table of text": (lambda: make_table(["a"] * 3, [1.0] * 3, [1.0] * 3), "`size`"),
    "table of None": (lambda: make_table(None, [1.0] * 3, [1.0] * 3), "`size`"),
    "table of a number": (lambda: make_table(3.0, [1.0] * 3, [1.0] * 3), "`size`"),
    "study path": (lambda: load_study(3), "`path`"),
}
MAKING = {
    "schedule of text": (lambda: Schedule.table(["a", "b"]), "`rates`"),
    "schedule of nothing": (lambda: Schedule.table([]), "`rates`"),
    "schedule of None": (lambda: Schedule.table(None), "`rates`"),
    "schedule of two axes": (lambda: Schedule.table([[1.0], [2.0]]), "`rates`"),
    "peak NaN": (lambda: Schedule.constant(total=10, peak=NAN), "`peak`"),
    "peak as text": (lambda: Schedule.constant(total=10, peak="3e-4"), "`peak`"),
    "peak None": (lambda: Schedule.constant(total=10, peak=None), "`peak`"),
    "total infinite": (lambda: Schedule.constant(total=float("inf"), peak=1.0), "`total`"),
    "total of many digits": (lambda: Schedule.constant(total=10**400, peak=1.0), "`total`"),
    "total in tokens": (lambda: Schedule.constant(total=10**11, peak=1.0), "`total`.*tokens"),
    "total as text": (lambda: Schedule.constant(total="100", peak=1.0), "`total`"),
    "end as list": (lambda: Schedule.cosine(total=10, peak=1.0, end=[0.0]), "`end`"),
    "changes as number": (lambda: Schedule.multi_step(total=9, peak=1.0, changes=3, factors=[0.5]), "`changes`"),
    "factors NaN": (lambda: Schedule.multi_step(total=9, peak=1.0, changes=[3], factors=[NAN]), "`factors"),
    "decay of an odd kind": (lambda: Schedule.wsd(total=9, peak=1.0, decay_start=5, decay=[1]), "`decay`"),
    "form of a list": (lambda: Schedule.from_dict([1, 2]), "`form`"),
    "form with an unknown key": (lambda: Schedule.from_dict({"kind": "cosine", "x": 1}), "'cosine'.*'x'"),
    "form with a key missing": (lambda: Schedule.from_dict({"kind": "cosine", "peak": 1.0}), "'total'"),
    "no batch": (lambda: COSINE.with_batch(0), "`batch`"),
    "starts of batches": (lambda: COSINE.with_batch([1, 2], [0, 0]), "`starts`"),
    "no curve's name": (lambda: curve(name=None), "`name`"),
    "no schedule": (lambda: curve(schedule=[1.0, 2.0]), "`schedule`"),
    "losses of text": (lambda: curve(losses=["a", "b", "c"]), "`losses`"),
    "losses of None": (lambda: curve(losses=None), "`losses`"),
    "steps of fractions": (lambda: curve(steps=[0.5, 1.5, 2.5]), "`steps`"),
    "size negative": (lambda: curve(size=-1.0), "`size`"),
    "size NaN": (lambda: curve(size=NAN), "`size`"),
    "size as text": (lambda: curve(size="25M"), "`size`"),
    "curves as text": (lambda: CurveSet("curves.csv"), "`curves`"),
    "curves of numbers": (lambda: CurveSet((1, 2)), "`curves`"),
    "one name twice": (lambda: CurveSet((curve(), curve())), "same name"),
    "curve out of range": (lambda: CurveSet((curve(),))[4], "`key`"),
    "names as text": (lambda: CurveSet((curve(),)).select(names="a"), "`names`"),
    "share as text": (lambda: curve().cut("half"), "`share`"),
}
FITTING = {
    "a path": (lambda: ef.fit_law("curves.csv"), "`curves`.*read_curves"),
    "a Path": (lambda: ef.fit_law(Path("curves.csv")), "`curves`"),
    "a frame": (lambda: ef.fit_law(pd.DataFrame({"a": [1]})), "`curves`"),
    "one curve": (lambda: ef.fit_law(curve()), "`curves`"),
    "no curves": (lambda: ef.fit_law([]), "`curves`"),
    "None": (lambda: ef.fit_law(None), "`curves`"),
    "law as number": (lambda: ef.fit_law([curve()], 3), "law"),
    "law None": (lambda: ef.fit_law([curve()], None), "law"),
    "prior as number": (lambda: ef.fit_law([curve()], prior=3), "`prior`"),
    "no starts": (lambda: ef.fit_law([curve()], starts=0), "`starts`"),
    "starts as text": (lambda: ef.fit_law([curve()], starts="4"), "`starts`"),
    "seed negative": (lambda: ef.fit_law([curve()], seed=-1), "`seed`"),
    "settings as dict": (lambda: ef.fit_law([curve()], settings={"points": 3}), "`settings`"),
    "fixed as list": (lambda: ef.fit_law([curve()], fixed=["L_inf"]), "`fixed`"),
    "fixed negative": (lambda: ef.fit_law([curve()], fixed={"L_inf": -1.0}), "fixed"),
    "study of a list": (lambda: fit_study([curve()]), "`curves`"),
    "study of nothing": (lambda: fit_study(CurveSet(())), "`curves`"),
    "laws as text": (lambda: fit_study(CurveSet((curve(),)), "transport"), "`laws`"),
    "no laws": (lambda: fit_study(CurveSet((curve(),)), []), "`laws`"),
}
PREDICTING = {
    "a list": (lambda s: s.predict([1e-3] * 100), "`schedule`"),
    "a fit with a list": (lambda s: s.fits[0].predict([1e-3] * 100), "`schedule`"),
    "None": (lambda s: s.predict(None), "`schedule`"),
    "a path": (lambda s: s.predict("schedule.csv"), "`schedule`"),
    "size negative": (lambda s: s.predict(COSINE, size=-1.0), "`size`"),
    "size NaN": (lambda s: s.predict(COSINE, size=NAN), "`size`"),
    "size as text": (lambda s: s.predict(COSINE, size="25M"), "`size`"),
    "every 0": (lambda s: s.predict(COSINE, every=0), "`every`"),
    "every as share": (lambda s: s.predict(COSINE, every=0.5), "`every`"),
    "every as text": (lambda s: s.predict(COSINE, every="10"), "`every`"),
    "first as text": (lambda s: s.predict(COSINE, first="10"), "`first`"),
    "first beyond": (lambda s: s.predict(COSINE, first=10**9), "`first`"),
    "law as number": (lambda s: s.predict(COSINE, law=3), "Law 3"),
    "a schedule for a curve": (lambda s: s.predict_at(COSINE), "`curve`"),
    "scores of a list": (lambda s: score_study(s, [1]), "`curves`"),
    "scores of no study": (lambda s: score_study(None, s.curves), "`study`"),
    "draws": (lambda s: s.fits[0].draws(0, np.random.default_rng(0)), "`count`"),
    "draws from a seed": (lambda s: s.fits[0].draws(3, 0), "`rng`"),
    "path of a study": (lambda s: save_study(s, "no/such/folder/fit.json"), "folder"),
}


@pytest.mark.parametrize(
    ("make", "message"), [*READING.values(), *MAKING.values(), *FITTING.values()], ids=[*READING, *MAKING, *FITTING]
)
def test_wrong_calls_name_the_argument(make, message):
    with pytest.raises(EigenflowError, match=message):
        make()


@pytest.mark.parametrize(("make", "message"), PREDICTING.values(), ids=PREDICTING)
def test_wrong_predictions_name_the_argument(fitted, make, message):
    with pytest.raises(EigenflowError, match=message):
        make(fitted)


def test_a_forecast_that_leaves_the_range_of_numbers_is_refused(fitted):
    """ln(loss) of 1e4 is no double; without a check it would be an infinite loss."""
    fit = fitted.fits[0]
    far = fit.at(fit.theta + 1e4)
    with pytest.raises(ArgumentError, match="leaves the range of numbers"):
        far.predict(COSINE)
