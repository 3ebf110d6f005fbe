"""The identity of an update on networks with kinks, and on ones for which it does not hold."""

import itertools
import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

import eigenflow as ef
from eigenflow.tangent.loss.base import SquaredLoss
from eigenflow.trajectory import gradient_identity, measure_step, path_identity
from eigenflow.trajectory import identity as module

# The band of the claim, and what the path average is asked for.
BAND, AIM = 1e-10, 2e-12


def mlp(activation, seed=0, hidden=16):
    torch.manual_seed(seed)
    layers = [nn.Linear(4, hidden), activation(), nn.Linear(hidden, hidden), activation(), nn.Linear(hidden, 2)]
    return nn.Sequential(*layers).double(), torch.randn(12, 4, dtype=torch.float64)


class MaxOut(nn.Module):
    """Maxima of pairs."""

    def forward(self, x):
        return nn.functional.max_pool1d(x[:, None], 2)[:, 0].repeat(1, 2)


def cnn(seed=0):
    torch.manual_seed(seed)
    layers = [nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 2), nn.ReLU(), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(16, 2)).double(), torch.randn(12, 1, 8, 8, dtype=torch.float64)


NETWORKS = {
    "relu": lambda: mlp(nn.ReLU),
    "leaky": lambda: mlp(nn.LeakyReLU),
    "hardtanh": lambda: mlp(nn.Hardtanh),
    "max": lambda: mlp(MaxOut),
    "cnn": cnn,
}


def updated(model, inputs, rate, loss="mse", seed=0):
    """A probe, and its states before and after an update of gradient descent."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randn(len(inputs), 2, generator=generator, dtype=torch.float64)
    targets = targets if loss != "cross_entropy" else targets.argmax(1)
    probe = ef.Probe(model, inputs, targets, loss=loss)
    before, gradient = probe.state(), probe.at().gradient()
    return probe, before, ({n: p - rate * gradient[n] for n, p in before[0].items()}, before[1])


def plain_miss(probe, before, after):
    """What eight Gauss nodes over the whole path miss."""
    path = module.Path.of(probe, before, after)
    return float(path.misses.norm() / (path.start.norm() + path.curved.norm()))


@pytest.mark.long
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("rate", [0.05, 0.2])
@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
def test_identity_holds_to_rounding_on_networks_with_kinks(network, rate, loss):
    """An identity, so that what is left is rounding and the error that is stated: a hundredth of the claim's band."""
    found = path_identity(*updated(*NETWORKS[network](), rate, loss))
    assert found.share == 1.0
    assert found.residual <= found.error <= AIM


def test_plain_quadrature_misses_kinks_by_far():
    """The cases above test something: without splitting, the miss is far outside of the band."""
    misses = [plain_miss(*updated(*make(), 1.0)) for make in NETWORKS.values()]
    assert min(misses) > 1e3 * BAND


@pytest.mark.long
@pytest.mark.parametrize("loss", [nn.functional.smooth_l1_loss, nn.functional.cross_entropy])
def test_losses_known_by_their_function_alone(loss):
    """The roots of single samples are those of the whole set."""
    model, inputs = NETWORKS["relu"]()
    torch.manual_seed(3)
    targets = torch.randn(12, 2, dtype=torch.float64)
    targets = targets.argmax(1) if loss is nn.functional.cross_entropy else targets.sign()
    function = nn.functional.cross_entropy if loss is nn.functional.cross_entropy else _log_cosh
    probe = ef.Probe(model, inputs, targets, loss=lambda z, y: function(z, y))
    before, gradient = probe.state(), probe.at().gradient()
    found = path_identity(probe, before, ({n: p - 0.5 * gradient[n] for n, p in before[0].items()}, before[1]))
    assert found.share == 1.0 and found.residual <= found.error <= AIM


def _log_cosh(outputs, targets):
    return torch.log(torch.cosh(outputs - targets)).mean()


def test_a_smooth_network_is_evaluated_as_often_as_there_are_nodes():
    model, inputs = mlp(nn.Tanh)
    probe, before, after = updated(model, inputs, 0.05)
    calls = []
    hook = model.register_forward_hook(lambda *_: calls.append(0))
    found = path_identity(probe, before, after)
    hook.remove()
    assert found.share == 1.0 and found.residual <= found.error < AIM
    # A node takes two passes, one with its derivative; and there are the two ends.
    assert len(calls) == 2 * module.PATH_NODES + 2


def test_a_long_update_of_a_smooth_network_is_resolved_too():
    """Eight nodes are too few for it."""
    args = updated(*mlp(nn.Tanh), 4.0)
    assert plain_miss(*args) > BAND
    found = path_identity(*args)
    assert found.share > 0 and found.residual <= found.error <= AIM


