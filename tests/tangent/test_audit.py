"""What a measurement is held against: what is wrong by 1e-6 is found, what is right is let pass, and why is said."""

import pytest
import torch
from torch import nn

import eigenflow as ef
from eigenflow.core.errors import ModelError
from eigenflow.tangent import probe as probing
from eigenflow.tangent.audit import OPERATOR_TOLERANCE, audit, audit_rows
from eigenflow.tangent.loss.base import SquaredLoss
from eigenflow.tangent.rules.uses import LinearRule
from problems import samples, tanh_net
from reference.kernel_rates import Flow, assert_measured

INPUTS, TARGETS = samples()


def setting(model=None, scales=False):
    model = tanh_net() if model is None else model
    probe = ef.Probe(model, INPUTS, TARGETS)
    scaled = {n: torch.rand_like(p) + 0.1 for n, p in model.named_parameters()} if scales else None
    point = probe.at(preconditioner=scaled)
    direction = point.descent()
    rows = audit_rows(point)
    return point, rows, point.product(rows), point.rate_product(rows[:2], direction), direction


def test_right_products_hold_to_rounding():
    for scales in (False, True):
        point, _, images, rates, direction = setting(scales=scales)
        found = audit(point, images, rates, direction)
        assert found.holds and found.error < 1e-13 and found.unexplained == (0.0, 0.0)
        assert found.way == "reverse over reverse" and "J^T e" in found.summary
        assert audit(point, images).rate_error is None


@pytest.mark.parametrize("layer", ["0.weight", "0.bias", "2.weight", "2.bias"])
@pytest.mark.parametrize("scales", [False, True])
def test_one_layer_s_part_of_m_wrong_by_1e_6_is_found(layer, scales):
    point, rows, images, rates, direction = setting(scales=scales)
    part = point.product(rows, [layer])
    found = audit(point, images + 1e-6 * part, rates, direction)
    assert not found.holds and "M differs from plain reverse mode" in found.reason
    share = float(part[:2].norm() / images[:2].norm())
    assert 0.01e-6 * share < found.product_error < 10e-6 * share
    assert found.unexplained[0] > 0


@pytest.mark.parametrize("layer", ["0.weight", "0.bias", "2.weight"])
def test_one_layer_s_part_of_mdot_wrong_by_1e_6_is_found(layer):
    point, rows, images, rates, direction = setting()
    part = point.rate_product(rows[:2], direction, [layer])
    found = audit(point, images, rates + 1e-6 * part, direction)
    assert not found.holds and "Mdot differs" in found.reason
    assert found.product_error < 1e-13 and found.unexplained[1] > 0


def test_a_gradient_wrong_by_1e_6_is_found(monkeypatch):
    """An error that is not the one of the loss: M e is held against the gradient of the loss's own value."""
    right = SquaredLoss.error
    monkeypatch.setattr(SquaredLoss, "error", lambda self, z, y: right(self, z, y) * (1 + 1e-6))
    point, _, images, rates, direction = setting()
    found = audit(point, images, rates, direction)
    assert found.product_error == pytest.approx(1e-6, rel=2)
    with pytest.raises(ModelError, match="cannot be measured: M differs"):
        ef.Probe(tanh_net(), INPUTS, TARGETS).measure(drift=False)


def wrong_rule(monkeypatch, width, by):
    right = LinearRule.weight_factors

    def wrong(self, x, signal, samples):
        found = right(self, x, signal, samples)
        return [type(f)(f.inputs * by, f.signals, f.is_transposed) for f in found] if self.outs == width else found

    monkeypatch.setattr(LinearRule, "weight_factors", wrong)


@pytest.mark.parametrize("method", ["dense", "products"])
@pytest.mark.parametrize("by", [2.0, 1.0 + 1e-7])
def test_a_wrong_rule_is_left_for_its_own_layer_alone(monkeypatch, method, by):
    wrong_rule(monkeypatch, 5, by)
    probe = ef.Probe(tanh_net(), INPUTS, TARGETS)
    snapshot = probe.measure(12, method=method)
    assert_measured(snapshot, Flow(tanh_net(), INPUTS, TARGETS))
    said = snapshot.method.partition("; layer rules for the rest")
    assert said[1] and "0.weight" in said[0] and "2.weight" not in said[0]
    assert probe.structure.covered == {"2.weight", "2.bias"}
    assert probe.measure(12, method=method).method == snapshot.method  # it stays with it
    if method == "dense":
        assert "its layer rule does not hold here" in said[0]


def test_a_rule_wrong_in_every_layer_leaves_none(monkeypatch):
    right = LinearRule.weight_factors
    monkeypatch.setattr(
        LinearRule,
        "weight_factors",
        lambda self, x, g, n: [type(f)(2.0 * f.inputs, f.signals, f.is_transposed) for f in right(self, x, g, n)],
    )
    snapshot = ef.Probe(tanh_net(), INPUTS, TARGETS).measure()
    assert_measured(snapshot, Flow(tanh_net(), INPUTS, TARGETS))
    assert "layer rules do not hold: M differs from plain reverse mode" in snapshot.method


