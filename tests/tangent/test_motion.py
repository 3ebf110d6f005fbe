"""Distances and velocities of the whole operator, against dense Frobenius norms."""

import pytest
import torch

import eigenflow as ef
from eigenflow.core.errors import ArgumentError
from eigenflow.linalg import SymmetricOperator, frobenius_products
from eigenflow.tangent.motion import kernel_change, kernel_motion
from eigenflow.tangent.products import CachedJacobian
from linalg.spectra import power_law, with_spectrum
from problems import samples, tanh_net


@pytest.fixture(scope="module")
def instants():
    model, (inputs, targets) = tanh_net(seed=1, hidden=16), samples(seed=1, count=40)
    probe = ef.Probe(model, inputs, targets)
    first = probe.at()
    direction = {n: -g for n, g in first.gradient().items()}
    step_size = 0.05
    second = probe.at(({n: p + step_size * direction[n] for n, p in first.parameters.items()}, first.rest))
    return first, second, direction, step_size


def within(estimate, expected, errors=4.0):
    return abs(estimate.value - expected) <= errors * estimate.standard_error + 1e-12


def test_change_agrees_with_dense_norms(instants):
    first, second, _, dt = instants
    a, b = first.dense(), second.dense()
    change = kernel_change(CachedJacobian(first), CachedJacobian(second), dt, samples=32)
    cosine = float((a * b).sum() / (a.norm() * b.norm()))
    assert within(change.alignment, cosine) and within(change.distance, 1 - cosine)
    assert within(change.velocity, (1 - cosine) / dt)
    assert within(change.relative_change, float((b - a).norm() / a.norm()))
    assert within(change.log_norm_rate, float((b.norm() / a.norm()).log()) / dt)
    assert change.log_trace_rate == pytest.approx(float((b.trace() / a.trace()).log()) / dt, rel=1e-9)
    assert 0 < change.relative_change.standard_error < 0.3 * change.relative_change.value


def test_known_directions_make_estimates_sharp(instants):
    first, second, _, dt = instants
    vectors = torch.linalg.eigh(first.dense())[1].T.flip(0)
    pair = CachedJacobian(first), CachedJacobian(second)
    errors = [kernel_change(*pair, dt, known=vectors[:k]).distance.standard_error for k in (0, 10, 80)]
    # Ten of eighty modes hold most of the norms, all of them everything.
    assert errors[1] < 0.5 * errors[0] and errors[2] <= 1e-12
    exact = kernel_change(*pair, dt, known=vectors)
    a, b = first.dense(), second.dense()
    assert exact.relative_change.value == pytest.approx(float((b - a).norm() / a.norm()), rel=1e-9)


def test_motion_agrees_with_the_dense_derivative(instants):
    first, _, direction, _ = instants
    M, rate = first.dense_and_rate(direction)
    vectors = torch.linalg.eigh(M)[1].T.flip(0)
    motion = kernel_motion(CachedJacobian(first, direction), known=vectors)
    ratio, scaling = float(rate.norm() / M.norm()), float((M * rate).sum() / M.norm() ** 2)
    assert motion.relative_rate.value == pytest.approx(ratio, rel=1e-9)
    assert motion.log_norm_rate.value == pytest.approx(scaling, rel=1e-9)
    assert motion.turning_rate.value == pytest.approx((ratio**2 - scaling**2) ** 0.5, rel=1e-9)
    assert motion.log_trace_rate == pytest.approx(float(rate.trace() / M.trace()), rel=1e-10)


def test_distance_is_half_the_square_of_the_turning_after_a_short_time(instants):
    first, _, direction, _ = instants
    vectors = torch.linalg.eigh(first.dense())[1].T
    turning = kernel_motion(CachedJacobian(first, direction), known=vectors).turning_rate.value
    for dt in (1e-3, 5e-4):
        moved = {n: p + dt * direction[n] for n, p in first.parameters.items()}
        second = type(first)(
            first.network, first.structure, moved, first.rest, first.inputs, first.targets, first.objective
        )
        distance = kernel_change(CachedJacobian(first), CachedJacobian(second), dt, known=vectors).distance.value
        assert distance == pytest.approx(0.5 * (turning * dt) ** 2, rel=2 * dt * 10)


def test_pure_growth_is_no_distance_but_a_change():
    """equations/known_cases.md#kernel-distance: S is scale-blind."""
    matrix = with_spectrum(power_law(50))
    pair = [SymmetricOperator.of_matrix(m) for m in (matrix, 1.1 * matrix)]
    found = frobenius_products(pair)
    distance = found.estimate(lambda g: 1 - g[0, 1] / (g[0, 0] * g[1, 1]).sqrt())
    change = found.estimate(lambda g: ((g[0, 0] - 2 * g[0, 1] + g[1, 1]) / g[0, 0]).sqrt())
    assert abs(distance.value) <= 1e-12 and change.value == pytest.approx(0.1, rel=1e-9)
    assert change.standard_error <= 1e-9  # the same vectors serve all products


def test_standard_error_falls_with_the_root_of_the_samples_and_is_honest():
    """Spread over seeds agrees with the jackknife's error (64 seeds: 9 % accuracy), and quarters at 16 x samples."""
    matrix = with_spectrum(power_law(60, 0.3))
    operator = SymmetricOperator.of_matrix(matrix)
    told, spread = [], []
    for count in (8, 128):
        runs = [
            frobenius_products([operator], samples=count, generator=torch.Generator().manual_seed(seed)).estimate(
                lambda g: g[0, 0]
            )
            for seed in range(64)
        ]
        told.append(sum(run.standard_error for run in runs) / 64)
        spread.append(float(torch.tensor([run.value for run in runs]).std()))
    assert told[0] / told[1] == pytest.approx(4.0, rel=0.25)
    assert spread[1] == pytest.approx(told[1], rel=0.35)


def test_dead_operator_does_not_move():
    zero = SymmetricOperator.of_matrix(torch.zeros(5, 5, dtype=torch.float64))
    estimate = frobenius_products([zero, zero]).estimate(lambda g: g[0, 1])
    assert (estimate.value, estimate.standard_error) == (0.0, 0.0)


@pytest.mark.rejects
def test_bad_requests_are_refused(instants):
    first, second, _, _ = instants
    pair = CachedJacobian(first), CachedJacobian(second)
    with pytest.raises(ArgumentError, match=r"`step_size` must be a time > 0, but is 0"):
        kernel_change(*pair, 0.0)
    with pytest.raises(ArgumentError, match=r"`samples` must be at least 2.*is 1"):
        kernel_change(*pair, 1.0, samples=1)
    other = ef.Probe(tanh_net(), *samples()).at()
    with pytest.raises(ArgumentError, match=r"`second`.*80 rows, but has 12"):
        kernel_change(pair[0], CachedJacobian(other), 1.0)
