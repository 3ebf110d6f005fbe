"""Record a training loop of your own, and ask which claims of the theory hold on it.

Run:  python examples/record_your_own_loop.py runs/example
"""

import sys

import torch
from torch import nn

import eigenflow as ef


def main(folder: str, steps: int = 600) -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(24, 5, generator=generator)
    targets = torch.sin(inputs.sum(1, keepdim=True))
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 32), nn.Tanh(), nn.Linear(32, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    probe = ef.Probe(model, inputs, targets, loss="mse")
    with ef.Recorder(folder, probe, schedule=ef.log_steps(steps, count=30)) as recorder:
        for step in range(steps):
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(model(inputs), targets)
            loss.backward()
            optimizer.step()
            recorder.step(step, loss=loss.item(), learning_rate=0.1)

    for row in ef.claims(ef.open_run(folder)):
        print(f"{row.claim:18} {row.verdict:13} {row.statement}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "runs/example")
