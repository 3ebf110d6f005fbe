"""What people do with Lightning: several optimizers, unfreezing, averaged weights, streams, resuming, breaking off."""

import itertools
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import lightning.pytorch as lightning
    from lightning.pytorch.callbacks import BaseFinetuning, EMAWeightAveraging, ModelCheckpoint
    from lightning.pytorch.plugins import MixedPrecision

import eigenflow as ef
from eigenflow.core.errors import RunFolderError
from eigenflow.integrations.lightning import SpectralCallback
from eigenflow.store.lock import is_locked
from integrations.lightning_modules import LIGHTNINGS_OWN, quiet_trainer

pytestmark = LIGHTNINGS_OWN
GENERATOR = torch.Generator().manual_seed(2)
INPUTS = torch.randn(24, 4, generator=GENERATOR)
TARGETS = torch.sin(INPUTS.sum(1, keepdim=True))


class Regression(lightning.LightningModule):
    """Six batches an epoch."""

    def __init__(self, optimizer=torch.optim.SGD, rate=0.05):
        super().__init__()
        torch.manual_seed(0)
        self.body, self.head = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh()), nn.Linear(6, 1)
        self.make, self.rate, self.losses = optimizer, rate, []

    def forward(self, inputs):
        return self.head(self.body(inputs))

    def training_step(self, batch, batch_idx):
        loss = mse_loss(self(batch[0]), batch[1])
        self.losses.append(float(loss.detach()))
        return loss

    def configure_optimizers(self):
        return self.make([p for p in self.parameters() if p.requires_grad], lr=self.rate)


def loader(dataset=None):
    return torch.utils.data.DataLoader(dataset or torch.utils.data.TensorDataset(INPUTS, TARGETS), batch_size=4)


def callback_for(folder, probe=None, **settings):
    usual = {"samples": 6, "modes": 3, "schedule": [0, 2, 5], "max_overhead": None, "say": lambda text: None}
    return SpectralCallback(folder, probe, **{**usual, **settings})


def fit(folder, module, callback, *others, data=None, ckpt_path=None, **settings):
    usual = {"max_epochs": 1, "callbacks": [callback, *others]}
    trainer = quiet_trainer(lightning, folder, **{**usual, **settings})
    extra = {} if ckpt_path is None else {"ckpt_path": ckpt_path, "weights_only": False}
    trainer.fit(module, loader() if data is None else data, **extra)
    return trainer


class Adversarial(lightning.LightningModule):
    """A generator and a critic that is updated twice a batch; optimizers are toggled."""

    def __init__(self):
        super().__init__()
        self.automatic_optimization = False
        torch.manual_seed(0)
        self.generator, self.critic = nn.Linear(2, 4), nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 1))
        self.generator_losses, self.critic_losses = [], []

    def training_step(self, batch, batch_idx):
        real, noise = batch[0], batch[0][:, :2]
        optimizer, critic_optimizer = self.optimizers()
        for _ in range(2):
            self.toggle_optimizer(critic_optimizer)
            scores = self.critic(torch.cat([real, self.generator(noise).detach()]))
            labels = torch.cat([torch.ones(len(real), 1), torch.zeros(len(real), 1)])
            loss = binary_cross_entropy_with_logits(scores, labels)
            critic_optimizer.zero_grad()
            self.manual_backward(loss)
            critic_optimizer.step()
            self.untoggle_optimizer(critic_optimizer)
            self.critic_losses.append(float(loss.detach()))
        self.toggle_optimizer(optimizer)
        loss = binary_cross_entropy_with_logits(self.critic(self.generator(noise)), torch.ones(len(real), 1))
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()
        if batch_idx != 5:  # once it is forgotten
            self.untoggle_optimizer(optimizer)
        self.generator_losses.append(float(loss.detach()))

    def configure_optimizers(self):
        return torch.optim.Adam(self.generator.parameters(), lr=0.01), torch.optim.SGD(
            self.critic.parameters(), lr=0.02
        )


