"""Log-shift invariance: a positive and a negative control, and a drift with b other than 1.

See equations/hypotheses.md#log-shift-score.
"""

from dataclasses import replace

import numpy as np
import pytest

from eigenflow.core.errors import ArgumentError
from eigenflow.theory.coupling.log_shift import log_shift
from problems import AlignedLinearNet
from synthetic import drifting_budget
from synthetic_run import budget_of, from_modes, measure

LOG_UNIFORM = 10.0 ** (-4.0 - (np.arange(512) + 0.5) / 128)  # 128 modes a decade over four decades


@pytest.mark.long
def test_b_1_on_a_log_uniform_spectrum_is_invariant():
    """All 16 shells pass on the same share at first; what differs is the dissipation over a step, 2 dt lambda <= 2e-4.

    After the first step a shell at the upper end holds two modes that are not near its next edge, so it passes on
    nothing: one shell of 17.
    """

    def path(t):
        return from_modes(LOG_UNIFORM * 10 ** (2 * t / 128), np.zeros(512), LOG_UNIFORM**0.3)

    found = log_shift(budget_of(measure(path, np.arange(0.0, 6.0), 1.0)))
    assert abs(found.scores[0]) < 1e-6
    np.testing.assert_allclose(found.scores[1:], 1 / 17, atol=0.02)
    assert found.score == pytest.approx(1 / 17, abs=0.02)
    assert found.exponent == pytest.approx(0.0, abs=0.05)
    assert found.mean_share[found.shifts == 1] > 0
    assert not found.mean_share[np.abs(found.shifts) != 1].any()


@pytest.mark.long
def test_shells_that_hold_rounding_only_do_not_count():
    """Energies of 1e-30 of the whole are squares of rounding, as is their transfer; the ratio is of order one."""

    def path(t):
        g = np.where(LOG_UNIFORM < 1e-6, 1e-15, 1.0) * LOG_UNIFORM**0.3
        return from_modes(LOG_UNIFORM * 10 ** (2 * t / 128), np.zeros(512), g)

    found = log_shift(budget_of(measure(path, np.arange(0.0, 6.0), 1.0)))
    assert found.shells == pytest.approx(8, abs=1)  # two of the four decades


def test_saxe_with_one_dominant_mode_is_not():
    """Aligned two-layer network: one mode holds nearly all energy that moves at any time.

    See equations/known_cases.md#aligned-networks.
    """
    net = AlignedLinearNet(strengths=(4.0, 1.0, 0.5, 0.25), start=(0.01, 0.02, 0.005, 0.01))

    def at(time):
        a = net.amplitudes(time)
        s = np.array(net.strengths)
        sums = (a[:, None] + a[None, :]).ravel()
        rate = 2 * a * (s - a)
        return from_modes(sums, (rate[:, None] + rate[None, :]).ravel(), np.diag(a - s).ravel())

    found = log_shift(budget_of(measure(at, np.linspace(0.3, 1.3, 40), 0.02)))
    # With single modes every crossing is of one shell alone: the unbiased square of the mean is 0.
    assert np.median(found.scores) == pytest.approx(1.0, abs=1e-9)
    assert found.score is None or found.score > 0.5


def test_a_drift_with_b_2_is_covariant_with_exponent_1():
    """v = -c lambda^2 moves the share c lambda dt / ln(10^(1/4)) of every shell down: q ~ lambda^1."""
    label = 10.0 ** (-(np.arange(8192) + 0.5) / 4096)  # 4096 modes a decade over two decades

    def at(time):
        return label / (1 + 0.004 * label * time)

    data = _measured_modes(at, np.arange(0.0, 3.0))
    found = log_shift(data)
    assert found.exponent == pytest.approx(1.0, abs=0.05)
    assert found.score > 0.3
    assert found.covariant_score < 0.02


def _measured_modes(at, times):
    """A budget of many modes that do not rotate: only what the score needs, without square matrices."""
    rows = np.array([at(t) for t in times])
    budget = drifting_budget(lambda lam, t: np.zeros_like(lam), times, rows)
    matrix = budget.transfer_matrix.copy()
    for i, t in enumerate(times):
        old, new = (np.searchsorted(budget.edges, at(x), side="right") for x in (t, t + 1.0))
        np.add.at(matrix.values[i], (new, old), 1.0)
    return replace(budget, transfer_matrix=matrix, step_size=budget.step_size + 1.0)


@pytest.mark.rejects
def test_too_few_shells_are_refused():

    def path(t):
        return from_modes(np.array([1.0, 0.1]) * (1 + t), np.zeros(2), np.ones(2))

    with pytest.raises(ArgumentError, match="at least 4 populated"):
        log_shift(budget_of(measure(path, [0.0, 1.0], 0.5)))
