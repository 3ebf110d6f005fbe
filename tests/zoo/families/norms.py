"""Normalisation of activations and weights, apart from batch norm."""

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations, parametrize
from torch.nn.utils import spectral_norm as old_spectral_norm
from torch.nn.utils import weight_norm as old_weight_norm

from zoo.architecture import add
from zoo.families.parts import Fn, image, points


def _mlp(norm):
    return nn.Sequential(nn.Linear(4, 6), norm, nn.Tanh(), nn.Linear(6, 3))


def _cnn(norm):
    return nn.Sequential(nn.Conv2d(2, 4, 3), norm, nn.Tanh(), nn.Flatten(), nn.Linear(64, 3))


def _randomised(model):
    """Scales and shifts as training leaves them, not 1 and 0."""
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return model


ON_POINTS = {
    "layer-norm": lambda: nn.LayerNorm(6),
    "layer-norm-without-affine": lambda: nn.LayerNorm(6, elementwise_affine=False),
    "layer-norm-without-bias": lambda: nn.LayerNorm(6, bias=False),
    "rms-norm": lambda: nn.RMSNorm(6),
    "rms-norm-without-affine": lambda: nn.RMSNorm(6, eps=1e-5, elementwise_affine=False),
    "rms-norm-by-hand": lambda: Fn(
        lambda s, h: s.g * h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + 1e-6), g=nn.Parameter(torch.ones(6))
    ),
    "group-norm-on-points": lambda: nn.GroupNorm(2, 6),
    "scale-norm": lambda: Fn(
        lambda s, h: s.g * h / h.norm(dim=-1, keepdim=True).clamp(min=1e-5), g=nn.Parameter(torch.tensor(2.0))
    ),
    "standardised-by-std": lambda: Fn(lambda s, h: (h - h.mean(-1, keepdim=True)) / (h.std(-1, keepdim=True) + 1e-5)),
    "dynamic-tanh": lambda: Fn(
        lambda s, h: s.g * torch.tanh(s.a * h) + s.b,
        a=nn.Parameter(torch.tensor(0.5)),
        g=nn.Parameter(torch.ones(6)),
        b=nn.Parameter(torch.zeros(6)),
    ),
}
ON_IMAGES = {
    "group-norm": lambda: nn.GroupNorm(2, 4),
    "group-norm-one-group": lambda: nn.GroupNorm(1, 4),
    "group-norm-without-affine": lambda: nn.GroupNorm(2, 4, affine=False),
    "instance-norm": lambda: nn.InstanceNorm2d(4),
    "instance-norm-affine": lambda: nn.InstanceNorm2d(4, affine=True),
    "instance-norm-running": lambda: nn.InstanceNorm2d(4, affine=True, track_running_stats=True),
    "local-response-norm": lambda: nn.LocalResponseNorm(3),
    "layer-norm-on-three-axes": lambda: nn.LayerNorm((4, 4, 4)),
    "layer-norm-channels-first": lambda: Fn(
        lambda s, h: functional.layer_norm(h.permute(0, 2, 3, 1), (4,), s.w, s.b).permute(0, 3, 1, 2),
        w=nn.Parameter(torch.ones(4)),
        b=nn.Parameter(torch.zeros(4)),
    ),
    "global-response-norm": lambda: Fn(
        lambda s, h: h + s.g * h * (n := h.norm(dim=(2, 3), keepdim=True)) / (n.mean(1, keepdim=True) + 1e-6),
        g=nn.Parameter(torch.ones(1, 4, 1, 1)),
    ),
}
for name, make in ON_POINTS.items():
    add(name, lambda make=make: (_randomised(_mlp(make())), points()), family=__name__)
for name, make in ON_IMAGES.items():
    add(name, lambda make=make: (_randomised(_cnn(make())), image(3)), family=__name__)


def _instance_1d():
    net = nn.Sequential(
        nn.Conv1d(2, 4, 2), nn.InstanceNorm1d(4, affine=True), nn.Tanh(), nn.Flatten(), nn.Linear(20, 3)
    )
    return _randomised(net), torch.randn(4, 2, 6)


def _instance_3d():
    net = nn.Sequential(
        nn.Conv3d(1, 2, 2), nn.InstanceNorm3d(2, affine=True), nn.Tanh(), nn.Flatten(), nn.Linear(16, 3)
    )
    return _randomised(net), torch.randn(3, 1, 3, 3, 3)


class Orthogonal(nn.Module):
    """A parametrization of one's own: skew-symmetric part through the Cayley map."""

    def forward(self, x):
        skew = x.triu(1) - x.triu(1).mT
        eye = torch.eye(len(x), dtype=x.dtype)
        return torch.linalg.solve(eye + skew, eye - skew)


class Symmetric(nn.Module):
    """torch's own example."""

    def forward(self, x):
        return x.triu() + x.triu(1).mT


def _spectral(wrap):
    net = nn.Sequential(wrap(nn.Linear(4, 6)), nn.Tanh(), wrap(nn.Linear(6, 3)))
    for _ in range(3):
        net(points())
    return net.eval(), points()


def _parametrized(rule):
    net = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 3))
    parametrize.register_parametrization(net[0], "weight", rule())
    return net, points()


def _removed():
    net = nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 6)), nn.Tanh(), nn.Linear(6, 3))
    parametrize.remove_parametrizations(net[0], "weight")
    return net, points()


BUILDERS = {
    "instance-norm-1d-affine": _instance_1d,
    "instance-norm-3d-affine": _instance_3d,
    "weight-norm": lambda: (
        nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 6)), nn.Tanh(), nn.Linear(6, 3)),
        points(),
    ),
    "weight-norm-conv": lambda: (
        nn.Sequential(parametrizations.weight_norm(nn.Conv1d(2, 3, 3)), nn.Tanh(), nn.Flatten(), nn.Linear(12, 3)),
        torch.randn(4, 2, 6),
    ),
    "weight-norm-whole": lambda: (
        nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 6), dim=None), nn.Tanh(), nn.Linear(6, 3)),
        points(),
    ),
    "weight-norm-old": lambda: (nn.Sequential(old_weight_norm(nn.Linear(4, 6)), nn.Tanh(), nn.Linear(6, 3)), points()),
    "weight-norm-removed": _removed,
    "spectral-norm-eval": lambda: _spectral(parametrizations.spectral_norm),
    "spectral-norm-old-eval": lambda: _spectral(old_spectral_norm),
    "orthogonal-parametrization": lambda: (
        nn.Sequential(parametrizations.orthogonal(nn.Linear(4, 4)), nn.Tanh(), nn.Linear(4, 3)),
        points(),
    ),
    "orthogonal-cayley": lambda: (
        nn.Sequential(
            parametrizations.orthogonal(nn.Linear(4, 4), orthogonal_map="cayley"), nn.Tanh(), nn.Linear(4, 3)
        ),
        points(),
    ),
    "orthogonal-householder": lambda: (
        nn.Sequential(
            parametrizations.orthogonal(nn.Linear(4, 6), orthogonal_map="householder"), nn.Tanh(), nn.Linear(6, 3)
        ),
        points(),
    ),
    "own-parametrization-cayley": lambda: _parametrized(Orthogonal),
    "own-parametrization-symmetric": lambda: _parametrized(Symmetric),
}
for name, build in BUILDERS.items():
    add(name, build, family=__name__)
add(
    "spectral-norm-train",
    lambda: (nn.Sequential(parametrizations.spectral_norm(nn.Linear(4, 6)), nn.Tanh(), nn.Linear(6, 3)), points()),
    family=__name__,
    is_training=True,
    refusal="power iterations move at every call",
)