def test_two_optimizers_that_are_stepped_by_hand(tmp_path):
    """Each record counts the updates of its own network's optimizer, with that one's rates and losses."""
    module = Adversarial()
    generator = callback_for(
        tmp_path / "generator", lambda m: ef.Probe(m.generator, INPUTS[:6, :2], INPUTS[:6]), modes=None
    )
    critic = callback_for(tmp_path / "critic", lambda m: ef.Probe(m.critic, INPUTS[:6], TARGETS[:6]))
    trainer = fit(tmp_path, module, generator, critic)
    assert trainer.global_step == 18  # of both
    run, other = ef.open_run(tmp_path / "generator"), ef.open_run(tmp_path / "critic")
    assert run.losses.step.tolist() == list(range(6)) and (run.losses.learning_rate == 0.01).all()
    np.testing.assert_allclose(run.losses.loss, module.generator_losses, rtol=1e-12)
    assert run.header["preconditioner"] == "Adam" and run.measured_steps == (0, 2, 5)
    assert other.losses["step"].tolist() == [0, 2, 4, 6, 8, 10] and (other.losses.learning_rate == 0.02).all()
    np.testing.assert_allclose(other.losses.loss, module.critic_losses[::2], rtol=1e-12)
    assert other.losses.time.tolist() == pytest.approx([0.04 * k for k in range(6)])
    assert not list(tmp_path.glob("*-from-*"))


def test_updates_that_a_scaler_leaves_out(tmp_path):
    """With gradients that overflow once, in half precision: the step counts, its length is zero."""

    class Overflowing(Regression):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            return loss * (1e30 if batch_idx == 2 else 1.0)

    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    module = Overflowing()
    fit(tmp_path, module, callback_for(tmp_path / "run"), plugins=[MixedPrecision("16-mixed", "cpu", scaler)])
    run = ef.open_run(tmp_path / "run")
    assert scaler.get_scale() == 2.0**9
    assert run.losses.learning_rate.tolist() == [0.05, 0.05, 0.0, 0.05, 0.05, 0.05]
    assert run.losses.skipped.notna().tolist() == [False, False, True, False, False, False]
    others = [0, 1, 3, 4, 5]
    np.testing.assert_allclose(run.losses.loss[others], np.array(module.losses)[others], rtol=1e-6)
    assert run.measured_steps == (0, 3, 5)


class Unfreezing(BaseFinetuning):
    """The head alone for one epoch, then all."""

    def freeze_before_training(self, pl_module):
        self.freeze(pl_module.body, train_bn=False)

    def finetune_function(self, pl_module, epoch, optimizer):
        if epoch == 1:
            self.unfreeze_and_add_param_group(pl_module.body, optimizer, lr=0.005)


def test_layers_that_are_unfrozen_on_the_way(tmp_path):
    """A parameter group is added: the record goes on beside the first, with the rates of both groups."""
    module = Regression()
    fit(tmp_path, module, callback_for(tmp_path / "run", schedule=[0, 2, 8, 10]), Unfreezing(), max_epochs=2)
    first, second = ef.open_run(tmp_path / "run"), ef.open_run(tmp_path / "run-from-6")
    assert len(first.losses) == 6 and first.header["probe"]["parameters"] == 7
    assert second.losses.step.tolist() == list(range(6, 12)) and second.header["probe"]["parameters"] == 30 + 12 + 7
    assert second.measured_steps == (8, 10) and first.measured_steps == (0, 2)
    assert second.losses.learning_rate.tolist() == [0.05] * 6


def test_training_goes_on_where_no_probe_can_be_made_any_more(tmp_path):
    """From the unfreezing on a penalty is added to the loss: the first record is whole, and it is said why it ends."""

    class Penalised(Regression):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            return loss if self.current_epoch == 0 else loss + 0.1 * self.head.weight.square().sum()

    said, module = [], Penalised()
    trainer = fit(tmp_path, module, callback_for(tmp_path / "run", say=said.append), Unfreezing(), max_epochs=2)
    assert trainer.global_step == 12 and len(ef.open_run(tmp_path / "run").losses) == 6
    assert any("recording ends at step 6, training goes on" in text for text in said)
    assert not is_locked(tmp_path / "run") and not (tmp_path / "run-from-6").exists()


def test_averaged_weights_are_not_what_is_measured(tmp_path):
    """An average is in the module's place while it is validated, twice an epoch: the record is as without."""

    class Validated(Regression):
        def validation_step(self, batch, batch_idx):
            self.log("val_loss", mse_loss(self(batch[0]), batch[1]))

    for name, others in (("plain", []), ("averaged", [EMAWeightAveraging(decay=0.5)])):
        settings = {"val_check_interval": 3, "limit_val_batches": 1}
        trainer = quiet_trainer(
            lightning, tmp_path, callbacks=[callback_for(tmp_path / name), *others], max_epochs=1, **settings
        )
        trainer.fit(Validated(), loader(), loader())
    plain, averaged = (ef.open_run(tmp_path / name) for name in ("plain", "averaged"))
    np.testing.assert_array_equal(plain.losses.loss, averaged.losses.loss)
    np.testing.assert_array_equal(plain.measurements.eigenvalue, averaged.measurements.eigenvalue)


