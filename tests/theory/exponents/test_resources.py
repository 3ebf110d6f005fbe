import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from eigenflow.core.errors import ArgumentError, NonFiniteError, ShapeError
from eigenflow.theory.double_descent.random_features import random_features_risk
from eigenflow.theory.exponents.finite_width import width_risk
from eigenflow.theory.exponents.phases import capacity_and_source, compute_phase
from eigenflow.theory.exponents.resources import resource_exponents, resource_ranges
from eigenflow.theory.task_spectrum import TaskSpectrum

capacities, sources = st.floats(1.01, 4.0), st.floats(0.02, 4.0)


def table(alpha: float, beta: float, is_rich: bool) -> tuple[float, float]:
    """Time and compute exponent of equations/exponents.md#feature-learning-exponents, with noise."""
    if beta < 1:
        if is_rich:
            return 2 * beta / (1 + beta), 2 * alpha * beta / (alpha * (1 + beta) + 2)
        return beta, alpha * beta / (alpha + 1)
    if beta < 2 - 1 / alpha:
        return beta, alpha * beta / (alpha * beta + 1)
    return 2 - 1 / alpha, 1 - 1 / (2 * alpha)


@given(alpha=capacities, beta=sources, is_rich=st.booleans())
@settings(max_examples=200, deadline=None)
def test_regimes_of_the_table(alpha, beta, is_rich):
    found = resource_exponents(alpha, beta, is_rich=is_rich, has_gradient_noise=True)
    assert (found.time, found.compute) == pytest.approx(table(alpha, beta, is_rich))
    assert found.optimal_width + found.optimal_time == pytest.approx(1.0)


@given(alpha=capacities, beta=sources, is_rich=st.booleans(), has_noise=st.booleans())
@settings(max_examples=100, deadline=None)
def test_compute_exponent_is_the_best_split_of_the_sum(alpha, beta, is_rich, has_noise):
    """The loss of equations/exponents.md#feature-learning-exponents, minimised over N at huge C by a search."""
    q = max(1.0, 2.0 / (1.0 + beta)) if is_rich else 1.0
    parts = [(beta * q, 0.0), (0.0, alpha * min(1.0, beta)), ((1 - 1 / alpha) * q, 1.0)]
    if has_noise:
        parts.append(((2 - 1 / alpha) * q, 0.0))

    def worst(share):
        return -min(time * (1 - share) + width * share for time, width in parts)

    best = minimize_scalar(worst, bounds=(0.0, 1.0), method="bounded", options={"xatol": 1e-10})
    found = resource_exponents(alpha, beta, is_rich=is_rich, has_gradient_noise=has_noise)
    assert found.compute == pytest.approx(-best.fun, abs=1e-6)
    assert found.optimal_width == pytest.approx(best.x, abs=1e-5)


@given(alpha=st.floats(0.51, 2.0), beta=st.floats(-0.4, 2.0))
@settings(max_examples=100, deadline=None)
def test_noisy_regimes_are_the_phases_of_compute(alpha, beta):
    if 2 * (alpha + beta) < 1.02:
        return
    found = resource_exponents(*capacity_and_source(alpha, beta), has_gradient_noise=True)
    phase = compute_phase(alpha, beta)
    assert found.compute == pytest.approx(phase.loss_exponent)
    assert found.optimal_width == pytest.approx(phase.width_exponent)


def test_formulas_agree_on_the_borders():
    for alpha in (1.2, 1.5, 3.0):
        for border in (1.0, 2.0, 2.0 - 1.0 / alpha):
            for is_rich in (False, True):
                near = [resource_exponents(alpha, border + off, is_rich=is_rich) for off in (-1e-9, 1e-9)]
                for name in ("time", "width", "data", "compute", "optimal_width"):
                    assert getattr(near[0], name) == pytest.approx(getattr(near[1], name), abs=1e-7)


