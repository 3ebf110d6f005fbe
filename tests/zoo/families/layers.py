"""The rest of torch.nn: layers in one and three dimensions, lazy ones, adaptive heads, small relatives."""

import torch
from torch import nn
from torch.nn import functional

from zoo.architecture import add
from zoo.families.parts import Fn, image, points, tokens


def _line(middle, channels=3):
    """Series of two channels through a convolution, the layer, and a head."""

    def build():
        net = nn.Sequential(nn.Conv1d(2, channels, 2), nn.Tanh(), middle(), nn.Flatten(), nn.LazyLinear(3))
        x = torch.randn(3, 2, 7)
        net(x)
        return net, x

    return build


def _solid(middle):
    def build():
        net = nn.Sequential(nn.Conv3d(1, 2, 2), nn.Tanh(), middle(), nn.Flatten(), nn.LazyLinear(3))
        x = torch.randn(3, 1, 4, 4, 4)
        net(x)
        return net, x

    return build


LINES = {
    "avg-pool-1d": lambda: nn.AvgPool1d(2),
    "lp-pool-1d": lambda: nn.LPPool1d(2, 2),
    "adaptive-max-pool-1d": lambda: nn.AdaptiveMaxPool1d(2),
    "upsample-linear": lambda: nn.Upsample(scale_factor=2, mode="linear"),
    "reflection-pad-1d": lambda: nn.ReflectionPad1d(2),
    "circular-pad-1d": lambda: nn.CircularPad1d(2),
    "conv-transpose-1d-dilated": lambda: nn.ConvTranspose1d(3, 2, 3, dilation=2, padding=1),
    "conv1d-circular": lambda: nn.Conv1d(3, 2, 3, padding=2, padding_mode="circular"),
    "conv1d-grouped-strided": lambda: nn.Conv1d(3, 6, 2, stride=2, groups=3),
    "local-response-norm-1d": lambda: nn.LocalResponseNorm(2),
    "unflatten": lambda: nn.Sequential(nn.Unflatten(1, (3, 1)), nn.Softmax2d()),
}
SOLIDS = {
    "avg-pool-3d": lambda: nn.AvgPool3d(2),
    "adaptive-avg-pool-3d": lambda: nn.AdaptiveAvgPool3d((1, 2, 2)),
    "adaptive-max-pool-3d": lambda: nn.AdaptiveMaxPool3d(2),
    "upsample-trilinear": lambda: nn.Upsample(scale_factor=2, mode="trilinear"),
    "conv3d-strided-grouped": lambda: nn.Conv3d(2, 2, 2, stride=2, groups=2),
    "conv-transpose-3d-strided": lambda: nn.ConvTranspose3d(2, 1, 2, stride=2),
    "replication-pad-3d": lambda: nn.ReplicationPad3d(1),
    "group-norm-3d": lambda: nn.GroupNorm(2, 2),
}
for name, make in LINES.items():
    add(name, _line(make), family=__name__)
for name, make in SOLIDS.items():
    add(name, _solid(make), family=__name__)


def _lazy_cnn():
    net = nn.Sequential(nn.LazyConv2d(3, 3), nn.LazyBatchNorm2d(), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3))
    for _ in range(2):
        net(image())
    return net, image()


def _text_cnn():
    def forward(s, x):
        h = s.table(x).mT
        return s.head(torch.cat([functional.relu(conv(h)).amax(-1) for conv in s.convs], -1))

    convs = nn.ModuleList([nn.Conv1d(4, 3, k) for k in (2, 3)])
    return Fn(forward, table=nn.Embedding(7, 4), convs=convs, head=nn.Linear(6, 3)), tokens(4, 5)


def _adaptive_log_probabilities():
    head = nn.AdaptiveLogSoftmaxWithLoss(5, 6, cutoffs=[2, 4], div_value=1.5)
    return Fn(lambda s, x: s.head.log_prob(torch.tanh(s.inner(x))), inner=nn.Linear(4, 5), head=head), points()


def _point_net():
    def forward(s, x):
        T = s.turn(torch.tanh(s.a(x)).amax(1)).reshape(-1, 3, 3) + torch.eye(3, dtype=x.dtype)
        return s.head(torch.tanh(s.b(torch.bmm(x, T))).amax(1))

    net = Fn(forward, a=nn.Linear(3, 4), turn=nn.Linear(4, 9), b=nn.Linear(3, 5), head=nn.Linear(5, 3))
    return net, torch.randn(3, 5, 3)


def _dynamic_graph():
    """Nearest neighbours in feature space, gathered."""

    def forward(s, x):
        h = torch.tanh(s.a(x))
        near = torch.cdist(h, h).topk(3, largest=False).indices
        around = h.gather(1, near.flatten(1)[..., None].expand(-1, -1, 4)).reshape(*near.shape, 4)
        return s.head(torch.tanh(s.b(around - h[:, :, None])).amax(2).mean(1))

    return Fn(forward, a=nn.Linear(3, 4), b=nn.Linear(4, 4), head=nn.Linear(4, 3)), torch.randn(3, 5, 3)


