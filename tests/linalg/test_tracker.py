"""The tracker on operators whose motion is known: rotation, crossings, entries from below, large jumps."""

import math
from itertools import pairwise

import pytest
import torch

from eigenflow.core.errors import ArgumentError, NonFiniteError
from eigenflow.linalg import Crossing, ModeTracker, SolveStatus, SymmetricOperator
from linalg.spectra import power_law, rotation, with_spectrum


def operator(matrix):
    return SymmetricOperator.of_matrix(matrix)


def turning(values, angle, seed=0):
    """exp(angle A) diag(values) exp(-angle A) with a fixed antisymmetric A of norm 1: a known, smooth rotation."""
    generator = torch.Generator().manual_seed(seed)
    A = torch.randn(len(values), len(values), generator=generator, dtype=torch.float64)
    A = (A - A.T) / torch.linalg.matrix_norm(A - A.T, 2)
    Q = torch.linalg.matrix_exp(angle * A)
    return (Q * values) @ Q.T, Q.T


def test_pairs_are_followed_and_certified_through_a_rotation():
    values = power_law(200, 0.5)
    tracker = ModeTracker(10, tolerance=1e-5)
    signs = []
    for index in range(12):
        matrix, rows = turning(values, 0.01 * index)
        tracked = tracker.update(operator(matrix))
        errors = (tracked.pairs.eigenvalues - values[:10]).abs()
        assert tracked.pairs.status is SolveStatus.CONVERGED
        assert bool((errors <= tracked.pairs.eigenvalue_bounds + 1e-13).all())
        assert tracked.identity.labels[:10].tolist() == list(range(10))
        assert tracked.is_cold == (index == 0)
        turned = tracked.identity.rotation[:10, :10] @ tracked.pairs.eigenvectors
        cosines = (turned * rows[:10]).sum(1)
        assert float(cosines.abs().min()) > 0.999
        signs.append(torch.sign(cosines))
    assert all(torch.equal(sign, signs[0]) for sign in signs)  # the path has no sign flips, and neither has the tracker


def test_warm_instants_cost_one_block_and_little_more():
    values = power_law(300, 0.5)
    tracker = ModeTracker(16, tolerance=1e-4, scouts=1)
    costs = [tracker.update(operator(turning(values, 0.002 * i)[0])).pairs.stats.products for i in range(6)]
    assert max(costs[1:]) <= 16 + 8 + 1 + 4 and costs[0] > 2 * max(costs[1:])


@pytest.mark.parametrize("angle", [0.02, 0.04, 0.06])
def test_larger_changes_take_more_directions_and_stay_warm_and_true(angle):
    """A flat spectrum, as networks have it: guards must come near too before the last modes can be certified."""
    values = torch.linspace(10.0, 4.0, 40, dtype=torch.float64)
    values = torch.cat([values, 4.0 * power_law(360, 0.5)])
    tracker = ModeTracker(16, tolerance=1e-5)
    cold = tracker.update(operator(turning(values, 0.0)[0])).pairs.stats.products
    for index in range(1, 4):
        tracked = tracker.update(operator(turning(values, angle * index)[0]))
        assert not tracked.is_cold, tracked.reason
        assert tracked.pairs.status is SolveStatus.CONVERGED
        assert tracked.pairs.stats.products < cold
        errors = (tracked.pairs.eigenvalues - values[:16]).abs()
        assert bool((errors <= tracked.pairs.eigenvalue_bounds + 1e-12).all())


def test_first_order_error_of_one_block_is_of_second_order():
    """Depth 0 is one Rayleigh-Ritz on the old vectors: halving the rotation quarters the eigenvalue error."""
    values = power_law(200, 0.5)
    errors = []
    for angle in (0.08, 0.04, 0.02):
        tracker = ModeTracker(8, tolerance=1e-12, depth=0, scouts=0)
        tracker.update(operator(turning(values, 0.0)[0]))
        tracked = tracker.update(operator(turning(values, angle)[0]))
        errors.append(float((values[:8] - tracked.pairs.eigenvalues).abs().max()))
        assert tracked.pairs.status is SolveStatus.LIMIT_REACHED
        assert bool((values[:8] - tracked.pairs.eigenvalues <= tracked.pairs.eigenvalue_bounds).all())
    orders = [math.log2(a / b) for a, b in pairwise(errors)]
    assert all(order == pytest.approx(2.0, abs=0.1) for order in orders)


def test_a_jump_goes_cold_and_says_so():
    values = power_law(200, 0.5)
    tracker = ModeTracker(10)
    tracker.update(operator(with_spectrum(values, seed=0)))
    tracked = tracker.update(operator(with_spectrum(values, seed=1)))
    assert tracked.is_cold and tracked.reason
    torch.testing.assert_close(tracked.pairs.eigenvalues, values[:10], rtol=1e-5, atol=0)
    assert tracked.pairs.stats.products > 15  # what the failed warm start cost is counted
    assert min(tracked.identity.labels[:10].tolist()) >= 10  # random vectors in 200 dimensions continue nothing


