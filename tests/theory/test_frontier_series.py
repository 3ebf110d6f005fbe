"""Frontiers in four coordinates: b = 1 with rho = 0.5, 1, 1.6, and b = 1.5 where it moves on and where it stops."""

import numpy as np
import pytest
from scipy.optimize import brentq

from eigenflow.core.errors import ArgumentError, ShapeError
from eigenflow.theory.effective_time.series import effective_time_of_losses
from eigenflow.theory.self_similarity.frontier_series import (
    frontiers_of_effective_time,
    frontiers_of_modes,
    frontiers_of_run,
)
from eigenflow.theory.task_spectrum import TaskSpectrum
from theory.moving_modes import measured

pytestmark = pytest.mark.long

RANKS = np.arange(1.0, 1501.0)
NU, SIGMA = 1.5, 0.4  # lambda0 = rank^-nu; the energy below lambda0 goes as lambda0^sigma
RATES = RANKS**-NU
START = RANKS ** (-NU * SIGMA - 1.0)
START[-1] += 1500.5 ** (-NU * SIGMA) / (NU * SIGMA)  # what a power law has beyond the last mode
TIMES = np.append(0.0, np.geomspace(0.1, 3e4, 90))


def scaling(rho, times=TIMES):
    """b = 1: lambda = lambda0 (1 + t)^(rho - 1), tau = ((1 + t)^rho - 1) / rho, energies exp(-2 lambda0 tau)."""
    tau = np.expm1(rho * np.log1p(times)) / rho
    return RATES * (1 + times[:, None]) ** (rho - 1), START * np.exp(-2 * RATES * tau[:, None]), tau


def span(rho):
    """Times at which the frontier lies among modes 5 and 300, where a power law is one to a percent."""
    tau = scaling(rho)[2]
    return (0.5 / RATES[5] < tau) & (tau < 0.5 / RATES[300])


@pytest.mark.parametrize("rho", [0.5, 1.0, 1.6])
def test_slopes_in_four_coordinates_where_all_eigenvalues_scale_alike(rho):
    """-1, -rho, rho / nu and -rho sigma; lambda* t -> rho / 2. (1 + t) is t to 1 % from t = 100 on."""
    eigenvalues, energies, tau = scaling(rho)
    kept = np.append(0, np.flatnonzero(span(rho)))
    found = frontiers_of_modes(TIMES[kept], eigenvalues[kept], energies[kept], start=20.0)
    slopes = {one.coordinate: one.measured.exponent for one in found.exponents(rho)}
    local = np.gradient(np.log(tau[1:]), np.log(TIMES[1:]))[(kept[1:] - 1)][TIMES[kept[1:]] >= 20.0].mean()
    # What tau itself has over these times, and at the end rho.
    assert slopes["label"] == pytest.approx(-local, abs=0.01)
    assert slopes["label"] == pytest.approx(-rho, abs=0.06)
    assert slopes["rank"] == pytest.approx(local / NU, abs=0.01)
    # Energy below a rank is a sum, and a half of the mode's own: a power to 1 % from the tenth mode on.
    assert slopes["energy"] == pytest.approx(-local * SIGMA, abs=0.02)
    assert slopes["eigenvalue"] == pytest.approx(-1.0, abs=0.06)
    # The frontier is interpolated between modes, so its label is exact: 2 lambda0 tau = 1.
    label = found.found["label"]
    at = np.searchsorted(TIMES, label.times)
    np.testing.assert_allclose(label.position * 2 * tau[at], 1.0, rtol=2e-3)
    expected = 0.5 * rho * (1 + TIMES[at]) ** (rho - 1) / np.expm1(rho * np.log1p(TIMES[at])) * TIMES[at]
    np.testing.assert_allclose(found.found["eigenvalue"].position * TIMES[at], expected, rtol=2e-3)
    middle, (low, high) = found.constant()
    assert low <= middle <= high and middle == pytest.approx(rho / 2, abs=0.02)


def test_the_constant_of_the_equations_page():
    """equations/hypotheses.md#frontier-coordinates: at rho = 1.6, lambda* t is 0.79992 where 0.8 is expected."""
    eigenvalues, energies, _ = scaling(1.6)
    found = frontiers_of_modes(TIMES, eigenvalues, energies)
    times, position = found.found["eigenvalue"].times, found.found["eigenvalue"].position
    at = np.argmin(np.abs(np.log(times / 1000.0)))
    assert position[at] * times[at] == pytest.approx(0.8, abs=2e-3)


