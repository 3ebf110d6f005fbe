"""Frontier and growth against the b = 1 model, whose exponents are known in every coordinate.

See equations/hypotheses.md#frontier-coordinates.
"""

import numpy as np
import pytest
import xarray as xr

from eigenflow.core.errors import ArgumentError, RunFolderError
from eigenflow.theory.self_similarity import amplitude_growth, fit_power, frontiers
from rounding import SEEDS, last_bits

NU, SIGMA, COUNT = 1.5, 0.8, 3000
TIMES = np.concatenate([[0.0], np.geomspace(3.0, 100.0, 30)])
FAST = 30.0  # 1 + FAST t is a power of t within 1 % from t = 3 on


def history(rho, *, seed=None, times=TIMES, nu=NU, sigma=SIGMA, count=COUNT):
    """lambda_k = k^-nu x^(rho-1), x = 1 + 30 t, energies below lambda0 ~ lambda0^sigma, exp(-2 lambda0 tau)."""
    k = np.arange(1.0, count + 1)
    label = k**-nu
    squares = k ** (-nu * sigma - 1)
    if seed is not None:
        squares = squares * np.random.default_rng(seed).normal(size=count) ** 2
    x = 1 + FAST * times
    tau = (x**rho - 1) / rho / FAST
    g = np.sqrt(squares) * np.exp(-label * tau[:, None])
    rest = (count + 0.5) ** (-nu * sigma) / (nu * sigma)
    return xr.Dataset(
        {
            "time": ("step", times),
            "step_size": ("step", np.full(len(times), 1e-3)),
            "eigenvalue": (("step", "mode"), label * x[:, None] ** (rho - 1)),
            "coefficient": (("step", "mode"), g),
            "initial_coefficient": (("step", "mode"), g),
            "probe_loss": ("step", 0.5 * ((g**2).sum(1) + rest)),
        },
        coords={"step": np.arange(len(times))},
    )


@pytest.mark.parametrize("rho", [1.0, 1.6, 0.7])
def test_exponents_in_the_four_coordinates(rho):
    """Slopes over a decade and a half; (x^rho - 1) is a power up to x^-rho, 4 % at the start for rho = 0.7."""
    found = frontiers(history(rho))
    slopes = {name: np.polyfit(np.log(f.times), np.log(f.position), 1)[0] for name, f in found.items()}
    assert slopes["eigenvalue"] == pytest.approx(-1.0, abs=0.03)
    assert slopes["label"] == pytest.approx(-rho, abs=0.03)
    assert slopes["rank"] == pytest.approx(rho / NU, abs=0.03)
    assert slopes["energy"] == pytest.approx(-rho * SIGMA, abs=0.03)


@pytest.mark.parametrize("rho", [1.0, 1.6, 0.7])
def test_positions_are_those_of_the_closed_form(rho):
    """Where 2 lambda0 tau = 1, up to the interpolation between modes."""
    found = frontiers(history(rho))
    for name, frontier in found.items():
        x = 1 + FAST * frontier.times
        label = FAST * rho / (x**rho - 1) / 2
        expected = {"label": label, "eigenvalue": label * x ** (rho - 1), "rank": label ** (-1 / NU)}
        if name in expected:
            np.testing.assert_allclose(frontier.position, expected[name], rtol=0.01)


def test_eulerian_frontier_has_the_constant_of_the_theory():
    """lambda* t -> rho / 2 for exp(-2 lambda0 tau) = 1/e; 0.79992 at rho = 1.6 late in the run.

    See equations/hypotheses.md#frontier-coordinates.
    """
    found = frontiers(history(1.6))["eigenvalue"]
    assert found.position[-1] * found.times[-1] == pytest.approx(0.8, abs=0.004)


@pytest.mark.long
def test_scatter_of_the_modes_averages_out():
    """Coefficients drawn from a Gaussian: attenuation is the same for all, so pooling must not bias the place."""
    exact, noisy = (frontiers(history(1.0, seed=seed))["label"] for seed in (None, 3))
    np.testing.assert_allclose(noisy.position, exact.position[-len(noisy.position) :], rtol=1e-6)


def test_amplitude_at_the_frontier():
    """Energy density ~ t^(1 - rho sigma); |g| density and single amplitude by counting modes ~ lambda0^(-1/nu)."""
    rho = 1.6
    data = history(rho)
    grown = amplitude_growth(data, frontiers(data)["eigenvalue"])
    late = grown.times > 10

    def slope(values):
        return np.polyfit(np.log(grown.times[late]), np.log(values[late]), 1)[0]

    # Windows of one decade hold from 6 modes on, so whole modes enter and leave: 0.05.
    assert slope(grown.energy_density) == pytest.approx(1 - rho * SIGMA, abs=0.05)
    assert slope(grown.amplitude) == pytest.approx(-0.5 * rho * (SIGMA + 1 / NU), abs=0.05)
    assert slope(grown.amplitude_density) == pytest.approx(1 - 0.5 * rho * (SIGMA - 1 / NU), abs=0.05)


def test_power_of_time_and_its_alternatives():
    times = np.geomspace(1, 100, 40)
    rng = np.random.default_rng(0)
    power = fit_power(times, 3 * times**-0.7 * np.exp(0.02 * rng.normal(size=40)))
    assert power.exponent == pytest.approx(-0.7, abs=0.02)
    assert power.interval[0] < -0.7 < power.interval[1]
    assert power.curvature_interval[0] < 0 < power.curvature_interval[1]
    assert power.skill > 0.9
    assert power.amplitude == pytest.approx(3, rel=0.05)
    decay = fit_power(times, np.exp(-0.1 * times))
    assert decay.best_alternative == "exponential"
    assert decay.skill < -10
    constant = [fit_power(times, last_bits(np.full(40, 3.0), seed)) for seed in SEEDS]
    assert [one.skill for one in constant] == [0.0] * 3  # forms that are both exact are equally good
    bent = fit_power(times, np.exp(-0.3 * np.log(times) ** 2))
    assert bent.curvature == pytest.approx(-0.6, abs=1e-6)


@pytest.mark.rejects
def test_what_is_too_short_is_refused():
    with pytest.raises(RunFolderError, match="two measurements, but the run holds 1"):
        frontiers(history(1.0, times=np.array([0.0])))
    with pytest.raises(ArgumentError, match="`dissipation` has 3 positive values"):
        fit_power(np.array([0.0, 1.0, 2.0, 9.0]), np.ones(4), name="dissipation")
    lacking = frontiers(history(1.0).drop_vars("initial_coefficient"))
    assert "label" not in lacking