@pytest.mark.parametrize(
    ("capacity", "decay", "tolerance"),
    # Corrections die as P^-|a - 1 - 2 b|, or are logarithms where both are equal.
    [(1.5, 1.6, 0.01), (1.5, 2.5, 0.01), (1.2, 2.8, 0.04), (1.2, 4.0, 0.03), (1.5, 5.5, 0.05)],
)
def test_data_exponent_by_the_deterministic_equivalent(capacity, decay, tolerance):
    task = TaskSpectrum.power_law(capacity, decay, modes=3000, tail=True)
    samples = np.array([2.0**14, 2.0**16])
    risk = random_features_risk(task, samples).risk.values
    slope = np.log(risk[0] / risk[1]) / np.log(4.0)
    assert slope == pytest.approx(resource_exponents(capacity, (decay - 1) / capacity).data, abs=tolerance)


@pytest.mark.long
@pytest.mark.parametrize(("capacity", "decay"), [(1.5, 1.6), (1.5, 2.95), (1.2, 4.0), (2.0, 3.8)])
def test_compute_exponent_by_minimising_the_curve_of_time_and_width(capacity, decay):
    """Hard (1.5, 1.6) and easy targets. At (1.5, 2.95), b < a - 1 < 2 b: (a - 1) / (1 + b) would be .78."""
    task = TaskSpectrum.power_law(capacity, decay, modes=2000, tail=True)
    best = []
    for compute in (1e6, 1e8):
        widths = np.geomspace(compute**0.3, compute**0.85, 24).astype(int)
        losses = np.log([width_risk(task, np.array([compute / width]), int(width)).risk[0] for width in widths])
        least = int(losses.argmin())
        assert 0 < least < len(widths) - 1
        fit = np.polyfit(np.log(widths[least - 1 : least + 2]), losses[least - 1 : least + 2], 2)
        best.append(np.polyval(fit, -fit[1] / 2 / fit[0]))
    predicted = resource_exponents(capacity, (decay - 1) / capacity).compute
    # Corrections are powers of C with small exponents: .6 % is left at C = 1e8.
    assert (best[0] - best[1]) / np.log(100.0) == pytest.approx(predicted, abs=0.006)


def test_ranges_carry_draws_through_the_corner():
    rng = np.random.default_rng(0)
    draws = np.full(20_000, 1.5), rng.normal(1.0, 0.1, 20_000)
    found = resource_ranges(1.5, 1.0, *draws)
    # alpha min(1, beta) at beta = 1: the upper end stays at the corner, the lower is 1.645 standard deviations off.
    assert found.width.upper == pytest.approx(1.5)
    assert found.width.lower == pytest.approx(1.5 * (1.0 - 0.1645), abs=0.005)
    assert found.time.half_width == pytest.approx(0.1645, abs=0.005)
    assert found.regimes["hard"] == pytest.approx(0.5, abs=0.02)


def test_draws_out_of_the_region_enter_at_its_edge():
    found = resource_ranges(1.1, 0.1, np.array([0.5, 1.1, 1.7]), np.array([-0.4, 0.1, 0.6]))
    assert found.time.lower >= 0.0
    assert all(
        np.isfinite([getattr(found, name).lower, getattr(found, name).upper]).all() for name in ("compute", "data")
    )


def test_they_print():
    assert "hard target, rich" in repr(resource_exponents(1.5, 0.4, is_rich=True))
    assert "C^-" in repr(resource_ranges(1.5, 0.4, np.full(3, 1.5), np.full(3, 0.4)))


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((1.0, 0.5), ArgumentError, "`capacity` must be > 1, but is 1. .*`compute_phase`"),
        ((1.5, 0.0), ArgumentError, "`source` must be > 0.*no finite sum"),
        ((np.inf, 0.5), NonFiniteError, "`capacity` must be finite"),
        ((1.5, np.nan), NonFiniteError, "`source` must be finite"),
        (("a", 0.5), ArgumentError, "`capacity` must be real numbers"),
        ((np.array([1.5, 2.0]), 0.5), ShapeError, "resource_ranges"),
    ],
)
def test_regions(arguments, error, words):
    with pytest.raises(error, match=words):
        resource_exponents(*arguments)


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("draws", "error", "words"),
    [
        ((np.ones(3), np.ones(4)), ShapeError, "rows of one length"),
        ((np.array([]), np.array([])), ShapeError, "rows of one length"),
        ((np.array([1.5, np.nan]), np.ones(2)), NonFiniteError, "`capacity_draws` must be finite, but 1"),
    ],
)
def test_draws_are_checked(draws, error, words):
    with pytest.raises(error, match=words):
        resource_ranges(1.5, 0.5, *draws)
