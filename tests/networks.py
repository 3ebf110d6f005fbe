"""Small networks of every kind that a rule holds for, and some for which none does."""

import torch
from torch import nn

from problems import samples, tanh_net


class Tied(nn.Module):
    """One linear layer used twice."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(3, 3)
        self.outer = nn.Linear(3, 2)

    def forward(self, x):
        return self.outer(torch.tanh(self.inner(torch.tanh(self.inner(x)))))


class SetNet(nn.Module):
    """Outputs of one sample depend on all samples: the layer rule's assumption fails."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(3, 4)
        self.outer = nn.Linear(4, 2)

    def forward(self, x):
        hidden = torch.tanh(self.inner(x))
        return self.outer(hidden - hidden.mean(0))


class Tokens(nn.Module):
    """Linear layers on a sequence, embeddings, a layer norm and free parameters."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(7, 4)
        self.norm = nn.LayerNorm(4)
        self.mix = nn.Linear(4, 4)
        self.bias = nn.Parameter(torch.zeros(4))
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(torch.tanh(self.mix(self.norm(self.table(x))) + self.bias).mean(1))


class FixedBatch(nn.Module):
    """Runs on six samples only."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(3, 2)

    def forward(self, x):
        return torch.tanh(self.inner(x.reshape(6, 3)))


class Branching(nn.Module):
    """Control flow by values, which vmap cannot follow, beside a parameter without a rule."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(3, 2)
        self.power = nn.Parameter(torch.ones(2))

    def forward(self, x):
        hidden = torch.tanh(self.inner(x))
        if float(hidden.detach().sum()) > 1e9:
            hidden = 2 * hidden
        return hidden * torch.exp(self.power)


class Residual(nn.Module):
    """A residual block on two positions, with norms over two axes."""

    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm((2, 3))
        self.inner = nn.Linear(3, 3)

    def forward(self, x):
        return (x + torch.tanh(self.inner(self.norm(x)))).sum(2)


class Free(nn.Module):
    """Parameters in operations that no rule covers, and one that is added and multiplied."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(3, 4)
        self.scale = nn.Parameter(torch.ones(1, 4))
        self.power = nn.Parameter(torch.ones(4))
        self.head = nn.Parameter(torch.randn(4, 2))

    def forward(self, x):
        hidden = torch.tanh(self.inner(x) * self.scale + self.scale)
        return hidden.abs() ** torch.exp(self.power) @ self.head


class TiedTokens(nn.Module):
    """Tokens embedded and read out by one table, positions by another that has no sample axis."""

    def __init__(self, tokens=7):
        super().__init__()
        self.table = nn.Embedding(tokens, 4)
        self.places = nn.Embedding(5, 4)
        self.mix = nn.Linear(4, 4)
        self.head = nn.Linear(4, tokens, bias=False)
        self.head.weight = self.table.weight

    def forward(self, x):
        hidden = self.table(x) + self.places(torch.arange(x.shape[1])[None])
        return self.head(torch.tanh(self.mix(hidden)).mean(1))[:, :2]


class Attention(nn.Module):
    """Self-attention with a mask, then cross-attention with separate key and value widths."""

    def __init__(self):
        super().__init__()
        self.lift = nn.Linear(3, 8)
        self.inner = nn.MultiheadAttention(4, 2, batch_first=True)
        self.cross = nn.MultiheadAttention(4, 1, bias=False, kdim=2, vdim=2, batch_first=True)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        hidden = self.lift(x).unflatten(1, (2, 4))
        mixed, _ = self.inner(hidden, hidden, hidden, attn_mask=torch.tensor([[False, True], [False, False]]))
        keys = hidden.unflatten(2, (2, 2)).flatten(1, 2)
        mixed, _ = self.cross(mixed, keys, keys, need_weights=False)
        return self.head(torch.tanh(mixed).sum(1))


def frozen_net():
    model = tanh_net(seed=1)
    model[0].weight.requires_grad_(False)
    model[2].bias.requires_grad_(False)
    return model


MODELS = {
    "mlp": lambda: tanh_net(seed=1),
    "frozen": frozen_net,
    "tied": Tied,
    "set": SetNet,
    "conv": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 3)), nn.Conv1d(1, 4, 2), nn.Tanh(), nn.BatchNorm1d(4), nn.Flatten(), nn.Linear(8, 2)
    ),
    "tokens": Tokens,
    "grouped": lambda: nn.Sequential(
        nn.Unflatten(1, (3, 1, 1)),
        nn.ConstantPad2d(2, 0.3),
        nn.Conv2d(3, 6, 3, groups=3, stride=2, padding=1),
        nn.Tanh(),
        nn.BatchNorm2d(6),
        nn.Conv2d(6, 2, 2, dilation=2, bias=False),
        nn.Flatten(),
    ),
    "fixed batch": FixedBatch,
    "branching": Branching,
    "free": Free,
    "tied tokens": TiedTokens,
    "attention": Attention,
    "encoder": lambda: nn.Sequential(
        nn.Linear(3, 8),
        nn.Unflatten(1, (2, 4)),
        nn.TransformerEncoderLayer(4, 2, 6, 0.0, "gelu", batch_first=True),
        nn.Flatten(),
        nn.Linear(8, 2),
    ),
    "group norm": lambda: nn.Sequential(
        nn.Linear(3, 8),
        nn.Unflatten(1, (4, 2)),
        nn.GroupNorm(2, 4),
        nn.Conv1d(4, 4, 3, padding="same"),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(8, 2),
    ),
    "normed": lambda: nn.Sequential(nn.Linear(3, 6), nn.RMSNorm(6, eps=1e-3), nn.Unflatten(1, (2, 3)), Residual()),
}


def build(name):
    torch.manual_seed(2)
    model = MODELS[name]().double().eval()
    for buffer in model.buffers():  # batch statistics that are not those of a new layer
        if buffer.is_floating_point():
            buffer.add_(torch.rand(buffer.shape, dtype=buffer.dtype))
    for parameter in model.parameters():
        if parameter.ndim == 1:
            parameter.data.add_(0.3 * torch.randn(parameter.shape, dtype=parameter.dtype))
    inputs, targets = samples(seed=2)
    if name in ("tokens", "tied tokens"):
        inputs = torch.randint(0, 7, (6, 5), generator=torch.Generator().manual_seed(0))
    return model, inputs, targets
