"""Every activation of torch.nn, module and function, between two linear layers."""

import torch
from torch import nn
from torch.nn import functional

from zoo.architecture import add
from zoo.families.parts import Fn, mlp, points

MODULES = {
    "identity": nn.Identity,
    "relu": nn.ReLU,
    "relu-in-place": lambda: nn.ReLU(inplace=True),
    "relu6": nn.ReLU6,
    "leaky-relu": nn.LeakyReLU,
    "leaky-relu-in-place": lambda: nn.LeakyReLU(0.2, inplace=True),
    "prelu": nn.PReLU,
    "prelu-per-channel": lambda: nn.PReLU(6),
    "rrelu-eval": nn.RReLU,
    "elu": nn.ELU,
    "elu-in-place": lambda: nn.ELU(inplace=True),
    "selu": nn.SELU,
    "celu": lambda: nn.CELU(0.7),
    "gelu": nn.GELU,
    "gelu-tanh": lambda: nn.GELU(approximate="tanh"),
    "silu": nn.SiLU,
    "silu-in-place": lambda: nn.SiLU(inplace=True),
    "mish": nn.Mish,
    "hardswish": nn.Hardswish,
    "hardsigmoid": nn.Hardsigmoid,
    "hardtanh": nn.Hardtanh,
    "hardtanh-in-place": lambda: nn.Hardtanh(-0.5, 0.7, inplace=True),
    "hardshrink": lambda: nn.Hardshrink(0.2),
    "softshrink": lambda: nn.Softshrink(0.2),
    "tanhshrink": nn.Tanhshrink,
    "softsign": nn.Softsign,
    "softplus": nn.Softplus,
    "softplus-sharp": lambda: nn.Softplus(beta=5.0, threshold=2.0),
    "logsigmoid": nn.LogSigmoid,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "threshold": lambda: nn.Threshold(0.1, -0.3),
    "softmax": lambda: nn.Softmax(dim=-1),
    "softmin": lambda: nn.Softmin(dim=-1),
    "log-softmax": lambda: nn.LogSoftmax(dim=-1),
}
HALVING = {"glu": lambda: nn.GLU(), "glu-axis-1": lambda: nn.GLU(dim=1)}

FUNCTIONS = {
    "snake": lambda s, h: h + torch.sin(s.a * h).square() / s.a,
    "swish-beta": lambda s, h: h * torch.sigmoid(s.a * h),
    "maxout": lambda s, h: h.reshape(len(h), 3, 2).amax(-1).repeat(1, 2),
    "crelu": lambda s, h: torch.cat([h[:, :3].relu(), (-h[:, :3]).relu()], -1),
    "squared-relu": lambda s, h: h.relu().square(),
    "abs": lambda s, h: h.abs(),
    "sine": lambda s, h: torch.sin(3 * h),
    "gaussian": lambda s, h: torch.exp(-h.square()),
    "erf": lambda s, h: torch.erf(h),
    "atan": lambda s, h: torch.atan(h) * 0.6,
    "logaddexp": lambda s, h: torch.logaddexp(h, torch.zeros_like(h)),
    "clamp": lambda s, h: h.clamp(-0.4, 0.8),
    "where": lambda s, h: torch.where(h > 0, h, 0.3 * torch.expm1(h)),
    "swiglu": lambda s, h: (functional.silu(h[:, :3]) * h[:, 3:]).repeat(1, 2),
    "lp-norm": lambda s, h: h / h.norm(dim=-1, keepdim=True),
    "normalize": lambda s, h: functional.normalize(h, dim=-1),
    "logsumexp": lambda s, h: h - h.logsumexp(-1, keepdim=True),
    "gumbel-free-softmax": lambda s, h: functional.softmax(h / s.a, -1),
    "polynomial": lambda s, h: h**3 - 0.5 * h**2 + h.pow(1.0),
    "power-of-positive": lambda s, h: functional.softplus(h) ** s.a,
    "bessel-and-lgamma": lambda s, h: torch.special.i0e(h) + torch.lgamma(1.5 + h.square()),
    "digamma": lambda s, h: torch.digamma(1.5 + h.square()),
}


def _with(function):
    def build():
        net = Fn(
            lambda s, x: s.outer(function(s, s.inner(x))),
            inner=nn.Linear(4, 6),
            outer=nn.Linear(6, 3),
            a=nn.Parameter(torch.tensor([1.3])),
        )
        return net, points()

    return build


for name, make in MODULES.items():
    add(f"mlp-{name}", lambda make=make: (mlp(make()), points()), family=__name__)
for name, make in HALVING.items():
    add(f"mlp-{name}", lambda make=make: (mlp(make(), inner=3), points()), family=__name__)
for name, function in FUNCTIONS.items():
    add(f"mlp-{name}", _with(function), family=__name__)
