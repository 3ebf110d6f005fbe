"""Power laws with a floor through losses of several sizes: exact ones, noisy ones, and losses that are no such law."""

import numpy as np
import pytest
from scipy.optimize import curve_fit

from eigenflow.core.errors import ArgumentError
from eigenflow.theory.over_sizes import FitStatus, SizeSweep, fit_size_law

SIZES = 8.0 * 2.0 ** np.arange(7)


def sweep_of(losses: np.ndarray, sizes: np.ndarray = SIZES, repeats: int = 1) -> SizeSweep:
    return SizeSweep("data", np.repeat(sizes, repeats), losses.ravel(), np.tile(np.arange(repeats), len(sizes)))


@pytest.mark.parametrize("exponent", [0.1, 0.4, 1.0, 2.5])
@pytest.mark.parametrize("floor", [0.0, 0.02])
def test_an_exact_law_is_found(exponent: float, floor: float):
    """Exponents lie on a grid of .6 %; at the ends of a factor 64 the law is then off by a percent at most."""
    law = fit_size_law(sweep_of(floor + 3.0 * (SIZES / SIZES[0]) ** -exponent))
    assert law.status is FitStatus.FITTED
    assert law.exponent.value == pytest.approx(exponent, rel=0.01)
    assert law.exponent.holds(exponent)
    assert law.losses(SIZES) == pytest.approx(floor + 3.0 * (SIZES / SIZES[0]) ** -exponent, rel=0.01)


def test_it_is_the_least_squares_fit_of_scipy():
    """At small noise weighted squares of losses and squares of logarithms are one; 1 % is a tenth of the interval."""
    rng = np.random.default_rng(3)
    losses = (0.3 + (SIZES / 8.0) ** -0.8) * np.exp(0.01 * rng.standard_normal(len(SIZES)))
    law = fit_size_law(sweep_of(losses))
    found, _ = curve_fit(lambda x, e, a, p: np.log(e + a * x**-p), SIZES / 8.0, np.log(losses), (0.3, 1.0, 0.8))
    assert law.exponent.value == pytest.approx(found[2], rel=0.01)
    assert law.floor == pytest.approx(found[0], rel=0.01)


@pytest.mark.long
@pytest.mark.parametrize(("repeats", "scatter"), [(1, 0.01), (3, 0.02)])
def test_intervals_hold_the_exponent_as_often_as_they_say(repeats: int, scatter: float):
    """Of 200 draws; 90 % less three standard errors of 2.1 % is 84 %, and not more than 98 % for an interval of use."""
    rng = np.random.default_rng(4)
    exact = 0.2 + (SIZES / 8.0) ** -0.6
    held = []
    for _ in range(200):
        noisy = exact[:, None] * np.exp(scatter * rng.standard_normal((len(SIZES), repeats)))
        held.append(fit_size_law(sweep_of(noisy, repeats=repeats)).exponent.holds(0.6))
    assert 0.84 <= np.mean(held) <= 0.98


def test_what_repeats_share_is_no_scatter():
    """Each repeat has a test set of its own: all its losses are off by one factor, and the exponent does not move."""
    rng = np.random.default_rng(5)
    exact = (SIZES / 8.0) ** -0.5
    shared = exact[:, None] * np.exp(0.3 * rng.standard_normal(3))[None] * np.exp(0.001 * rng.standard_normal((7, 3)))
    law = fit_size_law(sweep_of(shared, repeats=3))
    assert law.scatter < 0.002
    assert law.exponent.holds(0.5) and law.exponent.half_width < 0.02


@pytest.mark.parametrize("unit", [1e-150, 1e150])
@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_units_do_not_matter(unit: float, scale: float):
    losses = 0.1 + (SIZES / 8.0) ** -0.7
    plain = fit_size_law(sweep_of(losses))
    other = fit_size_law(sweep_of(unit * losses, scale * SIZES))
    assert other.exponent.value == pytest.approx(plain.exponent.value, rel=1e-9)
    assert other.floor / unit == pytest.approx(plain.floor, rel=1e-6)


def test_twelve_decades_of_sizes():
    sizes = np.logspace(0, 12, 7)
    law = fit_size_law(sweep_of(1e-3 + sizes**-0.3, sizes))
    assert law.exponent.value == pytest.approx(0.3, rel=0.02)


def test_a_floor_that_can_be_anything_leaves_the_exponent_open():
    rng = np.random.default_rng(6)
    losses = (1.0 + 0.02 * (SIZES / 8.0) ** -0.5)[:, None] * np.exp(0.01 * rng.standard_normal((7, 3)))
    assert fit_size_law(sweep_of(losses, repeats=3)).status is FitStatus.OPEN


@pytest.mark.parametrize("losses", [np.ones(7), SIZES / 8.0])
def test_a_loss_that_does_not_fall_is_no_law(losses: np.ndarray):
    law = fit_size_law(sweep_of(losses))
    assert law.status is FitStatus.NO_FALL
    assert np.isfinite(law.losses(SIZES)).all()


def test_it_prints_itself():
    told = str(fit_size_law(sweep_of((SIZES / 8.0) ** -0.5)))
    assert "7 runs of 7 sizes: fitted" in told and "exponent" in told


@pytest.mark.rejects
def test_sizes_of_a_law_are_positive():
    with pytest.raises(ArgumentError, match="`sizes` must be > 0"):
        fit_size_law(sweep_of(SIZES**-0.5)).losses(np.array([0.0]))
