"""Run in a fresh process: how much memory forming M takes, beside its estimate. Prints JSON.

Arguments: network ("mlp", "conv", "tokens" or "free"), samples, budget in bytes (0: none), drift (0 or 1), whether a
preconditioner is there (0 or 1).
"""

import json
import resource
import sys

import torch
from torch import nn

import eigenflow as ef


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(50, 16)
        self.block = nn.TransformerEncoderLayer(16, 2, 32, 0.0, batch_first=True)
        self.head = nn.Linear(16, 10)

    def forward(self, x):
        return self.head(self.block(self.table(x)).mean(1))


class Free(nn.Module):
    """Half of the parameters in an operation without a rule."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(64, 128)
        self.power = nn.Parameter(0.1 * torch.ones(128, 10))

    def forward(self, x):
        return torch.tanh(self.inner(x)) @ torch.exp(self.power)


def network(name: str, samples: int) -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    if name == "mlp":
        layers = [nn.Linear(64, 256), nn.Tanh(), nn.Linear(256, 256), nn.Tanh(), nn.Linear(256, 10)]
        return nn.Sequential(*layers), torch.randn(samples, 64)
    if name == "conv":
        convs = [nn.Conv2d(1, 16, 3, padding=1), nn.Tanh(), nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.Tanh()]
        return nn.Sequential(*convs, nn.Flatten(), nn.Linear(512, 10)), torch.randn(samples, 1, 8, 8)
    if name == "tokens":
        return Tokens(), torch.randint(0, 50, (samples, 16))
    return Free(), torch.randn(samples, 64)


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    name, samples, budget, drift, is_preconditioned = sys.argv[1], *map(int, sys.argv[2:])
    torch.set_num_threads(1)
    model, inputs = network(name, samples)

    def point(count: int, budget: int | None):
        targets = torch.zeros(count, 10)
        probe = ef.Probe(model.eval(), inputs[:count], targets, dtype=torch.float32, memory_budget=budget)
        inverse = {n: torch.rand_like(p) for n, p in model.named_parameters()} if is_preconditioned else None
        return probe.at(preconditioner=inverse)

    def form(at) -> None:
        if drift:
            at.dense_and_rate({n: torch.ones_like(p) for n, p in at.parameters.items()})
        else:
            at.dense()

    form(point(2, None))  # lazy imports and libraries are not what is asked for
    at = point(samples, budget or None)
    start = peak()
    form(at)
    plan = at.dense_plan(drift=bool(drift))
    print(json.dumps({"measured": peak() - start, "estimated": plan.cost.peak_bytes, "chunk": plan.chunk}))


if __name__ == "__main__":
    main()
