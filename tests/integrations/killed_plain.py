"""A plain loop that goes on from its last checkpoint, and one that does so wrongly."""

from pathlib import Path

import torch
from torch import nn

import eigenflow as ef

STEPS, EVERY = 48, 3


class StoppedError(Exception):
    """A training that ends on its way."""


def train(folder: Path, *, forgets: bool = False, stops_at: int | None = None) -> None:
    """AdamW on regression, every few steps a checkpoint; one that `forgets` goes on with an optimizer as new."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 12), nn.Tanh(), nn.Linear(12, 1)).double()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    inputs = torch.randn(16, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    targets = torch.sin(inputs.sum(1, keepdim=True))
    done, saved = None, folder / "checkpoint.pt"
    if saved.exists():
        state = torch.load(saved, weights_only=True)
        model.load_state_dict(state["model"])
        if not forgets:
            optimizer.load_state_dict(state["optimizer"])
        done = state["done"]
    elif (folder / "run").exists():
        # Killed before the first checkpoint: training begins anew.
        (folder / "run").rename(next(free for n in range(100) if not (free := folder / f"before-{n}").exists()))
    probe = ef.Probe(model, inputs[:8], targets[:8])
    schedule = (0, 2, 9, 20, 33, 47)
    with ef.Recorder(folder / "run", probe, schedule, modes=4, preconditioner=optimizer, resume_from=done) as recorder:
        for step in range(done or 0, STEPS):
            rows = [(step * 5 + k) % 16 for k in range(5)]
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(model(inputs[rows]), targets[rows])
            loss.backward()
            optimizer.step()
            recorder.step(step, loss=loss, learning_rate=3e-3, batch_size=5)
            if (step + 1) % EVERY == 0:
                recorder.flush()
                state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "done": step + 1}
                torch.save(state, folder / "new.pt")
                (folder / "new.pt").rename(saved)
            if step + 1 == stops_at:
                raise StoppedError
