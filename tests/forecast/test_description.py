"""Does the law describe the curves? Controls that must say yes, and controls that must say no."""

import numpy as np
import pytest

from eigenflow.forecast import Curve, FitStatus, Schedule, fit_parameters
from eigenflow.forecast.fitting.description import describes
from forecast.synthetic_runs import three

pytestmark = pytest.mark.long

STEPS = np.arange(50, 5001, 50)
CONSTANT = Schedule.constant(total=5000, peak=1e-3)


def fit_of(losses, schedule=CONSTANT):
    return fit_parameters([Curve("one", STEPS, losses, schedule)], starts=2)


def noisy(rng, losses, sd):
    return losses * np.exp(sd * rng.standard_normal(len(losses)))


DESCRIBED = {
    "a power": lambda rng: noisy(rng, 2.0 + 20.0 * STEPS**-0.5, 2e-3),
    "a power with 10 % noise": lambda rng: noisy(rng, 2.0 + 20.0 * STEPS**-0.5, 0.1),
    "noise alone": lambda rng: noisy(rng, np.full(len(STEPS), 1.5), 0.02),
    "a smooth plateau": lambda rng: noisy(rng, np.full(len(STEPS), 1.5), 1e-5),
    "three e-folds down": lambda rng: noisy(rng, 0.02 + 30.0 * STEPS**-1.0, 0.05),
}
NOT_DESCRIBED = {
    "waves": lambda rng: noisy(rng, 1.0 + 0.2 * np.sin(STEPS / 300.0), 2e-3),
    "an end that jumps": lambda rng: noisy(rng, np.where(STEPS < 4000, 1.0, 2.0), 2e-3),
}


@pytest.mark.parametrize("kind", DESCRIBED)
def test_curves_that_the_law_can_follow_are_described(kind):
    for seed in range(5):
        assert fit_of(DESCRIBED[kind](np.random.default_rng(seed))).status != FitStatus.DOES_NOT_DESCRIBE


@pytest.mark.parametrize("kind", NOT_DESCRIBED)
def test_curves_that_the_law_cannot_follow_are_not_described(kind):
    for seed in range(5):
        assert fit_of(NOT_DESCRIBED[kind](np.random.default_rng(seed))).status == FitStatus.DOES_NOT_DESCRIBE


def test_runs_of_the_law_itself_are_described():
    assert all(fit_parameters(three(seed), starts=1).status != FitStatus.DOES_NOT_DESCRIBE for seed in range(3))


def test_what_is_left_over_counts_without_the_noise_of_points():
    """By hand: variance 0.04, half of it left over, is too much; if that half is noise of the points, it is not."""
    wave = 0.2 * np.sqrt(2.0) * np.sin(np.linspace(0, 20 * np.pi, 400, endpoint=False))
    left = wave / np.sqrt(2.0)
    assert not describes(wave, left, np.zeros(400))
    assert describes(wave, left, np.full(400, np.sqrt(0.02)))
    assert describes(wave, 0.4 * wave, np.zeros(400))  # a share of 0.16
    assert describes(1e-3 * wave, 1e-3 * wave, np.zeros(400))  # nobody sees it
