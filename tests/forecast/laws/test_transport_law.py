"""The transport law against sums over single updates, finite differences and its limits."""

import numpy as np
import pytest

from eigenflow.forecast.laws import History, TransportLaw
from eigenflow.forecast.laws.blocks import rate_blocks
from eigenflow.forecast.laws.transport import NAMES
from eigenflow.forecast.schedules import Schedule

SCHEDULES = {
    "cosine": Schedule.cosine(total=6000, peak=3e-4, end=3e-5, warmup=500),
    "to zero": Schedule.linear_to_zero(total=6000, peak=1e-3, warmup=300),
    "two stage": Schedule.two_stage(total=6000, peak=3e-4, end=3e-5, change=3000, warmup=500),
    "wsd": Schedule.wsd(total=6000, peak=3e-4, end=0.0, decay_start=5000, warmup=200, decay="sqrt"),
    "cyclic": Schedule.cyclic(total=6000, peak=3e-4, end=3e-5, period=1500, warmup=100),
}


def history(name: str, every: int = 97) -> History:
    schedule = SCHEDULES[name]
    return History(np.arange(schedule.warmup + 1, schedule.total + 1, every), schedule.rates)


def theta_with(**values: float) -> np.ndarray:
    base = {"L_inf": 2.5, "A": 0.1, "a": 0.5, "s0": 0.02, "B": 0.08, "q": 0.7, "r": 40.0, "b": 0.8}
    base |= {"alpha": 0.3, "p": 0.9} | values
    return np.array([float(p.to_theta(base[p.name])) for p in TransportLaw.parameters])


NODES, WEIGHTS = np.polynomial.legendre.leggauss(12)


def summed_over_updates(theta: np.ndarray, h: History, reference: float, feedback: bool) -> np.ndarray:
    """The law as theory.md writes it: kernel K integrated by adaptive quadrature over every update."""
    v = {name: float(p.to_value(x)) for name, p, x in zip(NAMES, TransportLaw.parameters, theta, strict=True)}
    w = h.rates / h.rates.max()
    offset = v["s0"] * reference
    clock = np.concatenate([[0.0], np.cumsum(w ** v["p"])])
    age = (offset + clock) / (offset + reference)
    tau = np.log(age) if v["alpha"] == 0 else (age ** v["alpha"] - 1) / v["alpha"]
    k, c = 1 + 1 / v["b"], v["b"] * v["r"]

    def integral(u0: np.ndarray, u1: np.ndarray) -> np.ndarray:
        # The kernel is a power of 1 + C u: quadrature in its logarithm.
        x0, x1 = np.log1p(c * u0), np.log1p(c * u1)
        x = 0.5 * (x1 + x0)[..., None] + 0.5 * (x1 - x0)[..., None] * NODES
        return 0.5 * (x1 - x0) * (np.exp((1 - k) * x) @ WEIGHTS) / c

    start = np.log(age[0]) if v["alpha"] == 0 else (age[0] ** v["alpha"] - 1) / v["alpha"]
    full = integral(np.array([0.0]), np.array([-start]))[0]
    noise = np.empty(len(h.steps))
    for i, s in enumerate(h.steps):
        noise[i] = (w[:s] ** v["q"] * integral(tau[s] - tau[1 : s + 1], tau[s] - tau[:s])).sum() / full
    bias = v["L_inf"] * (1 + v["A"] * age[h.steps] ** -v["a"])
    unit = bias if feedback else v["L_inf"] * (1 + v["A"])
    return bias + v["B"] * unit * noise


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize(("alpha", "feedback"), [(0.3, True), (0.0, False), (1.0, True)])
def test_blocks_agree_with_the_sum_over_single_updates(name, alpha, feedback):
    """Default blocks stay within 2e-4 of the sum over updates, in ln(loss), and finer ones converge to it.

    The rate of the moment is off by up to half the tolerance, 0.5 %, and with it the noise that relaxes within a block:
    most at the flat top of a cosine, where blocks are long. A fit counts no residual below 6e-4.
    """
    h = history(name, every=1201)
    theta = theta_with(alpha=alpha)
    errors = []
    for tolerance in (TransportLaw.tolerance, 1e-7):
        law = TransportLaw(feedback=feedback, tolerance=tolerance).scaled_to([h])
        expected = np.log(summed_over_updates(theta, h, law.reference, feedback))
        errors.append(np.abs(law.evaluate(theta, law.prepare(h))[0] - expected).max())
    assert errors[0] < 2e-4
    # What is left is the quadrature of the oracle.
    assert errors[1] < 1e-7


