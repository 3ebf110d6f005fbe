"""What stands around a model in training scripts: taken off, or refused with a remedy that works."""

import copy
import sys
import types
import warnings

import pytest
import torch
import torch.distributed as dist
from torch import nn

import eigenflow as ef
from eigenflow.core.errors import ModelError
from eigenflow.tangent.model.wrappers import unwrapped
from problems import samples, tanh_net
from reference.kernel_rates import Flow, assert_measured

INPUTS, TARGETS = samples()


@pytest.fixture(scope="module")
def one_process(tmp_path_factory):
    store = dist.FileStore(str(tmp_path_factory.mktemp("group") / "store"), 1)
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.fixture(autouse=True)
def _without_compiled_code():
    yield
    torch.compiler.reset()


def compiled_parts():
    model = tanh_net()
    model[0] = torch.compile(model[0], backend="eager")
    return model


def compiled_in_place():
    model = tanh_net()
    model.compile(backend="eager")
    return model


def compiled_in_place_below():
    model = tanh_net()
    model[2].compile(backend="eager")
    return model


WRAPPED = {
    "data parallel": lambda: nn.DataParallel(tanh_net()),
    "compiled": lambda: torch.compile(tanh_net(), backend="eager"),
    "compiled parts": compiled_parts,
    "compiled in place": compiled_in_place,
    "compiled in place below": compiled_in_place_below,
    "compiled data parallel": lambda: torch.compile(nn.DataParallel(tanh_net()), backend="eager"),
    "distributed": lambda: nn.parallel.DistributedDataParallel(tanh_net()),
    "compiled distributed": lambda: torch.compile(nn.parallel.DistributedDataParallel(tanh_net()), backend="eager"),
    "distributed compiled": lambda: nn.parallel.DistributedDataParallel(torch.compile(tanh_net(), backend="eager")),
}


@pytest.mark.long
@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize("name", WRAPPED)
def test_a_wrapped_model_is_measured_as_the_one_inside(name):
    model = WRAPPED[name]()
    probe = ef.Probe(model, INPUTS, TARGETS)
    assert sorted(probe.at().parameters) == ["0.bias", "0.weight", "2.bias", "2.weight"]
    assert_measured(probe.measure(), Flow(tanh_net(), INPUTS, TARGETS))
    again = probe.measure(3, method="products")
    torch.testing.assert_close(again.eigenvalues, probe.measure(3).eigenvalues, rtol=1e-10, atol=0)


@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize("name", ["compiled", "distributed", "compiled parts"])
def test_the_wrapper_goes_on_training(name):
    """Two steps with a measurement between them against two steps of the bare network; rounding of fused kernels."""
    model, bare = WRAPPED[name](), tanh_net()
    probe = ef.Probe(model, INPUTS, TARGETS)
    for one in (model, bare):
        optimizer = torch.optim.SGD(one.parameters(), lr=0.1)
        for _ in range(2):
            optimizer.zero_grad()
            (one(INPUTS) - TARGETS).square().mean().backward()
            optimizer.step()
            if one is model:
                probe.measure(2)
    for a, b in zip(model.parameters(), bare.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-13, atol=1e-15)


def test_a_direction_with_the_wrapper_s_names_is_understood():
    model = torch.compile(tanh_net(), backend="eager")
    probe = ef.Probe(model, INPUTS, TARGETS)
    gradient = torch.autograd.grad((model(INPUTS) - TARGETS).square().mean(), list(model.parameters()))
    direction = {n: -g for (n, _), g in zip(model.named_parameters(), gradient, strict=True)}
    assert all(n.startswith("_orig_mod.") for n in direction)
    assert_measured(probe.measure(direction=direction), Flow(tanh_net(), INPUTS, TARGETS))


def test_bare_modules_are_left_alone():
    model = tanh_net()
    assert unwrapped(model) is model
    assert unwrapped(nn.DataParallel(model)) is model


def refused(model, match, inputs=INPUTS):
    with pytest.raises(ModelError, match=match):
        ef.Probe(model, inputs, TARGETS)


@pytest.mark.rejects
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_scripted_and_traced_modules_are_refused_also_inside():
    for made in (torch.jit.script(tanh_net()), torch.jit.trace(tanh_net(), INPUTS)):
        refused(made, "scripted or traced.*Pass the nn.Module that it was made from")
        refused(nn.Sequential(made), "scripted or traced")


@pytest.mark.rejects
def test_parameters_without_values_are_refused_by_name():
    refused(tanh_net().to("meta"), r"'0\.weight' that has no values \(meta device\)")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        refused(nn.Sequential(nn.LazyLinear(2)).double(), r"'0\.weight' without a shape.*Run one forward pass")
        model = nn.Sequential(nn.LazyLinear(2)).double()
    model(INPUTS)
    assert_measured(ef.Probe(model, INPUTS, TARGETS).measure(drift=False), Flow(model, INPUTS, TARGETS))


