"""Upsampling, interpolation, shuffles, folds, padding layers, spatial transformers."""

import torch
from torch import nn
from torch.nn import functional

from zoo.architecture import add
from zoo.families.parts import Fn, image


def _net(middle, channels=3, size=4, side=5):
    def build():
        layers = nn.Sequential(
            nn.Conv2d(2, size, 2),
            nn.Tanh(),
            middle(),
            nn.Conv2d(channels, 2, 2),
            nn.Tanh(),
            nn.Flatten(),
            nn.LazyLinear(3),
        )
        x = image(3, 2, side, side)
        layers(x)
        return layers, x

    return build


def _function(function, channels=4, side=5):
    return _net(lambda: Fn(lambda s, h: function(h)), channels, 4, side)


UP = {
    "nearest": lambda: nn.Upsample(scale_factor=2, mode="nearest"),
    "bilinear": lambda: nn.Upsample(scale_factor=2, mode="bilinear"),
    "bilinear-corners": lambda: nn.UpsamplingBilinear2d(scale_factor=2),
    "bicubic": lambda: nn.Upsample(size=(5, 6), mode="bicubic"),
    "nearest-exact": lambda: nn.Upsample(size=(5, 6), mode="nearest-exact"),
    "antialiased": lambda: Fn(lambda s, h: functional.interpolate(h, size=(3, 3), mode="bilinear", antialias=True)),
    "area": lambda: Fn(lambda s, h: functional.interpolate(h, size=(3, 2), mode="area")),
}
for name, make in UP.items():
    add(f"upsample-{name}", _net(make, 4), family=__name__)

PADS = {
    "reflection-pad": lambda: nn.ReflectionPad2d(1),
    "replication-pad": lambda: nn.ReplicationPad2d((1, 0, 2, 1)),
    "zero-pad": lambda: nn.ZeroPad2d(1),
    "constant-pad": lambda: nn.ConstantPad2d(1, 0.3),
    "circular-pad": lambda: nn.CircularPad2d(1),
}
for name, make in PADS.items():
    add(name, _net(make, 4), family=__name__)

add("pixel-shuffle", _net(lambda: nn.PixelShuffle(2), 1), family=__name__)
add("pixel-unshuffle", _net(lambda: nn.PixelUnshuffle(2), 16), family=__name__)
add("channel-shuffle", _net(lambda: nn.ChannelShuffle(2), 4), family=__name__)
add(
    "unfold-fold",
    _function(lambda h: functional.fold(torch.tanh(functional.unfold(h, 2)), h.shape[2:], 2)),
    family=__name__,
)
add("tensor-unfold", _function(lambda h: h.unfold(2, 2, 1).mean(-1)), family=__name__)


class SpatialTransformer(nn.Module):
    """Warps its input by an affine map that it computes."""

    def __init__(self, **options):
        super().__init__()
        self.locate, self.head, self.options = nn.Linear(18, 6), nn.Linear(18, 3), options
        with torch.no_grad():
            self.locate.weight.mul_(0.3)
            self.locate.bias.copy_(torch.tensor([1.0, 0.1, 0, 0.1, 0.8, 0]))

    def forward(self, x):
        theta = self.locate(x.flatten(1)).reshape(-1, 2, 3)
        grid = functional.affine_grid(theta, x.shape, align_corners=False)
        return self.head(functional.grid_sample(x, grid, align_corners=False, **self.options).flatten(1))


for name, options in {
    "bilinear": {},
    "border": {"padding_mode": "border"},
    "reflection": {"padding_mode": "reflection"},
    "bicubic": {"mode": "bicubic"},
    "nearest": {"mode": "nearest"},
}.items():
    add(
        f"grid-sample-{name}",
        lambda options=options: (SpatialTransformer(**options), image(4, 2, 3, 3)),
        family=__name__,
    )


def _grid_sample_3d():
    net = Fn(
        lambda s, x: s.head(
            functional.grid_sample(
                s.volume.expand(len(x), -1, -1, -1, -1), torch.tanh(s.a(x)).reshape(-1, 1, 1, 2, 3), align_corners=True
            ).flatten(1)
        ),
        volume=nn.Parameter(torch.randn(1, 2, 3, 3, 3)),
        a=nn.Linear(4, 6),
        head=nn.Linear(4, 3),
    )
    return net, torch.randn(4, 4)


add("voxel-grid-radiance-field", _grid_sample_3d, family=__name__)
