"""What is narrow in a user's function is found where it is as wide as the spacing of looks: masses in closed form."""

import numpy as np
import pytest

from eigenflow.transport import PowerDrift, TransportProblem, solve
from eigenflow.transport.initial import LOOKED_AT, cell_masses
from eigenflow.transport.narrow import graded_edges

DOMAIN = (1e-6, 1e2)
ENDS = tuple(np.log(DOMAIN))
BACKGROUND = 0.05


def gauss(x, width):
    return np.exp(-0.5 * (x / width) ** 2) / (width * np.sqrt(2 * np.pi))


def box(x, width):
    return np.where(np.abs(x) < 0.5 * width, 1.0 / width, 0.0)


def tent(x, width):
    return np.maximum(1.0 - 2.0 * np.abs(x) / width, 0.0) * 2.0 / width


def mass_of(shape, place, width, mass=1.0):
    """Mass found of a bump of unit area in ln(lambda) on a flat background."""

    def density(eigenvalues):
        return (BACKGROUND + mass * shape(np.log(eigenvalues) - place, width)) / eigenvalues

    return cell_masses(density, np.array(ENDS))[0].sum() - BACKGROUND * (ENDS[1] - ENDS[0])


def search(shape, widths, count, seed):
    """Give the largest error over random places for each width, in units of the bump's mass."""
    rng = np.random.default_rng(seed)
    places = rng.uniform(ENDS[0] + 1, ENDS[1] - 1, (len(widths), count))
    return [max(abs(mass_of(shape, x, w) - 1) for x in row) for w, row in zip(widths, places, strict=True)]


@pytest.mark.long
@pytest.mark.parametrize("shape", [gauss, box, tent])
@pytest.mark.parametrize("count", [12, pytest.param(150, marks=pytest.mark.slow)])
def test_every_bump_that_is_as_wide_as_a_look_is_found(shape, count):
    """Panels are resolved to 1e-13 of the mass; corners are located to the root of a rounding of their width.

    Of a Gaussian 12 standard deviations count as its width: at 6 of them it is 1e-8 of its height.
    """
    widths = np.array(
        [1e-1, 1e-2, 1e-3 if shape is not gauss else 3e-4, LOOKED_AT * (1.01 if shape is not gauss else 0.1)]
    )
    assert max(search(shape, widths, count, seed=4)) < 1e-10


@pytest.mark.parametrize("share", [1e-1, 1e-4])
def test_a_bump_that_holds_little_is_found(share):
    rng = np.random.default_rng(1)
    for width in (1e-1, 1e-2, 1e-3, 2e-4):
        for place in rng.uniform(ENDS[0] + 1, ENDS[1] - 1, 10):
            assert mass_of(gauss, place, width, share) == pytest.approx(share, abs=1e-10)


@pytest.mark.parametrize("shape", [gauss, box, tent])
@pytest.mark.parametrize("width", [1e-4, 1e-6, 1e-9])
def test_what_a_look_has_seen_is_not_lost(shape, width):
    """However narrow it is: bisection alone would forget what one node has seen."""
    looks = np.linspace(*ENDS, int(np.ceil((ENDS[1] - ENDS[0]) / LOOKED_AT)) + 1)
    assert mass_of(shape, looks[7321], width) == pytest.approx(1.0, rel=1e-6)


def test_two_steps_closer_than_a_look_and_a_step_at_the_end():
    def density(eigenvalues):
        x = np.log(eigenvalues)
        return np.where((x > 0.5) & (x < 0.5013), 100.0, np.where(x > 4.6, 3.0, 1.0)) / eigenvalues

    expected = 1.0 * (ENDS[1] - ENDS[0]) + 99.0 * 0.0013 + 2.0 * (ENDS[1] - 4.6)
    assert cell_masses(density, np.array(ENDS))[0].sum() == pytest.approx(expected, rel=1e-12)


def test_a_smooth_function_has_no_narrow_places():
    looks = np.linspace(*ENDS, 18_000)
    for smooth in (np.exp, np.cos, lambda x: np.exp(-0.5 * (x / 0.1) ** 2), lambda x: np.exp(0.5 * x - np.exp(x))):
        assert len(graded_edges(smooth, looks)) == 0


def test_a_wide_domain_is_looked_at_65536_times():
    """1,000 e-folds: looks are 0.015 apart, and so wide a box is found."""
    ends = np.array([-500.0, 500.0])
    for place in np.random.default_rng(2).uniform(-400, 400, 10):
        found = cell_masses(lambda lam, x=place: box(np.log(lam) - x, 0.016) / lam, ends)[0].sum()
        assert found == pytest.approx(1.0, rel=1e-10)


@pytest.mark.parametrize("method", ["exact", "march"])
def test_a_solution_carries_a_narrow_bump(method):
    """Without dissipation nothing is lost, and modes of a narrow bump decay as one mode: e^(-2 lambda t) at rest."""
    place, width = np.log(0.037), 2e-4

    def density(eigenvalues):
        return gauss(np.log(eigenvalues) - place, width) / eigenvalues

    problem = TransportProblem(drift=PowerDrift(c=0.0, b=1.0), dissipation=2.0, initial=density, domain=DOMAIN)
    solution = solve(problem, [0.0, 10.0], cells=400, method=method)
    assert solution.budget.initial == pytest.approx(1.0, rel=1e-11)
    # E[e^(-2 t lambda)] = e^(-m) (1 + (m^2 - m) s^2 / 2 + ...), m = 2 t e^place; "march" spreads it over one cell.
    m = 20.0 * np.exp(place)
    expected = np.exp(-m) * (1 + (m * m - m) * width**2 / 2)
    assert solution.total[1] == pytest.approx(expected, rel=1e-9 if method == "exact" else 0.05)
