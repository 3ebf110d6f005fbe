"""One network trained in a plain loop and by Lightning: the same record."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of what Lightning imports
    import lightning.pytorch as lightning
    import pytorch_lightning

import eigenflow as ef
from eigenflow.integrations.lightning import SpectralCallback
from integrations.lightning_modules import LIGHTNINGS_OWN, quiet_trainer

pytestmark = LIGHTNINGS_OWN

STEPS, BATCH, ACCUMULATION = 12, 4, 2
RATE, CLIP = 3e-3, 0.05
SCHEDULE = [0, 1, 3, 7, 11]
NAMES = ["eigenvalue", "time", "step_size", "probe_loss", "energy", "dissipation", "transfer", "optimizer", "remainder"]


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 9), nn.Tanh(), nn.Dropout(0.0), nn.Linear(9, 3)).double()


def data():
    generator = torch.Generator().manual_seed(1)
    # One micro-batch is alone in the last update of the epoch.
    count = BATCH * (ACCUMULATION * STEPS - 1)
    inputs = torch.randn(count, 5, dtype=torch.float64, generator=generator)
    return inputs, (inputs.sum(1) > 0).long() + (inputs[:, 0] > 1).long()


def make_optimizer(kind, parameters):
    if kind == "AdamW":
        return torch.optim.AdamW(parameters, lr=RATE, weight_decay=0.01)
    return torch.optim.SGD(parameters, lr=30 * RATE, momentum=0.9)


def make_scheduler(optimizer):
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)


def in_a_plain_loop(folder, kind):
    model, (inputs, labels) = network(), data()
    optimizer = make_optimizer(kind, model.parameters())
    scheduler = make_scheduler(optimizer)
    probe = ef.Probe(model.eval(), inputs[:6], labels[:6], loss="cross_entropy")
    preconditioner = optimizer if kind == "AdamW" else None
    model.train()
    rates, losses = [], []
    with ef.Recorder(folder, probe, SCHEDULE, preconditioner=preconditioner) as recorder:
        for step in range(STEPS):
            begin = step * BATCH * ACCUMULATION
            parts = [
                (inputs[k : k + BATCH], labels[k : k + BATCH])
                for k in range(begin, begin + BATCH * ACCUMULATION, BATCH)
                if k < len(inputs)
            ]
            optimizer.zero_grad()
            own = []
            for x, y in parts:
                loss = cross_entropy(model(x), y)
                (loss / ACCUMULATION).backward()  # as Lightning does, also for the last one
                own.append(float(loss.detach()))
            torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            rates.append(optimizer.param_groups[0]["lr"])
            losses.append(float(np.mean(own)))
            optimizer.step()
            momentum = 0.0 if kind == "AdamW" else 0.9
            recorder.step(step, loss=losses[-1], learning_rate=rates[-1], momentum=momentum)
            scheduler.step()
    return ef.open_run(folder), rates, losses


def module_of(package, kind):
    class Classifier(package.LightningModule):
        def __init__(self):
            super().__init__()
            self.network = network()

        def training_step(self, batch, batch_idx):
            inputs, labels = batch
            loss = cross_entropy(self.network(inputs), labels)
            self.log("train_loss", loss)
            return loss

        def configure_optimizers(self):
            optimizer = make_optimizer(kind, self.parameters())
            return {
                "optimizer": optimizer,
                "lr_scheduler": {"scheduler": make_scheduler(optimizer), "interval": "step"},
            }

    return Classifier()


def by_lightning(folder, kind, package):
    inputs, labels = data()
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(inputs, labels), batch_size=BATCH)
    callback = SpectralCallback(folder, (inputs[:6], labels[:6]), modes=None, schedule=SCHEDULE, max_overhead=None)
    logger = package.loggers.CSVLogger(folder.parent, name="logs")
    trainer = quiet_trainer(
        package,
        folder.parent,
        callbacks=[callback],
        logger=logger,
        accumulate_grad_batches=ACCUMULATION,
        gradient_clip_val=CLIP,
        max_epochs=1,
        log_every_n_steps=1,
    )
    module = module_of(package, kind)
    trainer.fit(module, loader)
    return ef.open_run(folder), logger, module


@pytest.fixture(scope="module", params=[("AdamW", lightning), ("SGD", lightning), ("AdamW", pytorch_lightning)])
def both(request, tmp_path_factory):
    kind, package = request.param
    folder = tmp_path_factory.mktemp("same")
    return in_a_plain_loop(folder / "plain", kind), *by_lightning(folder / "callback", kind, package), kind


def test_spectra_and_budget_are_those_of_a_plain_loop(both):
    """1e-10 of the largest entry: sums in float64 in another order, carried through twelve updates."""
    (plain, _, _), run, _, _, kind = both
    assert run.measured_steps == plain.measured_steps and len(run.measured_steps) >= len(SCHEDULE) - 1
    ours, theirs = run.measurements, plain.measurements
    assert set(NAMES) & set(theirs.variables) >= set(NAMES) - {"optimizer"}
    for name in [name for name in NAMES if name in theirs]:
        scale = float(np.abs(theirs[name]).max())
        np.testing.assert_allclose(ours[name], theirs[name], rtol=0, atol=1e-10 * scale, err_msg=name)
    assert run.header["preconditioner"] == (kind if kind == "AdamW" else None)


def test_losses_and_rates_are_those_of_the_updates(both):
    """The mean over micro-batches, also of the last update, which has only one; rates before the scheduler moves on."""
    (plain, rates, losses), run, _, _, _ = both
    np.testing.assert_allclose(run.losses.learning_rate, rates, rtol=1e-12)
    np.testing.assert_allclose(run.losses.loss, losses, rtol=1e-12)
    assert run.losses.batch_size.tolist() == [BATCH * ACCUMULATION] * (STEPS - 1) + [BATCH]
    assert run.status == plain.status


def test_what_was_measured_stands_in_the_logger(both):
    """Beside the module's own loss of the same batch, under Lightning's number of the step."""
    _, run, logger, _, _ = both
    logger.save()
    rows = np.genfromtxt(f"{logger.log_dir}/metrics.csv", delimiter=",", names=True, deletechars="")
    name = next(one for one in rows.dtype.names if "largest" in one)
    logged = {int(row["step"]): row[name] for row in rows if np.isfinite(row[name])}
    assert list(logged) == list(run.measured_steps)
    np.testing.assert_allclose(list(logged.values()), run.measurements.eigenvalue[:, 0], rtol=1e-6)


def test_the_module_is_as_before(both):
    _, _, _, module, _ = both
    assert module.network.training and "log" not in vars(module)
