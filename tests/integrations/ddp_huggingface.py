"""A training through Trainer in one process or several: `torchrun ... ddp_huggingface.py FOLDER [sharded]`."""

import os
import sys
from pathlib import Path

import torch
from transformers import TrainingArguments

from eigenflow.integrations.huggingface import SpectralCallback
from integrations.tagging import BATCH, STEPS, TAGS, TOKENS, InOrder, answer, samples


class Tagger(torch.nn.Module):
    """In float64 throughout."""

    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(TOKENS, 5)
        self.head = torch.nn.Linear(5, TAGS)

    def forward(self, input_ids, labels=None, num_items_in_batch=None, **kwargs):
        logits = self.head(torch.tanh(self.embedding(input_ids)))
        return answer(logits, labels, num_items_in_batch)


def main(folder, kind):
    torch.set_num_threads(1)
    torch.manual_seed(0)
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    arguments = TrainingArguments(
        str(folder / f"trainer-{kind}"),
        per_device_train_batch_size=BATCH // processes,
        max_steps=STEPS,
        learning_rate=1e-2,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        ddp_backend="gloo" if processes > 1 else None,
        disable_tqdm=True,
    )
    callback = SpectralCallback(
        folder / kind,
        samples=6,
        modes=200,  # all rows of M, so that no solver stops a step earlier or later
        method="tracked",
        schedule=[0, 2, 5, 7],
        max_overhead=None,
        forecast=False,
        sharded=kind == "sharded",
    )
    InOrder(Tagger().double(), arguments, train_dataset=samples(), callbacks=[callback]).train()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
