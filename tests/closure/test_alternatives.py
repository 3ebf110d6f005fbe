"""Every form of the drift wins on held-out time where it is the truth; a power loses little to richer forms."""

import numpy as np
import pytest

from eigenflow.closure import compare_forms, fit_closure, fit_drift_law, shell_velocities
from eigenflow.core.errors import ArgumentError
from particles import particle_budget, self_similar_modes
from synthetic import drifting_budget

TIMES = np.geomspace(1.0, 1e3, 40)
DECADE = np.log(10.0)


def compare(velocity, *, noise=0.3, seed=0):
    # Other modes at each time: what a shell's mean does to lambda^b shall be noise, too, not a fixed pattern.
    lam = 10.0 ** np.random.default_rng(seed).uniform(-5, 0, (len(TIMES), 600))
    found = shell_velocities(drifting_budget(velocity, TIMES, lam, noise=noise, seed=seed))
    return compare_forms(found, seed=seed)


def by_name(rows):
    return {row.name: row for row in rows}


@pytest.mark.parametrize("b", [0.7, 1.0, 1.6])
def test_a_true_power_beats_simple_forms_and_loses_little_to_richer_ones(b):
    """Richer forms hold the power as a member. Their extra parameters fit noise, so on other times they gain nothing:
    at most the few per cent by which three parameters fit the 20 x 20 noisy velocities better by chance."""
    result = compare(lambda x, t: -0.2 * t ** (b - 2) * x**b)
    assert result.b == pytest.approx(b, abs=0.03)
    assert all(row.skill > 0.8 for row in result.simple)
    assert result.best_richer.skill > -0.05
    continued = by_name(result.continued)
    assert continued["c(t) power"].skill > 0.9
    assert continued["c(t) power"].skill >= continued["persistence"].skill - 0.02


def test_log_periodic_drift_is_told_from_a_power():
    """v = -c lambda^b (2 + sin log lambda) obeys the same bounds on moments as a power
    (equations/hypotheses.md#regularity-and-power-drift)."""
    result = compare(lambda x, t: -0.1 / t * x * (2 + 1.5 * np.sin(2 * np.pi * np.log10(x))), noise=0.1)
    assert result.best_richer.name == "log-periodic"
    assert result.best_richer.skill < -1.0 and result.best_richer.interval[1] < -0.1


def test_broken_power_is_told_from_a_power():
    result = compare(lambda x, t: 0.1 / t * x * np.where(x < 1e-3, (x / 1e-3) ** 0.6, (x / 1e-3) ** -0.4), noise=0.1)
    assert by_name(result.richer)["broken power"].interval[1] < -0.1
    assert by_name(result.richer)["broken power"].error < 0.05


@pytest.mark.long
def test_drift_given_by_the_energy_nearby_is_found_as_a_kernel():
    """w(x) = mean of the energy within a decade, while the energy's frontier moves: no fixed shape in lambda."""
    first = 10.0 ** np.random.default_rng(4).uniform(-5, 0, 2500)
    lam = self_similar_modes(first, TIMES, b=1.0, c0=0.0)
    energy = np.exp(-2 * lam * TIMES[:, None]) * first**0.2
    share = energy / energy.sum(1, keepdims=True)
    logs = np.log(first)
    near = np.maximum(0.0, 1 - np.abs(logs[:, None] - logs[None, :]) / DECADE)
    rate = (share @ near) * lam / TIMES[:, None]
    budget = particle_budget(lam, lam * (1 + 1e-6), energy, TIMES, 1e-3 * TIMES, rate=rate)
    result = compare_forms(shell_velocities(budget))
    assert result.best_richer.name == "kernel"
    assert result.best_richer.error < 0.05 < result.power.error


def test_strength_that_stops_is_not_continued():
    """c(t) = 0.2 / t up to the middle of the run, then the drift turns round: no continuation can know it."""
    middle = np.sqrt(TIMES[0] * TIMES[-1])
    result = compare(lambda x, t: (0.2 if t < middle else -0.2) / t * x)
    assert all(row.skill < 0 for row in result.continued)
    assert result.power.error < 0.2  # with c(t) free it is a power all the same


@pytest.mark.parametrize("layers", [2, 3, 4])
def test_small_deep_linear_networks_drift_as_a_power(layers):
    """L-layer aligned linear networks from small starts: lambda = L a^(2-2/L), da/dt = L a^(2-2/L) (s - a)
    (equations/known_cases.md#deep-linear-networks).

    While a << s, and with one s, d ln(lambda)/dt = 2 (L-1) s a^(1-2/L), so v = -c lambda^b with b = (3L-4) / (2L-2) and
    constant c < 0. The largest a is 2 % of s, and one power of the shell's mean lambda is good to 1 %."""
    start = 10.0 ** np.random.default_rng(0).uniform(-7, -3, 600)
    times = np.geomspace(0.01, 1.0, 30)
    power = 2 - 2 / layers
    if layers == 2:
        a = start * np.exp(2 * times[:, None])
    else:
        a = (start ** (1 - power) - (power - 1) * layers * times[:, None]) ** (1 / (1 - power))
    lam = layers * a**power
    rate = lam * power * layers * a ** (power - 1) * (1.0 - a)
    budget = particle_budget(lam, lam + 1e-6 * rate, (1 - a) ** 2, times, np.full(30, 1e-6), rate=rate)
    found = shell_velocities(budget)
    law = fit_drift_law(found, "power", draws=0)
    assert law.b == pytest.approx((3 * layers - 4) / (2 * layers - 2), abs=0.02)
    assert law.strength.parameters["p"] == pytest.approx(0.0, abs=0.02)
    assert law.strength.parameters["kappa0"] < 0
    assert fit_closure(found).gamma < 0


@pytest.mark.rejects
def test_too_few_times_to_hold_half_out():
    lam = np.tile(10.0 ** np.random.default_rng(0).uniform(-5, 0, 200), (len(TIMES), 1))[:8]
    found = shell_velocities(drifting_budget(lambda x, t: -x / t, TIMES[:8], lam))
    with pytest.raises(ArgumentError, match=r"has 8 measured times.*12 are needed"):
        compare_forms(found)
