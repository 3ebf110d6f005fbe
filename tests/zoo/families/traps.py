"""Ordinary Python in a forward pass that swapping parameters, mapping over samples or forward mode stumbles over."""

import functools
import random

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations, parametrize

from zoo.architecture import add
from zoo.families.parts import Fn, points


def _mlp(forward, **attributes):
    return Fn(forward, inner=nn.Linear(4, 6), outer=nn.Linear(6, 3), **attributes), points()


def _plain_list():
    """Registered parameters, also held in a plain list, and used from there."""
    net, x = _mlp(
        lambda s, x: functional.linear(torch.tanh(functional.linear(x, s.weights[0], s.inner.bias)), s.weights[1])
    )
    net.weights = [net.inner.weight, net.outer.weight]
    return net, x


def _closure():
    net, x = _mlp(None)
    weight = net.outer.weight
    net.function = lambda s, x: torch.tanh(s.inner(x)) @ weight.mT + s.outer.bias
    return net, x


def _partial():
    net, x = _mlp(lambda s, x: s.project(torch.tanh(s.inner(x))))
    net.project = functools.partial(functional.linear, weight=net.outer.weight, bias=net.outer.bias)
    return net, x


def _double(build):
    """In place, so that whoever holds a parameter still does."""
    net, x = build()
    for p in net.parameters():
        p.data = p.data.double()
    return net, x.double()


def _bound_method():
    net, x = _mlp(lambda s, x: s.call(torch.tanh(s.inner(x))))
    net.call = net.outer.forward
    return net, x


def _own_parameters():
    """The sum of its own weights' norms beside the outputs."""

    def forward(s, x):
        size = sum(p.square().sum() for p in s.parameters())
        return s.outer(torch.tanh(s.inner(x))) * torch.exp(-0.1 * size)

    return _mlp(forward)


def _own_state_dict():
    def forward(s, x):
        state = s.state_dict()
        return s.outer(torch.tanh(s.inner(x))) + 0.1 * state["inner.bias"][:3]

    return _mlp(forward)


def _type_asserted():
    def forward(s, x):
        assert isinstance(s.inner.weight, nn.Parameter)
        return s.outer(torch.tanh(s.inner(x)))

    return _mlp(forward)


def _asks_requires_grad():
    def forward(s, x):
        h = s.inner(x)
        return s.outer(torch.tanh(h) if s.inner.weight.requires_grad else torch.sigmoid(h))

    return _mlp(forward)


def _asks_grad_mode():
    """A shortcut for inference that is another function."""

    def forward(s, x):
        h = s.inner(x)
        return s.outer(torch.tanh(h) if torch.is_grad_enabled() else h)

    return _mlp(forward)


def _weight_data():
    """Quantised by `.data`: the gradient is that of the weights themselves."""

    def forward(s, x):
        w = s.inner.weight
        w = w + ((w.data * 4).round() / 4 - w.data)
        return s.outer(torch.tanh(functional.linear(x, w, s.inner.bias)))

    return _mlp(forward)


def _data_branch():
    def forward(s, x):
        gate = torch.sigmoid(s.inner(x)).data
        return s.outer(gate * s.inner(x))

    return _mlp(forward)


def _seeds_itself():
    def forward(s, x):
        torch.manual_seed(0)
        return s.outer(torch.tanh(s.inner(x)) + 0.1 * torch.randn(6).to(x.dtype))

    return _mlp(forward)


def _seeds_others():
    def forward(s, x):
        np.random.seed(0)  # noqa: NPY002 - as people write it
        random.seed(0)
        shift = float(np.random.rand()) + random.random()  # noqa: NPY002
        return s.outer(torch.tanh(s.inner(x) + shift))

    return _mlp(forward)


def _annealed():
    """A temperature that falls with every call."""

    def forward(s, x):
        s.calls += 1
        return s.outer(torch.softmax(s.inner(x) * (1 + 0.1 * s.calls), -1))

    return _mlp(forward, calls=0)


def _bare_squeeze():
    return Fn(
        lambda s, x: s.outer(torch.tanh(s.inner(x))).squeeze(), inner=nn.Linear(4, 6), outer=nn.Linear(6, 1)
    ), points()


def _bare_squeeze_inside():
    """squeeze() of (n, 1, 6): with one sample the sample axis would go too."""
    return _mlp(lambda s, x: s.outer(torch.tanh(s.inner(x[:, None])).squeeze().reshape(-1, 6)))


def _fixed_batch():
    return _mlp(lambda s, x: s.outer(torch.tanh(s.inner(x)).view(5, 6)))


def _checks_values():
    def forward(s, x):
        h = torch.tanh(s.inner(x))
        if torch.isnan(h).any() or not torch.isfinite(x).all():
            raise ValueError("not finite")
        assert (h.abs() <= 1).all()
        return s.outer(h)

    return _mlp(forward)


