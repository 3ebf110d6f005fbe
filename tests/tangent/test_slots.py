"""Tensors put into a module and taken out again: what it holds afterwards is what it held, place by place."""

import copy
import warnings
from collections import deque

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

import eigenflow as ef
from eigenflow.tangent.model.network import Network
from eigenflow.tangent.model.slots import Slots, plain_name
from reference.kernel_rates import Flow, assert_measured


class Shared(nn.Module):
    """One block under two names, one table at both ends, a list and a dict of free parameters."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(5, 4)
        self.left = self.right = nn.Linear(4, 4)
        self.gains = nn.ParameterList([nn.Parameter(torch.rand(4)), nn.Parameter(torch.rand(4))])
        self.named = nn.ParameterDict({"shift": nn.Parameter(torch.rand(4))})
        self.head = nn.Linear(4, 5, bias=False)
        self.head.weight = self.table.weight

    def forward(self, tokens):
        hidden = self.table(tokens).mean(1)
        hidden = torch.tanh(self.left(hidden) * self.gains[0]) + self.named["shift"]
        return self.head(torch.tanh(self.right(hidden)) * self.gains[1])


class Remembers(nn.Module):
    """Writes attributes, a list, a dict, a set, a queue and a cache of lists while it runs."""

    def __init__(self):
        super().__init__()
        self.inner, self.outer = nn.Linear(3, 4), nn.Linear(4, 2)
        self.last, self.losses, self.cache, self.seen = None, [], {"kept": 1}, set()
        self.recent, self.deep = deque(maxlen=2), {"layers": [{"keys": [1]}]}

    def forward(self, x):
        hidden = torch.tanh(self.inner(x))
        self.last, self.fresh = hidden, hidden.mean()
        self.losses.append(hidden.square().sum())
        self.cache[len(x)] = hidden
        self.seen.add(len(x))
        self.inner.activation = hidden
        self.recent.append(hidden)
        self.deep["layers"][0]["keys"].append(hidden)
        return self.outer(hidden)


class Counts(nn.Module):
    """Buffers that every call writes into, one of which the outputs depend on."""

    def __init__(self):
        super().__init__()
        self.inner, self.outer = nn.Linear(3, 4), nn.Linear(4, 2)
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))
        self.register_buffer("scale", torch.ones(4))

    def forward(self, x):
        self.calls += 1
        self.scale.mul_(0.5).add_(1.0)
        return self.outer(torch.tanh(self.inner(x)) * self.scale)


def with_spectral_norm():
    return nn.Sequential(parametrizations.spectral_norm(nn.Linear(3, 4)), nn.Tanh(), nn.Linear(4, 2)).eval()


def with_orthogonal():
    return nn.Sequential(parametrizations.orthogonal(nn.Linear(3, 3)), nn.Tanh(), nn.Linear(3, 2))


def with_weight_norm():
    return nn.Sequential(parametrizations.weight_norm(nn.Linear(3, 4)), nn.Tanh(), nn.Linear(4, 2))


def with_old_weight_norm():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return nn.Sequential(nn.utils.weight_norm(nn.Linear(3, 4)), nn.Tanh(), nn.Linear(4, 2))


class Recurrent(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.core, self.head = kind(3, 4, num_layers=2, batch_first=True), nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.core(x[:, None, :].expand(-1, 3, -1))[0][:, -1])


BUILDS = {
    "shared": Shared,
    "remembers": Remembers,
    "counts": Counts,
    "spectral norm": with_spectral_norm,
    "orthogonal": with_orthogonal,
    "weight norm": with_weight_norm,
    "old weight norm": with_old_weight_norm,
    "gru": lambda: Recurrent(nn.GRU),
    "lstm": lambda: Recurrent(nn.LSTM),
}


def build(name):
    torch.manual_seed(3)
    model = BUILDS[name]().double()
    inputs = torch.randint(0, 5, (4, 3)) if name == "shared" else torch.randn(4, 3, dtype=torch.float64)
    return model, inputs, torch.randn(4, 5 if name == "shared" else 2, dtype=torch.float64)


def contents(model):
    """Everything that a module's attributes hold, by place: the objects themselves, and copies of their values."""
    found = {}
    for number, module in enumerate(model.modules()):
        for key, value in module.__dict__.items():
            found[number, key] = (value, None)
            if isinstance(value, dict):
                found.update({(number, key, "item", k): (v, None) for k, v in value.items()})
                found[number, key, "order"] = (None, list(value))
            elif isinstance(value, list | set):
                found[number, key, "ids"] = (None, [id(x) for x in value])
    tensors = {
        ("value", n): (t, (t.detach().clone(), t.requires_grad)) for n, t in model.state_dict(keep_vars=True).items()
    }
    return {**found, **tensors}


def assert_unchanged(model, before):
    after = contents(model)
    assert list(after) == list(before)
    for place, (value, copied) in before.items():
        now, now_copied = after[place]
        is_plain = value is None or isinstance(value, bool | int | float | str)
        assert now == value if is_plain else now is value, place
        if place[0] == "value":
            assert torch.equal(now_copied[0], copied[0]) and now_copied[1] is copied[1], place
        else:
            assert now_copied == copied, place


