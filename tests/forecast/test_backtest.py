"""Backtests: what is hidden, that it stays hidden, and what the scores recommend."""

from dataclasses import replace

import numpy as np
import pytest

from eigenflow.core.errors import ArgumentError
from eigenflow.forecast import CurveSet
from eigenflow.forecast.evaluation.backtests import backtest, default_protocols, pooled_fitter, score_case
from eigenflow.forecast.evaluation.protocols import LeaveOneSchedule, LeaveOneSize, RestOfRun
from eigenflow.forecast.evaluation.selection import recommend, stack_weights
from eigenflow.forecast.intervals.error_scale import Calibration
from eigenflow.forecast.laws.published import PUBLISHED_LAWS
from forecast.synthetic_curves import TOTAL, synthetic

LAWS = {name: pooled_fitter(PUBLISHED_LAWS[name], starts=2) for name in ("power_steps", "power_time", "momentum")}
PLAIN = Calibration("any", (1.0, 1.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0), 1.0, 1e9, 0.0, 0, (), {})


@pytest.fixture(scope="module")
def curves():
    return synthetic(rng=np.random.default_rng(0), sd=5e-4)


@pytest.fixture(scope="module")
def found(curves):
    return backtest(curves, LAWS, [RestOfRun(0.5), LeaveOneSchedule()])


def test_rest_of_run_knows_the_first_part_only(curves):
    for split in RestOfRun(0.25).splits(curves):
        (known,), (unseen,) = split.known, split.unseen
        assert known.steps[-1] <= 0.25 * TOTAL < unseen.steps[0]
        assert len(known) + len(unseen) == len(curves[known.name])
        assert split.is_same_run


def test_a_schedule_left_out_is_left_out_with_its_repeats(curves):
    twin = replace(curves["cosine"], name="cosine again")
    splits = {split.name: split for split in LeaveOneSchedule().splits(CurveSet((*curves, twin)))}
    assert len(splits) == 4
    split = splits["cosine (100M)"]
    assert {curve.name for curve in split.unseen} == {"cosine", "cosine again"}
    assert all(curve.schedule != twin.schedule for curve in split.known)


def test_sizes_are_left_out_as_a_whole():
    many = synthetic(rng=np.random.default_rng(0), sizes=(1e8, 2e8, 4e8, 8e8), names=("cosine", "wsd"), points=20)
    splits = list(LeaveOneSize().splits(many))
    assert len(splits) == 4
    for split in splits:
        assert len({curve.size for curve in split.unseen}) == 1
        assert split.unseen[0].size not in {curve.size for curve in split.known}
    assert not list(LeaveOneSize().splits(many.select(size=1e8)))


@pytest.mark.long
def test_hidden_losses_do_not_leak(curves, found):
    """Ten times the hidden losses: forecasts and variances are the same to the last bit."""
    for protocol in (RestOfRun(0.5), LeaveOneSchedule()):
        for split in protocol.splits(curves):
            hidden = split.unseen[0].name
            spoiled = CurveSet(
                tuple(
                    replace(curve, losses=np.where(_is_hidden(curve, hidden, split.is_same_run), 10, 1) * curve.losses)
                    for curve in curves
                )
            )
            again = backtest(spoiled, LAWS, [protocol])
            before = [
                c for c in found.cases if (c.law, c.protocol, c.split) == ("momentum", split.protocol, split.name)
            ]
            after = [c for c in again.cases if (c.law, c.split) == ("momentum", split.name)]
            for one, other in zip(before, after, strict=True):
                np.testing.assert_array_equal(one.predicted, other.predicted)
                np.testing.assert_array_equal(one.spread, other.spread)
                assert not np.array_equal(one.true, other.true)


def _is_hidden(curve, hidden, is_same_run):
    return (curve.name == hidden) & ((curve.steps > 0.5 * TOTAL) | (not is_same_run))


def test_scores_are_those_of_the_forecast(found):
    case = next(case for case in found.cases if case.law == "momentum" and case.protocol != RestOfRun(0.5).name)
    row = score_case(case, PLAIN)
    assert row["final_error"] == pytest.approx(case.predicted[-1] - case.true[-1])
    half = 1.645 * np.sqrt(case.spread @ np.array(PLAIN.weights))
    assert row["coverage"] == np.mean(np.abs(np.log(case.true / case.predicted)) <= half)


def test_the_true_law_is_recommended(found):
    """Momentum made the curves: on schedules left out it must win, and by more than chance."""
    scores = found.scores(lambda law: PLAIN)
    held = scores[scores.protocol == LeaveOneSchedule().name]
    choice = recommend(held, np.random.default_rng(0), score="mae")
    assert choice.law == "momentum" and choice.is_clear and choice.cases == 4
    assert "momentum has the smallest mean absolute error in nats on 4 held-out curves" in choice.reason
    assert ", clearly ahead of" in choice.reason
    assert list(choice.ranking) == sorted(choice.ranking, key=choice.ranking.__getitem__)


def test_equal_laws_are_not_told_apart(found):
    scores = found.scores(lambda law: PLAIN)
    twin = scores[scores.law == "momentum"].assign(law="twin")
    both = [scores[scores.law == "momentum"], twin]
    import pandas as pd

    choice = recommend(pd.concat(both), np.random.default_rng(0))
    assert not choice.is_clear and choice.advantage == pytest.approx(1.0)


def test_stacking_weighs_the_true_law_most_and_splits_opposite_errors(found):
    by_law = {law: [case for case in found.cases if case.law == law] for law in LAWS}
    weights = stack_weights(by_law)
    assert sum(weights.values()) == pytest.approx(1.0) and weights["momentum"] > 0.7
    one = by_law["momentum"][:3]
    high = [replace(case, predicted=case.true * np.exp(0.02)) for case in one]
    low = [replace(case, predicted=case.true * np.exp(-0.01)) for case in one]
    # 0.02 w = 0.01 (1 - w).
    assert stack_weights({"high": high, "low": low})["high"] == pytest.approx(1 / 3, abs=1e-4)


def test_a_law_with_too_many_parameters_is_reported_not_silent(curves):
    short = CurveSet(tuple(replace(curve, steps=curve.steps[::3], losses=curve.losses[::3]) for curve in curves))
    result = backtest(short, {**LAWS, "greedy": _refusing}, [RestOfRun(0.5)])
    assert len(result.problems) == 4 and "too greedy" in result.problems[0]
    assert {case.law for case in result.cases} == set(LAWS)


def _refusing(curves):
    raise ArgumentError("too greedy")


@pytest.mark.rejects
def test_backtest_says_what_it_needs(curves, found):
    tiny = CurveSet((curves[0].until(160),))
    with pytest.raises(ArgumentError, match=r"has 1 curves with \d points in all: too few for any protocol"):
        backtest(tiny, LAWS, default_protocols())
    with pytest.raises(ArgumentError, match="Unknown `score` 'r2'"):
        recommend(found.scores(lambda law: PLAIN), np.random.default_rng(0), score="r2")
    scores = found.scores(lambda law: PLAIN)
    with pytest.raises(ArgumentError, match="there are 1 laws"):
        recommend(scores[scores.law == "momentum"], np.random.default_rng(0))
    with pytest.raises(ArgumentError, match="two laws or more"):
        stack_weights({"momentum": []})
