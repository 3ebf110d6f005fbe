"""Batch norm: in eval, and on the batch's own statistics, where samples meet."""

import torch
from torch import nn
from torch.nn import functional

from zoo.architecture import add
from zoo.families.parts import Fn, image, points


def _mlp(norm):
    net = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), norm, nn.Linear(6, 3))
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return net


def _warm(net, x):
    net.train()
    for _ in range(3):
        net(x + 0.1 * torch.randn_like(x))
    return net, x


def _conv(**options):
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3, **options), nn.Tanh(), nn.Flatten(), nn.Linear(48, 3))


def _ghost():
    """Batch statistics of half batches."""

    def forward(s, x):
        h = torch.tanh(s.inner(x))
        return s.outer(
            torch.cat([functional.batch_norm(part, None, None, s.w, s.b, training=True) for part in h.chunk(2)])
        )

    return Fn(
        forward,
        inner=nn.Linear(4, 6),
        outer=nn.Linear(6, 3),
        w=nn.Parameter(torch.rand(6)),
        b=nn.Parameter(torch.zeros(6)),
    ), points(6)


def _by_hand():
    def forward(s, x):
        h = s.inner(x)
        return s.outer(torch.tanh(s.w * (h - h.mean(0)) / (h.var(0, unbiased=False) + 1e-5).sqrt()))

    return Fn(forward, inner=nn.Linear(4, 6), outer=nn.Linear(6, 3), w=nn.Parameter(torch.rand(6))), points(6)


def _contrastive():
    def forward(s, x):
        z = functional.normalize(s.outer(torch.tanh(s.inner(x))), dim=-1)
        return z @ z.mT / 0.5

    return Fn(forward, inner=nn.Linear(4, 6), outer=nn.Linear(6, 3)), points(5)


BUILDERS = {
    "batch-norm-eval": lambda: _warm(_mlp(nn.BatchNorm1d(6)), points(6)),
    "batch-norm-eval-2d": lambda: _warm(_conv(), image()),
    "batch-norm-eval-without-affine": lambda: _warm(_conv(affine=False), image()),
    "batch-norm-eval-cumulative": lambda: _warm(_conv(momentum=None), image()),
    "batch-norm-batch-statistics": lambda: (_mlp(nn.BatchNorm1d(6, track_running_stats=False)), points(6)),
    "batch-norm-batch-statistics-without-affine": lambda: (
        _mlp(nn.BatchNorm1d(6, track_running_stats=False, affine=False)),
        points(6),
    ),
    "batch-norm-batch-statistics-2d": lambda: (_conv(track_running_stats=False), image()),
    "batch-norm-3d": lambda: _warm(
        nn.Sequential(nn.Conv3d(1, 2, 2), nn.BatchNorm3d(2), nn.Tanh(), nn.Flatten(), nn.Linear(16, 3)),
        torch.randn(3, 1, 3, 3, 3),
    ),
    "batch-norm-frozen-affine": lambda: (lambda net, x: (net[1].requires_grad_(False), (net, x))[1])(
        *_warm(_conv(), image())
    ),
    "ghost-batch-norm": _ghost,
    "batch-norm-by-hand": _by_hand,
    "sync-batch-norm-eval": lambda: _warm_sync(),
    "similarities-within-the-batch": _contrastive,
    "batch-attention": lambda: (
        Fn(
            lambda s, x: s.outer(torch.softmax(s.q(x) @ s.k(x).mT, -1) @ s.v(x)),
            q=nn.Linear(4, 3),
            k=nn.Linear(4, 3),
            v=nn.Linear(4, 4),
            outer=nn.Linear(4, 3),
        ),
        points(5),
    ),
    "batch-mean-subtracted": lambda: (
        Fn(
            lambda s, x: s.outer(torch.tanh(s.inner(x) - s.inner(x).mean(0))),
            inner=nn.Linear(4, 6),
            outer=nn.Linear(6, 3),
        ),
        points(6),
    ),
    "minibatch-standard-deviation": lambda: (
        Fn(
            lambda s, x: s.outer(torch.cat([h := torch.tanh(s.inner(x)), h.std(0).mean().expand(len(h), 1)], -1)),
            inner=nn.Linear(4, 6),
            outer=nn.Linear(7, 3),
        ),
        points(6),
    ),
}


def _warm_sync():
    net, x = _warm(_mlp(nn.BatchNorm1d(6)), points(6))
    return nn.SyncBatchNorm.convert_sync_batchnorm(net), x


for name, build in BUILDERS.items():
    add(name, build, family=__name__)
REASON = "running statistics move at every call"
add("batch-norm-train", lambda: (_mlp(nn.BatchNorm1d(6)), points(6)), family=__name__, is_training=True, refusal=REASON)
add(
    "instance-norm-train-running",
    lambda: (
        nn.Sequential(
            nn.Conv2d(2, 3, 3), nn.InstanceNorm2d(3, track_running_stats=True), nn.Flatten(), nn.Linear(48, 3)
        ),
        image(),
    ),
    family=__name__,
    is_training=True,
    refusal=REASON,
)
add(
    "dropout-train",
    lambda: (nn.Sequential(nn.Linear(4, 6), nn.Dropout(0.5), nn.Linear(6, 3)), points()),
    family=__name__,
    is_training=True,
    refusal="random masks",
)
add(
    "functional-dropout-train",
    lambda: (
        Fn(
            lambda s, x: s.outer(functional.dropout(s.inner(x), 0.5, training=s.training)),
            inner=nn.Linear(4, 6),
            outer=nn.Linear(6, 3),
        ),
        points(),
    ),
    family=__name__,
    is_training=True,
    refusal="random masks",
)
add(
    "noise-always",
    lambda: (
        Fn(
            lambda s, x: s.outer(torch.tanh(s.inner(x) + 0.1 * torch.randn_like(x[:, :1]))),
            inner=nn.Linear(4, 6),
            outer=nn.Linear(6, 3),
        ),
        points(),
    ),
    family=__name__,
    refusal="noise",
)
add(
    "rrelu-train",
    lambda: (nn.Sequential(nn.Linear(4, 6), nn.RReLU(), nn.Linear(6, 3)), points()),
    family=__name__,
    is_training=True,
    refusal="random slopes",
)
add(
    "gumbel-softmax",
    lambda: (
        Fn(lambda s, x: s.outer(functional.gumbel_softmax(s.inner(x))), inner=nn.Linear(4, 6), outer=nn.Linear(6, 3)),
        points(),
    ),
    family=__name__,
    refusal="random draws",
)
