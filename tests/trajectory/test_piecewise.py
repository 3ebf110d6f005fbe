"""Integrals of rates with jumps against their closed forms."""

import math

import numpy as np
import pytest
import torch

from eigenflow.trajectory.piecewise import integrate_panels

SMALL = (1.0, 0.1, 1e-2, 1e-3, 1e-5)


def jumping(count, jumps, seed=0):
    """Smooth rates plus steps at random places, and their integrals."""
    rng = np.random.default_rng(seed)
    places = torch.from_numpy(rng.random((count, jumps)))
    sizes = torch.from_numpy(rng.normal(size=(count, jumps, 3)) * np.array(SMALL[:jumps])[:, None])
    phase = torch.arange(count, dtype=torch.float64)

    def rates(rows, s):
        smooth = torch.stack([torch.sin(3 * s + phase[rows]), torch.exp(s), s**3], -1)
        passed = (s[:, None] > places[rows]).double()
        return smooth + (sizes[rows] * passed[..., None]).sum(1)

    one = torch.ones_like(phase)
    smooth = torch.stack([(torch.cos(phase) - torch.cos(3 + phase)) / 3, (math.e - 1) * one, 0.25 * one], -1)
    return rates, smooth + (sizes * (1 - places)[..., None]).sum(1)


@pytest.mark.parametrize("tolerance", [1e-6, 1e-9, 1e-12])
@pytest.mark.parametrize("jumps", [0, 1, 5])
def test_jumps_are_found_and_the_error_covers_the_miss(tolerance, jumps):
    """Steps from 1 down to 1e-5 at random places; 1e-14 is rounding of sums of order one."""
    rates, exact = jumping(50, jumps)
    allowed = torch.full((50,), tolerance, dtype=torch.float64)
    found = integrate_panels(rates, 50, allowed, budget=10**6, most=10**4)
    miss = torch.linalg.vector_norm(found.total - exact, dim=1)
    assert bool(found.is_known.all())
    assert bool((miss <= found.error + 1e-14).all())
    assert float(found.error.max()) <= 4 * tolerance


def test_polynomials_that_the_rule_integrates_take_one_panel():
    """Coefficients up to degree 5 leave nothing at the end of an expansion of degree 8."""
    powers = torch.arange(6)
    found = integrate_panels(
        lambda rows, s: s[:, None] ** powers, 2, torch.full((2,), 1e-13, dtype=torch.float64), budget=100, most=50
    )
    torch.testing.assert_close(found.total, (1.0 / (powers.double() + 1.0)).expand(2, 6), rtol=1e-15, atol=1e-15)
    assert found.spent == 18 and bool(found.is_known.all())


def test_rows_that_the_budget_does_not_reach_are_marked():
    rates, exact = jumping(4, 5)
    allowed = torch.full((4,), 1e-12, dtype=torch.float64)
    short = integrate_panels(rates, 4, allowed, budget=200, most=10**4)
    assert not bool(short.is_known.any()) and short.spent <= 400

    def mixed(rows, s):
        return torch.where(rows[:, None] == 0, 1.0, rates(rows, s))

    some = integrate_panels(mixed, 4, allowed, budget=10**5, most=100)
    assert some.is_known.tolist() == [True, False, False, False]
    torch.testing.assert_close(some.total[0], torch.ones(3, dtype=torch.float64), rtol=1e-14, atol=0)


def test_noise_is_never_called_known():
    """White noise has no integral that a rule could find."""
    generator = torch.Generator().manual_seed(0)
    found = integrate_panels(
        lambda rows, s: torch.randn(len(s), 2, generator=generator, dtype=torch.float64),
        3,
        torch.full((3,), 1e-9, dtype=torch.float64),
        budget=5000,
        most=1000,
    )
    assert not bool(found.is_known.any())