def test_a_step_that_looks_at_its_trainer_and_logs_by_hand(tmp_path):
    """It sees the trainer as it is; what it writes to the trainer and to its loggers on the copy arrives nowhere."""

    class Looking(Regression):
        def training_step(self, batch, batch_idx):
            self.trainer.note = self.trainer.max_epochs + self.trainer.global_step
            self.logger.log_metrics({"by hand": 1.0}, step=self.global_step)
            return self.trainer.max_epochs * super().training_step(batch, batch_idx)

    class Counting(lightning.loggers.CSVLogger):
        by_hand = 0

        def log_metrics(self, metrics, step=None):
            self.by_hand += "by hand" in metrics
            super().log_metrics(metrics, step)

    logger = Counting(tmp_path, name="logs")
    module = Looking()
    trainer = fit(tmp_path, module, callback_for(tmp_path / "run"), logger=logger, max_epochs=3, log_every_n_steps=1)
    run = ef.open_run(tmp_path / "run")
    assert run.header["probe"]["factor"] == pytest.approx(3 * 2 / 6, rel=1e-12)
    assert trainer.note == 3 + 17 and len(module.losses) == 18
    assert logger.by_hand == 18 and len(run.losses) == 18


class Stream(torch.utils.data.IterableDataset):
    def __iter__(self):
        return iter(zip(INPUTS, TARGETS, strict=True))


def test_a_stream_of_unknown_length(tmp_path):
    callback = callback_for(tmp_path / "run", schedule=None, count=8)
    fit(tmp_path, Regression(), callback, data=loader(Stream()), max_epochs=2)
    run = ef.open_run(tmp_path / "run")
    assert len(run.losses) == 12 and run.measured_steps[0] == 0 and run.header["probe"]["samples"] == 6
    assert run.status.startswith("complete")


def test_several_loaders_at_once(tmp_path):
    class Two(Regression):
        def training_step(self, batch, batch_idx):
            return super().training_step(batch["first"], batch_idx)

    fit(tmp_path, Two(), callback_for(tmp_path / "run"), data={"first": loader(), "second": loader()})
    run, alone = ef.open_run(tmp_path / "run"), tmp_path / "alone"
    fit(tmp_path, Regression(), callback_for(alone))
    np.testing.assert_allclose(
        run.measurements.eigenvalue, ef.open_run(alone).measurements.eigenvalue, rtol=1e-12, atol=1e-15
    )


def test_an_optimizer_that_evaluates_several_times(tmp_path):
    """L-BFGS: one update a batch, and the loss is that before it."""
    module = Regression(lambda p, lr: torch.optim.LBFGS(p, lr=0.1, max_iter=3))
    fit(tmp_path, module, callback_for(tmp_path / "run"))
    run = ef.open_run(tmp_path / "run")
    assert len(module.losses) > 6 and len(run.losses) == 6
    assert run.losses.loss[0] == pytest.approx(module.losses[0], rel=1e-12)
    assert set(run.losses.loss) <= set(module.losses)


def test_a_try_of_one_batch_leaves_nothing(tmp_path):
    said = []
    fit(tmp_path, Regression(), callback_for(tmp_path / "run", say=said.append), fast_dev_run=True)
    assert not (tmp_path / "run").exists() and any("fast_dev_run" in text for text in said)


def test_modes_of_modules_are_those_that_they_were(tmp_path):
    class Frozen(Regression):
        def on_train_epoch_start(self):
            self.body[1].eval()

    module = Frozen()
    fit(tmp_path, module, callback_for(tmp_path / "run"))
    assert not module.body[1].training and module.body[0].training and module.training


@pytest.mark.parametrize("precision", ["bf16-mixed", "64-true", "bf16-true"])
def test_precisions(tmp_path, precision):
    """The operator is evaluated in float64 whatever training rounds to; losses are those of the training."""
    module = Regression(torch.optim.AdamW)
    fit(tmp_path, module, callback_for(tmp_path / "run"), precision=precision, gradient_clip_val=0.1)
    run = ef.open_run(tmp_path / "run")
    np.testing.assert_allclose(run.losses.loss, module.losses, rtol=1e-6)
    assert run.header["probe"]["dtype"] == "torch.float64" and run.measured_steps == (0, 2, 5)