@pytest.mark.parametrize("feedback", [True, False])
@pytest.mark.parametrize("alpha", [-0.7, 0.0, 1e-5, 0.4, 1.0, 1.6])
def test_jacobian_agrees_with_differences(alpha, feedback):
    h = history("wsd")
    law = TransportLaw(feedback=feedback).scaled_to([h])
    prepared, theta, step = law.prepare(h), theta_with(alpha=alpha), 1e-5
    _, jacobian = law.evaluate(theta, prepared)
    for k in range(len(theta)):
        shift = step * np.eye(len(theta))[k]
        ends = [law.evaluate(theta + sign * shift, prepared)[0] for sign in (1, -1)]
        # Central differences: rounding 1e-16 / 1e-5, curvature 1e-10.
        np.testing.assert_allclose(jacobian[:, k], (ends[0] - ends[1]) / (2 * step), rtol=1e-5, atol=2e-9)


def test_noise_at_the_reference_is_what_the_parameter_says():
    """At the peak rate from the start, at X = 1: ln(loss) = ln(L_inf (1 + A)) + ln(1 + B)."""
    rates = np.full(4000, 2e-4)
    law = TransportLaw(reference=4000.0)
    value = law.evaluate(theta_with(p=1.3, q=0.4), law.prepare(History(np.array([4000]), rates)))[0]
    assert value[0] == pytest.approx(np.log(2.5 * 1.1 * 1.08), abs=1e-12)


def test_nothing_moves_while_the_rate_is_zero():
    rates = np.concatenate([np.full(1000, 1e-3), np.zeros(500)])
    law = TransportLaw(reference=1000.0)
    values = law.evaluate(theta_with(), law.prepare(History(np.arange(1001, 1501, 50), rates)))[0]
    assert np.ptp(values) < 1e-14


def test_a_larger_batch_lowers_the_noise_like_a_lower_rate():
    """(S1): noise goes with eta / batch. Doubling the batch changes w by 2^-q and leaves the clock alone."""
    rates, steps = np.full(2000, 1e-3), np.array([1500, 2000])
    batch = np.where(np.arange(2000) < 1000, 1.0, 2.0)
    law = TransportLaw(reference=2000.0)
    theta = theta_with(p=0.1, q=0.6)
    found = law.evaluate(theta, law.prepare(History(steps, rates, batch)))[0]
    # With the clock nearly blind to the rate (p = 0.1), halving the rate is almost the same thing.
    halved = law.evaluate(theta, law.prepare(History(steps, rates / np.where(batch > 1, 2.0, 1.0))))[0]
    np.testing.assert_allclose(found, halved, atol=2e-3)
    assert np.all(found < law.evaluate(theta, law.prepare(History(steps, rates)))[0] - 0.01)


@pytest.mark.parametrize("name", SCHEDULES)
def test_blocks_keep_time_and_the_spread_that_was_asked_for(name):
    rates = SCHEDULES[name].rates / SCHEDULES[name].peak
    blocks = rate_blocks(rates, 0.05)
    lengths = np.diff(blocks.edges)
    assert (lengths * blocks.rates).sum() == pytest.approx(rates.sum(), rel=1e-12)
    height = np.log(rates + 0.03)
    spread = np.maximum.reduceat(height, blocks.edges[:-1]) - np.minimum.reduceat(height, blocks.edges[:-1])
    assert spread.max() <= 0.05 + 1e-9
    # Ten times as long a schedule needs about as many blocks.
    assert len(rate_blocks(np.repeat(rates, 10), 0.05).rates) <= 1.2 * len(blocks.rates) + 10
