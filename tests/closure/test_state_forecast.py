"""Forecasts by the state: runs that obey the law exactly, jumps that were put in, and what is known when."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from eigenflow.closure import forward_test
from eigenflow.closure.history import StateHistory
from eigenflow.closure.rotation import REACH, JumpRate, jump_rate
from eigenflow.closure.state_forecast import forecast_state
from eigenflow.closure.state_law import fit_state_law
from eigenflow.core.errors import ArgumentError
from eigenflow.core.grid import log_steps
from particles import mode_dataset, particle_budget

STEPS = log_steps(4000, count=40)
RATE = 0.02
KAPPA = 1.5
NO_JUMPS = JumpRate(1.0, 0.5, 0.0)


def lawful_run(kappa=KAPPA, modes=300, seed=0, spread=0.02):
    """Modes at rest whose eigenvalues all grow by kappa F / s, with a velocity of their own of `spread` at the start.

    Solved by scipy in ln(s) and effective time; single modes wander by exp(spread * (1 - amplitude))."""
    rng = np.random.default_rng(seed)
    lam = np.sort(10.0 ** rng.uniform(-4.5, 0.0, modes))[::-1]
    first = rng.exponential(size=modes) * lam**0.4
    first /= first.sum() / 0.2

    def rates(t, y):
        left = np.exp(-lam * y[1])
        return [kappa * (first @ left - first @ left**2) * np.exp(-y[0]), np.exp(y[0])]

    times = RATE * STEPS.astype(float)
    path = solve_ivp(rates, (0, times[-1] + RATE), [0.0, 0.0], rtol=1e-10, atol=1e-12, dense_output=True)
    here, there = path.sol(times), path.sol(times + RATE)
    left = np.exp(-lam * here[1][:, None])
    wander = rng.normal(size=modes) * spread
    before, after = (lam * np.exp(s[0][:, None] + wander * (1 - np.exp(-lam * s[1][:, None]))) for s in (here, there))
    energy = first * left**2
    size = np.full(len(times), RATE)
    budget = particle_budget(before, after, energy, times, size)
    data = mode_dataset(before, energy, times, (after - before) / RATE).assign_coords(step=STEPS)
    data = data.assign(step_size=("step", size), initial_coefficient=(("step", "mode"), np.sqrt(first) * left))
    return data, budget, np.exp(here[0])


@pytest.fixture(scope="module")
def lawful():
    return lawful_run()


def test_the_constant_is_found_where_the_law_is_the_truth(lawful):
    """kappa, in units in which s is 1 at the cut: to the prior's pull where little is known, then to a tenth."""
    data, budget, scale = lawful
    for row, allowed in ((15, 0.7), (25, 0.15), (32, 0.1)):
        law = fit_state_law(StateHistory.of(data, budget, row), NO_JUMPS)
        assert abs(np.log(law.kappa * scale[row] / KAPPA)) < allowed
        assert abs(np.log(law.kappa * scale[row] / KAPPA)) < 2.5 * law.spread
    assert scale[-1] > 1.5


