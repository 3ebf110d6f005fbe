"""Convolutions in one to three dimensions: padding modes, strides, dilation, groups, transposed, pooling, U-Net."""

import torch
from torch import nn
from torch.nn import functional

from zoo.architecture import add
from zoo.families.parts import Fn, image


def _cnn(conv, channels=3, pool=None):
    return nn.Sequential(conv, nn.Tanh(), pool or nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 3))


class BasicBlock(nn.Module):
    """ResNet's block, batch norm in eval."""

    def __init__(self, c_in, c_out, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(c_out), nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
        self.shortcut = nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out))

    def forward(self, x):
        out = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        out = self.bn2(self.conv2(out))
        out += self.shortcut(x)
        return functional.relu(out)


class UNet(nn.Module):
    """One level down and up, with a skip connection."""

    def __init__(self):
        super().__init__()
        self.down, self.mid = nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(3, 4, 3, padding=1)
        self.up, self.out = nn.ConvTranspose2d(4, 3, 2, stride=2), nn.Conv2d(6, 2, 3, padding=1)
        self.norm = nn.GroupNorm(2, 4)

    def forward(self, x):
        skip = functional.silu(self.down(x))
        h = functional.silu(self.norm(self.mid(functional.max_pool2d(skip, 2))))
        return self.out(torch.cat([self.up(h), skip], 1))


class SqueezeExcite(nn.Module):
    """Channel attention."""

    def __init__(self, c):
        super().__init__()
        self.reduce, self.expand = nn.Conv2d(c, 2, 1), nn.Conv2d(2, c, 1)

    def forward(self, x):
        return x * torch.sigmoid(self.expand(functional.relu(self.reduce(x.mean((2, 3), keepdim=True)))))


