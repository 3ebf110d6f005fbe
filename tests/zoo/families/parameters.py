"""Parameters, weights and outputs of unusual kinds: subclasses, empty, flat, mixed, repeated, tiny, singular."""

import torch
from torch import nn
from torch.nn import functional

from zoo.architecture import add
from zoo.families.parts import Fn, points


def _mlp(forward, **attributes):
    return Fn(forward, inner=nn.Linear(4, 6), outer=nn.Linear(6, 3), **attributes), points()


class Weights(nn.Parameter):
    """A parameter of one's own class, marked for an optimizer."""


def _parameter_subclass():
    net, x = _mlp(lambda s, x: s.outer(torch.tanh(s.inner(x))))
    net.inner.weight = Weights(net.inner.weight.detach())
    net.inner.weight.no_decay = True
    return net, x


def _transposed_parameter():
    net, x = _mlp(lambda s, x: s.outer(torch.tanh(x @ s.w)), w=nn.Parameter(torch.randn(6, 4).t()))
    return net, x


def _empty_parameter():
    return _mlp(lambda s, x: s.outer(torch.tanh(s.inner(x))) + s.none.sum(), none=nn.Parameter(torch.empty(0, 3)))


def _integer_parameter():
    return _mlp(
        lambda s, x: s.outer(torch.tanh(s.inner(x)) * s.factor),
        factor=nn.Parameter(torch.tensor(2), requires_grad=False),
    )


def _mixed_types():
    net = Fn(
        lambda s, x: s.outer(torch.tanh(s.inner(x)).to(s.outer.weight.dtype)),
        inner=nn.Linear(4, 6),
        outer=nn.Linear(6, 3).double(),
    )
    return net, points()


def _flat_parameter():
    def forward(s, x):
        w, b, v = s.flat.split([24, 6, 18])
        return torch.tanh(functional.linear(x, w.view(6, 4), b)) @ v.view(6, 3)

    return Fn(forward, flat=nn.Parameter(torch.randn(48) / 2)), points()


def _constant():
    return Fn(lambda s, x: s.value.expand(len(x), 3) + 0 * x[:, :3], value=nn.Parameter(torch.randn(3))), points()


def _repeated_outputs():
    return Fn(lambda s, x: torch.tanh(s.inner(x))[:, :, None].expand(-1, -1, 2), inner=nn.Linear(4, 3)), points()


def _scaled_outputs(scale):
    return lambda: _mlp(lambda s, x: scale * s.outer(torch.tanh(s.inner(x))))


def _masked_rows():
    """Softmax over rows of which some are masked altogether."""

    def forward(s, x):
        logits = s.inner(x).masked_fill((x[:, :1] > 0.5) | (torch.arange(6) > 3), float("-inf"))
        return s.outer(torch.nan_to_num(torch.softmax(logits, -1)))

    return _mlp(forward)


def _centres_on_data():
    """Radial basis functions started at the samples: distances of exactly zero."""
    x = points()
    net = Fn(
        lambda s, x: s.out(torch.exp(-torch.cdist(x, s.centres).square())),
        centres=nn.Parameter(x[:3].clone()),
        out=nn.Linear(3, 3),
    )
    return net, x


def _zero_vector_normalised():
    x = points()
    x[0] = 0
    net = Fn(
        lambda s, x: s.outer(functional.normalize(s.inner(x), dim=-1)),
        inner=nn.Linear(4, 6, bias=False),
        outer=nn.Linear(6, 3),
    )
    return net, x


def _nan_gradient():
    """sqrt at zero behind where: the value is fine, the gradient is not a number."""
    return _mlp(lambda s, x: s.outer(torch.where(s.inner(x) > 0, s.inner(x).clamp(min=0).sqrt(), 0.0)))


BUILDERS = {
    "parameter-subclass": _parameter_subclass,
    "transposed-parameter": _transposed_parameter,
    "empty-parameter": _empty_parameter,
    "integer-parameter": _integer_parameter,
    "mixed-parameter-types": _mixed_types,
    "flat-parameter": _flat_parameter,
    "constant-predictor": _constant,
    "zero-vector-normalised": _zero_vector_normalised,
}
for name, build in BUILDERS.items():
    add(name, build, family=__name__)
add("repeated-outputs", _repeated_outputs, family=__name__, losses=("mse",))
add("tiny-outputs", _scaled_outputs(1e-9), family=__name__, losses=("mse",))
add("huge-outputs", _scaled_outputs(1e9), family=__name__, losses=("mse",))
for name, build, reason in (
    ("masked-rows", _masked_rows, "transposed derivatives are not numbers behind softmax over nothing"),
    ("rbf-centres-on-data", _centres_on_data, "distances of zero have no second derivative"),
    ("nan-gradient", _nan_gradient, "the gradient is not a number"),
    (
        "lazy-before-first-call",
        lambda: (nn.Sequential(nn.LazyLinear(6), nn.Tanh(), nn.LazyLinear(3)), points()),
        "parameters without a shape",
    ),
):
    add(name, build, family=__name__, refusal=reason)
