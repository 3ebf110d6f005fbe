"""A rehearsal sees only what is known, and finds a law that is wrong."""

from dataclasses import replace

import numpy as np
import pytest

from eigenflow.core.errors import ArgumentError
from eigenflow.forecast.backtest import pooled_fitter
from eigenflow.forecast.laws.published import PUBLISHED_LAWS
from eigenflow.forecast.rehearsal import history_of, rehearse
from forecast.synthetic_curves import synthetic

MOMENTUM, POWER = (pooled_fitter(PUBLISHED_LAWS[name], starts=1) for name in ("momentum", "power_time"))


def test_rest_of_a_run_is_rehearsed_at_half_of_what_is_known():
    (curve,) = synthetic(names=("cosine",), rng=np.random.default_rng(0))
    half = int(curve.steps[-1]) // 2
    early = MOMENTUM([curve.until(half)])
    predicted, _ = early.log_prediction(history_of(curve.after(half)), curve.size)
    by_hand = np.mean((predicted - np.log(curve.after(half).losses)) ** 2)
    assert rehearse(MOMENTUM, [curve], is_same_run=True) == pytest.approx(by_hand, rel=1e-12)


def test_the_true_law_rehearses_to_its_noise_and_a_wrong_one_does_not():
    """Momentum made the curves with noise 1e-3: its error is noise and little more; a law blind to annealing fails."""
    known = synthetic(rng=np.random.default_rng(1), sd=1e-3).curves
    true, wrong = (rehearse(law, known, is_same_run=False) for law in (MOMENTUM, POWER))
    # 180 points: three standard deviations of their mean square are 32 %.
    assert 0.68e-6 < true < 3e-6
    assert wrong > 30 * true


def test_an_unknown_size_is_rehearsed_by_leaving_sizes_out():
    seen = []

    def spy(curves):
        seen.append(tuple(sorted({curve.size for curve in curves})))
        return MOMENTUM(curves)

    known = synthetic(names=("cosine", "wsd"), sizes=(1e8, 2e8, 4e8), rng=np.random.default_rng(2), points=20).curves
    rehearse(spy, known, is_same_run=False, size=8e8)
    assert sorted(seen) == [(1e8, 2e8), (1e8, 4e8), (2e8, 4e8)]
    seen.clear()
    rehearse(spy, [curve for curve in known if curve.size == 1e8], is_same_run=False, size=1e8)
    assert len(seen) == 2  # two schedules, each left out once


def test_no_rehearsal_where_too_little_is_known():
    (curve,) = synthetic(names=("cosine",), rng=np.random.default_rng(3), points=60)
    assert rehearse(MOMENTUM, [curve.until(250)], is_same_run=True) is None
    assert rehearse(MOMENTUM, [curve], is_same_run=False) is None

    def refuses(curves):
        raise ArgumentError("too few")

    assert rehearse(refuses, [curve], is_same_run=True) is None
    assert rehearse(MOMENTUM, [curve, replace(curve, name="repeat")], is_same_run=False) is None
