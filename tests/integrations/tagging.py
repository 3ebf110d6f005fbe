"""A small tagging task for Trainer, the same in one process and in several."""

import torch
from torch.nn.functional import cross_entropy
from transformers import Trainer

STEPS, BATCH = 8, 8
TOKENS, TAGS = 11, 4


class InOrder(Trainer):
    def _get_train_sampler(self, *args, **kwargs):
        return torch.utils.data.SequentialSampler(self.train_dataset)


def samples():
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(0, TOKENS, (STEPS * BATCH, 6), generator=generator)
    labels = torch.where(torch.rand(tokens.shape, generator=generator) < 0.2, -100, tokens % TAGS)
    return [{"input_ids": t, "labels": label} for t, label in zip(tokens, labels, strict=True)]


def answer(logits, labels, num_items_in_batch):
    """What a model of transformers returns; the loss is over all labels of an update."""
    if labels is None:
        return {"logits": logits}
    kind = "mean" if num_items_in_batch is None else "sum"
    loss = cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100, reduction=kind)
    return {"loss": loss / (1 if num_items_in_batch is None else num_items_in_batch), "logits": logits}
