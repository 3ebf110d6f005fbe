"""The phase diagram against the solver, the numbers there, and its own symmetries.

See equations/solutions.md#phase-diagram.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import gamma

from eigenflow.core.errors import ArgumentError, NonFiniteError
from eigenflow.transport import Characteristics, PointMasses, TransportProblem, solve
from eigenflow.transport.selfsimilar import Regime, classify, lasting_share, phase_diagram, plateau_loss
from transport.late_loss import drift, loss, slope

S = 0.6


def cut(x):
    return x ** (S - 1) * np.exp(-x)


GRID_B = (0.5, 1.0, 1.5, 2.0, 2.5)
GRID_P = (-0.5, 0.0, 0.5, 1.0, 1.5)


@pytest.mark.long
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("p", GRID_P)
@pytest.mark.parametrize("b", GRID_B)
def test_every_cell_of_the_diagram_agrees_with_the_solver(b, p, sign):
    """c0 = 0.5. At t = 1e8 the corrections t^(-a |1 - beta|), with a logarithm at p = 1, are below 3e-3 here."""
    phase = classify(b, 0.5 * sign, p, S)
    if phase.regime is Regime.ARREST:
        return check_arrest(phase)
    if phase.regime is Regime.STRETCHED:
        return check_stretched(phase)
    time = 1e8
    assert slope(b, 0.5 * sign, p, S, time) == pytest.approx(phase.loss_exponent, abs=3e-3)
    if phase.has_plateau:
        # The approach is as t^(1 - beta), with a factor below 10: t^-0.5 at the least here (b = 2, p = -0.5).
        expected = plateau_loss(phase, cut, (1e-40, 1e2))
        assert loss(b, 0.5 * sign, p, S, time) == pytest.approx(expected, rel=2e-3)
    elif phase.regime is not Regime.FRONT:
        assert loss(b, 0.5 * sign, p, S, time) == pytest.approx(phase.asymptote(time), rel=1e-2)
    return None


def check_arrest(phase):
    """Modes of four labels that reach zero leave through the lower end with what they keep for ever."""
    labels = np.array([1e-6, 1e-3, 0.05, 0.2])
    problem = TransportProblem(drift(phase.b, phase.c0, phase.p), 2.0, PointMasses(labels, np.ones(4)), (1e-14, 1e2))
    solution = solve(problem, [1e3], cells=1)
    # Between 1e-14 and zero Q is below 1e-14.
    assert solution.budget.outflow_below[0] == pytest.approx(lasting_share(phase, labels).sum(), rel=1e-9)
    assert phase.loss_exponent == 0.0


def check_stretched(phase):
    """-ln L against s C (b = 1) or 2 integral of lambda_min (b < 1) near 300, and that formula's power of t."""
    moving, power = drift(phase.b, phase.c0, phase.p), 1.0 - phase.b

    def spent(time):
        if power == 0:
            return -S * float(moving.accumulated(time))
        rate = lambda y: np.exp(y) * (-power * moving.accumulated(np.exp(y))) ** (1 / power)  # noqa: E731
        return 2 * quad(rate, np.log(time) - 30, np.log(time), limit=200, epsrel=1e-9)[0]

    time = max(t for t in np.geomspace(1.0, 3e4, 50) if spent(t) < 300)
    # What stands beside the formula is ln of powers of t, at most 12 of 300.
    assert -np.log(loss(phase.b, phase.c0, phase.p, S, time)) == pytest.approx(spent(time), rel=0.05)
    late = np.log(spent(1.02e9) / spent(0.98e9)) / np.log(1.02 / 0.98)
    if phase.has_log:
        late -= 2 / np.log(1e9)  # t [ln t]^(1/(1-b)) at b = 0.5
    assert late == pytest.approx(phase.stretch_exponent, abs=5e-3)
    assert phase.loss_exponent is None