def _numpy_on_inputs():
    def forward(s, x):
        features = np.sort(x.detach().numpy(), -1)
        return s.outer(torch.tanh(s.inner(torch.from_numpy(features.copy()).to(x.dtype))))

    return _mlp(forward)


def _list_over_samples():
    return _mlp(lambda s, x: torch.stack([s.outer(torch.tanh(s.inner(row))) for row in x]))


def _scripted_function():
    @torch.jit.script
    def activation(h: torch.Tensor) -> torch.Tensor:
        return h * torch.sigmoid(1.702 * h)

    return _mlp(lambda s, x: s.outer(activation(s.inner(x))))


def _traced_graph():
    return torch.fx.symbolic_trace(nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))), points()


def _exported():
    net = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))
    return torch.export.export(net, (points(),)).module(), points()


def _parametrize_cached():
    def forward(s, x):
        with parametrize.cached():
            return s.outer(torch.tanh(s.inner(torch.tanh(s.inner(x)))))

    return Fn(forward, inner=parametrizations.weight_norm(nn.Linear(4, 4)), outer=nn.Linear(4, 3)), points()


def _features_by_hook():
    kept = {}
    net, x = _mlp(lambda s, x: s.outer(s.body(x)) + kept["first"].mean(-1, keepdim=True))
    net.body = nn.Sequential(net.inner, nn.Tanh())
    net.inner.register_forward_hook(lambda module, args, output: kept.__setitem__("first", output))
    return net, x


def _clamps_itself():
    def forward(s, x):
        with torch.no_grad():
            s.inner.weight.clamp_(-0.2, 0.2)
        return s.outer(torch.tanh(s.inner(x)))

    return _mlp(forward)


def _child_uses_parent():
    class Child(nn.Module):
        def forward(self, h):
            return h * self.parent.scale

    net, x = _mlp(
        lambda s, x: s.outer(torch.tanh(s.child(s.inner(x)))), child=Child(), scale=nn.Parameter(torch.rand(6))
    )
    object.__setattr__(net.child, "parent", net)
    return net, x


def _deep_copy():
    """A copy of a layer made in forward, as a target that is not trained."""
    import copy

    def forward(s, x):
        target = copy.deepcopy(s.inner).requires_grad_(False)
        return s.outer(torch.tanh(s.inner(x)) - 0.5 * torch.tanh(target(x)))

    return _mlp(forward)


BUILDERS = {
    "bound-forward": _bound_method,
    "sums-its-own-parameters": _own_parameters,
    "reads-its-state-dict": _own_state_dict,
    "weight-data": _weight_data,
    "gate-by-data": _data_branch,
    "seeds-torch-itself": _seeds_itself,
    "seeds-numpy-and-python": _seeds_others,
    "bare-squeeze-inside": _bare_squeeze_inside,
    "fixed-batch-size": _fixed_batch,
    "checks-values": _checks_values,
    "numpy-on-inputs": _numpy_on_inputs,
    "list-over-samples": _list_over_samples,
    "scripted-function-inside": _scripted_function,
    "fx-graph-module": _traced_graph,
    "parametrize-cached": _parametrize_cached,
    "features-by-hook": _features_by_hook,
    "child-uses-parent": _child_uses_parent,
}
for name, build in BUILDERS.items():
    add(name, build, family=__name__)
add("bare-squeeze", _bare_squeeze, family=__name__, losses=("mse",))
add(
    "batch-statistics-in-chunks",
    lambda: (
        nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6, track_running_stats=False), nn.Tanh(), nn.Linear(6, 3)),
        points(6),
    ),
    family=__name__,
    options={"memory_budget": 60_000},
    refusal="samples meet, and the budget holds some of them only",
)
PAST_SLOTS = "parameters are reached past the slots of their modules"
for name, build, reason in (
    ("weights-in-a-plain-list", _plain_list, PAST_SLOTS),
    ("weights-in-a-plain-list-double", lambda: _double(_plain_list), PAST_SLOTS),
    ("weight-by-closure-double", lambda: _double(_closure), PAST_SLOTS),
    ("weight-by-partial-double", lambda: _double(_partial), PAST_SLOTS),
    ("asserts-parameter-type", _type_asserted, "parameters are not replaced by tensors where they are insisted on"),
    ("asks-requires-grad", _asks_requires_grad, "another function where weights need no gradient"),
    ("asks-grad-mode", _asks_grad_mode, "another function where gradients are off"),
    ("annealed-by-calls", _annealed, "every call is another function"),
    ("copies-a-layer-in-forward", _deep_copy, "only leaves can be copied"),
    ("clamps-its-weights", _clamps_itself, "the forward pass changes the weights"),
):
    add(name, build, family=__name__, refusal=reason)
add("exported-program", _exported, family=__name__, is_training=True, refusal="an exported graph")
