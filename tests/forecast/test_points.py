"""What a fit takes for the points of a curve: windows, their noise, and what that does to a fit."""

import numpy as np
import pytest

from eigenflow.forecast import Curve, Schedule, fit_parameters, noise_floor
from eigenflow.forecast.fitting.points import fitted_points
from eigenflow.forecast.fitting.search import observed_history
from eigenflow.forecast.windows import window_starts

TOTAL = 6000
STEPS = np.arange(10, TOTAL + 1, 10)
TO_ZERO = Schedule.cosine(total=TOTAL, peak=3e-4, end=0.0)


def test_a_rate_that_falls_to_zero_leaves_no_point_alone():
    """Near its end every update changes the rate by more than a tenth of it, along one smooth curve."""
    starts = window_starts(STEPS, TO_ZERO.rates, 100)
    counts = np.diff(np.append(starts, len(STEPS)))
    assert len(starts) <= 100 and counts[-20:].min() > 5


@pytest.mark.parametrize("factor", [0.1, 0.8])
def test_a_drop_of_the_rate_begins_a_window(factor):
    schedule = Schedule.multi_step(total=TOTAL, peak=3e-4, changes=[2005, 4205], factors=[factor, factor**2])
    starts = window_starts(STEPS, schedule.rates, 50)
    for change in (2005, 4205):
        assert int(np.searchsorted(STEPS, change, side="right")) in starts


def test_windows_have_the_noise_of_their_mean():
    """3 % a point, 600 points: a window of n has 3 % / sqrt(n), and 600 differences tell 3 % to a twentieth."""
    rng = np.random.default_rng(0)
    losses = 3.0 * np.exp(0.03 * rng.standard_normal(len(STEPS)))
    found = fitted_points(Curve("noisy", STEPS, losses, TO_ZERO), 0.0, 100)
    counts = np.diff(np.append(window_starts(STEPS, TO_ZERO.rates, 100), len(STEPS)))
    np.testing.assert_allclose(found.white * np.sqrt(counts), found.white[0], rtol=1e-12)
    assert found.white[0] == pytest.approx(0.03, rel=0.15)
    scatter = (found.log_losses - np.log(3.0)) / found.white
    assert np.std(scatter) == pytest.approx(1.0, abs=0.25)  # 100 windows: 0.07


@pytest.mark.parametrize("count", [8, 10, 12, 20, 50])
@pytest.mark.parametrize("sd", [0.0, 2e-3, 3e-2])
def test_few_points_of_a_steep_curve_do_not_pass_for_noisy_ones(count, sd):
    """A power of the steps: what the bend alone would say stays below 3e-4, noise is found to a fifth on average."""
    found = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        steps = np.unique(np.rint(np.linspace(200, 3000, count)).astype(int))
        losses = 3.0 * (1.0 + 0.3 * (steps / 1000) ** -0.5) * np.exp(sd * rng.standard_normal(len(steps)))
        found.append(noise_floor(steps, losses).sd)
    assert np.mean(found) == pytest.approx(sd, rel=0.2, abs=4e-4)


@pytest.mark.long
@pytest.mark.parametrize(
    "schedule", [Schedule.constant(total=TOTAL, peak=3e-4), TO_ZERO], ids=["constant", "cosine to 0"]
)
def test_noise_of_every_step_does_not_bend_the_fit(schedule):
    """White noise of 3 %, a power that knows nothing of rates: over the last 30 % (180 points) the law lies within
    three standard errors, 3 x 0.03 / sqrt(180) = 0.7 %, of the truth."""
    truth = 3.0 * (1.0 + 0.05 * ((STEPS + 20) / 6000) ** -0.5)
    for seed in range(3):
        losses = truth * np.exp(0.03 * np.random.default_rng(seed).standard_normal(len(STEPS)))
        curve = Curve("noisy", STEPS, losses, schedule)
        fit = fit_parameters([curve], starts=2)
        late = STEPS > 0.7 * TOTAL
        error = fit.log_prediction(observed_history(curve))[0][late] - np.log(truth[late])
        assert abs(error.mean()) < 0.007
        assert fit.point_noise == pytest.approx(0.03, rel=0.15)
