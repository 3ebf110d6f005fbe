"""Exponents that are one, and exponents that swing; spectra that fall on one curve, by what is left of them."""

import numpy as np
import pytest
import xarray as xr

from eigenflow.core.errors import ArgumentError
from eigenflow.core.grid import shell_edges
from eigenflow.theory.self_similarity import attenuation_collapse, fit_power
from eigenflow.theory.self_similarity.power_in_time import index_swing
from eigenflow.theory.self_similarity.resampled import mode_counts

TIMES = np.geomspace(1.0, 1e3, 61)  # 20 a decade; factors of 8 fall between them


@pytest.mark.parametrize("exponent", [-1.3, 0.2, 2.0])
def test_a_power_does_not_swing(exponent):
    """Between times values are powers, so the index is exact: rounding of logarithms."""
    assert index_swing(TIMES, 3.0 * TIMES[None] ** exponent)[0] < 1e-12


def test_an_exponential_swings_by_what_its_index_says():
    """v = exp(-t / 300): index(t) = -(t - t/8) / (300 ln 8), whose range over a decade is .9 of its last value.

    Interpolated as a power between times a twentieth of a decade apart, an exponential is off by under 1 %.
    """
    ends = TIMES[TIMES[-1] / 10 <= TIMES]
    index = ends * (1 - 1 / 8) / (300 * np.log(8))
    expected = np.ptp(index) / max(index.mean(), 0.25)
    assert index_swing(TIMES, np.exp(-TIMES[None] / 300))[0] == pytest.approx(expected, rel=0.01)


def test_a_swinging_clock_swings():
    """ln v = x + .3 sin(2 x): (f(x) - f(x - h)) / h has amplitude .6 sin(h) / h = .25, h = ln 8, over more than half a
    period in a decade."""
    value = np.exp(np.log(TIMES) + 0.3 * np.sin(2 * np.log(TIMES)))
    h = np.log(8.0)
    ends = np.log(TIMES[TIMES[-1] / 10 * (1 - 1e-12) <= TIMES])
    index = 1 + 0.3 * (np.sin(2 * ends) - np.sin(2 * (ends - h))) / h
    assert index_swing(TIMES, value[None])[0] == pytest.approx(np.ptp(index) / index.mean(), rel=0.02)
    assert np.ptp(index) > 0.4


def test_short_ranges_have_no_swing():
    short = TIMES[TIMES < 70]
    assert index_swing(short, short[None]) is None
    found = fit_power(short, short**-1.0)
    assert found.swing is None and found.swing_interval is None


def test_the_interval_of_a_swing_comes_from_resampled_series():
    rng = np.random.default_rng(0)
    drawn = TIMES**-1.0 * np.exp(0.02 * np.cumsum(rng.normal(size=(40, len(TIMES))), axis=1))
    found = fit_power(TIMES, TIMES**-1.0, drawn=drawn)
    assert found.swing < 1e-12 and found.swing_interval == (0.0, found.swing)
    bent = fit_power(TIMES, np.exp(-0.1 * np.log(TIMES) ** 2), drawn=np.exp(-0.1 * np.log(TIMES) ** 2) * drawn * TIMES)
    assert bent.swing_interval[0] <= bent.swing <= bent.swing_interval[1]
    assert bent.swing_interval[0] > 0.0


def test_modes_are_drawn_as_often_as_there_are():
    counts = mode_counts(50, 3)
    assert (counts.sum(1) == 50).all() and counts.min() == 0 and (mode_counts(50, 3) == counts).all()


def history(clock, *, seed=0, count=400, spread=0.0):
    """exp(-2 lambda0 tau_u) of modes k^-1.3 with Gaussian coefficients; `spread` scatters ln(tau_u)."""
    rng = np.random.default_rng(seed)
    label = np.arange(1.0, count + 1) ** -1.3
    g0 = rng.normal(size=count) * label**0.8
    own = np.exp(spread * rng.normal(size=count))
    times = np.concatenate([[0.0], np.geomspace(1.0, 1e3, 30)])
    g = g0 * np.exp(-label * own * clock(times)[:, None])
    return xr.Dataset(
        {
            "time": ("step", times),
            "eigenvalue": (("step", "mode"), np.tile(label, (len(times), 1))),
            "coefficient": (("step", "mode"), g),
            "initial_coefficient": (("step", "mode"), g),
        },
        coords={"step": np.arange(len(times)), "edge": ("edge", shell_edges(1.0))},
    )


@pytest.mark.parametrize("rho", [0.7, 1.0, 1.4])
def test_one_clock_collapses_whatever_the_energies_are(rho):
    """tau = t^rho: ln(-ln A) = ln(2 lambda0) + rho ln t in a narrow shell; a quarter decade blurs it by a tenth."""
    found = attenuation_collapse(history(lambda t: t**rho), end=300.0)
    assert found.shift_exponent == pytest.approx(rho, abs=0.05)
    assert found.excess < 0.12 and found.floor == 0.0
    assert found.excess_interval[0] <= found.excess <= found.excess_interval[1]


def test_many_clocks_and_a_clock_that_ends_do_not_collapse():
    """A clock that saturates at 30 is no power of time; clocks that scatter by e^0.8 differ from mode to mode."""
    ended = attenuation_collapse(history(lambda t: 30 * -np.expm1(-t / 30)))
    assert ended.excess > 0.25
    many = attenuation_collapse(history(lambda t: t, spread=1.2, count=40))
    assert many.excess > 0.2


def test_what_is_not_learned_has_no_curve():
    with pytest.raises(ArgumentError, match="data collapse needs"):
        attenuation_collapse(history(lambda t: 0.0 * t))