# equations/solutions.md#phase-diagram gives c0 only for some; the others are taken where its value is reached.
@pytest.mark.parametrize(("b", "c0", "p", "time", "printed", "atol"), [
    (1.5, 0.0, 0.0, 1e5, 0.6000, 1e-4),
    (3.0, -0.5, 0.0, 1e6, 0.6000, 1e-4),
    (3.0, 0.5, 0.0, 1e6, 0.6000, 1e-4),
    (2.0, -0.5, 0.5, 3e5, 0.5997, 2e-4),
    (1.5, -0.5, 0.0, 1e6, 1.2001, 1e-3),
    (2.0, -0.5, 0.0, 1e6, 0.6000, 1e-4),
    (1.0, -0.5, 1.0, 1e6, 0.9000, 1e-4),
    (1.0, 0.5, 1.0, 1e6, 0.3004, 4e-4),
    (2.0, 0.5, 0.0, 1e6, 0.6000, 1e-4),
    (1.5, 2.0, 0.5, 1e14, 0.493, 2e-3),
    (1.5, 0.5, 0.5, 1e6, 0.5993, 4e-4),
])  # fmt: skip
def test_slopes_that_theory_prints(b, c0, p, time, printed, atol):
    """The tolerance is the change over the decade in which the section took its slope."""
    assert slope(b, c0, p, S, time) == pytest.approx(printed, abs=atol)
    exponent = classify(b, c0, p, S).loss_exponent
    assert exponent == pytest.approx(printed, abs=8e-3)


@pytest.mark.parametrize(("b", "c0", "p", "time", "exponent"), [
    (1.5, -0.5, 0.3, 1e12, 0.84),
    (1.2, -0.5, 0.5, 1e12, 1.5),
    (2.0, -0.5, -0.5, 1e8, 0.9),
    (3.0, -0.5, -2.0, 1e8, 0.9),
    (1.5, -0.5, 0.7, 1e14, 0.6),
    (1.5, 0.5, 0.7, 1e14, 0.6),
    (2.0, 0.5, 0.5, 1e8, 0.6),
])  # fmt: skip
def test_slopes_near_a_line_reach_their_limit(b, c0, p, time, exponent):
    """Where the section does not say at which c0 and t it read its slope, the limit itself is tested."""
    assert classify(b, c0, p, S).loss_exponent == pytest.approx(exponent, abs=1e-12)
    assert slope(b, c0, p, S, time) == pytest.approx(exponent, abs=2e-3)


def test_marginal_line_beyond_the_start():
    """b = 2, c = 5: exponent 2/c; the section has 0.3998 near t = 1e6, where the slope still rises by 1e-3 a decade."""
    phase = classify(2.0, 5.0, 0.0, S)
    assert phase.regime is Regime.FRONT and phase.loss_exponent == pytest.approx(0.4, rel=1e-12)
    assert slope(2.0, 5.0, 0.0, S, 1e14) == pytest.approx(0.4, abs=1e-3)
    tie = classify(2.0, 2 / S, 0.0, S)
    assert tie.regime is Regime.MARGINAL and tie.has_log and tie.loss_exponent == S
    scaled = [loss(2.0, 2 / S, 0.0, S, time) * time**S for time in (1e6, 1e9, 1e12)]
    # L t^s = A + B ln t: equal steps of ln t are equal steps.
    assert scaled[1] - scaled[0] == pytest.approx(scaled[2] - scaled[1], rel=1e-3)


def test_logarithmic_effective_time():
    phase = classify(1.0, 1.0, 1.0, S)
    assert phase.regime is Regime.LOGARITHMIC and phase.has_log
    scaled = loss(1.0, 1.0, 1.0, S, 1e12) * np.log(1e12) ** S
    assert scaled == pytest.approx(0.972, abs=1e-3)  # three digits are printed
    assert phase.asymptote(1e12) * np.log(1e12) ** S == pytest.approx(0.9825, abs=5e-5)


@pytest.mark.long
@pytest.mark.parametrize(("b", "c0", "p", "printed", "atol"), [
    (1.5, 0.3, 0.0, 0.0808653, 5e-8),
    (1.0, 2.0, 1.0, 0.77033, 5e-6),
    (0.5, 0.3, 0.0, 0.7028181, 5e-8),
])  # fmt: skip
def test_plateaus_that_theory_prints(b, c0, p, printed, atol):
    """Half a unit of the last digit printed."""
    assert plateau_loss(classify(b, c0, p, S), cut, (1e-40, 1e2)) == pytest.approx(printed, abs=atol)


