"""The rest of a run forecast while Lightning trains it: to the loggers, through checkpoints, with the rates to come."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import lightning.pytorch as lightning
    from lightning.pytorch.callbacks import ModelCheckpoint

import eigenflow as ef
from eigenflow.core.errors import ArgumentError
from eigenflow.forecast.live import LiveForecast
from eigenflow.integrations.lightning import LossForecastCallback, SpectralCallback
from integrations.lightning_modules import LIGHTNINGS_OWN, quiet_trainer

pytestmark = LIGHTNINGS_OWN
BATCHES, EPOCHS, ACCUMULATION = 100, 2, 2
TOTAL = BATCHES * EPOCHS // ACCUMULATION


class Falling(lightning.LightningModule):
    """Losses fall by a power of the step, whatever the parameter does; `rises` makes the run diverge."""

    def __init__(self, schedule="step", rises=None):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.schedule, self.rises = schedule, rises

    def training_step(self, batch, batch_idx):
        step = self.trainer.global_step
        loss = 2 + 3 * (step + 20.0) ** -0.5 + 0.0 * self.weight.double().sum()
        if self.rises is not None and step > self.rises:
            loss = loss * 3
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self):
        optimizer = torch.optim.SGD([self.weight], lr=0.1)
        if self.schedule is None:
            return optimizer
        length = TOTAL if self.schedule == "step" else EPOCHS
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, length)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": self.schedule}}


def fit(folder, callback, *others, module=None, **settings):
    given = {"max_epochs": EPOCHS, "accumulate_grad_batches": ACCUMULATION, **settings}
    ckpt = given.pop("ckpt_path", None)
    trainer = quiet_trainer(lightning, folder, callbacks=[callback, *others], **given)
    extra = {} if ckpt is None else {"ckpt_path": ckpt, "weights_only": True}
    trainer.fit(module or Falling(), torch.utils.data.DataLoader(torch.zeros(BATCHES)), **extra)
    return trainer


class Keeping:
    """A `LossForecastCallback` whose last answer is kept."""

    def __init__(self, **told):
        self.said, self.logged = [], []
        self.callback = LossForecastCallback(
            lambda metrics, step: self.logged.append((step, metrics)),
            background=False,
            max_share=None,
            say=self.said.append,
            **told,
        )


def by_hand(rates):
    """The same losses, fed to `LiveForecast` without a trainer."""
    live, found = LiveForecast(TOTAL, rates, background=False, max_share=None), {}
    with live:
        for step in range(1, TOTAL + 1):
            news = live.add(step, 2 + 3 * (step - 1 + 20.0) ** -0.5, rates[step - 1])
            if news is not None and news.is_new_forecast:
                found[step] = news.forecast.value
    return found


def cosine(updates, each):
    steps = np.arange(updates) // each
    return (0.05 * (1 + np.cos(np.pi * steps / (updates // each)))).tolist()


@pytest.mark.parametrize("schedule", ["step", "epoch"])
def test_forecasts_are_those_of_the_losses_and_rates(schedule, tmp_path):
    """Of means over micro-batches, with the scheduler's rates to come; to the loggers under Lightning's own step."""
    keeping = Keeping()
    logger = lightning.loggers.CSVLogger(tmp_path, name="logs")
    fit(tmp_path, keeping.callback, module=Falling(schedule), logger=logger, log_every_n_steps=1)
    expected = by_hand(cosine(TOTAL, 1 if schedule == "step" else TOTAL // EPOCHS))
    assert len(expected) >= 2
    rows = np.genfromtxt(f"{logger.log_dir}/metrics.csv", delimiter=",", names=True, deletechars="")
    value = "eigenflow/forecast/value"
    found = {int(row["step"]) + 1: row[value] for row in rows if np.isfinite(row[value])}
    for step, value in expected.items():
        assert found[step] == pytest.approx(value, rel=1e-6), step
    lower, upper = (rows[f"eigenflow/forecast/{name}"] for name in ("lower", "upper"))
    assert (lower[np.isfinite(lower)] < upper[np.isfinite(upper)]).all() and np.isfinite(lower).any()
    assert any("forecast/value" in str(metrics) for _, metrics in keeping.logged)


def test_a_run_that_rises_raises_an_alarm(tmp_path):
    alarms = []
    keeping = Keeping(on_alarm=alarms.append)
    fit(tmp_path, keeping.callback, module=Falling(rises=70))
    assert {alarm.kind for alarm in alarms} & {"divergence", "spike"}
    assert any("Look at" in text for text in keeping.said)


def test_forecasts_go_on_from_a_checkpoint(tmp_path):
    """What was seen before is in it, as plain values that Lightning reads without unpickling anything else."""
    saved = ModelCheckpoint(tmp_path / "saved", every_n_train_steps=50, save_top_k=-1, filename="{step}")
    whole = Keeping()
    fit(tmp_path, whole.callback, saved, enable_checkpointing=True)
    again = Keeping()
    path = str(tmp_path / "saved" / "step=50.ckpt")
    saved = ModelCheckpoint(tmp_path / "later", every_n_train_steps=50)
    fit(tmp_path, again.callback, saved, ckpt_path=path, enable_checkpointing=True)
    assert not any("not kept" in text or "anew" in text for text in again.said)
    late = [row for row in whole.logged if row[0] >= 50]  # what was asked at the checkpoint is answered after it
    assert len(late) >= 2 and again.logged == late


@pytest.mark.rejects
def test_an_optimizer_that_is_not_there(tmp_path):
    with pytest.raises(ArgumentError, match=r"`optimizer` must be the place of one of the 1 optimizers .* is 1"):
        fit(tmp_path, Keeping(optimizer=1).callback)


class Regression(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.network = nn.Linear(3, 1)

    def training_step(self, batch, batch_idx):
        return nn.functional.mse_loss(self.network(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.05)


def test_the_spectral_callback_forecasts_too(tmp_path):
    """One callback for both; `forecast=False` records alone."""
    inputs = torch.randn(400, 3, generator=torch.Generator().manual_seed(3))
    data = torch.utils.data.TensorDataset(inputs, inputs.sum(1, keepdim=True) + 0.3 * torch.sin(5 * inputs[:, :1]))
    for forecast in (True, False):
        logged, name = [], f"run-{forecast}"
        callback = SpectralCallback(
            tmp_path / name, modes=3, schedule=[0, 40], max_overhead=None, forecast=forecast,
            tracker=lambda metrics, step, logged=logged: logged.append(metrics), say=lambda text: None,
        )  # fmt: skip
        trainer = quiet_trainer(lightning, tmp_path, callbacks=[callback], max_epochs=1)
        trainer.fit(Regression(), torch.utils.data.DataLoader(data, batch_size=4))
        assert ef.open_run(tmp_path / name).measured_steps == (0, 40)
        kept = callback.state_dict()["kept"]
        assert kept["forecast"]["step"] == 100 if forecast else kept == {}
        assert sum("eigenflow/edge" in row for row in logged) == 2
