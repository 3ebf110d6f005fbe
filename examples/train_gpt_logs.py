"""
Train a small transformer three times
=====================================

Writes `examples/logs/gpt.csv`, the logs of three runs that the gallery's forecasts are tried on. Nothing in them is
made up: a transformer over bytes learns the source text of Python's standard library, from the same start and on the
same batches each time. The schedules differ: one is a cosine, one stays constant, and one is the constant one until it
decays in a line.

The loss is that of text which is never trained on. Another version of Python has another library, so the losses differ
there in the third digit.

Run:  python examples/train_gpt_logs.py gpt.csv
"""

# sphinx_gallery_thumbnail_path = "images/gallery_forecast.png"
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.nn import functional

import eigenflow as ef
from eigenflow.lab.source_text import draw_sequences
from eigenflow.lab.transformer import ByteGPT

TOTAL, WARMUP, PEAK, END = 3000, 150, 3e-3, 1e-4
DECAY = 2 / 3  # of the run, after which the third schedule falls
CONTEXT, SYMBOLS, BATCH, EVERY, HELD_OUT = 8, 32, 32, 50, 1000


def schedules(total: int) -> dict[str, np.ndarray]:
    """The rate of every update, by the name of the run."""
    constant = ef.Schedule.constant(total=total, warmup=WARMUP, peak=PEAK).rates
    cosine = ef.Schedule.cosine(total=total, warmup=WARMUP, peak=PEAK, end=END).rates
    start = round(DECAY * total)
    decay = constant.copy()
    decay[start:] = np.linspace(PEAK, 0.0, total - start, endpoint=False)
    return {"cosine": cosine, "constant": constant, "decay": decay}


def train(rates: np.ndarray) -> tuple[list[int], list[float]]:
    """Held-out loss of one run, at every fiftieth update."""
    drawn = draw_sequences(30_000, HELD_OUT, CONTEXT + 1, SYMBOLS, rng=np.random.default_rng(0))
    text, held_out = (torch.from_numpy(np.ascontiguousarray(part)) for part in drawn)
    torch.manual_seed(0)
    model = ByteGPT(SYMBOLS, CONTEXT, width=32, depth=1, heads=2, activation=torch.nn.GELU, output_scale=1.0)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.01)
    batches = torch.Generator().manual_seed(0)
    steps, losses = [], []
    for step, rate in enumerate(rates, 1):
        optimizer.param_groups[0]["lr"] = float(rate)
        optimizer.zero_grad()
        loss_of(model, text[torch.randint(len(text), (BATCH,), generator=batches)]).backward()
        optimizer.step()
        if step % EVERY == 0:
            with torch.no_grad():
                steps.append(step)
                losses.append(float(loss_of(model, held_out)))
    return steps, losses


def loss_of(model: torch.nn.Module, bytes_: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(model(bytes_[:, :-1]).flatten(0, 1), bytes_[:, 1:].flatten())


def main(path: str, total: int = TOTAL) -> pd.DataFrame:
    torch.set_num_threads(1)
    tables = []
    for name, rates in schedules(total).items():
        steps, losses = train(rates)
        logged = {"curve": name, "step": steps, "loss": np.round(losses, 5), "lr": rates[np.array(steps) - 1].round(8)}
        tables.append(pd.DataFrame(logged))
    found = pd.concat(tables)
    found.to_csv(Path(path), index=False)
    return found


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "examples/logs/gpt.csv")