@pytest.mark.long
def test_plateau_of_a_cut_power_law():
    """equations/solutions.md#plateau: 0.244828 of 1.428571, from lambda^-0.3 on (0, 1]; six digits."""
    kept = plateau_loss(classify(1.5, 1.0, 0.0, 0.7), lambda x: x**-0.3, (1e-40, 1.0))
    assert kept == pytest.approx(0.244828, abs=5e-7)
    share = lasting_share(classify(1.5, 1.0, 0.0, 0.7), [0.1, 1.0, 4.0])
    np.testing.assert_allclose(share, [0.282264, 0.0183156, 3.35463e-4], rtol=3e-6)


def test_plateau_when_the_drift_stops_spares_high_modes():
    """b < 1, p > 1: labels above [(1-b) C(inf)]^(1/(1-b)) = 0.09 go on to dissipate; the rest is kept."""
    phase = classify(0.5, 0.3, 1.5, S)
    share = lasting_share(phase, [0.0899, 0.0901, 10.0])
    assert share[0] > 0 and share[1] == share[2] == 0
    paths = Characteristics(drift(0.5, 0.3, 1.5), 2.0)
    assert paths.forward(0.0899, 1e9) == 0 and paths.forward(0.0901, 1e9) > 0


@pytest.mark.parametrize(("b", "c0", "p", "start"), [(1.5, 0.3, 0.0, 0.7), (1.5, 0.4, 0.3, 0.7), (1.0, 2.0, 1.0, 0.7)])
def test_plateau_share_dissipation_and_compression_along_a_path(b, c0, p, start):
    """Rate and density of a mode far along its path: slopes of lambda and (lambda0 / lambda)^b.

    See equations/hypotheses.md#spurious-source.
    """
    phase = classify(b, c0, p, S)
    times = np.array([1e12, 1e13])
    paths = Characteristics(drift(b, c0, p), 1.0)
    fall = -np.diff(np.log(paths.forward(start, times)))[0] / np.log(10)
    assert fall == pytest.approx(phase.dissipation.exponent, abs=1e-3)
    assert fall == pytest.approx(phase.frontier.exponent, abs=1e-3)
    squeeze = -np.diff(np.log(paths.jacobian(start, times)))[0] / np.log(10)
    assert squeeze == pytest.approx(phase.compression.exponent, abs=2e-3)
    # At rate lambda the amplitude is damped only by the share that has been spent for ever.
    height = np.diff(np.log(paths.attenuation(start, times) / paths.jacobian(start, times)))[0] / np.log(10)
    assert height == pytest.approx(phase.amplitude.exponent, abs=2e-3)


def test_amplitude_on_the_self_similar_line_grows_as_b_minus_kappa():
    phase = classify(2.0, 0.8, 0.0, S)
    paths, times = Characteristics(drift(2.0, 0.8, 0.0), 1.0), np.array([1e8, 1e9])
    height = np.diff(np.log(paths.attenuation(0.5, times) / paths.jacobian(0.5, times)))[0] / np.log(10)
    assert height == pytest.approx(phase.amplitude.exponent, abs=1e-6)
    assert phase.amplitude.exponent == pytest.approx(2 - 1 / 0.8, rel=1e-12)


