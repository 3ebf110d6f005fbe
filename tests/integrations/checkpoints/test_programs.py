"""Checkpoints that the programs themselves write: the Trainer of Hugging Face, Lightning, accelerate."""

import argparse

import numpy as np
import pytest
import torch
import transformers
from torch import nn

import eigenflow as ef
from eigenflow.integrations.checkpoints import measure_checkpoints
from eigenflow.integrations.checkpoints.listing import list_checkpoints
from eigenflow.integrations.language import language_probe
from integrations.checkpoints.test_measure import EXACT, batch, make_gpt, spectra
from integrations.checkpoints.written import data, make_net

# Lightning 2.6 asks torch 2.13 in an old way; has one worker, here; and its logs are not looked at.
pytestmark = [
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*is smaller than the logging interval"),
]


class Spectra(transformers.TrainerCallback):
    """What the live model gives when a checkpoint is saved."""

    def __init__(self):
        self.found = {}

    def on_save(self, args, state, control, model=None, **kwargs):
        probe = language_probe(model, batch())
        self.found[state.global_step] = probe.measure(drift=False, method="dense").eigenvalues.numpy()


@pytest.mark.parametrize("compiled", [False, True], ids=["plain", "tied-apart"])
def test_the_trainer_of_hugging_face(compiled, tmp_path):
    torch.manual_seed(0)
    model, one, live = make_gpt(tie_word_embeddings=not compiled), batch(), Spectra()
    rows = [{name: tensor[index % 4] for name, tensor in one.items()} for index in range(32)]
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path / "out"),
        max_steps=24,
        per_device_train_batch_size=4,
        save_steps=8,
        logging_steps=1,
        learning_rate=3e-3,
        warmup_steps=4,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
    )
    trainer = transformers.Trainer(model, arguments, train_dataset=rows, callbacks=[live])
    trainer.train()
    trainer.save_model(str(tmp_path / "out"))
    record = measure_checkpoints(
        tmp_path / "out", lambda: make_gpt(tie_word_embeddings=not compiled), one, tmp_path / "run", modes=None
    )
    assert record.steps == (8, 16, 24)
    for found, step in zip(spectra(tmp_path / "run"), record.steps, strict=True):
        np.testing.assert_allclose(found, live.found[step], rtol=0, atol=EXACT * live.found[step][0])
    run = ef.open_run(tmp_path / "run")
    history = {row["step"]: row for row in trainer.state.log_history if "learning_rate" in row}
    exact = [sum(history[k]["learning_rate"] for k in range(1, step + 1)) for step in record.steps]
    assert run.measurements["time"].values == pytest.approx(exact, rel=1e-12)
    assert list(run.losses["loss"]) == [history[step]["loss"] for step in record.steps]
    assert [row.reason[:40] for row in record.left_out] == [
        "neither its name nor its content tells a"
    ]  # the final model


class Lit:
    """Made when it is used: importing Lightning takes seconds."""

    @staticmethod
    def module(**settings):
        from lightning import LightningModule

        class Module(LightningModule):
            def __init__(self, options=None, width=6):
                super().__init__()
                self.save_hyperparameters()
                self.net, self.live = make_net(), {}
                self.weights = nn.Parameter(torch.ones(2))  # of the loss, not of the network

            def training_step(self, rows, index):
                return nn.functional.cross_entropy(self.net(rows[0]), rows[1]) * self.weights.mean()

            def configure_optimizers(self):
                return torch.optim.Adam(self.parameters(), 1e-2)

            def on_save_checkpoint(self, checkpoint):
                was_training = self.net.training
                probe = ef.Probe(self.net.eval(), data()["inputs"], data()["targets"], "cross_entropy")
                self.live[self.global_step] = probe.measure(drift=False).eigenvalues.numpy()
                self.net.train(was_training)

        return Module(**settings)


def fit(module, folder):
    from lightning import Trainer
    from lightning.pytorch.callbacks import ModelCheckpoint

    rows = torch.utils.data.TensorDataset(data()["inputs"], data()["targets"])
    keep = ModelCheckpoint(folder, save_top_k=-1, every_n_train_steps=2, save_last=True)
    trainer = Trainer(
        max_steps=6, accelerator="cpu", callbacks=[keep], logger=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=folder,
    )  # fmt: skip
    trainer.fit(module, torch.utils.data.DataLoader(rows, 4))


def test_lightning(tmp_path):
    module = Lit.module(options={"width": 6, "list": [1, 2]})
    fit(module, tmp_path / "out")
    record = measure_checkpoints(tmp_path / "out", make_net, data(), tmp_path / "run", modes=None)
    assert record.steps == (2, 4, 6)
    for found, step in zip(spectra(tmp_path / "run"), record.steps, strict=True):
        np.testing.assert_allclose(found, module.live[step], rtol=0, atol=EXACT * module.live[step][0])
    assert "prefix 'state_dict.net.' taken off the names" in record.notes
    assert any("outside of 'state_dict.net.' left out: 'state_dict.weights'" in note for note in record.notes)
    ((name, reason),) = [(row.name, row.reason) for row in record.left_out]
    assert name == "last.ckpt"
    assert "step=6.ckpt'" in reason and "same weights" in reason


@pytest.mark.rejects
def test_settings_of_lightning_that_are_objects_are_named(tmp_path):
    fit(Lit.module(options=argparse.Namespace(width=6)), tmp_path / "out")
    listing = list_checkpoints(tmp_path / "out")
    assert not listing.checkpoints
    assert all("argparse.Namespace" in reason for _, _, reason in listing.left_out)
    assert {step for _, step, _ in listing.left_out} == {2, 4, 6, None}


def test_accelerate(tmp_path):
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    model = make_net()
    model, optimizer = accelerator.prepare(model, torch.optim.Adam(model.parameters(), 1e-2))
    live = {}
    for step in range(5):
        if step % 2 == 0:
            accelerator.save_state(tmp_path / f"out/step_{step}", safe_serialization=step == 0)
            probe = ef.Probe(model.eval(), data()["inputs"], data()["targets"], "cross_entropy")
            live[step] = probe.measure(drift=False).eigenvalues.numpy()
            model.train()
        optimizer.zero_grad()
        accelerator.backward(nn.functional.cross_entropy(model(data()["inputs"]), data()["targets"]))
        optimizer.step()
    record = measure_checkpoints(tmp_path / "out", make_net, data(), tmp_path / "run", modes=None)
    assert record.steps == (0, 2, 4)
    assert record.left_out == ()
    for found, step in zip(spectra(tmp_path / "run"), record.steps, strict=True):
        np.testing.assert_allclose(found, live[step], rtol=0, atol=EXACT * live[step][0])
