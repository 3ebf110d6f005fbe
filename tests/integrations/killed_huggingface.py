"""A training through Trainer that can be killed: AdamW, accumulation, dropout, shuffled data, a checkpoint in four."""

import json
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy
from transformers import Trainer, TrainingArguments
from transformers.utils import logging

from eigenflow.integrations.huggingface import SpectralCallback

STEPS, SAVE = 24, 3


class Tagger(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(11, 6)
        self.dropout = torch.nn.Dropout(0.1)
        self.head = torch.nn.Linear(6, 5)

    def forward(self, input_ids, labels=None, **kwargs):
        logits = self.head(self.dropout(torch.tanh(self.embedding(input_ids))))
        loss = None if labels is None else cross_entropy(logits.flatten(0, 1), labels.flatten())
        return {"logits": logits} if loss is None else {"loss": loss, "logits": logits}


def samples():
    tokens = torch.randint(0, 11, (24, 6), generator=torch.Generator().manual_seed(1))
    return [{"input_ids": row, "labels": (row * 3 + 1) % 5} for row in tokens]


def last_checkpoint(folder: Path) -> str | None:
    """The last one that was saved to its end, as its state is written last."""
    found = []
    for one in folder.glob("checkpoint-*"):
        try:
            found.append((json.loads((one / "trainer_state.json").read_text())["global_step"], str(one)))
        except (OSError, ValueError):
            continue
    return max(found)[1] if found else None


def train(folder: Path, *, method: str = "dense", modes: int = 8) -> None:
    logging.set_verbosity_error()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    arguments = TrainingArguments(
        str(folder / "trainer"),
        per_device_train_batch_size=3,
        gradient_accumulation_steps=2,
        max_steps=STEPS,
        save_steps=SAVE,
        learning_rate=1e-2,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        logging_strategy="no",
    )
    callback = SpectralCallback(
        folder / "run",
        samples=5,
        modes=modes,
        count=7,
        method=method,
        max_overhead=None,
        forecast=False,
        say=lambda text: None,
    )
    trainer = Trainer(Tagger(), arguments, train_dataset=samples(), callbacks=[callback])
    trainer.train(resume_from_checkpoint=last_checkpoint(folder / "trainer"))


def train_tracked(folder: Path) -> None:
    """All rows of M: of fewer, a tracker that begins cold stops elsewhere within its tolerance."""
    train(folder, method="tracked", modes=150)