@pytest.mark.parametrize("rho", [0.5, 1.0, 1.6])
def test_exponents_expected_of_a_rho_hold_what_is_measured(rho):
    eigenvalues, energies, _ = scaling(rho)
    kept = np.append(0, np.flatnonzero(span(rho)))
    start = 100.0 if rho < 1.5 else 30.0  # a fast frontier has passed rank 300 at t = 300
    found = frontiers_of_modes(TIMES[kept], eigenvalues[kept], energies[kept], start=start)
    nu, (low, high) = found.capacity
    assert nu == pytest.approx(NU, abs=1e-3) and low <= nu <= high
    sigma, (low, high) = found.source
    assert sigma == pytest.approx(SIGMA, abs=0.02) and low <= sigma <= high
    for one in found.exponents(rho, (rho - 0.05, rho + 0.05)):
        assert one.is_automatic == (one.coordinate == "eigenvalue")
        low, high = one.expected_interval
        slack = 0.02
        assert low - slack <= one.measured.exponent <= high + slack
        assert low <= one.expected <= high
    wrong = {one.coordinate: one for one in found.exponents(rho + 0.3)}
    # Another rho is seen in every coordinate but the eigenvalue.
    assert wrong["label"].expected == pytest.approx(-rho - 0.3)
    for name in ("label", "rank", "energy"):
        assert abs(wrong[name].measured.exponent - wrong[name].expected) > 0.08
    assert abs(wrong["eigenvalue"].measured.exponent + 1) < 0.05


def self_similar(times, c=1.0):
    """b = 1.5 with c(t) = c / sqrt(t): lambda = lambda0 / (1 + c u)^2, u = sqrt(lambda0 t).

    Q = (2 / c^2) [ln(1 + c u) + 1 / (1 + c u) - 1]: attenuation is a function of lambda0 t alone.
    """
    u = np.sqrt(RATES * times[:, None])
    q = 2 / c**2 * (np.log1p(c * u) + 1 / (1 + c * u) - 1)
    return RATES / (1 + c * u) ** 2, START * np.exp(-2 * q)


def test_b_of_three_halves_on_the_self_similar_line():
    """No common time, yet all slopes are those of rho = 1, and the constant is that of the profile, not 1/2."""
    times = np.append(0.0, np.geomspace(30.0, 3e4, 60))
    found = frontiers_of_modes(times, *self_similar(times))
    slopes = {one.coordinate: one.measured.exponent for one in found.exponents(1.0)}
    np.testing.assert_allclose(
        [slopes[name] for name in ("eigenvalue", "label", "rank", "energy")], [-1, -1, 1 / NU, -SIGMA], atol=0.02
    )
    u = brentq(lambda u: 4 * (np.log1p(u) + 1 / (1 + u) - 1) - 1, 1e-3, 10)
    assert found.constant()[0] == pytest.approx(u**2 / (1 + u) ** 2, rel=0.01)
    assert found.constant()[0] != pytest.approx(0.5, abs=0.1)
    np.testing.assert_allclose(found.found["label"].position * found.found["label"].times, u**2, rtol=0.01)


def test_b_of_three_halves_and_constant_c_stops():
    """lambda = lambda0 / (1 + c t sqrt(lambda0) / 2)^2: modes below lambda0 = (c / 4)^2 are never learned.

    The label stands still there while lambda* of the frontier falls as t^-2: the slope of -1 is not automatic here.
    """
    c = 0.2
    times = np.append(0.0, np.geomspace(1.0, 1e6, 90))
    root = np.sqrt(RATES)
    lam = RATES / (1 + 0.5 * c * times[:, None] * root) ** 2
    energies = START * np.exp(-2 * (root - np.sqrt(lam)) * 2 / c)
    found = frontiers_of_modes(times, lam, energies, start=3e4)
    slopes = {one.coordinate: one.measured.exponent for one in found.exponents()}
    assert found.found["label"].position[-1] == pytest.approx((c / 4) ** 2, rel=0.01)
    assert slopes["eigenvalue"] == pytest.approx(-2.0, abs=0.02)
    for name in ("label", "rank", "energy"):
        assert abs(slopes[name]) <= 0.01