def test_landau_zener_crossing_is_logged_only_if_the_step_jumps_over_it():
    """M = [[t, d], [d, -t]] + offset. Fast past a narrow gap the modes cross; slowly they rotate.

    See equations/hypotheses.md#velocity-and-labels.
    """
    base = torch.diag(torch.tensor([3.0, 3.0, 1.0, 0.5, 0.25, 0.1], dtype=torch.float64))

    def matrix(time, gap):
        M = base.clone()
        M[0, 0] += time
        M[1, 1] -= time
        M[0, 1] = M[1, 0] = gap
        return M

    def run(gap, times):
        tracker = ModeTracker(3, guards=2)
        tracked = [tracker.update(operator(matrix(time, gap))) for time in times]
        return [c for t in tracked for c in t.identity.crossings], tracked[-1].identity.labels[:3].tolist()

    fast = run(1e-3, [-0.2, -0.1, 0.1, 0.2])
    assert fast == ([Crossing(rising=1, falling=0)], [1, 0, 2])
    slow = run(0.1, torch.linspace(-0.5, 0.5, 101).tolist())
    assert slow == ([], [0, 1, 2])


def test_exact_crossing_keeps_labels_with_vectors():
    """Two eigenvalues of fixed vectors pass through each other and are equal at one instant."""
    Q = rotation(40)
    tail = 0.5 * power_law(37)

    def matrix(time):
        values = torch.cat([torch.tensor([3.0, 2.0 + time, 2.0 - time], dtype=torch.float64), tail])
        return (Q * values) @ Q.T

    tracker = ModeTracker(3)
    labels = []
    for time in (0.2, 0.1, 0.0, -0.1, -0.2):
        tracked = tracker.update(operator(matrix(time)))
        if time == 0.0:
            assert tracked.pairs.clusters.tolist() == [0, 1, 1]
        labels.append(tracked.identity.labels[:3].tolist())
    assert labels[0] == [0, 1, 2] and labels[-1] == [0, 2, 1]


def test_a_mode_that_rises_from_outside_the_block_is_seen():
    """Its vector is orthogonal to everything tracked, so no residual shows it; a random direction does."""
    Q = rotation(300)
    values = torch.cat([torch.linspace(2, 1, 20).double(), 0.1 * power_law(280)])
    tracker = ModeTracker(6, guards=6)
    tracker.update(operator((Q * values) @ Q.T))
    for height in (0.5, 1.2, 1.9, *[3.0] * 12):
        values[150] = height
        tracked = tracker.update(operator((Q * values) @ Q.T))
    assert not tracked.is_cold
    assert float(tracked.pairs.eigenvalues[0]) == pytest.approx(3.0, rel=1e-5)
    torch.testing.assert_close(tracked.pairs.eigenvalues, values.sort(descending=True).values[:6], rtol=1e-5, atol=0)


def test_entries_and_exits_are_named():
    Q = rotation(30)
    tail = 0.1 * power_law(26)

    def matrix(time):
        values = torch.cat([torch.tensor([4.0, 3.0 - time, 2.0 + time, 1.0], dtype=torch.float64), tail])
        return (Q * values) @ Q.T

    tracker = ModeTracker(2, guards=2)
    tracker.update(operator(matrix(0.3)))
    tracked = tracker.update(operator(matrix(0.7)))
    assert tracked.identity.entered == (2,) and tracked.identity.left == (1,)
    assert tracked.identity.labels.tolist() == [0, 2, 1, 3]


def test_interrupted_update_leaves_the_tracker_as_it_was():
    values = power_law(100, 0.5)
    tracker, twin = ModeTracker(5), ModeTracker(5)
    for index in range(3):
        tracker.update(operator(turning(values, 0.01 * index)[0]))
        twin.update(operator(turning(values, 0.01 * index)[0]))
    before = tracker.state()

    def stop(rows):
        raise KeyboardInterrupt

    broken = SymmetricOperator(stop, operator(torch.eye(100).double()).space)
    generator = tracker.generator.get_state()
    with pytest.raises(KeyboardInterrupt):
        tracker.update(broken)
    with pytest.raises(NonFiniteError):
        tracker.update(SymmetricOperator(lambda rows: rows * torch.nan, broken.space))
    tracker.generator.set_state(generator)
    assert all(torch.equal(before[name], tensor) for name, tensor in tracker.state().items())
    again, expected = (t.update(operator(turning(values, 0.03)[0])) for t in (tracker, twin))
    assert torch.equal(again.pairs.eigenvalues, expected.pairs.eigenvalues)