@pytest.mark.parametrize("method", ["dense", "products"])
@pytest.mark.parametrize("drift", [False, True])
def test_right_rules_are_used_with_and_without_rates(drift, method):
    snapshot = ef.Probe(tanh_net(), INPUTS, TARGETS).measure(12, drift=drift, method=method)
    assert "layer rules for all parameters" in snapshot.method
    assert_measured(snapshot, Flow(tanh_net(), INPUTS, TARGETS))


@pytest.mark.parametrize("drift", [False, True])
def test_a_layer_inside_vmap_has_no_rule_and_is_measured(drift):
    class Each(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = tanh_net()

        def forward(self, x):
            return torch.vmap(self.net)(x)

    snapshot = ef.Probe(Each(), INPUTS, TARGETS).measure(drift=drift)
    assert_measured(snapshot, Flow(tanh_net(), INPUTS, TARGETS))


class Centre(nn.Module):
    def forward(self, x):
        return x - x.mean(0)


def test_the_first_layer_that_mixes_samples_is_named():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), Centre(), nn.Linear(4, 4), Centre(), nn.Linear(4, 2)).double()
    snapshot = ef.Probe(model, INPUTS, TARGETS).measure()
    assert "outputs of a sample depend on its batch, from layer '2' (Centre) on" in snapshot.method
    assert_measured(snapshot, Flow(model, INPUTS, TARGETS))


class _Half(torch.autograd.Function):
    """tanh with a backward pass of half its derivative, and a second one that has nothing to do with it."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.tanh()

    @staticmethod
    def backward(ctx, gradient):
        return _HalfSlope.apply(ctx.saved_tensors[0], gradient)


class _HalfSlope(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, gradient):
        ctx.save_for_backward(x, gradient)
        return 0.5 * (1 - x.tanh().square()) * gradient

    @staticmethod
    def backward(ctx, gradient):
        x, before = ctx.saved_tensors
        return 7.0 * gradient * before, 0.5 * (1 - x.tanh().square()) * gradient


def no_grad_gate(x):
    with torch.no_grad():
        gate = torch.sigmoid(3.0 * x)
    return x * gate


class Acts(nn.Module):
    def __init__(self, act):
        super().__init__()
        torch.manual_seed(5)
        self.inner, self.outer, self.act = nn.Linear(3, 4), nn.Linear(4, 2), act
        self.double()

    def forward(self, x):
        return self.outer(torch.tanh(self.act(self.inner(x))))


HIDDEN = {
    "straight through": lambda x: x + (torch.sin(3.0 * x) - x).detach(),
    "detached gate": lambda x: x * torch.sigmoid(3.0 * x).detach(),
    "gate under no_grad": no_grad_gate,
    "data": lambda x: x * x.data.sin(),
    "custom function": _Half.apply,
    "through numpy": lambda x: x * torch.from_numpy(x.detach().numpy().copy()).sin(),
}


@pytest.mark.long
@pytest.mark.parametrize("method", ["dense", "products"])
@pytest.mark.parametrize("name", HIDDEN)
def test_gradients_that_are_not_the_derivative_have_the_rate_of_the_path(name, method):
    """M is that of the gradient, which trains; its rate is how that M moves, by differences of this test's own."""
    model = Acts(HIDDEN[name])
    snapshot = ef.Probe(model, INPUTS[:3], TARGETS[:3]).measure(6, method=method)
    assert_measured(snapshot, Flow(model, INPUTS[:3], TARGETS[:3]), step=1e-3, rate_error=1e-6)
    assert "Mdot by central differences" in snapshot.audit
    assert snapshot.operator_error < 1e-6


def relu_net(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 9), nn.ReLU(), nn.Linear(9, 8), nn.ReLU(), nn.Linear(8, 2)).double()


@pytest.mark.long
@pytest.mark.parametrize(("method", "seeds"), [("dense", 20), ("products", 5)])
def test_networks_with_kinks_are_measured(method, seeds):
    """Inside the pattern M is smooth, and steps of 1e-6 of a unit pass no kink for these seeds."""
    for seed in range(seeds):
        model, (inputs, targets) = relu_net(seed), samples(seed=seed)
        snapshot = ef.Probe(model, inputs, targets).measure(12, method=method)
        assert snapshot.operator_error < 1e-11
        assert "reverse over reverse" in snapshot.audit
        assert "layer rules for all parameters" in snapshot.method
        assert_measured(snapshot, Flow(model, inputs, targets), step=1e-6, rate_error=1e-6)


