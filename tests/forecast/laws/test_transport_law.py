"""The transport law against sums over single updates, finite differences and its limits."""

import numpy as np
import pytest
from scipy.integrate import quad

from eigenflow.forecast.laws import History, TransportLaw
from eigenflow.forecast.laws.rate_path import Clock, rate_path
from eigenflow.forecast.laws.relaxation import relaxed_area, relaxed_share
from eigenflow.forecast.schedules.schedule import Schedule
from forecast.summed_law import summed_over_updates

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


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize(("alpha", "feedback"), [(0.3, True), (0.0, False), (1.0, True)])
def test_straight_pieces_agree_with_the_sum_over_single_updates(name, alpha, feedback):
    """Within the goal of 5e-5 in ln(loss); and within rounding if every change is a jump.

    A path is straight in the effective time of language models: the lazy limit, at the end of warm-up, is the worst.
    """
    h = history(name, every=1201)
    theta = theta_with(alpha=alpha)
    errors = []
    for tolerance in (TransportLaw.tolerance, 1e-9):
        law = TransportLaw(feedback=feedback, tolerance=tolerance).scaled_to([h])
        expected = np.log(summed_over_updates(theta, h, law.reference, feedback))
        errors.append(np.abs(law.evaluate(theta, law.prepare(h))[0] - expected).max())
    assert errors[0] < 5e-5
    assert errors[1] < 1e-12


LANGUAGE_MODELS = {"A": 0.042, "a": 0.56, "s0": 0.0025, "B": 0.085, "r": 220.0, "b": 1.9, "alpha": 0.33, "p": 1.02}


@pytest.mark.parametrize("total", [500, 2000, 24_000])
@pytest.mark.parametrize("kind", ["cosine", "to zero", "sqrt", "exponential", "cyclic"])
def test_short_and_long_runs_of_language_models_are_precise(kind, total):
    """The goal is 5e-5 of ln(loss), at the end of warm-up and at the last updates too, where rates move fastest."""
    common = {"total": total, "peak": 3e-4, "warmup": total // 12}
    late = {"decay_start": int(0.8 * total)}
    schedule = {
        "cosine": lambda: Schedule.cosine(**common, end=3e-5),
        "to zero": lambda: Schedule.linear_to_zero(**common),
        "sqrt": lambda: Schedule.wsd(**common, **late, decay="sqrt"),
        "exponential": lambda: Schedule.wsd(**common, **late, decay="exponential", end=3e-5),
        "cyclic": lambda: Schedule.cyclic(**common, end=3e-5, period=total // 5),
    }[kind]()
    spread = np.linspace(schedule.warmup, total, 25).astype(int)
    steps = np.unique(np.concatenate([spread, total - np.arange(6), schedule.warmup + np.arange(4)]))
    h = History(steps, schedule.rates)
    for change in ({}, {"B": 0.2, "q": 0.5, "r": 450.0, "alpha": 0.1}, {"q": 1.2, "alpha": 1.0, "b": 0.7, "p": 0.9}):
        theta = theta_with(**(LANGUAGE_MODELS | change))
        law = TransportLaw().scaled_to([h])
        expected = np.log(summed_over_updates(theta, h, law.reference, feedback=True))
        assert np.abs(law.evaluate(theta, law.prepare(h))[0] - expected).max() < 5e-5


@pytest.mark.parametrize("feedback", [True, False])
@pytest.mark.parametrize("alpha", [-0.7, 0.0, 1e-5, 0.4, 1.0, 1.6])
def test_jacobian_agrees_with_differences(alpha, feedback):
    h = history("wsd")
    law = TransportLaw(feedback=feedback).scaled_to([h])
    prepared, theta, step = law.prepare(h), theta_with(alpha=alpha), 1e-3
    _, jacobian = law.evaluate(theta, prepared)
    for k in range(len(theta)):
        shift = step * np.eye(len(theta))[k]
        once, twice = (
            law.evaluate(theta + m * shift, prepared)[0] - law.evaluate(theta - m * shift, prepared)[0] for m in (1, 2)
        )
        # Fourth order: rounding of the values, 1e-11 at alpha = 1.6 (slopes per effective time are large), over 1e-3.
        np.testing.assert_allclose(jacobian[:, k], (8 * once - twice) / (12 * step), rtol=1e-6, atol=3e-8)


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
    """Noise goes with eta / batch (equations/identities.md#eq-s1). Doubling the batch changes w by 2^-q.

    It leaves the clock alone.
    """
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
def test_a_path_stays_within_its_tolerance_and_does_not_grow_with_the_run(name):
    rates = SCHEDULES[name].rates / SCHEDULES[name].peak
    path = rate_path(rates, 1e-3)
    middles = np.arange(len(rates)) + 0.5
    piece = np.searchsorted(path.positions, middles, side="right") - 1
    right = np.minimum(piece + 1, len(path.positions) - 1)
    # Straight in effective time, so compare where rates of neighbouring knots bound the rate between them.
    low = np.minimum(path.after[piece], np.where(right > piece, path.before[right], path.after[piece]))
    high = np.maximum(path.after[piece], np.where(right > piece, path.before[right], path.after[piece]))
    off = np.maximum(low**0.66 - rates**0.66, rates**0.66 - high**0.66)
    assert off.max() <= 1e-3 + 1e-12
    assert len(path.positions) < 200
    longer = rate_path(np.repeat(rates, 10), 1e-3)
    assert len(longer.positions) < 2.5 * len(path.positions) + 30


def test_clock_adds_powers_of_the_rate():
    """At the edges of every piece of a path: exact for p = 1; 1e-6 of the sum for p = 0.9 (third order in a piece)."""
    rates = SCHEDULES["to zero"].rates / SCHEDULES["to zero"].peak
    positions = np.unique(np.concatenate([rate_path(rates, 1e-4).positions, np.arange(0.0, 6001.0, 500.0)]))
    clock = Clock.at(rates, positions)
    whole = np.flatnonzero(positions == np.floor(positions))
    for power, tolerance in ((1.0, 1e-13), (0.9, 1e-6), (1.1, 1e-6)):
        expected = np.concatenate([[0.0], np.cumsum(rates**power)])[positions[whole].astype(int)]
        np.testing.assert_allclose(clock.power_sums(power)[0][whole], expected, rtol=0, atol=tolerance * expected[-1])


@pytest.mark.parametrize("breadth", [0.05, 0.7, 1.0, 1.0004, 1.002, 3.0, 15.0])
def test_area_is_the_integral_of_the_relaxed_share(breadth):
    """Against adaptive quadrature of H; derivatives against fourth-order differences of the quadrature."""
    rate, elapsed = 40.0, np.array([0.0, 1e-3, 0.1, 2.0])

    def integral(log_breadth: float) -> np.ndarray:
        b = np.exp(log_breadth)
        ends = [
            quad(lambda u: 1 - (1 + b * rate * u) ** (-1 / b), 0, u, epsabs=1e-14, epsrel=1e-13)[0] for u in elapsed
        ]
        return np.array(ends)

    (share, _, _), (area, by_breadth) = relaxed_area(elapsed, rate, breadth)
    np.testing.assert_allclose(area, integral(np.log(breadth)), rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(share, relaxed_share(elapsed, rate, breadth)[0], rtol=1e-13)
    at, step = np.log(breadth), 1e-2
    once, twice = (integral(at + m * step) - integral(at - m * step) for m in (1, 2))
    # Truncation of the differences: step^4 / 30 of the fifth derivative.
    np.testing.assert_allclose(by_breadth, (8 * once - twice) / (12 * step), rtol=1e-6, atol=1e-11)