class Inception(nn.Module):
    """Parallel branches."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 2, 5, padding=2)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        branches = [self.a(x), self.b(x), self.c(x), functional.avg_pool2d(x, 3, 1, 1)]
        return self.head(torch.tanh(torch.cat(branches, 1)).mean((2, 3)))


def _causal_wavenet():
    def forward(s, x):
        h = s.inp(x)
        skips = 0
        for filt, gate in zip(s.filters, s.gates, strict=True):
            padded = functional.pad(h, (filt.dilation[0], 0))
            z = torch.tanh(filt(padded)) * torch.sigmoid(gate(padded))
            skips, h = skips + z, h + z
        return s.head(skips[:, :, -1])

    layers = [nn.ModuleList(nn.Conv1d(3, 3, 2, dilation=d) for d in (1, 2)) for _ in range(2)]
    return Fn(forward, inp=nn.Conv1d(2, 3, 1), filters=layers[0], gates=layers[1], head=nn.Linear(3, 3)), torch.randn(
        4, 2, 6
    )


def _weight_standardised():
    def forward(s, x):
        w = s.conv.weight
        w = (w - w.mean((1, 2, 3), keepdim=True)) / w.std((1, 2, 3), keepdim=True)
        return s.head(torch.tanh(functional.conv2d(x, w, s.conv.bias)).mean((2, 3)))

    return Fn(forward, conv=nn.Conv2d(2, 3, 3), head=nn.Linear(3, 3)), image()


def _dynamic_filter():
    def forward(s, x):
        kernels = s.make(x.mean((2, 3))).reshape(-1, 1, 3, 3)
        h = functional.conv2d(x.reshape(1, -1, 6, 6), kernels, groups=len(x) * 2)
        return s.head(torch.tanh(h).reshape(len(x), 2, -1).mean(-1))

    return Fn(forward, make=nn.Linear(2, 18), head=nn.Linear(2, 3)), image()


def _deform_like():
    def forward(s, x):
        h = s.a(x)
        return s.head(torch.tanh(torch.roll(h, 1, -1) + h.flip(-1) + torch.rot90(h, 1, (2, 3))).mean((2, 3)))

    return Fn(forward, a=nn.Conv2d(2, 3, 3), head=nn.Linear(3, 3)), image()


CONV2D = {
    "conv2d": lambda: nn.Conv2d(2, 3, 3),
    "conv2d-same": lambda: nn.Conv2d(2, 3, 3, padding="same"),
    "conv2d-strided": lambda: nn.Conv2d(2, 3, 3, stride=2, padding=1),
    "conv2d-dilated": lambda: nn.Conv2d(2, 3, 3, dilation=2),
    "conv2d-circular": lambda: nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular"),
    "conv2d-reflect": lambda: nn.Conv2d(2, 3, 3, padding=2, padding_mode="reflect"),
    "conv2d-replicate": lambda: nn.Conv2d(2, 3, 3, padding=1, padding_mode="replicate"),
    "conv2d-oblong": lambda: nn.Conv2d(2, 3, (1, 3), padding=(0, 1), stride=(2, 1)),
    "conv2d-without-bias": lambda: nn.Conv2d(2, 3, 3, bias=False),
}
TRANSPOSED = {
    "conv-transpose2d": lambda: nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1, output_padding=1),
    "conv-transpose2d-grouped": lambda: nn.ConvTranspose2d(2, 4, 3, groups=2, dilation=2),
}
POOLS = {
    "max-pool": lambda: nn.MaxPool2d(4),
    "max-pool-overlapping": lambda: nn.Sequential(nn.MaxPool2d(3, 1, 1), nn.AvgPool2d(4)),
    "avg-pool-without-pad": lambda: nn.Sequential(
        nn.AvgPool2d(3, 2, 1, count_include_pad=False), nn.AdaptiveAvgPool2d(1)
    ),
    "lp-pool": lambda: nn.LPPool2d(2, 4),
    "adaptive-max-pool": lambda: nn.AdaptiveMaxPool2d(1),
    "adaptive-avg-pool-uneven": lambda: nn.Sequential(nn.AdaptiveAvgPool2d((3, 2)), nn.Tanh(), nn.AdaptiveMaxPool2d(1)),
}


def _pooled(pool):
    return _cnn(nn.Conv2d(2, 3, 3), 3, nn.Sequential(pool, nn.AdaptiveAvgPool2d(1)))


for name, make in {**CONV2D}.items():
    add(name, lambda make=make: (_cnn(make()), image()), family=__name__)
for name, make in TRANSPOSED.items():
    add(name, lambda make=make: (_cnn(c := make(), c.out_channels), image(4, 2, 4, 4)), family=__name__)
for name, make in POOLS.items():
    add(name, lambda make=make: (_pooled(make()), image()), family=__name__)

BUILDERS = {
    "conv2d-grouped": lambda: (_cnn(nn.Conv2d(4, 6, 3, groups=2), 6), image(4, 4)),
    "conv2d-depthwise-separable": lambda: (
        _cnn(nn.Sequential(nn.Conv2d(2, 4, 3, groups=2), nn.Conv2d(4, 3, 1)), 3),
        image(),
    ),
    "conv1d": lambda: (
        nn.Sequential(nn.Conv1d(2, 3, 3), nn.ELU(), nn.AdaptiveAvgPool1d(2), nn.Flatten(), nn.Linear(6, 3)),
        torch.randn(4, 2, 7),
    ),
    "conv1d-max-pool": lambda: (
        nn.Sequential(nn.Conv1d(2, 3, 3, padding="same"), nn.Tanh(), nn.MaxPool1d(3), nn.Flatten(), nn.Linear(6, 3)),
        torch.randn(4, 2, 7),
    ),
    "conv3d": lambda: (
        nn.Sequential(nn.Conv3d(1, 3, 2), nn.Tanh(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(3, 3)),
        torch.randn(3, 1, 3, 4, 4),
    ),
    "conv3d-max-pool": lambda: (
        nn.Sequential(nn.Conv3d(1, 3, 2), nn.Tanh(), nn.MaxPool3d(2), nn.Flatten(), nn.Linear(3, 3)),
        torch.randn(3, 1, 3, 3, 3),
    ),
    "conv-transpose1d": lambda: (
        nn.Sequential(nn.ConvTranspose1d(2, 3, 3, stride=2), nn.Tanh(), nn.Flatten(), nn.Linear(27, 3)),
        torch.randn(4, 2, 4),
    ),
    "conv-transpose3d": lambda: (
        nn.Sequential(nn.ConvTranspose3d(1, 2, 2), nn.Tanh(), nn.Flatten(), nn.Linear(54, 3)),
        torch.randn(3, 1, 2, 2, 2),
    ),
    "lenet": lambda: (
        nn.Sequential(
            nn.Conv2d(1, 2, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(2, 3, 2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(12, 4),
            nn.ReLU(),
            nn.Linear(4, 3),
        ),
        image(4, 1, 8, 8),
    ),
    "resnet-block": lambda: (
        nn.Sequential(BasicBlock(2, 3, 2), BasicBlock(3, 3, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3)),
        image(),
    ),
    "squeeze-excite": lambda: (_cnn(nn.Sequential(nn.Conv2d(2, 4, 3), SqueezeExcite(4)), 4), image()),
    "inception": lambda: (Inception(), image()),
    "wavenet": _causal_wavenet,
    "weight-standardised-conv": _weight_standardised,
    "dynamic-filter": _dynamic_filter,
    "roll-flip-rot90": _deform_like,
    "conv2d-channels-last": lambda: (
        _cnn(nn.Conv2d(2, 3, 3)).to(memory_format=torch.channels_last),
        image().to(memory_format=torch.channels_last),
    ),
    "max-pool-with-indices-unpool": lambda: (
        Fn(
            lambda s, x: s.head(
                torch.tanh(functional.max_unpool2d(*functional.max_pool2d(s.a(x), 2, return_indices=True), 2)).mean(
                    (2, 3)
                )
            ),
            a=nn.Conv2d(2, 3, 3),
            head=nn.Linear(3, 3),
        ),
        image(),
    ),
    "fractional-max-pool-fixed": lambda: (
        Fn(
            lambda s, x: s.head(
                functional.fractional_max_pool2d(
                    s.a(x), 2, output_size=2, _random_samples=s.where.expand(len(x), 3, 2)
                ).flatten(1)
            ),
            a=nn.Conv2d(2, 3, 3),
            head=nn.Linear(12, 3),
            where=nn.Buffer(torch.tensor([[[0.3, 0.6]]])),
        ),
        image(),
    ),
}
for name, build in BUILDERS.items():
    add(name, build, family=__name__)
add("unet-block", lambda: (UNet(), image(2, 2, 4, 4)), family=__name__, losses=("mse",))
add(
    "segmentation-classes-on-axis-1",
    lambda: (nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 1)), image(2, 2, 4, 2)),
    family=__name__,
    class_axis=1,
)
add(
    "segmentation-square-classes",
    lambda: (nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.Tanh(), nn.Conv2d(4, 3, 1)), image(2, 2, 3, 3)),
    family=__name__,
    class_axis=1,
    losses=("cross_entropy",),
    options={"class_axis": 1},
)
add(
    "sequence-labels-axis-1-ambiguous",
    lambda: (nn.Sequential(nn.Conv1d(2, 4, 3, padding=1), nn.Tanh(), nn.Conv1d(4, 3, 1)), torch.randn(2, 2, 3)),
    family=__name__,
    class_axis=1,
    losses=("cross_entropy",),
)
add(
    "sequence-labels-last-axis-said",
    lambda: (Fn(lambda s, x: s.b(torch.tanh(s.a(x))), a=nn.Linear(2, 5), b=nn.Linear(5, 3)), torch.randn(3, 3, 2)),
    family=__name__,
    losses=("cross_entropy",),
    options={"class_axis": -1},
)
