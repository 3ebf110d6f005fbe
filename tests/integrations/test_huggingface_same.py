"""One network trained in a plain loop and by Trainer: the same record."""

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import Trainer, TrainingArguments

import eigenflow as ef
from eigenflow.integrations.huggingface import SpectralCallback
from eigenflow.integrations.language import language_probe

STEPS, BATCH, ACCUMULATION = 12, 4, 2
RATE, WEIGHT_DECAY, CLIP = 3e-3, 0.01, 0.05
SCHEDULE = [0, 1, 3, 7, 11]


class Tagger(torch.nn.Module):
    """A class for every token; the loss as models of transformers compute it, but in float64 throughout."""

    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(11, 6)
        self.mixing = torch.nn.Linear(6, 6)
        self.head = torch.nn.Linear(6, 5)

    def forward(self, input_ids, labels=None, num_items_in_batch=None, **kwargs):
        hidden = self.embedding(input_ids)
        logits = self.head(torch.tanh(self.mixing(hidden + hidden.mean(1, keepdim=True))))
        if labels is None:
            return {"logits": logits}
        kind = "mean" if num_items_in_batch is None else "sum"
        loss = cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100, reduction=kind)
        return {"loss": loss / (1 if num_items_in_batch is None else num_items_in_batch), "logits": logits}


def model():
    torch.manual_seed(0)
    return Tagger().double()


def samples():
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(0, 11, (STEPS * BATCH * ACCUMULATION, 8), generator=generator)
    # A label that is left out here and there, so that batches differ in what they count.
    labels = torch.where(torch.rand(tokens.shape, generator=generator) < 0.2, -100, tokens % 5)
    return [{"input_ids": t, "labels": label} for t, label in zip(tokens, labels, strict=True)]


def collated(rows):
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


def rate_at(step):
    """Linear decay, Trainer's own."""
    return RATE * (STEPS - step) / STEPS


def in_a_plain_loop(folder):
    """AdamW on the mean over all labels of the update's batches, as Trainer weighs them."""
    network, data = model(), samples()
    decayed = [p for n, p in network.named_parameters() if "bias" not in n]
    others = [p for n, p in network.named_parameters() if "bias" in n]
    groups = [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=RATE)
    probe = language_probe(network, collated(data[:6]))
    with ef.Recorder(folder, probe, SCHEDULE, preconditioner=optimizer) as recorder:
        for step in range(STEPS):
            rows = data[step * BATCH * ACCUMULATION :][: BATCH * ACCUMULATION]
            batches = [collated(rows[:BATCH]), collated(rows[BATCH:])]
            count = sum(int((batch["labels"] != -100).sum()) for batch in batches)
            optimizer.zero_grad()
            total = 0.0
            for batch in batches:
                logits = network(batch["input_ids"])["logits"].flatten(0, 1)
                loss = cross_entropy(logits, batch["labels"].flatten(), ignore_index=-100, reduction="sum") / count
                loss.backward()
                total += float(loss.detach())
            torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP)
            for group in optimizer.param_groups:
                group["lr"] = rate_at(step)
            optimizer.step()
            recorder.step(step, loss=total, learning_rate=[rate_at(step)] * 2, batch_size=BATCH * ACCUMULATION)
    return ef.open_run(folder)


class InOrder(Trainer):
    def _get_train_sampler(self, *args, **kwargs):
        return torch.utils.data.SequentialSampler(self.train_dataset)


def by_trainer(folder):
    network, data = model(), samples()
    arguments = TrainingArguments(
        str(folder.parent / "trainer"),
        per_device_train_batch_size=BATCH,
        gradient_accumulation_steps=ACCUMULATION,
        max_steps=STEPS,
        learning_rate=RATE,
        weight_decay=WEIGHT_DECAY,
        max_grad_norm=CLIP,
        lr_scheduler_type="linear",
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
    )
    callback = SpectralCallback(folder, collated(data[:6]), modes=None, schedule=SCHEDULE, max_overhead=None)
    trainer = InOrder(network, arguments, train_dataset=data, callbacks=[callback])
    trainer.train()
    return ef.open_run(folder), trainer


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    folder = tmp_path_factory.mktemp("same")
    return in_a_plain_loop(folder / "plain"), *by_trainer(folder / "callback")


def test_spectra_and_budget_are_those_of_a_plain_loop(both):
    """1e-10 of the largest entry: sums in float64 in another order, carried through twelve updates."""
    plain, run, _ = both
    assert run.measured_steps == plain.measured_steps and len(run.measured_steps) >= len(SCHEDULE) - 1
    ours, theirs = run.measurements, plain.measurements
    names = [
        "eigenvalue",
        "time",
        "step_size",
        "probe_loss",
        "energy",
        "dissipation",
        "transfer",
        "optimizer",
        "remainder",
    ]
    for name in names:
        scale = float(np.abs(theirs[name]).max())
        np.testing.assert_allclose(ours[name], theirs[name], rtol=0, atol=1e-10 * scale, err_msg=name)
    # Modes of a network with 127 parameters beyond the first ones are close to each other, or have no eigenvalue.
    np.testing.assert_allclose((ours.coefficient**2)[:, :8], (theirs.coefficient**2)[:, :8], rtol=0, atol=1e-10)


def test_losses_and_rates_are_those_of_the_updates(both):
    """Rates to rounding; a loss is the sum over micro-batches weighted by their labels, not the mean of their means."""
    plain, run, _ = both
    np.testing.assert_allclose(run.losses.learning_rate, [rate_at(step) for step in range(STEPS)], rtol=1e-12)
    np.testing.assert_allclose(run.losses.loss, plain.losses.loss, rtol=1e-12)
    assert (run.losses.batch_size == BATCH * ACCUMULATION).all()
    assert run.header["preconditioner"] == "AdamW" and run.status == plain.status


def test_what_was_measured_stands_in_the_trainers_log(both):
    _, run, trainer = both
    logged = {row["eigenflow/measured_step"]: row for row in trainer.state.log_history if "eigenflow/edge" in row}
    assert set(logged) == set(run.measured_steps)
    for step, row in logged.items():
        one = run.measurements.sel(step=int(step))
        assert row["eigenflow/largest_eigenvalue"] == float(one.eigenvalue[0])
        assert row["eigenflow/edge"] == pytest.approx(float(one.eigenvalue[0]) * rate_at(step), rel=1e-12)


def test_the_trainer_is_as_before(both):
    """What was watched is no longer, and the network is still in the mode that Trainer left it in."""
    _, _, trainer = both
    assert "training_step" not in vars(trainer)
    assert trainer.model.training
