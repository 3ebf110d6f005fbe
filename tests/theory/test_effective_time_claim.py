"""C7 on complete runs of exact systems: supported where one clock exists, contradicted where none does."""

import re

import numpy as np
import pytest

from eigenflow.theory.claims import CLAIMS, Evidence
from synthetic_run import DatasetRun, from_modes, measure, power_law_modes

TIMES = np.append(0.0, np.geomspace(0.05, 3000, 45))
NAMES = ("C7", "C7.operator", "C7.error", "C7.clock", "C7.regular")


def rows_of(path, times=TIMES, drop=()):
    data = measure(path, times, 0.01).drop_vars(list(drop))
    return {row.claim: row for row in CLAIMS["C7"].judge(Evidence(DatasetRun(data)))}


def quadratic_modes(c, count=70):
    """v = -c lambda^2 without rotation: lambda / (1 + c lambda t), and energies with (1 + c lambda t)^(-2 / c)."""
    k = np.arange(1.0, count + 1)
    labels, start = k**-1.5, k**-1.1

    def at(time):
        factor = 1 + c * labels * time
        return from_modes(labels / factor, -c * (labels / factor) ** 2, start * factor ** (-1 / c))

    return at


@pytest.mark.long
@pytest.mark.parametrize(("rho", "end"), [(0.7, 3000), (1.0, 3000), (1.3, 200)])
def test_scaling_modes_have_one_regular_clock(rho, end):
    """b = 1: the clocks agree to rounding, the operator's to the quadrature of 12 times a decade (0.2 %)."""
    rows = rows_of(power_law_modes(120, rho=rho, seed=0), times=TIMES[end >= TIMES])
    assert set(rows) == set(NAMES) and all(row.verdict == "supported" for row in rows.values()), rows
    assert rows["C7.operator"].estimate <= 1e-9 and rows["C7.error"].estimate <= 1e-9
    assert rows["C7.clock"].estimate <= 2e-3
    low, high = map(float, re.search(r"alpha between (\S+) and (\S+) ", rows["C7.regular"].reason).groups())
    assert low - 5e-3 <= rho <= high + 5e-3


@pytest.mark.long
def test_a_quadratic_drift_has_no_common_clock():
    rows = rows_of(quadratic_modes(2.0))
    assert rows["C7.operator"].verdict == rows["C7.error"].verdict == rows["C7"].verdict == "contradicted", rows
    assert rows["C7.clock"].verdict == "supported"  # nothing rotates


@pytest.mark.long
def test_a_swinging_clock_is_not_regular():
    """s(t) = (1 + t)^-.3 (1 + .9 sin(2 ln(1 + t))): one clock for all modes, whose index does not settle."""
    k = np.arange(1.0, 71)
    labels, start = k**-1.5, k**-1.1

    def scale(time):
        return (1 + time) ** -0.3 * (1 + 0.9 * np.sin(2 * np.log1p(time)))

    def clock(time):  # closed form, by x = ln(1 + t): int e^(.7 x) (1 + .9 sin 2x) dx
        x = np.log1p(time)
        swing = 0.9 * (np.exp(0.7 * x) * (0.7 * np.sin(2 * x) - 2 * np.cos(2 * x)) + 2) / (0.7**2 + 4)
        return (np.exp(0.7 * x) - 1) / 0.7 + swing

    def at(time):
        return from_modes(labels * scale(time), 0 * labels, start * np.exp(-labels * clock(time)))

    rows = rows_of(at)
    assert rows["C7.error"].verdict == "supported" and rows["C7.regular"].verdict == "contradicted", rows


def test_a_run_of_an_earlier_version_is_judged_by_its_operator_alone():
    rows = rows_of(power_law_modes(50, rho=1.3, seed=0), drop=["initial_coefficient"])
    assert rows["C7.error"].verdict == "undecided" and "initial_coefficient" in rows["C7.error"].reason
    assert {rows[name].verdict for name in ("C7.operator", "C7.clock", "C7.regular")} == {"supported"}
    assert "operator's clock" in rows["C7.regular"].reason


@pytest.mark.long
def test_decay_that_the_optimizer_sets_decides_nothing():
    """Adam and its kin: energies gained beyond gradient descent outweigh what it dissipates."""
    data = measure(power_law_modes(50, seed=0), TIMES, 0.01)
    data["optimizer"] = -3.0 * data["dissipation"]
    evidence = Evidence(DatasetRun(data))
    rows = {row.claim: row for row in [*CLAIMS["C7"].judge(evidence), *CLAIMS["C8"].judge(evidence)]}
    assert rows["C7.operator"].verdict == "supported"
    for name in ("C7", "C7.error", "C7.clock", "C7.regular", "C8"):
        assert rows[name].verdict == "undecided" and "optimizer" in rows[name].reason, rows[name]


def test_two_late_measurements_are_too_few():
    rows = rows_of(power_law_modes(50, seed=0), times=np.array([0.0, 0.1, 1.0, 9.0, 100.0]))
    assert rows["C7.error"].verdict == "undecided" and "3 are needed" in rows["C7.error"].reason


def test_a_short_run_is_undecided_about_the_index():
    rows = rows_of(power_law_modes(50, seed=0), times=np.append(0.0, np.geomspace(1, 100, 30)))
    assert rows["C7.regular"].verdict == "undecided" and "2.9 decades" in rows["C7.regular"].would_change


def test_one_mode_has_no_spread():
    rows = rows_of(lambda t: from_modes(np.array([0.1, 1e-9]), np.zeros(2), np.array([np.exp(-0.1 * t), 1e-9])))
    assert rows["C7.operator"].verdict == "undecided" and "one clock has no spread" in rows["C7.operator"].reason