@pytest.mark.parametrize("name", BUILDS)
def test_measuring_leaves_every_place_as_it_was_and_is_right(name):
    model, inputs, targets = build(name)
    flow, before = Flow(build(name)[0], inputs, targets, is_own=True), contents(model)
    probe = ef.Probe(model, inputs, targets)
    assert_unchanged(model, before)
    snapshot = probe.measure()
    assert_unchanged(model, before)
    probe.measure(modes=2, method="products")
    assert_unchanged(model, before)
    assert_measured(snapshot, flow)


@pytest.mark.parametrize("name", ["shared", "remembers", "counts", "gru"])
def test_training_goes_on_after_a_measurement(name):
    """A step of SGD on the probed model is that on a twin that was never probed, bit for bit."""
    model, inputs, targets = build(name)
    twin = copy.deepcopy(model)
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.1, momentum=0.9) for m in (model, twin)]
    probe = ef.Probe(model, inputs, targets)
    for _ in range(3):
        probe.measure()
        for one, optimizer in zip((model, twin), optimizers, strict=True):
            optimizer.zero_grad()
            (one(inputs) - targets).square().mean().backward()
            optimizer.step()
    for a, b in zip(model.state_dict().values(), twin.state_dict().values(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", BUILDS)
def test_an_exception_in_the_body_leaves_everything_as_it_was(name):
    model, *_ = build(name)
    before, slots = contents(model), Slots(model)
    with pytest.raises(KeyboardInterrupt), slots.holding({n: t.detach() + 1 for n, t in slots.tensors().items()}):
        raise KeyboardInterrupt
    assert_unchanged(model, before)


def test_every_place_of_a_tensor_holds_the_other_one():
    model, *_ = build("shared")
    other = {n: t.detach() + 1 for n, t in Slots(model).tensors().items()}
    assert set(other) == set(dict(model.named_parameters()))
    with Slots(model).holding(other):
        assert model.head.weight is model.table.weight is other["table.weight"]
        assert model.left.weight is model.right.weight is other["left.weight"]
        assert model.gains[1] is other["gains.1"] and model.named["shift"] is other["named.shift"]


def test_recurrent_layers_compute_with_what_is_put_in():
    """Their forward pass reads `_flat_weights`, a list beside the parameters."""
    model, inputs, _ = build("lstm")
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for p in twin.parameters():
            p.add_(0.1)
    network = Network(model, torch.float64)
    parameters, rest = network.state()
    found = network.apply({n: p + 0.1 for n, p in parameters.items()}, rest, inputs)
    torch.testing.assert_close(found, twin(inputs).detach(), rtol=1e-14, atol=1e-15)


def test_every_evaluation_sees_the_buffers_as_they_are():
    """The buffers stay where training left them, and a copy is written into: call after call gives the same."""
    model, inputs, targets = build("counts")
    model(inputs)
    expected = copy.deepcopy(model)(inputs).detach()
    probe = ef.Probe(model, inputs, targets)
    assert probe.network.written == {"calls", "scale"}
    state = probe.state()
    for _ in range(3):
        torch.testing.assert_close(probe.network.apply(*state, probe.inputs), expected, rtol=0, atol=1e-15)
    assert int(model.calls) == int(state[1]["calls"]) == 1


def test_what_forward_has_kept_in_collections_is_put_back():
    model, inputs, targets = build("remembers")
    model(inputs)
    kept = [list(model.losses), list(model.recent), list(model.deep["layers"][0]["keys"]), dict(model.cache)]
    ef.Probe(model, inputs[:3], targets[:3]).measure()
    now = [list(model.losses), list(model.recent), list(model.deep["layers"][0]["keys"]), dict(model.cache)]
    assert [len(x) for x in now] == [1, 1, 2, 2] and model.recent.maxlen == 2 and model.seen == {4}
    assert all(a is b for x, y in zip(kept[:3], now[:3], strict=True) for a, b in zip(x, y, strict=True))
    assert all(now[3][key] is value for key, value in kept[3].items())


def test_frozen_and_thawed_layers_keep_their_marks():
    model, inputs, targets = build("shared")
    model.left.weight.requires_grad_(False)
    before = contents(model)
    snapshot = ef.Probe(model, inputs, targets).measure()
    assert_unchanged(model, before)
    assert_measured(snapshot, Flow(model, inputs, targets))


def test_old_weight_norm_puts_its_weight_back():
    """Its hook writes `weight` as a plain attribute before every call; the one that stays is the user's."""
    model, inputs, targets = build("old weight norm")
    kept = model[0].weight
    ef.Probe(model, inputs, targets).measure()
    assert model[0].weight is kept


def test_names_are_the_users():
    assert plain_name("_orig_mod.block._checkpoint_wrapped_module.0.weight") == "block.0.weight"
    assert plain_name("head.weight") == "head.weight"
