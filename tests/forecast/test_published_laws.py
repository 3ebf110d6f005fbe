"""Every published law against its own formula, summed step by step as it is printed, with complex-step derivatives."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import curve_fit

from eigenflow.forecast.laws import History
from eigenflow.forecast.laws.functional import FunctionalLaw
from eigenflow.forecast.laws.momentum import MomentumLaw, annealing
from eigenflow.forecast.laws.multi_power import MultiPowerLaw
from eigenflow.forecast.laws.power import PowerInSteps, PowerInTime
from eigenflow.forecast.laws.rate_changes import rate_blocks, rate_changes

WARMUP, TOTAL, PEAK = 30, 900, 3e-3


def history_of(kind: str) -> History:
    k = np.arange(TOTAL)
    after = {
        "constant": np.full(TOTAL, PEAK),
        "two_stage": np.where(k < 500, PEAK, 0.3 * PEAK),
        "cosine": PEAK * (0.55 + 0.45 * np.cos(np.pi * k / TOTAL)),
        "linear_to_zero": PEAK * (TOTAL - 1 - k) / (TOTAL - 1),
        "cyclic": PEAK * (0.6 + 0.4 * np.cos(2 * np.pi * k / 300)),
    }[kind]
    rates = np.minimum(after, PEAK * (k + 1) / WARMUP)
    return History(np.arange(WARMUP + 10, TOTAL + 1, 43), rates)


# The printed formulas, one observation and one step at a time. They take complex parameters.


def power_steps(values, history):
    L0, A, a = values
    return np.array([L0 + A * n**-a for n in history.steps.astype(float)])


def power_time(values, history):
    L0, A, a = values
    return np.array([L0 + A * history.rates[:n].sum() ** -a for n in history.steps])


def after_warmup(history):
    """Updates k whose change eta_(k-1) - eta_k counts: those after the rate first fell."""
    rates = history.rates
    k = 1
    while k < len(rates) and rates[k] >= rates[k - 1]:
        k += 1
    return k


def momentum(values, history):
    L0, A, C, a = values
    first, losses = after_warmup(history), []
    for n in history.steps:
        m = S2 = 0.0
        for i in range(1, n):
            m = 0.999 * m + (history.rates[i - 1] - history.rates[i] if i >= first else 0.0)
            S2 += m
        losses.append(L0 + A * history.rates[:n].sum() ** -a - C * S2 * 0.001 / history.rates.max())
    return np.array(losses)


def multi_power(values, history):
    L0, A, B, a, C, b, g = values
    rates, first, losses = history.rates, after_warmup(history), []
    for n in history.steps:
        LD = 0.0
        for k in range(first, n):
            S_k = rates[k:n].sum()
            eta = max(rates[k], 1e-6 * rates.max())
            LD = LD + (rates[k - 1] - rates[k]) * (1 - (1 + C * eta**-g * S_k) ** -b)
        losses.append(L0 + A * rates[:n].sum() ** -a - B * LD)
    return np.array(losses)


def functional(values, history):
    L0, A, B, a, C, g = values
    rates, losses = history.rates, []
    for n in history.steps:
        noise = 0.0
        for k in range(n):
            # Where in its own step a rate acts is free at first order; the middle agrees with the integral at second.
            age = rates[k:n].sum() - 0.5 * rates[k]
            noise = noise + rates[k] ** 2 * (1 + C * age) ** -g
        losses.append(L0 + A * rates[:n].sum() ** -a + B * noise)
    return np.array(losses)


CASES = {
    "power_steps": (PowerInSteps(), power_steps, [2.5, 8.0, 0.5], 1e-13),
    "power_time": (PowerInTime(), power_time, [2.5, 0.6, 0.45], 1e-13),
    "momentum": (MomentumLaw(), momentum, [2.5, 0.6, 0.12, 0.45], 1e-12),
    "multi_power": (MultiPowerLaw(), multi_power, [2.5, 0.6, 40.0, 0.45, 2.1, 0.6, 0.64], 1e-12),
    # C eta = 0.015 here: the midpoint rule of the printed sum is off by g (g + 1) (C eta)^2 / 24 of the noise.
    "functional": (FunctionalLaw(), functional, [2.5, 0.6, 900.0, 0.45, 5.0, 1.4], 2e-6),
}
SMOOTH = ("cosine", "linear_to_zero", "cyclic")


@pytest.mark.parametrize("kind", ["constant", "two_stage", *SMOOTH])
@pytest.mark.parametrize("name", CASES)
def test_law_is_its_printed_formula(name, kind):
    """Schedules of few rates are exact; those of 900 rates are cut into 256 groups, second order in their length."""
    law, formula, values, exact = CASES[name]
    history = history_of(kind)
    predicted, _ = law.evaluate(np.log(values), law.prepare(history))
    is_grouped = kind in SMOOTH and name in ("multi_power", "functional")
    np.testing.assert_allclose(np.exp(predicted), formula(values, history), rtol=2e-5 if is_grouped else exact)


@pytest.mark.parametrize("law", [MultiPowerLaw(most=0), FunctionalLaw(most=0)], ids=lambda law: law.name)
def test_without_groups_every_step_counts(law):
    _, formula, values, exact = CASES[law.name]
    for kind in SMOOTH:
        history = history_of(kind)
        predicted, _ = law.evaluate(np.log(values), law.prepare(history))
        np.testing.assert_allclose(np.exp(predicted), formula(values, history), rtol=exact)


@pytest.mark.parametrize("make", [MultiPowerLaw, FunctionalLaw])
def test_groups_converge_at_second_order(make):
    history = history_of("cosine")
    values = CASES[make.name][2]

    def losses(most):
        law = make(most=most)
        return np.exp(law.evaluate(np.log(values), law.prepare(history))[0])

    errors = np.array([np.abs(losses(most) - losses(0)).max() for most in (10, 20, 40, 80)])
    # Within a group that ends at an observation the kernel has a kink, so the order is between one and two there.
    assert np.log2(errors[:-1] / errors[1:]).mean() > 1.4


@pytest.mark.parametrize("kind", ["two_stage", "cosine"])
@pytest.mark.parametrize("name", CASES)
def test_jacobian_is_the_complex_step_derivative_of_the_printed_formula(name, kind):
    law, formula, values, exact = CASES[name]
    law = type(law)(most=0) if name in ("multi_power", "functional") else law
    history = history_of(kind)
    _, jacobian = law.evaluate(np.log(values), law.prepare(history))
    for i in range(len(values)):
        moved = np.array(values, dtype=complex)
        moved[i] *= np.exp(1e-30j)
        expected = np.log(formula(moved, history)).imag / 1e-30
        np.testing.assert_allclose(jacobian[:, i], expected, rtol=1e-9, atol=10 * exact)


@given(seed=st.integers(0, 2**31))
@settings(max_examples=20)
def test_jacobian_holds_far_from_any_optimum(seed):
    """Also where a drop is larger than the loss, which is continued linearly."""
    rng = np.random.default_rng(seed)
    history = history_of("two_stage")
    for law, _, values, _ in CASES.values():
        theta, prepared = np.log(values) + rng.normal(0, 1.0, len(values)), law.prepare(history)
        value, jacobian = law.evaluate(theta, prepared)
        assert np.isfinite(value).all()
        step = 1e-6
        for i in range(len(theta)):
            ahead, behind = (law.evaluate(theta + s * step * np.eye(len(theta))[i], prepared)[0] for s in (1, -1))
            # The continuation has a corner in its second derivative: central differences are first order there.
            np.testing.assert_allclose(jacobian[:, i], (ahead - behind) / (2 * step), rtol=1e-4, atol=1e-5)


def test_kernel_power_one_is_a_logarithm():
    """The integral is continuous where its closed form changes; the values beside 1 are the oracle."""
    law, history = FunctionalLaw(), history_of("two_stage")
    prepared = law.prepare(history)
    at = {g: law.evaluate(np.log([2.5, 0.6, 900.0, 0.45, 5.0, g]), prepared) for g in (0.998, 1.0, 1.002)}
    for part in (0, 1):
        # Curvature in g is all that may be left: 0.002^2 / 2 times a second derivative of order 1.
        np.testing.assert_allclose(at[1.0][part], 0.5 * (at[0.998][part] + at[1.002][part]), rtol=5e-6, atol=1e-9)


def test_annealing_of_a_step_is_its_geometric_sum():
    """After one drop d at update k, S2 after n updates is d (1 - q^(n - k)) / (1 - q), q = 0.999."""
    history = history_of("two_stage")
    elapsed = np.maximum(history.steps - 500, 0)
    expected = 0.7 * (1 - 0.999**elapsed)
    np.testing.assert_allclose(annealing(history), expected, rtol=1e-9, atol=1e-15)


def test_changes_and_blocks_keep_what_is_summed():
    for kind in ("two_stage", *SMOOTH):
        history = history_of(kind)
        changes, blocks = rate_changes(history, 40), rate_blocks(history, 40)
        highest = history.rates[after_warmup(history) - 1]
        assert changes.drops.sum() == pytest.approx(highest - history.rates[-1], abs=1e-15)
        used = history.rates[: history.steps[-1]]
        assert blocks.edges[-1] == pytest.approx(used.sum(), rel=1e-12)
        assert (np.diff(blocks.edges) * blocks.squares).sum() == pytest.approx((used**2).sum(), rel=1e-12)


@pytest.mark.parametrize("name", ["power_time", "momentum"])
def test_start_lets_scipy_find_the_truth(name):
    """From every scattered start, curve_fit comes back to the parameters that made the curves."""
    law, formula, values, _ = CASES[name]
    histories = [history_of("two_stage"), history_of("cosine")]
    prepared = [law.prepare(history) for history in histories]
    log_losses = [np.log(formula(values, history)) for history in histories]

    def model(_, *theta):
        return np.concatenate([law.evaluate(np.array(theta), one)[0] for one in prepared])

    for seed in range(4):
        start = law.start(prepared, log_losses, np.random.default_rng(seed))
        found, _ = curve_fit(model, None, np.concatenate(log_losses), p0=start)
        np.testing.assert_allclose(np.exp(found), values, rtol=1e-4)