def test_training_goes_on_with_more_epochs(tmp_path):
    """The same trainer; the folder is the same, and complete again."""
    module, callback = Regression(), callback_for(tmp_path / "run", schedule=[0, 2, 5, 9])
    trainer = fit(tmp_path, module, callback)
    trainer.fit_loop.max_epochs = 2
    trainer.fit(module, loader())
    run = ef.open_run(tmp_path / "run")
    assert run.losses.step.tolist() == list(range(12)) and run.measured_steps == (0, 2, 5, 9)
    np.testing.assert_allclose(run.losses.loss, module.losses, rtol=1e-6)


@pytest.mark.parametrize("every", [1, 2, 4])
def test_a_checkpoint_at_any_step(tmp_path, every):
    """Ends of epochs and their middles; what came after the checkpoint is recorded anew."""
    saved = ModelCheckpoint(tmp_path / "saved", every_n_train_steps=every, save_top_k=-1, filename="{step}")
    fit(tmp_path, Regression(), callback_for(tmp_path / "run"), saved, max_epochs=2, enable_checkpointing=True)
    whole = ef.open_run(tmp_path / "run").losses
    step = 8 if every == 4 else 6
    module = Regression()
    again = callback_for(tmp_path / "run")
    path = str(tmp_path / "saved" / f"step={step}.ckpt")
    saved = ModelCheckpoint(tmp_path / "later", every_n_train_steps=every)
    fit(tmp_path, module, again, saved, max_epochs=2, ckpt_path=path, enable_checkpointing=True)
    run = ef.open_run(tmp_path / "run")
    assert run.losses.step.tolist() == list(range(12)) and run.gaps == ()
    np.testing.assert_array_equal(run.losses.loss[:step], whole.loss[:step])
    assert run.losses.loss[step] == pytest.approx(module.losses[0], rel=1e-6)
    if step == 6:  # at the end of an epoch the loader begins anew in any case
        np.testing.assert_array_equal(run.losses.loss, whole.loss)


class BrokenOff(lightning.Callback):
    def __init__(self, error):
        self.error = error

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if batch_idx == 3:
            raise self.error


@pytest.mark.parametrize(("error", "status"), [(ValueError("x"), "failed"), (KeyboardInterrupt(), "interrupted")])
def test_a_run_that_is_broken_off_and_begins_anew(tmp_path, error, status):
    """No lock is left, and the first record is kept under another name."""
    callback = callback_for(tmp_path / "run")
    with pytest.raises((ValueError, SystemExit)):
        fit(tmp_path, Regression(), callback, BrokenOff(error))
    assert ef.open_run(tmp_path / "run").status == status and not is_locked(tmp_path / "run")
    fit(tmp_path, Regression(), callback)
    assert len(ef.open_run(tmp_path / "run").losses) == 6
    assert len(ef.open_run(tmp_path / "run-cut-off-1").losses) == 4


@pytest.mark.rejects
def test_a_finished_run_is_not_written_over(tmp_path):
    fit(tmp_path, Regression(), callback_for(tmp_path / "run"))
    with pytest.raises(RunFolderError, match="training begins at step 0"):
        fit(tmp_path, Regression(), callback_for(tmp_path / "run"))


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # PyTorch's own, while it compiles
def test_a_compiled_module_and_one_that_is_made_late(tmp_path):
    class Late(Regression):
        def __init__(self):
            super().__init__()
            self.late = None

        def configure_model(self):
            if self.late is None:
                torch.manual_seed(1)
                self.late = torch.compile(nn.Linear(1, 1), backend="eager")

        def forward(self, inputs):
            return self.late(super().forward(inputs))

    module = Late()
    fit(tmp_path, module, callback_for(tmp_path / "run"))
    run = ef.open_run(tmp_path / "run")
    assert len(run.losses) == 6 and run.header["probe"]["parameters"] == 30 + 12 + 7 + 2


def test_losses_of_a_batch_that_trains_nothing(tmp_path):
    """A step that returns None makes an update of nothing; the row says so, and time stands still."""

    class Skipping(Regression):
        def training_step(self, batch, batch_idx):
            return None if batch_idx == 2 else super().training_step(batch, batch_idx)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit(tmp_path, Skipping(), callback_for(tmp_path / "run"))
    rows = ef.open_run(tmp_path / "run").losses
    assert len(rows) == 6 and rows.loss.isna().tolist() == [False, False, True, False, False, False]
    assert [b - a for a, b in itertools.pairwise(rows.time)][2] == 0
