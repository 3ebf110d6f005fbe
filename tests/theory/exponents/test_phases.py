import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from eigenflow.core.errors import ArgumentError, NonFiniteError
from eigenflow.theory.exponents.phases import (
    balanced_exponents,
    capacity_and_source,
    compute_phase,
    loss_parts,
    plane_point,
)
from eigenflow.theory.exponents.stochastic import largest_stable_rate, sgd_risk
from eigenflow.theory.task_spectrum import TaskSpectrum

# One point or two of each phase, inside.
POINTS = {
    "Ia": (1.0, 0.3),
    "Ib": (0.4, 0.3),
    "Ic": (0.2, 0.8),
    "II": (1.0, 0.7),
    "III": (0.7, 1.2),
    "IVa": (0.4, 1.0),
    "IVb": (0.27, 0.9),
}


def sum_of_parts(alpha: float, beta: float, log_d: np.ndarray, log_f: float) -> np.ndarray:
    """ln of the loss written out from the paper's component laws, not from `loss_parts`."""
    log_rate = np.minimum(0.0, 2 * alpha - 1) * log_d
    log_time = log_rate + log_f - log_d
    parts = [
        (-2 * alpha + max(0, 1 - 2 * beta)) * log_d,
        -(2 * alpha + 2 * beta - 1) / (2 * alpha) * log_time,
    ]
    if 2 * alpha > 1 and 2 * beta > 1:
        parts.append(-log_d - (1 - 1 / (2 * alpha)) * log_time)
    if alpha > 0.25:
        parts.append(log_rate - (2 - 1 / (2 * alpha)) * log_time)
    return np.logaddexp.reduce(parts)


@pytest.mark.parametrize(("name", "point"), POINTS.items())
def test_exponents_by_minimising_the_components(name, point):
    found = compute_phase(*point)
    assert found.phase == name
    ends = []
    for log_f in (4e3, 8e3):  # f = e^4000: the sum is its largest part to rounding
        log_d = np.linspace(0.01, 0.99, 200_001) * log_f
        loss = sum_of_parts(*point, log_d, log_f)
        ends.append((loss.min(), log_d[loss.argmin()]))
    (low, low_d), (high, high_d) = ends
    assert (low - high) / 4e3 == pytest.approx(found.loss_exponent, abs=1e-4)
    assert (high_d - low_d) / 4e3 == pytest.approx(found.width_exponent, abs=1e-4)


