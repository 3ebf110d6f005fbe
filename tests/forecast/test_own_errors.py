"""Backtests within a study: what they leave out, that they do not see it, and what they are for."""

import numpy as np
import pytest

from eigenflow.core.errors import ArgumentError
from eigenflow.forecast.curves import CurveSet
from eigenflow.forecast.evaluation.protocols import TwoSizes
from eigenflow.forecast.fitting.pooled import history_of, pooled_fit
from eigenflow.forecast.intervals.own_errors import kinds_of, own_errors, own_kind
from eigenflow.forecast.laws.published import PUBLISHED_LAWS
from forecast.synthetic_curves import synthetic


def refit(curves):
    return pooled_fit(curves, PUBLISHED_LAWS["power_time"], rng=np.random.default_rng(0), starts=1)


@pytest.fixture(scope="module")
def ladder():
    return synthetic("power_time", ("cosine",), sizes=(1e8, 2e8, 4e8, 8e8), rng=np.random.default_rng(0)).curves


def test_what_is_left_out_is_like_what_will_be_forecast(ladder):
    two = synthetic(names=("constant", "cosine"), rng=np.random.default_rng(0)).curves
    assert own_kind(ladder, 1.6e9) == "size" and own_kind(ladder, 2e8) == "rest"
    assert own_kind(ladder[:2], 1.6e9) == "rest"  # without one of two sizes there is no trend
    assert own_kind(two, None) == "schedule" and own_kind(two[:1], None) == "rest"
    assert kinds_of(ladder) == ("rest", "size") and kinds_of(two) == ("schedule",)


@pytest.mark.parametrize(("kind", "count"), [("size", 3), ("rest", 6)])
def test_a_refit_never_sees_what_it_forecasts(ladder, kind, count):
    """Every loss that a refit is given is outside of what it is scored on; errors are those of a fit made by hand."""
    seen = []

    def watched(curves):
        seen.append(curves)
        return refit(curves)

    found = own_errors(ladder, kind, watched)
    assert len(found) == len(seen) == count and {one.kind for one in found} == {kind}
    if kind == "size":
        assert [len(curves) for curves in seen] == [3, 3, 3]
        hidden = next(curve for curve in ladder if curve not in seen[0])
    else:  # runs 0, 2 (or 1) and 3 at a quarter, then at half of their steps
        assert all(len(curves) == 1 for curves in seen)
        last = [curves[0].steps[-1] / ladder[0].steps[-1] for curves in seen]
        np.testing.assert_allclose(last, [0.25] * 3 + [0.5] * 3, atol=0.05)
        hidden = ladder[0].after(int(0.25 * ladder[0].steps[-1]))
    fit = refit(seen[0])
    whole = fit.log_prediction(history_of(hidden), hidden.size)[0] - np.log(hidden.losses)
    assert set(found[0].errors) <= set(whole) and found[0].errors[-1] == whole[-1]


def test_a_part_that_cannot_be_fitted_is_left_out(ladder):
    def refuses(curves):
        raise ArgumentError("too few points")

    assert own_errors(ladder, "size", refuses) == ()


def test_two_sizes_to_a_larger_one_hides_all_others(ladder):
    splits = list(TwoSizes().splits(CurveSet(ladder)))
    sizes = [([curve.size for curve in one.known], [curve.size for curve in one.unseen]) for one in splits]
    assert sizes == [([1e8, 2e8], [4e8, 8e8]), ([2e8, 4e8], [8e8])]
    assert list(TwoSizes().splits(CurveSet(ladder[:2]))) == []
