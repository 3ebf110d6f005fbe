"""A training through Trainer in one process, or with the model in parts on two: `torchrun ... FOLDER KIND`."""

import os
import sys
from pathlib import Path
from typing import ClassVar

import torch
from transformers import PretrainedConfig, PreTrainedModel, TrainingArguments
from transformers.distributed import DistributedConfig

from eigenflow.integrations.huggingface import SpectralCallback
from integrations.tagging import BATCH, STEPS, TAGS, TOKENS, InOrder, answer, samples


class TaggerConfig(PretrainedConfig):
    model_type = "tagger"


class Tagger(PreTrainedModel):
    """In float64 throughout."""

    config_class = TaggerConfig
    _fsdp_plan: ClassVar = {"embedding": "free_full_weight", "head": "keep_full_weight"}

    def __init__(self, config):
        super().__init__(config)
        self.embedding = torch.nn.Embedding(TOKENS, 5)
        self.mixing = torch.nn.Linear(5, 7)
        self.head = torch.nn.Linear(7, TAGS)
        self.post_init()

    def _init_weights(self, module):
        pass

    def forward(self, input_ids, labels=None, num_items_in_batch=None, **kwargs):
        logits = self.head(torch.tanh(self.mixing(self.embedding(input_ids))))
        return answer(logits, labels, num_items_in_batch)


def main(folder, kind):
    torch.set_num_threads(1)
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    spread = {} if processes == 1 else {"distributed_config": DistributedConfig(fsdp_size=processes)}
    model = Tagger.from_pretrained(folder / "start", dtype=torch.float64, **spread)
    assert processes == 1 or {type(p).__name__ for p in model.parameters()} == {"DTensor"}
    arguments = TrainingArguments(
        str(folder / f"trainer-{kind}"),
        per_device_train_batch_size=BATCH // processes,
        max_steps=STEPS,
        learning_rate=1e-2,
        warmup_steps=1,  # the first rate is 0, so that a look at the network is followed by another one
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
    InOrder(model, arguments, train_dataset=samples(), callbacks=[callback]).train()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
