"""The closure residual converges: with shell width at second order, with the number of modes as n^-1/2."""

import numpy as np
import pytest

from eigenflow.closure import closure_residual, residual_order
from eigenflow.closure.residual import _sampled
from eigenflow.core.errors import ArgumentError
from eigenflow.transport import PowerDrift
from particles import mode_dataset, particle_budget

TIMES = np.geomspace(1.0, 50.0, 60)
GROWTH = 0.5
LAW = PowerDrift(c=lambda t: -GROWTH / np.asarray(t), b=1.0)


def ensemble(count, per_decade=4, seed=None):
    """Modes between 1e-7 and 10 under v = 0.5 lambda / t: evenly spaced, or drawn, from one continuum limit.

    eps0 ~ lambda^(1/2) exp(-lambda) per ln(lambda) ends smoothly on both sides; energies in closed form
    (equations/solutions.md#closed-solutions).
    """
    share = (np.arange(count) + 0.5) / count if seed is None else np.random.default_rng(seed).uniform(size=count)
    first = 10.0 ** (8.0 * share - 7.0)
    t, size = TIMES[:, None], 1e-3
    lam = first * t**GROWTH
    energy = first**0.5 * np.exp(-first - 2 * first * (t ** (1 + GROWTH) - 1) / (1 + GROWTH))
    budget = particle_budget(
        lam,
        lam * (1 + size / t) ** GROWTH,
        energy,
        TIMES,
        np.full(len(TIMES), size),
        rate=GROWTH * lam / t,
        shells_per_decade=per_decade,
        steps=np.round(TIMES / size).astype(int),
    )
    return mode_dataset(lam, energy, TIMES), budget


def energy_at(time, label):
    """eps per unit of ln(lambda0) at ln(lambda0) = label."""
    first = np.exp(label)
    return first**0.5 * np.exp(-first - 2 * first * (time ** (1 + GROWTH) - 1) / (1 + GROWTH))


@pytest.mark.long
def test_residual_falls_with_the_square_of_the_shell_width():
    """100,000 evenly spaced modes, 2, 4 and 8 shells a decade: exp(-2 lambda t) is not smooth on the scale of half a
    decade, so orders rise towards 2, 1.5 and 1.8; narrower shells show that modes cross edges one by one."""
    found = [closure_residual(ensemble(100_000, per)[1], LAW) for per in (2, 4, 8)]
    shares = np.array([[one.transport.share, one.flux.share] for one in found])
    of_shells, of_flux = np.log2(shares[:-1] / shares[1:]).T
    assert 1.4 < of_shells[0] < of_shells[1] < 2.1 and of_shells[1] > 1.7
    np.testing.assert_allclose(of_flux, 2.0, atol=0.25)  # no difference of fluxes, so nearer to its order
    assert shares[-1, 0] < 0.02 and shares[-1, 1] < 0.007


@pytest.mark.long
def test_residual_falls_with_the_root_of_the_number_of_modes():
    """Drawn modes at 8 shells a decade, where the width leaves 0.02: the mean over three draws goes as n^-1/2.

    That blur and, at few modes, the noise in the measured transport itself make the slope shallower by up to 0.1."""
    counts = (3_000, 9_000, 27_000)
    shares = [
        np.mean([closure_residual(ensemble(n, 8, seed)[1], LAW).transport.share for seed in range(3)]) for n in counts
    ]
    order, half_width = residual_order(counts, shares)
    assert order == pytest.approx(-0.45, abs=0.1)
    assert half_width < 0.15


def test_floor_says_what_chance_leaves():
    """Modes that move by the law exactly: the residual is its floor, but for how energies fade between measurements."""
    for seed in range(3):
        modes, budget = ensemble(1500, 4, seed)
        found = closure_residual(budget, LAW, modes=modes)
        for part in (found.transport, found.flux):
            assert part.floor == pytest.approx(part.share, rel=0.15)
            assert part.interval[0] <= part.share <= part.interval[1]
        # A flux is no difference of noisy numbers: half of the shells' noise, and less.
        assert found.flux.share < 0.6 * found.transport.share


@pytest.mark.long
def test_a_wrong_law_and_none_leave_what_they_should():
    """Half the velocity explains half of the transport, none explains none."""
    _, budget = ensemble(50_000)
    half = closure_residual(budget, PowerDrift(c=lambda t: -0.5 * GROWTH / np.asarray(t), b=1.0))
    none = closure_residual(budget, PowerDrift(0.0, 1.0))
    assert half.transport.share == pytest.approx(0.5, abs=0.05)
    assert half.flux.share == pytest.approx(0.5, abs=0.05)
    assert none.transport.share == none.flux.share == pytest.approx(1.0, abs=1e-12)
    assert none.equation_share < none.transport.share


def test_a_law_that_throws_modes_out_of_all_shells_overflows_nowhere():
    """v = 1e4 lambda^(1/2) / t: of the smallest modes it makes more than a float holds in no time.

    Then all that is sampled has gone to the last shell. Warnings are errors here.
    """
    modes, budget = ensemble(2_000)
    law = PowerDrift(c=lambda t: -1e4 / np.asarray(t), b=0.5)
    floor = closure_residual(budget, law, modes=modes).transport.floor
    assert floor is not None and np.isfinite(floor)
    rows = np.arange(len(TIMES) - 1)
    gained = _sampled(modes, budget, law, rows)
    np.testing.assert_allclose(gained.sum(1), 0.0, atol=1e-12)
    share = budget.energy.values[rows] / budget.energy.values[rows].sum(1, keepdims=True)
    np.testing.assert_allclose(gained[:, -1], 1.0 - share[:, -1], rtol=1e-9)
    np.testing.assert_allclose(gained[:, :-1], -share[:, :-1], rtol=1e-9, atol=1e-12)


@pytest.mark.long
def test_measured_flux_is_that_of_the_known_density():
    """Through an edge passes gamma n(x) / E per unit of ln(t), n in closed form, from the first time to the last.

    Modes are 5e-5 e-folds apart, intervals add up the energy's share at the mean of both ends: good to 2 %."""
    _, budget = ensemble(100_000)
    found = closure_residual(budget, LAW)
    t = np.geomspace(TIMES[0], TIMES[-1], 200)
    whole = np.array([energy_at(time, np.linspace(np.log(1e-7), np.log(10), 4000)).mean() for time in t])
    for near in (1e-3, 1e-2):
        edge = int(np.argmin(np.abs(np.log(found.edges / near))))
        label = np.log(found.edges[edge] / t**GROWTH)
        passed = energy_at(t, label) / (whole * np.log(1e8))
        expected = -GROWTH * np.sum(0.5 * (passed[1:] + passed[:-1]) * np.diff(np.log(t)))
        assert found.flux.measured[:, edge].sum() == pytest.approx(expected, rel=0.02)


def test_order_of_a_power_is_returned():
    order, half_width = residual_order([1, 2, 4, 8], [3.0, 1.5, 0.75, 0.375])
    assert order == pytest.approx(-1.0) and half_width < 1e-12


@pytest.mark.rejects
def test_too_few_points_or_windows_are_refused():
    with pytest.raises(ArgumentError, match=r"at least 3 pairs.*two points cannot tell its error"):
        residual_order([1, 2], [1.0, 0.5])
    _, budget = ensemble(500)
    with pytest.raises(ArgumentError, match=r"has 1 windows of time.*needs 3"):
        closure_residual(budget, LAW, windows_per_decade=0.3)