@pytest.mark.parametrize("rho", [0.5, 1.0, 1.6])
def test_from_losses_and_a_task_alone(rho):
    """The effective time of the loss gives the same four frontiers; the first holds only for b = 1, and says so."""
    task = TaskSpectrum.power_law(NU, NU * SIGMA + 1, modes=1500, tail=True)
    tau = scaling(rho)[2]
    losses = 0.5 * (task.target * np.exp(-2 * task.eigenvalues * tau[:, None])).sum(1)
    effective = effective_time_of_losses(TIMES, losses, task)
    found = frontiers_of_effective_time(effective, task, start=100.0)
    slopes = {one.coordinate: one.measured.exponent for one in found.exponents(rho)}
    assert found.is_assumed == ("eigenvalue",)
    late = TIMES[1:] >= 100.0
    local = np.polyfit(np.log(TIMES[1:][late]), np.log(tau[1:][late]), 1)[0]
    assert slopes["label"] == pytest.approx(-local, abs=1e-3)
    assert slopes["rank"] == pytest.approx(local / NU, abs=0.01)
    assert slopes["energy"] == pytest.approx(-local * SIGMA, abs=0.01)
    assert slopes["eigenvalue"] == pytest.approx(-1.0, abs=0.03)
    assert found.constant()[0] == pytest.approx(rho / 2, abs=0.01)
    exponents = {one.coordinate: one for one in found.exponents(rho, effective.index.interval)}
    assert exponents["energy"].expected == pytest.approx(-rho * SIGMA, abs=0.01)


def test_a_record_gives_the_same_frontiers():
    """Of modes that do not rotate, ranks and the first basis are the same: the record against the arrays."""
    eigenvalues, energies, _ = scaling(1.6)
    amplitudes = np.sqrt(energies)
    record = frontiers_of_run(measured(TIMES, eigenvalues, amplitudes, initial_coefficient=amplitudes), start=20.0)
    arrays = frontiers_of_modes(TIMES, eigenvalues, energies, start=20.0)
    for one, other in zip(record.exponents(1.6), arrays.exponents(1.6), strict=True):
        assert one.measured.exponent == pytest.approx(other.measured.exponent, rel=1e-12)
        assert one.expected == pytest.approx(other.expected, rel=1e-9)


def test_permuted_series_and_units():
    """Another unit of time moves positions, not slopes; energies may be scaled."""
    eigenvalues, energies, _ = scaling(0.7)
    one = frontiers_of_modes(TIMES, eigenvalues, energies)
    other = frontiers_of_modes(TIMES * 1e-3, eigenvalues * 1e3, energies * 1e-20)
    for name in one.found:
        assert one.power(name).exponent == pytest.approx(other.power(name).exponent, rel=1e-9)
    assert one.constant()[0] == pytest.approx(other.constant()[0], rel=1e-9)


def test_too_few_times_are_said_and_it_prints_itself():
    eigenvalues, energies, _ = scaling(1.0)
    found = frontiers_of_modes(TIMES[:20], eigenvalues[:20], energies[:20])
    some = found.since(1e9)
    assert all(one.measured is None for one in some.exponents(1.0))
    with pytest.raises(ArgumentError, match="no frontier in the eigenvalue"):
        some.constant()
    assert "too few times" in repr(some)
    text = repr(frontiers_of_modes(TIMES, eigenvalues, energies))
    assert len(text.splitlines()) <= 15
    for part in ("1500 modes", "-1 for every rho", "lambda* t", "rank^-nu"):
        assert part in text


@pytest.mark.rejects
class TestRejects:
    @pytest.mark.parametrize(
        ("times", "eigenvalues", "energies", "error", "message"),
        [
            ([0, 1], np.ones((3, 2)), np.ones((3, 2)), ShapeError, r"`eigenvalues` must be \(time, mode\)"),
            ([0, 1], np.ones((2, 2)), np.ones((2, 3)), ArgumentError, "`energies` must have the shape"),
            ([0, 1], -np.ones((2, 2)), np.ones((2, 2)), ArgumentError, "`eigenvalues` must be >= 0"),
            ([0, 1], np.ones((2, 2)), -np.ones((2, 2)), ArgumentError, "`energies` must be >= 0"),
            ([0, 1], np.ones((2, 2)) * [1, 2], np.ones((2, 2)), ArgumentError, "decreasing first eigenvalue"),
            ([0], np.ones((1, 2)), np.ones((1, 2)), ArgumentError, "`times` must be 2 or more"),
            ([0, 1], np.ones((2, 2)), np.ones((2, 2)), ArgumentError, "`energies` have no frontier"),
        ],
    )
    def test_modes(self, times, eigenvalues, energies, error, message):
        with pytest.raises(error, match=message):
            frontiers_of_modes(times, eigenvalues, energies)

    def test_an_effective_time_outside_of_the_spectrum(self):
        task = TaskSpectrum.power_law(1.5, 1.6, modes=100)
        losses = 0.5 * (task.target * np.exp(-2 * task.eigenvalues * TIMES[:, None] * 1e-9)).sum(1)
        effective = effective_time_of_losses(TIMES, losses, task)
        with pytest.raises(ArgumentError, match=r"times with 1 / .* inside the spectrum"):
            frontiers_of_effective_time(effective, task)