def test_growth_and_what_was_learned_are_read_as_they_are(lawful):
    """s to the modes' own wander of 2 %; F to rounding, whatever the order of the modes."""
    data, budget, scale = lawful
    history = StateHistory.of(data, budget, 39)
    np.testing.assert_allclose(np.exp(history.growth), scale, rtol=0.03)
    first, now = data["initial_coefficient"].values[0], data["coefficient"].values
    np.testing.assert_allclose(history.learned, now @ first - (now**2).sum(1), rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(history.energy, (now**2).sum(1), rtol=1e-12)
    # Without the record of the first eigenbasis modes count as at rest, which these are.
    again = StateHistory.of(data.drop_vars("initial_coefficient"), budget, 39)
    np.testing.assert_allclose(again.learned, history.learned, rtol=1e-9, atol=1e-15)


@pytest.mark.long
def test_the_law_forecasts_where_it_is_the_truth(lawful):
    """Better than lazy, power law and today's closure by far, and the truth is in the band; nothing rotates here."""
    data, budget, _ = lawful
    test = forward_test(data, budget, cuts=(0.02, 0.05, 0.1, 0.25))
    assert len(test.cuts) == 4
    for cut in test.cuts:
        # From 25 % on little is left, and a power law may hit it by chance.
        assert cut.advantage("state", others=("lazy", "power law") if cut.cut < 0.2 else ("lazy",)) > np.log(2)
        assert cut.forecasts["state"].status == cut.forecasts["state + rotation"].status == "converged"
        assert cut.forecasts["state"].misplaced < cut.forecasts["lazy"].misplaced
    # How F spreads over modes is not recorded, which costs a per cent or two.
    assert max(cut.forecasts["state"].score.rms_log_ratio for cut in test.cuts) < 0.03
    assert test.coverage("state")[0] > 0.9


@pytest.mark.long
def test_a_still_operator_is_left_where_it_is():
    """kappa = 0: modes wander a little at first, and the forecast is the lazy one, to a hundredth."""
    data, budget, _ = lawful_run(kappa=0.0, spread=1e-4)
    for cut in forward_test(data, budget, cuts=(0.02, 0.1)).cuts:
        assert cut.forecasts["state"].score.rms_log_ratio < 0.01
        assert cut.forecasts["state + rotation"].score.rms_log_ratio < 0.01


def test_a_law_that_a_hindcast_refutes_is_not_used():
    """Growth that the record tells and the loss does not show: energies decay as if eigenvalues stood still.

    The hindcast is then too low and the lazy limit right, so next to nothing of kappa is left."""
    data, budget, _ = lawful_run()
    lam, time = data["eigenvalue"].values[0], data["time"].values
    energy = data["coefficient"].values[0] ** 2 * np.exp(-2 * lam * time[:, None])
    still = data.copy(deep=True)
    # Rates that grow a hundred times without any effect.
    still["eigenvalue"] = data["eigenvalue"] * np.exp(np.linspace(0, np.log(100), 40))[:, None]
    still["coefficient"] = (("step", "mode"), np.sqrt(energy))
    held = budget.energy.copy()
    held[:] = held * (energy.sum(1) / held.values.sum(1))[:, None]
    other = budget.__class__(**{**vars(budget), "energy": held})
    found = forecast_state(still, other, 30, time[31:])["state"]
    assert found.law.trust < 0.05
    assert found.law.parameters["trust"] == found.law.trust


def test_energies_in_other_units_change_nothing(lawful):
    """Energy times 1e-6: kappa times 1e6, the same forecast of ln(loss)."""
    data, budget, _ = lawful
    other = data.copy(deep=True)
    for name in ("coefficient", "initial_coefficient"):
        other[name] = other[name] * 1e-3
    small = budget.__class__(
        **{**vars(budget), "energy": budget.energy * 1e-6, "transfer_matrix": budget.transfer_matrix * 1e-6}
    )
    times = data["time"].values[26:]
    one, two = forecast_state(data, budget, 25, times), forecast_state(other, small, 25, times)
    for name in one:
        assert two[name].law.kappa == pytest.approx(1e6 * one[name].law.kappa, rel=1e-9)
        np.testing.assert_allclose(two[name].carried.loss, 1e-6 * one[name].carried.loss, rtol=1e-8)
        np.testing.assert_allclose(two[name].spread, one[name].spread, rtol=1e-6)


@pytest.mark.parametrize("rate", [0.5, 2.0])
def test_jumps_are_found_at_the_rate_that_was_put_in(lawful, rate):
    """Exponential jumps from energy spread evenly over each shell, on top of drift; few pass over 6 shells."""
    data, budget, _ = lawful
    history = StateHistory.of(data, budget, 30)
    width = np.log(budget.edges[1] / budget.edges[0])
    matrix = budget.transfer_matrix.values.copy()
    shells = matrix.shape[1]
    ratio = width / REACH
    for row in range(31):
        step = np.interp(history.times[row] + RATE, history.times, history.growth)
        step = (step - history.growth[row]) * rate
        for start in range(1, shells - 1):
            for end in range(start + 1, shells - 1):
                share = (1 - np.exp(-ratio)) ** 2 / ratio * np.exp(-ratio * (end - start - 1))
                matrix[row, end, start] += step * share * budget.energy.values[row, start]
    turned = budget.__class__(**{**vars(budget), "transfer_matrix": budget.transfer_matrix.copy(data=matrix)})
    found, without = jump_rate(history, turned), jump_rate(history, budget)
    # Shells at the top have no room above them, and growth is known between measurements.
    assert found.measured == pytest.approx(rate, rel=0.15)
    assert without.measured == 0.05 and without.rate < 0.6 and without.rate < found.rate


def test_the_future_is_not_looked_at(lawful):
    """Another future, the same law and the same forecast, bit for bit."""
    data, budget, _ = lawful
    changed, times = data.copy(deep=True), data["time"].values[21:]
    for name in ("coefficient", "eigenvalue", "initial_coefficient"):
        changed[name][21:] = changed[name][21:] * 0.7
    fields = {
        name: getattr(budget, name).copy(data=np.where(np.arange(40)[:, None] > 20, 0.5, 1.0) * budget.energy.values)
        for name in ("energy",)
    }
    matrix = budget.transfer_matrix.copy()
    matrix[21:] = matrix[21:] * 0.1
    other = budget.__class__(**{**vars(budget), **fields, "transfer_matrix": matrix})
    for name, one in forecast_state(data, budget, 20, times).items():
        two = forecast_state(changed, other, 20, times)[name]
        np.testing.assert_array_equal(one.carried.loss, two.carried.loss)
        np.testing.assert_array_equal(one.spread, two.spread)
        assert one.law.parameters == two.law.parameters


@pytest.mark.rejects
def test_too_little_history_is_refused(lawful):
    data, budget, _ = lawful
    with pytest.raises(ArgumentError, match=r"must hold 3 measurements with single modes up to `row`, but row is 1"):
        StateHistory.of(data, budget, 1)
    with pytest.raises(ArgumentError, match=r"must hold 3 measurements with single modes"):
        StateHistory.of(data.drop_vars("coefficient"), budget, 9)