def test_samples_that_meet_are_integrated_together():
    """In train mode batch norm has no path of a single sample. One kink of all samples each is too much for this."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3, track_running_stats=False), nn.ReLU(), nn.Linear(3, 2))
    probe, before, after = updated(model.double(), torch.randn(4, 4, dtype=torch.float64), 2.0)
    assert probe.structure is None and plain_miss(probe, before, after) > BAND
    found = path_identity(probe, before, after)
    assert found.share in (0.0, 1.0)
    assert found.residual <= found.error


def test_a_spent_budget_says_that_nothing_is_known(monkeypatch):
    """The interval of the residual then holds zero: a row cannot be contradicted by it."""
    monkeypatch.setattr(module, "EVALUATIONS", 0)
    monkeypatch.setattr(module, "WORK", 0)
    monkeypatch.setattr(module, "WHOLE", 20)
    model, _ = NETWORKS["relu"]()
    found = path_identity(*updated(model, torch.randn(12, 4, dtype=torch.float64), 1.0))
    assert found.share < 1.0
    assert found.residual - found.error <= 0 or found.residual <= AIM


class _Rectify(torch.autograd.Function):
    """ReLU whose derivative is wrong by a part of itself."""

    generate_vmap_rule = True
    wrong = 0.0

    @staticmethod
    def forward(x):
        return x.clamp(min=0)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(inputs[0])
        ctx.save_for_forward(inputs[0])

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return (1.0 + _Rectify.wrong) * grad * (x > 0)

    @staticmethod
    def jvp(ctx, dx):
        (x,) = ctx.saved_tensors
        return (1.0 + _Rectify.wrong) * dx * (x > 0)


class Rectify(nn.Module):
    def forward(self, x):
        return _Rectify.apply(x)


class Straight(torch.autograd.Function):
    """A step whose derivative is said to be one."""

    @staticmethod
    def forward(ctx, x):
        return x.sign()

    @staticmethod
    def backward(ctx, grad):
        return grad


class Sign(nn.Module):
    def forward(self, x):
        return Straight.apply(x)


@pytest.mark.long
@pytest.mark.parametrize("wrong", [0.0, 1e-6])
def test_a_wrong_derivative_is_found_among_kinks(wrong, monkeypatch):
    """Wrong by a millionth: far below what plain quadrature misses at the kinks, and found."""
    monkeypatch.setattr(_Rectify, "wrong", wrong)
    args = updated(*mlp(Rectify), 1.0)
    assert plain_miss(*args) > 1e-6
    found = path_identity(*args)
    assert found.share > 0.5
    assert (found.residual - found.error > BAND) == (wrong > 0)


def test_a_surrogate_derivative_of_steps_is_found():
    found = path_identity(*updated(*mlp(Sign), 0.002))
    assert found.share > 0 and found.residual - found.error > 1e-3


@dataclass(frozen=True)
class WrongRoot(SquaredLoss):
    """A squared loss whose root is wrong by a millionth."""

    def spread(self, outputs: Tensor, targets: Tensor, rows: Tensor) -> Tensor:
        return (1.0 + 1e-6) * super().spread(outputs, targets, rows)


@pytest.mark.long
@pytest.mark.parametrize("network", NETWORKS)
def test_a_loss_with_a_wrong_root_is_found(network):
    found = path_identity(*updated(*NETWORKS[network](), 0.2, WrongRoot()))
    assert found.share > 0 and found.residual - found.error > BAND


def test_a_network_with_numbers_of_its_own_is_no_function_of_its_parameters():
    """The miss is its noise, no error of the average. Random numbers of PyTorch would be the same at each pass."""

    calls = itertools.count()

    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 2).double()

        def forward(self, x):
            return self.linear(x) + 1e-4 * math.sin(next(calls) ** 2)

    torch.manual_seed(0)
    inputs = torch.randn(12, 4, dtype=torch.float64)
    probe = ef.Probe(Noisy(), inputs, torch.randn(12, 2, dtype=torch.float64), check_determinism=False)
    before, gradient = probe.state(), probe.at().gradient()
    found = path_identity(probe, before, ({n: p - 0.1 * gradient[n] for n, p in before[0].items()}, before[1]))
    assert found.share == 1.0 and found.residual - found.error > 1e-6


def test_float32_says_that_rounding_is_in_the_way():
    """Its own rounding is 1e-7: no residual of such a record decides on 1e-10."""
    model, inputs = NETWORKS["relu"]()
    targets = torch.randn(12, 2, generator=torch.Generator().manual_seed(0))
    probe = ef.Probe(model.float(), inputs.float(), targets, dtype=torch.float32)
    before, gradient = probe.state(), probe.at().gradient()
    found = path_identity(probe, before, ({n: p - 0.1 * gradient[n] for n, p in before[0].items()}, before[1]))
    assert found.residual - found.error <= 0 < BAND < found.error


@pytest.mark.long
def test_records_hold_the_error_and_the_share():
    model, inputs = NETWORKS["relu"]()
    probe, before, after = updated(model, inputs, 0.5)
    one, found = measure_step(probe, before, after, 0.5), path_identity(probe, before, after)
    assert (one.identity_residual, one.identity_error, one.identity_share) == (
        found.residual,
        found.error,
        found.share,
    )
    assert gradient_identity(probe, before, after) == found.residual
