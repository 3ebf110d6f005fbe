"""Exponents that a spectrum predicts, and those that a plan of runs takes: two rooms that may not know each other."""

import pytest

from eigenflow.scaling.exponents import scaling_exponents
from eigenflow.theory.exponents import resource_exponents


@pytest.mark.parametrize("capacity", [1.1, 1.5, 2.5])
@pytest.mark.parametrize("source", [0.3, 0.9, 1.2, 1.8, 2.6])
@pytest.mark.parametrize("is_rich", [False, True])
def test_both_rooms_say_the_same(capacity, source, is_rich):
    """Plans count the noise of small batches, which takes over from super-easy targets."""
    theory = resource_exponents(capacity, source, is_rich=is_rich, has_gradient_noise=True)
    plan = scaling_exponents(capacity, source, is_rich=is_rich)
    assert (plan.time, plan.size, plan.samples) == pytest.approx((theory.time, theory.width, theory.data))
    assert (plan.compute, plan.optimal_size) == pytest.approx((theory.compute, theory.optimal_width))