@pytest.mark.long
@pytest.mark.parametrize(("b", "c0", "p"), [
    (1.4, 0.0, 0.0), (2.0, 0.5, 0.5), (2.0, 0.5, 0.0), (1.0, 0.5, 1.0), (1.0, -0.5, 1.0), (1.5, -0.5, 0.2),
    (1.5, -0.5, 0.0), (1.0, -0.3, 1.5), (2.0, -0.5, 0.0), (1.0, -0.5, 0.0),
])  # fmt: skip
def test_frontier_laws_in_eigenvalue_and_in_label(b, c0, p):
    """Find the label with Q = 1 by bisection. At t = 1e10 (c t = 100 for the exponential) corrections are < 2e-2."""
    phase = classify(b, c0, p, S)
    last = 300.0 if phase.regime is Regime.STRETCHED else 1e10
    times = np.array([last / 1.5, last])
    paths = Characteristics(drift(b, c0, p), 2.0)
    low, high = np.full(2, -300.0), np.full(2, 10.0)
    for _ in range(60):
        middle = 0.5 * (low + high)
        is_spent = np.array([float(paths.exponent(np.exp(x), t)) > 1 for x, t in zip(middle, times, strict=True)])
        low, high = np.where(is_spent, low, middle), np.where(is_spent, middle, high)
    labels = np.exp(low)
    if phase.frontier_label.exponent is not None:
        label_slope = -np.diff(np.log(labels))[0] / np.log(1.5)
        assert label_slope == pytest.approx(phase.frontier_label.exponent, abs=2e-2)
    places = paths.forward(labels, times)
    assert -np.diff(np.log(places))[0] / np.log(1.5) == pytest.approx(phase.frontier.exponent, abs=2e-2)


@pytest.mark.parametrize(("p", "exponent"), [(1.3, None), (1.5, 1.5 + 2 * 0.3**2), (2.5, 1.5)])
def test_approach_to_the_plateau_of_modes_at_rest(p, exponent):
    """b = 0.5, p > 1: labels just above the last to reach zero; L - L(inf) by their paths."""
    phase = classify(0.5, 0.3, p, S)
    assert phase.dissipation.exponent == (None if exponent is None else pytest.approx(exponent, rel=1e-12))
    if exponent is None:
        return
    times = np.array([1e7, 1e9])
    threshold = 0.5 * 0.3 / (p - 1)
    labels = (threshold + np.exp(np.arange(-26.0, -1.0, 0.1))) ** 2
    weights = 0.1 * (np.sqrt(labels) - threshold) * 2 * np.sqrt(labels)
    paths = Characteristics(drift(0.5, 0.3, p), 2.0)
    left = [np.sum(weights * paths.attenuation(labels, t)) for t in times]
    # Rounding in lambda0^(1/2) - threshold and corrections t^(-1/2): 3 %.
    assert -np.diff(np.log(left))[0] / np.log(100) + 1 == pytest.approx(exponent, abs=3e-2)


numbers = {
    "b": st.floats(-1.0, 4.0),
    "p": st.floats(-2.0, 3.0),
    "c0": st.floats(0.01, 5.0),
    "s": st.floats(0.05, 3.0),
}


@given(**numbers, t0=st.floats(0.1, 10.0))
@settings(max_examples=60)
def test_growth_never_slows_and_decay_never_speeds_the_loss(b, p, c0, s, t0):
    def value(c):
        exponent = classify(b, c, p, s, t0).loss_exponent
        return np.inf if exponent is None else exponent

    assert 0 <= value(c0) <= value(0.0) == s <= value(-c0)


@given(**numbers)
@settings(max_examples=40)
def test_classification_depends_on_time_only_through_its_unit(b, p, c0, s):
    """t -> k t takes lambda -> lambda / k, so c0 -> k^(b-2) c0 and t0 -> k t0; nothing else may change."""
    one, other = classify(b, c0, p, s), classify(b, c0 * 8.0 ** (b - 2), p, s, 8.0)
    assert (one.regime, one.has_log) == (other.regime, other.has_log)
    assert (one.loss_exponent or 0.0) == pytest.approx(other.loss_exponent or 0.0, rel=1e-10)


@given(b=st.floats(1.05, 4.0), c0=st.floats(0.01, 5.0), s=st.floats(0.05, 3.0))
@settings(max_examples=40)
def test_exponent_is_continuous_across_the_self_similar_line(b, c0, s):
    """For growth from both sides; for decay to the lazy side as long as 2 kappa exceeds s."""
    step = 1e-7
    below, on, above = (classify(b, -c0, 2 - b + d, s).loss_exponent for d in (-step, 0.0, step))
    assert below == pytest.approx(on, rel=2e-6 / (b - 1)) and on == above == s
    sinking = classify(b, c0, 2 - b, s)
    assert sinking.loss_exponent == pytest.approx(min(s, 2 * sinking.kappa), rel=1e-12)
    assert classify(b, c0, 2 - b - step, s).has_plateau


