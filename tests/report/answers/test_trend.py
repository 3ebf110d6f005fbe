"""Whether a loss still falls: noise alone must say no, a fall beyond it yes, at the rates of a 90 % interval."""

import numpy as np
import pytest

from eigenflow.report.answers.trend import last_trend


def log(rng, slope, *, rows=2000, noise=0.05):
    """Rows with ln(loss) falling by `slope` over a tenth of the updates."""
    steps = np.arange(rows, dtype=float)
    return steps, np.exp(-slope * steps / (0.1 * rows) + noise * rng.standard_normal(rows))


def test_noise_alone_falls_or_rises_in_one_of_ten():
    rng = np.random.default_rng(0)
    found = [last_trend(*log(rng, 0.0)) for _ in range(400)]
    wrong = sum(one.is_falling or one.is_rising for one in found)
    assert 22 <= wrong <= 62  # 40 expected; four standard deviations of a count are 24, less two for Welch's own


@pytest.mark.parametrize(("slope", "least"), [(0.02, 0.9), (0.2, 1.0)])
def test_a_fall_is_told_and_its_size_lies_in_the_interval(slope, least):
    rng = np.random.default_rng(1)
    found = [last_trend(*log(rng, slope)) for _ in range(200)]
    assert sum(one.is_falling for one in found) >= least * 200
    assert sum(one.lower <= np.expm1(-slope) <= one.upper for one in found) >= 165  # 180 expected
    assert np.mean([one.change for one in found]) == pytest.approx(np.expm1(-slope), rel=0.05)


def test_a_rise_is_told():
    assert last_trend(*log(np.random.default_rng(2), -0.1)).is_rising


def test_noiseless_rows_have_their_exact_trend():
    steps = np.arange(1000.0)
    found = last_trend(steps, np.full(1000, 2.0))
    assert found.change == 0 and not found.is_falling and not found.is_rising


@pytest.mark.parametrize(
    "losses", [np.ones(5), np.full(500, np.nan), -np.ones(500), np.zeros(500)], ids=["few", "nan", "negative", "zero"]
)
def test_what_has_no_trend_has_none(losses):
    assert last_trend(np.arange(float(len(losses))), losses) is None


def test_rows_without_a_number_are_left_out():
    rng = np.random.default_rng(3)
    steps, losses = log(rng, 0.2)
    holes = losses.copy()
    holes[::3] = np.nan
    kept = np.isfinite(holes)
    assert last_trend(steps, holes) == last_trend(steps[kept], losses[kept])