@pytest.mark.long
def test_single_precision_is_measured():
    """Against float64 at the same parameters: some units of float32's rounding, relative to the largest."""
    for seed in range(10):
        model, (inputs, targets) = (tanh_net if seed % 2 else relu_net)(seed), samples(seed=seed)
        model, inputs, targets = model.float(), inputs.float(), targets.float()
        single = ef.Probe(model, inputs, targets, dtype=torch.float32).measure(4)
        double = ef.Probe(model, inputs, targets).measure(4)
        for name in ("eigenvalues", "eigenvalue_rates"):
            a, b = getattr(single, name), getattr(double, name)
            assert float((a - b).abs().max()) <= 1e-4 * float(b.abs().max())
        assert single.operator_error <= 100 * torch.finfo(torch.float32).eps


@pytest.mark.parametrize("method", ["dense", "products"])
def test_nothing_moves_at_the_end_of_training(method):
    """With outputs as targets the gradient is zero, and so is every rate."""
    model = tanh_net()
    snapshot = ef.Probe(model, INPUTS, model(INPUTS).detach()).measure(12, method=method)
    assert snapshot.loss == pytest.approx(0.0, abs=1e-30)
    assert float(snapshot.eigenvalue_rates.abs().max()) <= 1e-14 * float(snapshot.eigenvalues[0])
    assert snapshot.operator_error < 1e-9


@pytest.mark.parametrize("method", ["dense", "products"])
@pytest.mark.parametrize("width", [1, 2])
def test_linear_networks_have_no_rates(width, method):
    """M of a linear map is f X X^T, whatever its weight; of one parameter per output, too."""
    torch.manual_seed(0)
    model = nn.Linear(3, width, bias=False).double()
    snapshot = ef.Probe(model, INPUTS, TARGETS[:, :width]).measure(3, method=method)
    expected = torch.linalg.eigvalsh(2 / (6 * width) * INPUTS @ INPUTS.T).flip(0).repeat_interleave(width)[:3]
    torch.testing.assert_close(snapshot.eigenvalues, expected, rtol=1e-8, atol=0)
    assert not snapshot.eigenvalue_rates.any() and snapshot.operator_error <= OPERATOR_TOLERANCE


class Clips(nn.Module):
    """Writes into its own parameters while it runs."""

    def __init__(self, write):
        super().__init__()
        torch.manual_seed(1)
        self.inner, self.outer, self.write = nn.Linear(3, 4), nn.Linear(4, 2), write
        self.double()

    def forward(self, x):
        with torch.no_grad():
            self.write(self.inner.weight)
        return self.outer(torch.tanh(self.inner(x)))


WRITES = {
    "clip": lambda w: w.clamp_(-0.3, 0.3),
    "clip data": lambda w: w.data.clamp_(-0.3, 0.3),
    "normalise": lambda w: w.div_(w.norm(dim=1, keepdim=True)),
    "normalise by copy": lambda w: w.copy_(w / w.norm(dim=1, keepdim=True)),
}


@pytest.mark.parametrize("method", ["dense", "products"])
@pytest.mark.parametrize("name", WRITES)
def test_parameters_written_in_forward_are_measured_as_they_train(name, method):
    """A step starts from what forward has written. At the bound of a clip the rate has two sides, and is left out."""
    model, trained = Clips(WRITES[name]), Clips(WRITES[name])
    trained(INPUTS)
    kept = model.inner.weight.detach().clone()
    snapshot = ef.Probe(model, INPUTS, TARGETS).measure(12, method=method, drift="clip" not in name)
    assert torch.equal(model.inner.weight, kept)
    assert_measured(snapshot, Flow(trained, INPUTS, TARGETS), step=1e-3, rate_error=1e-6)


@pytest.mark.parametrize("method", ["dense", "products"])
@pytest.mark.parametrize("name", ["clip", "clip data"])
def test_rates_at_a_bound_are_refused(name, method, monkeypatch):
    """Weights at a bound stay there if they are driven outwards, and move if inwards: no number is the rate.

    That is said once it is known: the slower ways of measuring would be held against the same, for minutes.
    """
    tried, attempt = [], f"attempt_{method}"
    made = getattr(probing, attempt)
    monkeypatch.setattr(probing, attempt, lambda *args, **named: tried.append(method) or made(*args, **named))
    probe = ef.Probe(Clips(WRITES[name]), INPUTS, TARGETS)
    with pytest.raises(ModelError, match=r"one ahead and another behind.*drift=False"):
        probe.measure(12, method=method)
    assert len(tried) == 1
    wide = ef.Probe(Clips(lambda w: w.clamp_(-9, 9)), INPUTS, TARGETS)  # no weight is at this bound
    assert wide.measure(12, method=method).is_converged.all()


def test_hidden_motion_is_seen_in_single_precision():
    """Differences of float32 leave about 3e-4 of a rate; without the hidden part it would be another one."""
    model = Acts(HIDDEN["detached gate"])
    double = ef.Probe(model, INPUTS, TARGETS).measure(4)
    probe = ef.Probe(model.float(), INPUTS.float(), TARGETS.float(), dtype=torch.float32)
    single = probe.measure(4)
    assert "central differences" in single.audit
    a, b = single.eigenvalue_rates, double.eigenvalue_rates
    assert float((a - b).abs().max()) <= 2e-3 * float(b.abs().max())
