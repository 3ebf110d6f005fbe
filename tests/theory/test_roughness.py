"""Rough and smooth first errors, and the form of late velocities."""

import numpy as np
import pytest
import xarray as xr

from eigenflow.closure.velocities import Velocities
from eigenflow.core.errors import ArgumentError
from eigenflow.theory.exponents.late_form import late_form
from eigenflow.theory.exponents.roughness import roughness

LAM = np.arange(1.0, 401.0) ** -1.4


def first(squares, lam=LAM):
    return xr.Dataset(
        {"eigenvalue": (("step", "mode"), lam[None]), "coefficient": (("step", "mode"), np.sqrt(squares)[None])},
        coords={"step": [0]},
    )


@pytest.mark.parametrize("sigma", [0.4, 0.8])
def test_a_power_is_rough_with_its_exponent(sigma):
    """Energy below lambda ~ lambda^sigma: lambda_k^sigma / k each, Gaussian; 400 modes know sigma to .1 or so."""
    rng = np.random.default_rng(1)
    found = roughness(first(LAM**sigma / np.arange(1, 401) * rng.normal(size=400) ** 2))
    low, high = found.interval
    assert low < sigma < high and high - low < 0.5
    assert found.margin > 10 and found.modes == 400


def test_smooth_errors_lose():
    """Energies that fall exponentially in the rank, and those of exp(-c / lambda), are no powers."""
    rng = np.random.default_rng(2)
    chance = rng.normal(size=400) ** 2
    assert roughness(first(np.exp(-np.arange(400) / 40) * chance)).margin < -10
    assert roughness(first(np.exp(-0.002 / LAM) * chance)).margin < -10


def test_energies_that_scatter_more_than_gaussians_decide_less():
    """Twice the exponent of the same numbers: the difference of likelihoods grows, and is divided by the dispersion."""
    rng = np.random.default_rng(3)
    mean = LAM**0.6 / np.arange(1, 401)
    plain, wild = (roughness(first(mean * rng.normal(size=400) ** power)).margin for power in (2, 6))
    assert 0 < wild < plain


def test_few_modes_say_nothing():
    with pytest.raises(ArgumentError, match="needs 30"):
        roughness(first(LAM[:20], LAM[:20]))
    with pytest.raises(ArgumentError, match="single modes"):
        roughness(xr.Dataset(coords={"step": [0]}))


def velocities(w):
    """w(lambda, t) in ten shells at 30 times."""
    times, centres = np.geomspace(1.0, 1e3, 30), np.geomspace(1e-4, 1.0, 10)
    value = w(centres[None, :], times[:, None]) * np.ones((30, 10))
    ones = np.ones_like(value)
    return Velocities(
        "mode", times, centres, 0.9, np.tile(centres, (30, 1)), value, ones, 0.1 * ones, np.ones((30, 10), bool)
    )


def test_a_drift_that_becomes_a_power_is_one_late():
    """lambda^0.4 / t, with another power before t = 30: the last third begins at t = 107."""
    late = late_form(velocities(lambda lam, t: np.where(t < 30, lam**-0.5, lam**0.4) / t))
    assert late.b == pytest.approx(1.4, abs=0.005) and late.left < 1e-4 and late.times == 10
    assert late.interval[0] <= late.left <= late.interval[1]


def test_two_powers_late_are_not_one():
    """lambda^+-.5 on either side of .01: the best single power leaves what least squares over shells says."""
    data = velocities(lambda lam, t: np.exp(-0.5 * np.abs(np.log(lam / 0.01))) / t)
    found = late_form(data)
    x, w = np.log(data.centres), data.value[-1] / np.sqrt((data.value[-1] ** 2).mean())
    best = min(
        ((w - (shape @ w) / (shape @ shape) * shape) ** 2).sum() / (w @ w)
        for shape in (np.exp((b - 1) * x) for b in np.linspace(-1, 4, 1001))
    )
    assert found.left == pytest.approx(best, rel=1e-3) and found.left > 0.1


def test_few_times_have_no_late_third():
    with pytest.raises(ArgumentError, match="last third"):
        late_form(velocities(lambda lam, t: 1 / t).select(np.arange(30) < 9))
