"""
Measure the checkpoints that a run has left
===========================================

A small GPT is trained on sums of two numbers, and keeps checkpoints as the Trainer of Hugging Face does. Afterwards all
of them are measured. One of them was cut off while it was written, and is named.

The folder may be given: ``python examples/checkpoints.py runs/example``
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from transformers import GPT2Config, GPT2LMHeadModel

import eigenflow as ef
from eigenflow.integrations.checkpoints import CheckpointRecord, measure_checkpoints

SIZES = {
    "n_embd": 16,
    "n_layer": 2,
    "n_head": 2,
    "n_positions": 8,
    "vocab_size": 12,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
PLUS, IS = 10, 11


def build() -> GPT2LMHeadModel:
    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config(**SIZES))


def sums(count: int, seed: int) -> dict[str, torch.Tensor]:
    """Lines such as `3 + 4 = 0 7`, of which the last two tokens are to be learned."""
    digits = torch.randint(0, 10, (count, 2), generator=torch.Generator().manual_seed(seed))
    first, second, total = digits[:, 0], digits[:, 1], digits.sum(1)
    columns = [first, torch.full_like(first, PLUS), second, torch.full_like(first, IS), total // 10, total % 10]
    tokens = torch.stack(columns, 1)
    labels = tokens.clone()
    labels[:, :4] = -100
    return {"input_ids": tokens, "attention_mask": torch.ones_like(tokens), "labels": labels}


def train(folder: Path, steps: int) -> None:
    model, batch = build(), sums(64, seed=0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(steps + 1):
        if step % (steps // 10) == 0:
            model.save_pretrained(folder / f"checkpoint-{step}", max_shard_size="8KB")
        optimizer.zero_grad()
        model(**batch).loss.backward()
        optimizer.step()
    shard = sorted((folder / f"checkpoint-{steps // 2}").glob("*.safetensors"))[0]
    shard.write_bytes(shard.read_bytes()[:-100])  # as a full disk leaves it


def main(folder: str, steps: int = 200) -> CheckpointRecord:
    train(Path(folder) / "out", steps)
    record = measure_checkpoints(Path(folder) / "out", build, sums(24, seed=0), Path(folder) / "run", modes=16)
    print(record)
    data = ef.open_run(record.path).measurements
    _, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
    left.semilogy(data["step"], data["eigenvalue"], color="C0", alpha=0.6, marker=".")
    right.semilogy(data["step"], data["probe_loss"], color="C1", marker=".")
    left.set(xlabel="updates", ylabel="eigenvalue λ [1 / time]", title="the 16 largest eigenvalues")
    right.set(xlabel="updates", ylabel="loss", title="the loss on the probe")
    return record


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "runs/checkpoints")
    plt.show()