def _long_convolution():
    """Filters as long as the input, through the Fourier transform."""

    def forward(s, x):
        n = x.shape[1]
        spectrum = torch.fft.rfft(x, 2 * n, dim=1) * torch.fft.rfft(s.filters, 2 * n, dim=0)
        return s.head(torch.tanh(torch.fft.irfft(spectrum, 2 * n, dim=1)[:, :n]).mean(1))

    return Fn(forward, filters=nn.Parameter(torch.randn(6, 3)), head=nn.Linear(3, 3)), torch.randn(3, 6, 3)


def _relative_shift():
    """Transformer-XL's shift by padding and reshaping."""

    def forward(s, x):
        n, t, _ = x.shape
        scores = s.q(x) @ s.positions.mT
        scores = functional.pad(scores, (1, 0)).reshape(n, t + 1, t)[:, 1:]
        return s.head((torch.softmax(s.q(x) @ s.k(x).mT + scores, -1) @ x).mean(1))

    net = Fn(
        forward, q=nn.Linear(4, 4), k=nn.Linear(4, 4), positions=nn.Parameter(torch.randn(5, 4)), head=nn.Linear(4, 3)
    )
    return net, torch.randn(3, 5, 4)


def _gaussian_process():
    """Posterior mean with learned features: the samples are the context and meet."""

    def forward(s, x):
        h = s.features(x)
        K = torch.exp(-(h[:, None] - h).square().sum(-1) / 2)
        A = K + s.noise.exp() * torch.eye(len(x), dtype=x.dtype)
        return K @ torch.cholesky_solve(s.head(x), torch.linalg.cholesky(A))

    net = Fn(forward, features=nn.Linear(4, 2), head=nn.Linear(4, 3), noise=nn.Parameter(torch.tensor(-1.0)))
    return net, points()


def _reversible():
    def forward(s, x):
        a, b = s.inp(x).chunk(2, -1)
        for f, g in zip(s.f, s.g, strict=True):
            a = a + torch.tanh(f(b))
            b = b + torch.tanh(g(a))
        return s.head(torch.cat([a, b], -1))

    layers = [nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3)]) for _ in range(2)]
    return Fn(forward, inp=nn.Linear(4, 6), f=layers[0], g=layers[1], head=nn.Linear(6, 3)), points()


def _mixer():
    def forward(s, x):
        h = s.inp(x)
        h = h + s.across(functional.gelu(s.tokens(s.norm(h).mT))).mT
        return s.head((h + s.channels(h)).mean(1))

    net = Fn(
        forward,
        inp=nn.Linear(3, 4),
        norm=nn.LayerNorm(4),
        tokens=nn.Linear(5, 6),
        across=nn.Linear(6, 5),
        channels=nn.Linear(4, 4),
        head=nn.Linear(4, 3),
    )
    return net, torch.randn(3, 5, 3)


def _dueling():
    def forward(s, x):
        h = functional.relu(s.inner(x))
        advantage = s.advantage(h)
        return s.value(h) + advantage - advantage.mean(-1, keepdim=True)

    return Fn(forward, inner=nn.Linear(4, 6), value=nn.Linear(6, 1), advantage=nn.Linear(6, 3)), points()


def _noisy_linear_eval():
    def forward(s, x):
        weight = s.mean + s.spread * s.noise if s.training else s.mean
        return s.head(torch.tanh(functional.linear(x, weight)))

    net = Fn(
        forward,
        mean=nn.Parameter(torch.randn(6, 4)),
        spread=nn.Parameter(torch.rand(6, 4)),
        head=nn.Linear(6, 3),
        noise=nn.Buffer(torch.randn(6, 4)),
    )
    return net, points()


def _drop_path():
    def forward(s, x):
        keep = torch.bernoulli(torch.full((len(x), 1), 0.5)) if s.training else 1.0
        return s.head(x + keep * torch.tanh(s.inner(x)))

    return Fn(forward, inner=nn.Linear(4, 4), head=nn.Linear(4, 3)), points()


BUILDERS = {
    "lazy-cnn": _lazy_cnn,
    "text-cnn": _text_cnn,
    "point-net": _point_net,
    "dynamic-graph": _dynamic_graph,
    "long-convolution-by-fft": _long_convolution,
    "relative-shift": _relative_shift,
    "gaussian-process": _gaussian_process,
    "reversible": _reversible,
    "mlp-mixer": _mixer,
    "dueling-heads": _dueling,
    "noisy-linear-eval": _noisy_linear_eval,
    "drop-path-eval": _drop_path,
}
for name, build in BUILDERS.items():
    add(name, build, family=__name__)
add("adaptive-log-softmax", _adaptive_log_probabilities, family=__name__, losses=("mse",))