def test_saved_state_goes_on_where_it_stopped():
    values = power_law(100, 0.5)
    tracker = ModeTracker(5)
    for index in range(3):
        tracker.update(operator(turning(values, 0.01 * index)[0]))
    resumed = ModeTracker(5)
    resumed.load_state(tracker.state())
    tracked = resumed.update(operator(turning(values, 0.03)[0]))
    assert not tracked.is_cold and tracked.identity.labels[:5].tolist() == [0, 1, 2, 3, 4]
    assert tracked.identity.entered == ()


def test_rotating_cluster_is_one_subspace_with_continuous_vectors():
    """A triple eigenvalue whose subspace turns: single vectors mean nothing, the rotated ones stay near the old."""
    values = torch.cat([torch.tensor([3.0, 2.0, 2.0, 2.0], dtype=torch.float64), 0.5 * power_law(96)])
    tracker = ModeTracker(4)
    previous = None
    for index in range(6):
        matrix, rows = turning(values, 0.02 * index)
        tracked = tracker.update(operator(matrix))
        assert tracked.pairs.clusters.tolist() == [0, 1, 1, 1]
        subspace = tracked.pairs.eigenvectors[1:]
        cosines = torch.linalg.svdvals(subspace @ rows[1:4].T)
        assert float(cosines.min()) > 1 - 1e-5  # the cluster's subspace is right although its vectors are free
        turned = tracked.identity.rotation[:4, :4] @ tracked.pairs.eigenvectors
        if previous is not None:
            assert bool(((turned * previous).sum(1) > 0.99).all())
            assert tracked.identity.labels[:4].tolist() == [0, 1, 2, 3]
        previous = turned


def test_dead_and_small_operators():
    tracker = ModeTracker(4)
    for _ in range(2):
        tracked = tracker.update(operator(torch.zeros(6, 6, dtype=torch.float64)))
        assert tracked.pairs.status is SolveStatus.CONVERGED
        assert float(tracked.pairs.eigenvalues.abs().max()) == 0.0


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"modes": 0}, r"`modes` must be a whole number of modes in \[1, .*is 0"),
        ({"modes": 2, "tolerance": -1.0}, r"`tolerance`.*is -1\.0"),
        ({"modes": 2, "guards": -1}, r"`guards` must be a whole number of vectors in \[0, .*is -1"),
        ({"modes": 2, "depth": -2}, r"`depth` must be a whole number of vectors in \[0, .*is -2"),
    ],
)
def test_bad_settings_are_refused(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        ModeTracker(**arguments)


@pytest.mark.rejects
def test_operators_and_states_that_do_not_fit_are_refused():
    tracker = ModeTracker(3)
    tracker.update(operator(torch.eye(10, dtype=torch.float64)))
    with pytest.raises(ArgumentError, match=r"rows of 10 entries.*has 12"):
        tracker.update(operator(torch.eye(12, dtype=torch.float64)))
    with pytest.raises(ArgumentError, match=r"`modes` must not exceed.*2.*is 3"):
        ModeTracker(3).update(operator(torch.eye(2, dtype=torch.float64)))
    with pytest.raises(ArgumentError, match=r"3 modes and 4 guards.*has 5 and 4"):
        ModeTracker(5).load_state(tracker.state())
    with pytest.raises(ArgumentError, match=r"lacks \['corrected', 'counts', 'labels', 'scouts'\]"):
        ModeTracker(3).load_state({"vectors": torch.ones(3, 10)})


def test_a_steady_drift_costs_no_more_products_at_later_instants():
    """Images correct the vectors before the next instant: what one block has missed does not pile up.

    Eigenvalues u^(-1/2); all eigenvectors turn together by about 1e-3 between neighbours an instant. Without the
    correction the later instants need up to 25 products, with it as many as the second: one block and an extension.
    """
    generator = torch.Generator().manual_seed(3)
    size = 120
    spectrum = 1.0 / torch.arange(1, size + 1, dtype=torch.float64).sqrt()
    skew = torch.randn(size, size, generator=generator, dtype=torch.float64)
    turn = torch.linalg.matrix_exp(5e-4 * (skew - skew.T))
    basis, tracker, products = torch.eye(size, dtype=torch.float64), ModeTracker(8, tolerance=1e-4), []
    for _ in range(12):
        matrix = basis @ torch.diag(spectrum) @ basis.T
        found = tracker.update(operator(matrix)).pairs
        products.append(found.stats.products)
        assert bool(found.is_converged.all())
        assert bool(((found.eigenvalues - spectrum[:8]).abs() <= found.eigenvalue_bounds).all())
        basis = turn @ basis
    assert max(products[2:]) <= products[1]