@pytest.mark.long
@given(alpha=st.floats(0.01, 2.0), beta=st.floats(-1.0, 2.5))
@settings(max_examples=400, deadline=None)
def test_closed_forms_are_the_linear_program_everywhere(alpha, beta):
    assume(2 * (alpha + beta) > 1 + 1e-6)
    # Near alpha = 1/4 noise's exponent changes its sign, and with it whether it is there.
    assume(abs(alpha - 0.25) > 1e-6)
    found = compute_phase(alpha, beta)
    loss, width = balanced_exponents(found.parts)
    assert loss == pytest.approx(found.loss_exponent, rel=1e-7, abs=1e-9)
    assert width == pytest.approx(found.width_exponent, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize(
    ("point", "phases"),
    [
        ((0.7, 0.7), {"II", "III"}),
        ((1.0, 0.5), {"Ia", "II"}),
        ((0.5, 0.3), {"Ia", "Ib"}),
        ((0.5, 1.0), {"III", "IVa"}),
        ((0.4, 0.5), {"Ib", "IVa"}),
        ((0.27, 0.5), {"Ib", "IVb"}),
        ((0.2, 0.5), {"Ib", "Ic"}),
        ((0.25, 0.8), {"Ic", "IVb"}),
        ((1 - np.sqrt(0.5), 0.9), {"IVa", "IVb"}),
        ((0.5, 0.5), {"Ia", "Ib", "II", "III", "IVa"}),
    ],
)
def test_on_borders_both_sides_agree(point, phases):
    found = compute_phase(*point)
    assert {found.phase, *found.borders} == phases
    around = [compute_phase(point[0] + i * 1e-7, point[1] + j * 1e-7) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    assert [other.loss_exponent for other in around] == pytest.approx([found.loss_exponent] * 9, abs=1e-5)


def test_published_number_at_the_border_of_two_and_three():
    found = compute_phase(0.7, 0.7)
    assert found.loss_exponent == pytest.approx(1.8 / 2.8)
    assert found.width_exponent == 0.5
    assert found.loss_exponent == pytest.approx(0.648, abs=0.006)  # measured in the paper


def test_unproved_regions_are_flagged():
    assert not compute_phase(0.2, 0.8).is_proved
    assert not compute_phase(0.2, 0.4).is_proved
    assert compute_phase(0.3, 0.4).is_proved
    assert "no: alpha < 1/4" in repr(compute_phase(0.2, 0.8))


@given(capacity=st.floats(0.1, 5.0), source=st.floats(0.05, 4.0))
@settings(max_examples=50, deadline=None)
def test_dictionary_goes_both_ways(capacity, source):
    assert capacity_and_source(*plane_point(capacity, source)) == pytest.approx((capacity, source), rel=1e-9)


def test_dictionary_by_the_spectrum_itself():
    """Features' covariance j^-2 alpha has capacity 2 alpha; energies j^-(2 alpha + 2 beta) beyond j, in its units."""
    capacity, source = capacity_and_source(0.8, 0.6)
    ranks = np.arange(1.0, 10**6)
    beyond = np.cumsum((ranks ** -(2 * 0.8 + 2 * 0.6))[::-1])[::-1]
    slope = np.polyfit(np.log(ranks[1000:10_000]), np.log(beyond[1000:10_000]), 1)[0]
    assert slope / -capacity == pytest.approx(source, rel=2e-3)


def random_features_loss(alpha: float, beta: float, widths: list[int], computes: np.ndarray, draws: int) -> np.ndarray:
    """ln of the loss of one-pass SGD on drawn features, (width, compute).

    Given the features, inputs are Gaussian in their eigenbasis, and what they cannot hold is independent of them: label
    noise to the recursion, which is then exact.
    """
    rng = np.random.default_rng(0)
    ranks = np.arange(1.0, 2001.0)
    root = ranks**-alpha
    target = root * ranks**-beta
    found = np.empty((len(widths), len(computes)))
    for row, width in enumerate(widths):
        steps = np.unique((computes / width).astype(np.int64))
        total = np.zeros(len(steps))
        for _ in range(draws):
            A = root[:, None] * rng.standard_normal((len(ranks), width)) / np.sqrt(width)
            values, vectors = np.linalg.eigh(A.T @ A)
            values, vectors = values[::-1], vectors[:, ::-1]
            energies = (vectors.T @ (A.T @ target)) ** 2 / values
            outside = target @ target - energies.sum()
            task = TaskSpectrum(values, energies, noise=outside)
            curve = sgd_risk(task, steps, learning_rate=0.5 * largest_stable_rate(task, 1), batch=1)
            total += np.log(curve.risk + outside)
        found[row] = np.interp(np.log(computes / width), np.log(steps), total / draws)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Ia", "II"])
def test_exponents_of_drawn_features(name):
    """Two and a half decades of compute, widths up to 362: local exponents are off by about 1.5 % in the paper too."""
    widths = np.round(2 ** np.arange(3.0, 8.51, 0.5)).astype(int).tolist()
    computes = np.logspace(3.5, 6.25, 12)
    losses = random_features_loss(*POINTS[name], widths, computes, draws=6)
    best = []
    for column in losses.T:
        least = int(np.clip(column.argmin(), 2, len(widths) - 3))
        near = slice(least - 2, least + 3)
        fit = np.polyfit(np.log(widths[near]), column[near], 2)
        best.append((np.polyval(fit, -fit[1] / 2 / fit[0]), -fit[1] / 2 / fit[0]))
    loss, width = np.polyfit(np.log(computes), np.array(best), 1)[0]
    phase = compute_phase(*POINTS[name])
    assert -loss == pytest.approx(phase.loss_exponent, abs=0.03)
    assert width == pytest.approx(phase.width_exponent, abs=0.08)


@pytest.mark.parametrize("part", ["F_0", "F_pp"])
def test_powers_of_single_parts(part):
    """F_0 in d and F_pp in r by exact sums: the projection's residual, and the kernel's flow."""
    from eigenflow.theory.exponents.finite_width import width_limit
    from eigenflow.theory.exponents.kernel_flow import flow_risk

    for alpha, beta in ((0.7, 0.7), (1.0, 0.3), (0.8, 1.1)):
        capacity, source = capacity_and_source(alpha, beta)
        task = TaskSpectrum.power_law(capacity, capacity * source + 1, modes=3000, tail=True)
        law = {found.name: found for found in loss_parts(alpha, beta)}[part]
        if part == "F_0":
            ends = [width_limit(task, width) for width in (8192, 16384)]
            assert np.log2(ends[0] / ends[1]) == pytest.approx(law.width, abs=0.02)
        else:
            ends = flow_risk(task, np.array([1e4, 2e4]))
            # At alpha = beta = .7 this is the -9/7 of equations/exponents.md#four-plus-three-phases.
            assert np.log2(ends[0] / ends[1]) == pytest.approx(law.time, abs=1e-3)


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("point", "error", "words"),
    [
        ((0.0, 1.0), ArgumentError, "`alpha` must be > 0"),
        ((0.3, 0.2), ArgumentError, r"`beta` must be > 1/2 - alpha = 0.2, but is 0.2.*region 2 \(alpha \+ beta\) > 1"),
        ((np.nan, 1.0), NonFiniteError, "`alpha`"),
        ((0.3, np.inf), NonFiniteError, "`beta`"),
    ],
)
def test_region(point, error, words):
    with pytest.raises(error, match=words):
        compute_phase(*point)


@pytest.mark.rejects
def test_dictionary_refuses_what_is_not_positive():
    with pytest.raises(ArgumentError, match="`source` must be > 0, but is 0"):
        plane_point(1.5, 0.0)