@pytest.mark.rejects
def test_sparse_and_complex_parameters_are_refused_by_name():
    model = tanh_net()
    model[2].weight = nn.Parameter(model[2].weight.detach().to_sparse())
    refused(model, r"'2\.weight' that is not a plain tensor \(torch.sparse_coo\)")
    model = tanh_net()
    model.register_parameter("phase", nn.Parameter(torch.zeros(2, dtype=torch.complex128)))
    refused(model, r"complex trainable parameter 'phase'.*view_as_complex\(parameter\)")
    model.phase.requires_grad_(False)
    assert_measured(ef.Probe(model, INPUTS, TARGETS).measure(drift=False), Flow(tanh_net(), INPUTS, TARGETS))


class Rotates(nn.Module):
    """The remedy for complex parameters: a real one, joined in forward."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.inner, self.phase = nn.Linear(3, 2), nn.Parameter(torch.randn(2, 2))

    def forward(self, x):
        return (self.inner(x) * torch.view_as_complex(self.phase)).abs().square()


def test_real_and_imaginary_parts_in_one_parameter_are_measured():
    model = Rotates().double()
    assert_measured(ef.Probe(model, INPUTS, TARGETS).measure(), Flow(model, INPUTS, TARGETS))


@pytest.mark.rejects
def test_a_gradient_hook_is_refused_and_its_remedies_work():
    model = tanh_net()
    handle = model[0].weight.register_hook(lambda g: 0.5 * g)
    refused(model, r"gradient hook on parameter '0\.weight'.*handle\.remove\(\).*preconditioner=")
    handle.remove()
    probe = ef.Probe(model, INPUTS, TARGETS)
    assert_measured(probe.measure(drift=False), Flow(model, INPUTS, TARGETS))
    scales = {n: torch.full_like(p, 0.5 if n == "0.weight" else 1.0) for n, p in model.named_parameters()}
    flat = torch.cat([s.reshape(-1) for s in scales.values()])
    snapshot = probe.measure(at=probe.at(preconditioner=scales))
    assert_measured(snapshot, Flow(model, INPUTS, TARGETS, scales=flat))


def test_a_tracker_s_hook_is_no_reason_to_refuse(monkeypatch):
    """What it does is to look: a function defined in a module of that name."""
    module = types.ModuleType("wandb.hooks")
    exec("def look(gradient):\n    seen.append(gradient)\nseen = []", module.__dict__)
    monkeypatch.setitem(sys.modules, "wandb.hooks", module)
    model = tanh_net()
    model[0].weight.register_hook(module.look)
    assert_measured(ef.Probe(model, INPUTS, TARGETS).measure(), Flow(tanh_net(), INPUTS, TARGETS))
    assert not module.seen


@pytest.mark.rejects
def test_parameters_spread_over_processes_are_refused_with_their_names():
    class Spread(nn.Parameter):
        def full_tensor(self):
            return self.detach().clone()

    model = tanh_net()
    model[2].bias = Spread(model[2].bias.detach())
    refused(model, r"'2\.bias' spread over processes \(Spread\).*full_tensor\(\)")
    twin = tanh_net()
    with torch.no_grad():
        twin[2].bias.copy_(model[2].bias.full_tensor())
    ef.Probe(twin, INPUTS, TARGETS).measure()


@pytest.mark.rejects
def test_other_parameters_than_at_the_start_are_named():
    model = tanh_net()
    model[0].bias.requires_grad_(False)
    probe = ef.Probe(model, INPUTS, TARGETS)
    probe.measure(2)
    model[0].bias.requires_grad_(True)
    model[2].weight.requires_grad_(False)
    with pytest.raises(ModelError, match=r"2\.weight no longer and 0\.bias now trainable.*make a new probe"):
        probe.measure(2)
    model[0].bias.requires_grad_(False)
    model[2].weight.requires_grad_(True)
    assert_measured(probe.measure(), Flow(model, INPUTS, TARGETS))
    model[0] = nn.Linear(3, 7).double()
    with pytest.raises(ModelError, match=r"0\.bias now trainable"):
        probe.measure(2)


@pytest.mark.rejects
def test_replaced_parameters_are_measured_or_refused_by_shape():
    model = tanh_net()
    probe = ef.Probe(model, INPUTS, TARGETS)
    model[0].weight = nn.Parameter(0.5 * model[0].weight.detach())
    assert_measured(probe.measure(), Flow(copy.deepcopy(model), INPUTS, TARGETS))
    model[0].weight = nn.Parameter(torch.zeros(6, 3, dtype=torch.float64))
    with pytest.raises(ModelError, match=r"another shape in '0\.weight'.*\(6, 3\) instead of \(5, 3\)"):
        probe.measure(2)
    del model[0].weight
    with pytest.raises(ModelError, match=r"0\.weight no longer"):
        probe.measure(2)
