import numpy as np
import pytest

from eigenflow.core.errors import ArgumentError
from eigenflow.theory.exponents.finite_width import width_limit, width_risk
from eigenflow.theory.exponents.kernel_flow import flow_risk
from eigenflow.theory.task_spectrum import TaskSpectrum


def simulated(task: TaskSpectrum, times: np.ndarray, features: int, draws: int, seed: int) -> np.ndarray:
    """Flow on drawn features, w' exp(-2 K t) w; the last column is t = infinity."""
    rng = np.random.default_rng(seed)
    root, target = np.sqrt(task.eigenvalues), np.sqrt(task.target)
    found = []
    for _ in range(draws):
        A = root[:, None] * rng.standard_normal((len(root), features)) / np.sqrt(features)
        vectors, singular, _ = np.linalg.svd(A, full_matrices=False)
        parts = (vectors.T @ target) ** 2
        outside = target @ target - parts.sum()
        curve = outside + np.exp(-2.0 * singular**2 * times[:, None]) @ parts
        found.append(np.append(curve, outside))
    return np.array(found)


@pytest.mark.long
@pytest.mark.parametrize(("capacity", "decay"), [(1.5, 1.6), (1.2, 4.0)])
def test_curve_is_that_of_drawn_features(capacity, decay):
    task, times = TaskSpectrum.power_law(capacity, decay, modes=800), np.logspace(-1, 4, 11)
    draws = simulated(task, times, 60, 60, seed=0)
    curve = width_risk(task, times, 60)
    error = draws.std(0, ddof=1) / np.sqrt(len(draws))
    # The times share their draws: each must lie within 3.5 standard errors and a finite-size part of 1 / 60.
    miss = np.abs(np.append(curve.risk, curve.limit) - draws.mean(0))
    assert (miss <= 3.5 * error + np.append(curve.risk, curve.limit) / 60).all()
    assert (error < 0.06 * draws.mean(0)).all()


@pytest.mark.long
def test_fewer_features_than_modes_leave_the_part_outside():
    task = TaskSpectrum.power_law(1.5, 2.0, modes=300)
    draws = simulated(task, np.array([1.0]), 40, 200, seed=1)[:, -1]
    error = draws.std(ddof=1) / np.sqrt(len(draws))
    assert abs(width_limit(task, 40) - draws.mean()) < 3.5 * error + 0.01 * draws.mean()
    assert width_limit(task, 300) == width_limit(task, 10**6) == 0.0


def test_limits_in_time_and_width():
    task, times = TaskSpectrum.power_law(1.4, 1.8, modes=500), np.logspace(-2, 3, 9)
    wide = width_risk(task, times, 10**8)
    assert wide.risk == pytest.approx(flow_risk(task, times), rel=1e-5, abs=10 * wide.error)
    late = width_risk(task, np.array([0.0, 1e9]), 50)
    assert late.risk == pytest.approx([task.energy, late.limit], rel=1e-9)


def test_wide_features_approach_the_kernel_as_one_over_width():
    task, times = TaskSpectrum.power_law(1.5, 1.6, modes=500), np.array([3.0])
    kernel = flow_risk(task, times)[0]
    off = [width_risk(task, times, width).risk[0] - kernel for width in (400, 800, 1600)]
    # The correction of early times is 1 / N (equations/exponents.md#size-and-data-exponents).
    assert np.log2(np.array(off[:-1]) / off[1:]) == pytest.approx(1.0, abs=0.05)


def test_groups_are_modes():
    values = np.repeat(np.array([1.0, 0.3, 0.05]), [2, 5, 40])
    single = TaskSpectrum(values, np.repeat(np.array([2.0, 0.2, 0.01]), [2, 5, 40]))
    grouped = TaskSpectrum(np.array([1.0, 0.3, 0.05]), np.array([4.0, 1.0, 0.4]), 0.0, np.array([2.0, 5.0, 40.0]))
    times = np.array([0.1, 10.0, 1e3])
    assert width_risk(grouped, times, 20).risk == pytest.approx(width_risk(single, times, 20).risk, rel=1e-9)


@pytest.mark.parametrize("modes", [1, 2])
def test_one_mode_and_one_feature(modes):
    task = TaskSpectrum(np.array([2.0, 1.0])[:modes], np.ones(modes))
    assert np.isfinite(width_risk(task, np.array([0.0, 1.0, 1e6]), 1).risk).all()


@pytest.mark.parametrize(
    ("capacity", "decay"), [(1.5, 1.6), (1.2, 1.9), (1.5, 2.0), (1.5, 3.4), (1.2, 4.0), (2.0, 3.8)]
)
def test_exponent_of_width_is_the_corrected_one(capacity, decay):
    """min(a - 1, b), on both sides of a - 1 = b; min(a - 1, 2 b) would be 2.4 and 2.8 where 1.2 and 2 are seen."""
    task = TaskSpectrum.power_law(capacity, decay, modes=2000, tail=True)
    left = [width_limit(task, width) for width in (4096, 16384)]
    slope = np.log(left[0] / left[1]) / np.log(4.0)
    # Corrections die as N^-|a - 1 - b|, slowest where both are near each other (at (1.5, 2) and (1.2, 1.9)).
    assert slope == pytest.approx(min(decay - 1.0, capacity), abs=0.03)


@pytest.mark.rejects
@pytest.mark.parametrize("features", [0, -3, 2.5])
def test_features_are_counted(features):
    with pytest.raises(ArgumentError, match="`features` must be a whole number of features"):
        width_risk(TaskSpectrum.power_law(1.5, 2.0, modes=9), np.array([1.0]), features)
