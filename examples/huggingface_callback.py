"""
Two lines in a Hugging Face training
====================================

A small GPT-2 learns to count, trained by the Trainer of transformers. One callback records the spectrum of the operator
that trains it, forecasts the rest of the run, and hands its numbers to the trainer's own log. The pictures show the
largest eigenvalues, and the rate times the largest one. Gradient descent is stable while that is below 2. Adam averages
gradients with beta = 0.9, which is stable up to 2 (1 + beta) / (1 - beta) = 38: this run keeps well below.

The name of the run's folder may be given: ``python examples/huggingface_callback.py runs/gpt``
"""

import sys

import matplotlib.pyplot as plt
import torch
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

import eigenflow as ef
from eigenflow.integrations.huggingface import SpectralCallback

BETA = 0.9  # of AdamW's average of gradients


def counting(count: int = 256, length: int = 12, words: int = 16) -> list[dict[str, torch.Tensor]]:
    """Sequences that go up by one step or another, modulo the number of words."""
    generator = torch.Generator().manual_seed(0)
    start = torch.randint(0, words, (count, 1), generator=generator)
    stride = torch.randint(1, 4, (count, 1), generator=generator)
    tokens = (start + stride * torch.arange(length)) % words
    return [{"input_ids": row, "labels": row} for row in tokens]


def main(folder: str, steps: int = 200) -> None:
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=16, n_positions=12, n_embd=32, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0)
    arguments = TrainingArguments(
        f"{folder}-trainer",
        max_steps=steps,
        per_device_train_batch_size=16,
        learning_rate=3e-3,
        lr_scheduler_type="cosine",
        warmup_steps=10,
        save_strategy="no",
        logging_steps=50,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
    )
    callback = SpectralCallback(folder, samples=4, max_rows=256, modes=8, count=14, max_overhead=None)
    Trainer(GPT2LMHeadModel(config), arguments, train_dataset=counting(), callbacks=[callback]).train()
    draw(ef.open_run(folder).measurements)


def draw(measured) -> None:
    _, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
    left.loglog(measured["step"] + 1, measured["eigenvalue"], color="C0", alpha=0.6)
    right.loglog(measured["step"] + 1, measured["eigenvalue"][:, 0] * measured["step_size"], "o-", color="C1")
    right.axhline(2 * (1 + BETA) / (1 - BETA), color="grey", linestyle="--", label="stable below, with momentum")
    right.legend()
    left.set(xlabel="step", ylabel="eigenvalue λ [1 / time]", title="largest eigenvalues of J P⁻¹ Jᵀ")
    right.set(xlabel="step", ylabel="rate × largest eigenvalue", title="distance from instability")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "runs/gpt")
    plt.show()
