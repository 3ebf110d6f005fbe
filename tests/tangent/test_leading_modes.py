"""Some of the modes by products: against the dense measurement, closed forms, and differences along the flow."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

import eigenflow as ef
from eigenflow.core.errors import ArgumentError, ConvergenceError, NonFiniteError
from eigenflow.linalg import ModeTracker, SolveStatus
from problems import AlignedLinearNet, relu_ntk_on_circle, samples, tanh_net
from reference import dense_jacobian as oracle
from tangent.test_operator_forms import build


def case(seed=3, count=30):
    return tanh_net(seed, hidden=12), *samples(seed, count=count)


@pytest.fixture(scope="module")
def both():
    probe = ef.Probe(*case(), loss="half_mean")
    return probe.measure(8, method="dense"), probe.measure(8, method="products", tolerance=1e-12)


def test_products_measure_what_the_dense_operator_gives(both):
    """Gauge: signs of eigenvectors, so coefficients by size and couplings by size. Rates are of first order in the
    eigenvectors' errors, sqrt(1e-12) here."""
    dense, some = both
    assert some.method.startswith("products in float64, layer rules for all") and some.products > 0
    assert some.status is SolveStatus.CONVERGED and dense.status is SolveStatus.CONVERGED
    torch.testing.assert_close(some.eigenvalues, dense.eigenvalues, rtol=1e-11, atol=0)
    torch.testing.assert_close(some.eigenvalue_rates, dense.eigenvalue_rates, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(some.coefficients.abs(), dense.coefficients.abs(), rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(some.couplings.abs(), dense.couplings.abs(), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(some.outflow, dense.outflow, rtol=1e-5, atol=1e-7)
    assert some.position == pytest.approx(dense.position, rel=1e-12)
    assert some.trace == pytest.approx(dense.trace, rel=1e-12)
    assert some.trace_rate == pytest.approx(dense.trace_rate, rel=1e-10)


def test_certificates_hold_for_rates_and_couplings():
    """At a loose tolerance, errors against the dense measurement stay within the first-order bounds."""
    probe = ef.Probe(*case(seed=5, count=60), loss="half_mean")
    exact = probe.measure(6, method="dense")
    for tolerance in (1e-3, 1e-5, 1e-7):
        some = probe.measure(6, method="products", tolerance=tolerance)
        apart = some.coupling_bounds.isfinite()
        slack = 1.2  # the bounds are of first order in the angles
        assert bool(((some.eigenvalues - exact.eigenvalues).abs() <= some.eigenvalue_bounds + 1e-14).all())
        assert bool(((some.eigenvalue_rates - exact.eigenvalue_rates).abs() <= slack * some.rate_bounds + 1e-12).all())
        errors = (some.couplings.abs() - exact.couplings.abs()).abs()
        assert bool((errors <= slack * some.coupling_bounds + 1e-12)[apart].all())


@pytest.mark.long
def test_rates_and_rotation_are_those_along_the_flow():
    """Differences over +-1e-4 of Runge-Kutta gradient flow; their error is 1e-7 relative."""
    model, inputs, targets = case()
    probe = ef.Probe(model, inputs, targets, loss="half_mean")
    some = probe.measure(5, method="products", tolerance=1e-12)
    ends = []
    for time in (1e-4, -1e-4):
        moved = copy.deepcopy(model)
        oracle.flow_step(moved, inputs, targets, probe.factor, time)
        values, columns = torch.linalg.eigh(oracle.kernel(moved, inputs, probe.factor))
        rows = columns.T.flip(0)[:5]
        ends.append((values.flip(0)[:5], rows * torch.sign((rows * some.eigenvectors).sum(1, keepdim=True))))
    rates = (ends[0][0] - ends[1][0]) / 2e-4
    assert float((rates - some.eigenvalue_rates).norm()) <= 1e-5 * float(rates.norm())
    velocity = (ends[0][1] - ends[1][1]) / 2e-4
    measured = velocity @ some.eigenvectors.T
    assert float((measured - some.couplings).norm()) <= 1e-5 * float(measured.norm())
    # Mdot phi_u outside the modes is (lambda_u - M) applied to the velocity there.
    outside = velocity - measured @ some.eigenvectors
    M = oracle.kernel(model, inputs, probe.factor)
    flow = torch.linalg.vector_norm(some.eigenvalues[:, None] * outside - outside @ M, dim=1)
    torch.testing.assert_close(flow, some.outflow, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("time", [0.0, 0.8])
def test_aligned_linear_net_in_closed_form(time):
    """At t = 0 amplitudes are chosen so that eigenvalues coincide whose rates differ.

    See equations/known_cases.md#aligned-networks.
    """
    net = AlignedLinearNet()
    some = ef.Probe(*net.network(time), loss="half_sum").measure(11, method="products", tolerance=1e-12)
    np.testing.assert_allclose(some.eigenvalues, net.eigenvalues(time)[:11], rtol=1e-11, atol=1e-13)
    order = net.eigenvalue_rates(time)[:11]
    np.testing.assert_allclose(some.eigenvalue_rates, order, rtol=1e-5, atol=1e-6)


class ReluNet(nn.Module):
    """f = sqrt(2 / width) a . relu(W x), weights standard normal."""

    def __init__(self, width, seed=0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.first = nn.Linear(2, width, bias=False).double()
        self.second = nn.Linear(width, 1, bias=False).double()
        self.scale = (2.0 / width) ** 0.5
        for layer in (self.first, self.second):
            nn.init.normal_(layer.weight, generator=generator)

    def forward(self, x):
        return self.scale * self.second(torch.relu(self.first(x)))


def circle(count):
    angle = 2 * torch.pi * torch.arange(count, dtype=torch.float64) / count
    return torch.stack([angle.cos(), angle.sin()], 1), torch.zeros(count, 1, dtype=torch.float64)


def symmetric_relu_net(half, first):
    """Units at angles whose pattern has the symmetry of the points, so the kernel is exactly circulant."""
    angle = 2 * torch.pi * (torch.arange(half, dtype=torch.float64) + 0.5) / half
    model = ReluNet(half)
    with torch.no_grad():
        model.first.weight.copy_(first * torch.stack([angle.cos(), angle.sin()], 1))
        model.second.weight.copy_(torch.ones(1, half) * 1.0)
    return model


def test_leading_modes_of_the_circle_are_its_frequencies():
    """equations/known_cases.md#circle-spectrum: pairs of equal eigenvalues n lambda_k, aliased.

    Width 20000 leaves 0.7 % fluctuations.
    """
    width, n = 20_000, 64
    some = ef.Probe(ReluNet(width), *circle(n), loss="half_sum").measure(
        7, drift=False, method="products", tolerance=1e-10
    )
    frequencies = range(-n // 2, n // 2)
    expected = n * np.sort([sum(relu_ntk_on_circle(abs(k + m * n)) for m in range(-400, 401)) for k in frequencies])
    np.testing.assert_allclose(some.eigenvalues, expected[::-1][:7], rtol=0, atol=5 * width**-0.5 * expected[-1])


def test_null_odd_modes_of_the_circle_are_null_in_the_lower_cluster():
    """Units spread evenly with the points' symmetry make odd frequencies from 3 on exactly null.

    See equations/known_cases.md#circle-spectrum.

    With `n` points and a multiple of n units the kernel is circulant and a sum over units of functions of the
    angle that contain only even frequencies and frequency 1.
    """
    n, units = 12, 12 * 40
    probe = ef.Probe(symmetric_relu_net(units, 1.0), *circle(n), loss="half_sum")
    some = probe.measure(n, drift=False, method="products", tolerance=1e-10)
    dense = oracle.kernel(probe.network.model, probe.inputs, 1.0)
    spectrum = torch.fft.fft(dense[0]).real  # circulant: eigenvalues are the transform of the first row
    torch.testing.assert_close(some.eigenvalues, spectrum.sort(descending=True).values, rtol=1e-9, atol=1e-11)
    odd = [3, 5, 7, 9]
    assert float(spectrum[odd].abs().max()) <= 1e-12 * float(spectrum.max())
    is_null = some.eigenvalues <= 1e-11 * some.eigenvalues[0]
    assert int(is_null.sum()) == len(odd) and len(set(some.clusters[is_null].tolist())) == 1
    assert some.status is SolveStatus.CONVERGED


def test_mdot_at_a_kink_is_the_derivative_inside_the_activation_pattern():
    """A unit whose input is exactly zero counts as inactive; towards the active side M jumps, unseen by Mdot."""
    model = ReluNet(3)
    inputs = torch.tensor([[1.0, 0.0], [0.6, 0.8]], dtype=torch.float64)
    with torch.no_grad():
        model.first.weight[0] = torch.tensor([0.0, 1.0])  # orthogonal to the first input: exactly on its kink
    targets = torch.zeros(2, 1, dtype=torch.float64)
    probe = ef.Probe(model, inputs, targets, loss="half_sum")
    point = probe.at()
    direction = {n: torch.zeros_like(p) for n, p in point.parameters.items()}
    direction["first.weight"][0, 0] = 1.0  # towards the active side of the kink
    rate = point.dense_and_rate(direction)[1]

    def moved(step):
        other = copy.deepcopy(model)
        with torch.no_grad():
            other.first.weight[0, 0] += step
        return oracle.kernel(other, inputs, 1.0)

    here = moved(0.0)
    behind = (here - moved(-1e-6)) / 1e-6  # the inactive side: the pattern at the point
    torch.testing.assert_close(rate, behind, rtol=1e-5, atol=1e-8)
    torch.testing.assert_close(point.rate_product(torch.eye(2).double(), direction), rate, rtol=1e-12, atol=1e-13)
    jump = moved(1e-9) - here
    assert float(jump.norm()) > 1e-2  # the unit's weights enter J on the other side, and no derivative holds that


def test_gauge_free_quantities_do_not_depend_on_the_start():
    """Other random starts give other vectors inside clusters: sums over clusters stay."""
    net = AlignedLinearNet()
    found = []
    for block in (2, 5):
        probe = ef.Probe(*net.network(0.0), loss="half_sum")
        tracker = ModeTracker(11, block=block, tolerance=1e-10, generator=torch.Generator().manual_seed(block))
        some = probe.measure(tracker=tracker)
        sums = torch.zeros(int(some.clusters[-1]) + 1, dtype=torch.float64)
        energy = sums.clone().index_add_(0, some.clusters, some.coefficients.square())
        rates = sums.clone().index_add_(0, some.clusters, some.eigenvalue_rates)
        found.append((some.clusters.tolist(), energy, rates))
    assert found[0][0] == found[1][0] and max(found[0][0]) + 1 == 4
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-8, atol=1e-12)
    torch.testing.assert_close(found[0][2], found[1][2], rtol=1e-8, atol=1e-12)


def test_a_cluster_that_the_number_of_modes_cuts_says_that_its_vectors_mean_nothing():
    probe = ef.Probe(*AlignedLinearNet().network(0.0), loss="half_sum")
    some = probe.measure(10, method="products")  # the tenth of eleven modes, inside a group of four equal ones
    assert some.angle_bounds[7:].tolist() == [1.0] * 3 and float(some.angle_bounds[:7].max()) < 1e-3


@pytest.mark.long
def test_tracker_follows_training_and_labels_survive():
    model, inputs, targets = case(seed=1, count=50)
    probe = ef.Probe(model, inputs, targets, loss="half_mean")
    tracker = ModeTracker(6, tolerance=1e-6)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
    warm = 0
    for _ in range(8):
        some = probe.measure(tracker=tracker)
        exact = probe.measure(6, method="dense")
        torch.testing.assert_close(some.eigenvalues, exact.eigenvalues, rtol=2e-6, atol=0)
        assert bool(((some.eigenvalues - exact.eigenvalues).abs() <= some.eigenvalue_bounds + 1e-14).all())
        assert some.identity.labels.tolist() == list(range(6))
        warm += some.products < 40
        loss = 0.5 * (model(inputs) - targets).square().sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert warm >= 5


def test_interrupted_measurement_can_be_repeated_and_resumed():
    model, inputs, targets = case(seed=1)
    probe = ef.Probe(model, inputs, targets)
    tracker = ModeTracker(4)
    probe.measure(tracker=tracker)
    saved = tracker.state()
    with torch.no_grad():
        model[0].weight[0, 0] = torch.nan
    with pytest.raises(NonFiniteError):
        probe.measure(tracker=tracker)
    assert all(torch.equal(saved[name], tensor) for name, tensor in tracker.state().items())
    with torch.no_grad():
        model[0].weight[0, 0] = 0.1
    resumed = ModeTracker(4)
    resumed.load_state(saved)
    a, b = (probe.measure(tracker=t).eigenvalues for t in (tracker, resumed))
    torch.testing.assert_close(a, b, rtol=1e-4, atol=0)


def test_float32_products_reach_their_tolerance_and_say_which():
    probe = ef.Probe(*case(seed=2, count=60), loss="half_mean")
    some = probe.measure(5, method="products", product_dtype=torch.float32)
    exact = probe.measure(5, method="dense")
    assert "float32" in some.method
    torch.testing.assert_close(some.eigenvalues, exact.eigenvalues, rtol=1e-6, atol=0)
    torch.testing.assert_close(some.eigenvalue_rates, exact.eigenvalue_rates, rtol=1e-3, atol=1e-5)


def test_certificates_of_a_float32_probe_hold_for_the_operator_in_float64():
    """Network, factors and products in float32: weights, activations and sums are rounded, and the bounds, which see
    only the products, must still cover M as float64 has it. Followed through a training run by a tracker as well."""
    model, inputs, targets = case(seed=11, count=80)
    exact = ef.Probe(model, inputs, targets, loss="half_mean")
    rounded = ef.Probe(model, inputs, targets, loss="half_mean", dtype=torch.float32)
    tracker = ModeTracker(8, tolerance=1e-5)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    for _ in range(5):
        dense = torch.linalg.eigvalsh(exact.at().dense()).flip(0)[:8]
        for snapshot in (rounded.measure(tracker=tracker, drift=False), rounded.measure(8, method="products")):
            assert snapshot.status is SolveStatus.CONVERGED
            assert bool(((snapshot.eigenvalues - dense).abs() <= snapshot.eigenvalue_bounds).all())
            assert float((snapshot.eigenvalue_bounds / snapshot.eigenvalues).max()) < 1e-5
        optimizer.zero_grad()
        (0.5 * (model(inputs) - targets).square().sum(1).mean()).backward()
        optimizer.step()


def test_dead_network_has_zero_modes():
    """All units off for every input and no output bias: J = 0 but for what multiplies zeros, which is nothing."""
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2, bias=False)).double()
    with torch.no_grad():
        model[0].bias.fill_(-100.0)
    inputs, targets = samples(count=5)
    some = ef.Probe(model, inputs, targets).measure(4, method="products")
    assert some.status is SolveStatus.CONVERGED
    for name in ("eigenvalues", "eigenvalue_rates", "couplings", "residuals"):
        assert float(getattr(some, name).abs().max()) == 0.0
    assert some.position == 0.0 and some.trace == 0.0


def test_repeated_samples_and_more_modes_than_the_rank():
    """Each sample three times: rank at most a third of the rows; the modes beyond are null and one cluster."""
    model, inputs, targets = case(count=4)
    inputs, targets = inputs.repeat(3, 1), targets.repeat(3, 1)
    probe = ef.Probe(model, inputs, targets)
    some = probe.measure(20, method="products")
    expected = torch.linalg.eigvalsh(oracle.kernel(model, inputs, probe.factor)).flip(0)[:20]
    torch.testing.assert_close(some.eigenvalues, expected, rtol=1e-8, atol=1e-14)
    assert some.status is SolveStatus.CONVERGED and len(set(some.clusters[8:].tolist())) == 1


def test_networks_that_mix_samples_fall_back_and_say_so():
    model, inputs, targets = build("set")
    probe = ef.Probe(model, inputs, targets)
    some = probe.measure(3, method="products")
    expected = torch.linalg.eigvalsh(oracle.kernel(model, inputs, probe.factor)).flip(0)[:3]
    torch.testing.assert_close(some.eigenvalues, expected, rtol=1e-8, atol=0)
    assert some.method.startswith("products in float64, automatic differentiation: outputs of a sample depend on its")
    assert some.operator_error <= 1e-12


def test_auto_forms_small_operators_and_multiplies_with_large_ones():
    probe = ef.Probe(*case())
    assert probe.measure(3, drift=False).method.startswith("dense")
    large = ef.Probe(*case(count=1500))
    some = large.measure(3, drift=False)
    assert some.method.startswith("products")
    assert large.size == 3000


def test_progress_is_told():
    seen = []
    probe = ef.Probe(*case())
    probe.measure(4, method="products", progress=lambda products, converged: seen.append(converged))
    assert seen and seen[-1] == 4


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"modes": 3, "method": "lanczos"}, r"`method` must be one of 'auto', 'dense', 'products'.*'lanczos'"),
        ({"method": "products"}, r"`method='products'`.*`modes`"),
        ({"modes": 0, "method": "products"}, r"`modes` must be a positive whole number or None, but is 0"),
        ({"modes": 3, "method": "products", "tolerance": 0.0}, r"`tolerance`"),
        ({"modes": 3, "tracker": ModeTracker(4)}, r"`modes`.*tracker's, 4.*is 3"),
        ({"method": "dense", "tracker": ModeTracker(4)}, r"`tracker` works by products"),
    ],
)
def test_bad_requests_are_refused(arguments, message):
    probe = ef.Probe(*case())
    with pytest.raises(ArgumentError, match=message):
        probe.measure(**arguments)


@pytest.mark.rejects
def test_unconverged_pairs_raise_where_asked(monkeypatch):
    monkeypatch.setattr("eigenflow.linalg.solver.SEARCH_STEPS", 1)
    probe = ef.Probe(*case(count=200))
    with pytest.raises(ConvergenceError, match=r"float64"):
        probe.measure(3, method="products", product_dtype=torch.float32, tolerance=1e-13, require_converged=True)