@pytest.mark.parametrize(("b", "p"), [(1.9, 2 - 1.9), (1.1 + 0.2, 0.7), (0.1 + 0.2 + 0.7, 1.0)])
def test_lines_are_hit_by_rounded_numbers(b, p):
    assert classify(b, 0.5, p, S).regime in (Regime.SELF_SIMILAR, Regime.EFFECTIVE_TIME)


def test_diagram_holds_what_classify_says():
    b, p = np.linspace(-0.5, 3, 15), np.linspace(-1.5, 2.5, 17)
    for sign in (1, -1):
        diagram = phase_diagram(b, p, sign, S, strength=0.7, t0=2.0)
        for i, j in np.ndindex(diagram.regime.shape):
            phase = classify(b[i], 0.7 * sign, p[j], S, 2.0)
            assert diagram.is_in(phase.regime)[i, j]
            expected = np.inf if phase.loss_exponent is None else phase.loss_exponent
            assert diagram.loss_exponent[i, j] == pytest.approx(expected, rel=1e-12)
            assert all((phase.law, phase.formula, phase.reason, phase.frontier.words, phase.dissipation.words))


@pytest.mark.long
def test_limit_of_standing_modes():
    """c0 -> 0: the loss at a fixed time tends to the lazy one linearly in c0, the exponents as gamma."""
    lazy = gamma(S) * 201.0**-S
    for b, p in ((1.5, 0.0), (1.0, 1.0), (0.5, 0.0), (2.0, 0.0)):
        off = [loss(b, c0, p, S, 100.0) / lazy - 1 for c0 in (2e-4, 1e-4, -1e-4)]
        assert off[0] / off[1] == pytest.approx(2.0, abs=5e-2) and off[2] / off[1] == pytest.approx(-1.0, abs=5e-2)
    assert classify(1.0, 1e-6, 1.0, S).loss_exponent == pytest.approx(S, rel=2e-6)
    # A plateau has no limit uniform in time: it dies as a power, here c0^(s/(2-b)) for b = 1.5.
    kept = [plateau_loss(classify(1.5, c0, 0.0, S), cut, (1e-40, 1e2)) for c0 in (1e-4, 1e-5)]
    assert np.log10(kept[0] / kept[1]) == pytest.approx(S / 0.5, abs=1e-3)


@pytest.mark.rejects
@pytest.mark.parametrize("name", ["b", "c0", "p", "s", "t0"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_non_finite_numbers_are_refused_by_name(name, value):
    with pytest.raises(NonFiniteError, match=rf"`{name}` must be finite"):
        classify(**{"b": 1.5, "c0": 0.5, "p": 0.0, "s": S, "t0": 1.0, name: value})


@pytest.mark.rejects
def test_out_of_range_arguments_are_refused():
    for s in (0.0, -1.0):
        with pytest.raises(ArgumentError, match="`s` must be positive"):
            classify(1.5, 0.5, 0.0, s)
    with pytest.raises(ArgumentError, match="`t0` must be positive"):
        classify(1.5, 0.5, 0.0, S, 0.0)
    with pytest.raises(ArgumentError, match="`sign` must be 1"):
        phase_diagram([1.0], [1.0], 0, S)
    with pytest.raises(ArgumentError, match="`strength` must be positive"):
        phase_diagram([1.0], [1.0], 1, S, strength=-1.0)
    with pytest.raises(ArgumentError, match="`time` must be finite"):
        classify(1.5, 0.5, 0.0, S).asymptote(0.5)
    with pytest.raises(ArgumentError, match="`density` must be a function"):
        plateau_loss(classify(1.5, 0.5, 0.0, S), 3.0, (1e-3, 1.0))
    with pytest.raises(ArgumentError, match="`domain` must be two positive"):
        plateau_loss(classify(1.5, 0.5, 0.0, S), cut, (1.0, 1e-3))
