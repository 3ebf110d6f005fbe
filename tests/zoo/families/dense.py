"""Fully connected networks of every shape: deep, residual, densely connected, bilinear, gated, frozen in parts."""

import torch
from torch import nn

from zoo.architecture import add
from zoo.families.parts import Fn, points


class Residual(nn.Module):
    """Pre-norm residual block."""

    def __init__(self, size=5):
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(size), nn.Linear(size, 8), nn.Linear(8, size)

    def forward(self, x):
        return x + self.down(torch.relu(self.up(self.norm(x))))


class DenseNet(nn.Module):
    """Every layer sees all before it."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(4 + 3 * k, 3) for k in range(3))
        self.head = nn.Linear(13, 3)

    def forward(self, x):
        for layer in self.layers:
            x = torch.cat([x, torch.tanh(layer(x))], -1)
        return self.head(x)


class Highway(nn.Module):
    """Gated carry."""

    def __init__(self):
        super().__init__()
        self.h, self.t, self.head = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x):
        gate = torch.sigmoid(self.t(x))
        return self.head(gate * torch.tanh(self.h(x)) + (1 - gate) * x)


def _frozen():
    net = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 3))
    net[0].requires_grad_(False)
    net[2].bias.requires_grad_(False)
    return net, points()


def _parameter_list():
    net = Fn(
        lambda s, x: torch.tanh(x @ s.weights[0] + s.biases["a"]) @ s.weights[1] + s.biases["b"],
        weights=nn.ParameterList([nn.Parameter(torch.randn(4, 6) / 2), nn.Parameter(torch.randn(6, 3) / 2)]),
        biases=nn.ParameterDict({"a": nn.Parameter(torch.zeros(6)), "b": nn.Parameter(torch.randn(3))}),
    )
    return net, points()


def _lazy():
    net = nn.Sequential(nn.LazyLinear(6), nn.Tanh(), nn.LazyLinear(3))
    net(points())
    return net, points()


def _scalars():
    net = Fn(
        lambda s, x: s.scale * s.head(torch.tanh(s.sharpness * s.inner(x))) + s.shift,
        scale=nn.Parameter(torch.tensor(1.5)),
        sharpness=nn.Parameter(torch.tensor([0.7])),
        shift=nn.Parameter(torch.tensor(0.2)),
        inner=nn.Linear(4, 6),
        head=nn.Linear(6, 3),
    )
    return net, points()


def _unused():
    net = Fn(
        lambda s, x: s.head(torch.tanh(s.inner(x))), inner=nn.Linear(4, 6), head=nn.Linear(6, 3), never=nn.Linear(5, 5)
    )
    net.dead = nn.Parameter(torch.randn(2))
    return net, points()


def _single_output():
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1)), points()


def _scalar_output():
    net = Fn(lambda s, x: s.head(torch.tanh(s.inner(x))).squeeze(-1), inner=nn.Linear(4, 6), head=nn.Linear(6, 1))
    return net, points()


def _bilinear():
    net = Fn(
        lambda s, x: s.head(torch.tanh(s.mix(x, s.inner(x)))),
        mix=nn.Bilinear(4, 3, 5),
        inner=nn.Linear(4, 3),
        head=nn.Linear(5, 3),
    )
    return net, points()


def _low_rank():
    net = Fn(
        lambda s, x: torch.tanh(x @ s.u @ s.v) @ s.w,
        u=nn.Parameter(torch.randn(4, 2)),
        v=nn.Parameter(torch.randn(2, 6)),
        w=nn.Parameter(torch.randn(6, 3)),
    )
    return net, points()


def _tensor_outputs():
    net = Fn(lambda s, x: s.head(torch.tanh(s.inner(x))).reshape(-1, 2, 3), inner=nn.Linear(4, 6), head=nn.Linear(6, 6))
    return net, points()


def _squared_parameters():
    net = Fn(
        lambda s, x: x @ (s.u.square() - s.v.square()),
        u=nn.Parameter(torch.randn(4, 3)),
        v=nn.Parameter(torch.randn(4, 3)),
    )
    return net, points()


def _one_dimensional():
    net = Fn(lambda s, x: s.head(torch.tanh(s.inner(x[:, None]))), inner=nn.Linear(1, 6), head=nn.Linear(6, 3))
    return net, torch.randn(5)


def _mixed_precision_buffer():
    net = Fn(lambda s, x: s.head(torch.tanh(s.inner(x) * s.scale)), inner=nn.Linear(4, 6), head=nn.Linear(6, 3))
    net.register_buffer("scale", torch.rand(6).half())
    return net, points()


BUILDERS = {
    "linear": lambda: (nn.Linear(4, 3), points()),
    "linear-without-bias": lambda: (nn.Linear(4, 3, bias=False), points()),
    "deep-linear": lambda: (nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 5), nn.Linear(5, 3)), points()),
    "deep-tanh": lambda: (
        nn.Sequential(*[m for _ in range(5) for m in (nn.Linear(4, 4), nn.Tanh())], nn.Linear(4, 3)),
        points(),
    ),
    "residual-mlp": lambda: (nn.Sequential(nn.Linear(4, 5), Residual(), Residual(), nn.Linear(5, 3)), points()),
    "densely-connected": lambda: (DenseNet(), points()),
    "highway": lambda: (Highway(), points()),
    "frozen-parts": _frozen,
    "parameter-list-and-dict": _parameter_list,
    "lazy-after-first-call": _lazy,
    "scalar-parameters": _scalars,
    "unused-parameters": _unused,
    "bilinear": _bilinear,
    "low-rank": _low_rank,
    "outputs-with-two-axes": _tensor_outputs,
    "diagonal-linear": _squared_parameters,
    "inputs-without-features": _one_dimensional,
    "half-precision-buffer": _mixed_precision_buffer,
    "dropout-eval": lambda: (
        nn.Sequential(nn.Linear(4, 6), nn.Dropout(0.5), nn.Tanh(), nn.AlphaDropout(0.2), nn.Linear(6, 3)),
        points(),
    ),
    "one-sample": lambda: (nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)), points(1)),
    "more-samples-than-parameters": lambda: (nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 2)), points(12, 2)),
    "cosine-classifier": lambda: (
        Fn(
            lambda s, x: (
                s.scale
                * nn.functional.linear(
                    nn.functional.normalize(s.inner(x), dim=-1), nn.functional.normalize(s.classes, dim=-1)
                )
            ),
            inner=nn.Linear(4, 6),
            classes=nn.Parameter(torch.randn(3, 6)),
            scale=nn.Parameter(torch.tensor(4.0)),
        ),
        points(),
    ),
}
for name, build in BUILDERS.items():
    add(name, build, family=__name__)
for name, build in {"one-output": _single_output, "output-without-axis": _scalar_output}.items():
    add(name, build, family=__name__, losses=("mse",))
add(
    "dropout-of-zero-in-train-mode",
    lambda: (nn.Sequential(nn.Linear(4, 6), nn.Dropout(0.0), nn.Tanh(), nn.Linear(6, 3)), points()),
    family=__name__,
    is_training=True,
)
