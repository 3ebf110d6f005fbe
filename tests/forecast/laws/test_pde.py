"""The closed form of the loss law is the loss of the transport equation, as the solver computes it."""

import warnings

import numpy as np
import pytest

from eigenflow.forecast.laws import History, TransportLaw
from eigenflow.transport import solve
from forecast.laws.pde import PdeForm

pytestmark = pytest.mark.long

EDGES, RATES = np.array([0.0, 1.0, 2.5, 4.0, 6.0, 10.0]), np.array([1.0, 0.6, 0.8, 0.3, 0.1])
TIMES = np.array([1.7, 5.5, 10.0])
# Below the domain lies a share of (1e-13)^0.8 = 4e-11 of the initial energy.
DOMAIN = (1e-13, 1e5)


def form(alpha: float, feed: int) -> PdeForm:
    return PdeForm(1.0, 2.0, 0.8, noise=0.3, power=0.7, cutoff=4.0, k=1.6, offset=1.0, alpha=alpha, feed=feed)


def solved(problem, times: np.ndarray) -> np.ndarray:
    with warnings.catch_warnings():
        # Modes that grow past 1e5 leave the domain with no energy; the solver reports the mass that left.
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.asarray(solve(problem, times, cells=40).total)


def solved_noise(one: PdeForm, edges: np.ndarray, rates: np.ndarray, times: np.ndarray) -> np.ndarray:
    """A schedule is a sum of constant rates that are switched on, each with the change of eta^q."""
    total = np.zeros(len(times))
    for start, change in zip(edges[:-1], np.diff(rates**one.power, prepend=0.0), strict=True):
        later = times > start
        total[later] += change * solved(one.problem(DOMAIN, start=float(start)), times[later] - start)
    return total


@pytest.mark.parametrize(
    ("alpha", "feed", "tolerance"),
    [(1.6, 1, 1e-6), (1.0, 1, 1e-6), (0.5, 1, 1e-6), (0.0, 1, 1e-6), (-0.3, 1, 1e-6), (1.6, 2, 2e-3), (-0.3, 2, 2e-3)],
)
def test_closed_form_is_the_loss_of_the_equation(alpha, feed, tolerance):
    """r = 1 is exact: what is left is the solver's error. For r = 2, m is a mean over blocks where it varies 1 %."""
    one = form(alpha, feed)
    expected = solved(one.problem(DOMAIN), TIMES) + solved_noise(one, EDGES, RATES, TIMES)
    np.testing.assert_allclose(one.loss(EDGES, RATES, TIMES), expected, rtol=tolerance)


@pytest.mark.parametrize("alpha", [1.6, 1.0, 0.5])
def test_transport_law_without_its_extensions_is_that_form(alpha):
    """feedback=False, p = 1: L_inf plus the loss of a `TransportProblem`, to the rounding of the blocks."""
    peak, counts = 2e-3, np.array([500, 700, 300, 900])
    levels = peak * np.array([1.0, 0.5, 0.8, 0.2])
    rates, steps = np.repeat(levels, counts), np.array([300, 900, 1400, 2399])
    values = {"L_inf": 2.0, "A": 0.2, "a": 0.6, "s0": 0.05, "B": 0.1, "q": 0.7, "r": 30.0, "b": 1.4, "p": 1.0}
    values["alpha"] = alpha
    theta = np.array([float(p.to_theta(values[p.name])) for p in TransportLaw.parameters])
    law = TransportLaw(feedback=False, reference=2000.0)
    loss = np.exp(law.evaluate(theta, law.prepare(History(steps, rates)))[0])
    one = PdeForm.of_law(theta, law, peak)
    edges = np.concatenate([[0.0], np.cumsum(counts * levels)])
    times = np.concatenate([[0.0], np.cumsum(rates)])[steps]
    np.testing.assert_allclose(loss, 2.0 + one.loss(edges, levels, times), rtol=1e-10)
