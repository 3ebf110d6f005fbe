"""Averages of Lightning's own callback and of PyTorch, recorded beside the run: spectra against probes made by hand."""

import copy
import warnings

import numpy as np
import pytest
import torch
from torch import nn

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import lightning.pytorch as lightning
    from lightning.pytorch.callbacks import EMAWeightAveraging

import eigenflow as ef
from eigenflow.core.errors import ArgumentError
from eigenflow.integrations.lightning import SpectralCallback
from integrations.lightning_modules import LIGHTNINGS_OWN, quiet_trainer

pytestmark = LIGHTNINGS_OWN
INPUTS = torch.randn(24, 4, generator=torch.Generator().manual_seed(2))
TARGETS = torch.sin(INPUTS.sum(1, keepdim=True))
SCHEDULE = [0, 2, 5]


class Regression(lightning.LightningModule):
    """It looks at its trainer, as a copy of it must be able to."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.network = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 1))

    def training_step(self, batch, batch_idx):
        assert self.trainer.max_epochs == 1
        return nn.functional.mse_loss(self.network(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=0.01)


class Looking(lightning.Callback):
    """Measures the average after every update, with a probe of its own."""

    def __init__(self, average):
        self.average, self.found = average, {}

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        network = copy.deepcopy(self.average().network).requires_grad_(True).eval()
        self.found[batch_idx + 1] = ef.Probe(network, INPUTS[:6], TARGETS[:6]).measure(drift=False)


def fit(folder, callbacks):
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(INPUTS, TARGETS), batch_size=4)
    trainer = quiet_trainer(lightning, folder, callbacks=callbacks, max_epochs=1)
    trainer.fit(Regression(), loader)


def callback_for(folder, ema, **settings):
    usual = {"modes": None, "schedule": SCHEDULE, "max_overhead": None, "forecast": False, "say": lambda text: None}
    return SpectralCallback(folder, (INPUTS[:6], TARGETS[:6]), ema=ema, **{**usual, **settings})


class BySwaUtils(lightning.Callback):
    """An average that a module makes itself, with PyTorch's."""

    def on_fit_start(self, trainer, pl_module):
        update = torch.optim.swa_utils.get_ema_multi_avg_fn(0.5)
        self.average = torch.optim.swa_utils.AveragedModel(pl_module, multi_avg_fn=update, use_buffers=True)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.average.update_parameters(pl_module)


@pytest.mark.parametrize("kind", ["callback", "function"])
def test_averages_are_recorded_after_their_updates(kind, tmp_path):
    """To rounding of float64; the run's own record is as without an average."""
    if kind == "callback":
        averaging = EMAWeightAveraging(decay=0.5)
        looking = Looking(lambda: averaging._average_model.module)
        callback = callback_for(tmp_path / "run", averaging)
    else:
        averaging = BySwaUtils()
        looking = Looking(lambda: averaging.average.module)
        callback = callback_for(tmp_path / "run", lambda: averaging.average.state_dict())
    fit(tmp_path, [averaging, looking, callback])
    fit(tmp_path, [callback_for(tmp_path / "alone", None)])
    run = ef.open_run(tmp_path / "run-ema")
    assert run.kind == "states" and run.measured_steps == (1, 3, 6)
    for step in run.measured_steps:
        one, expected = run.measurements.sel(step=step), looking.found[step]
        np.testing.assert_allclose(one.eigenvalue, expected.eigenvalues, rtol=1e-10, atol=1e-14)
        assert float(one.probe_loss) == pytest.approx(float(expected.loss), rel=1e-12)
    own, alone = ef.open_run(tmp_path / "run"), ef.open_run(tmp_path / "alone")
    np.testing.assert_array_equal(own.measurements.eigenvalue, alone.measurements.eigenvalue)
    assert float(abs(own.measurements.eigenvalue[2] - run.measurements.eigenvalue[2]).max()) > 1e-4


@pytest.mark.rejects
def test_an_average_that_comes_too_late_or_is_none(tmp_path):
    averaging = EMAWeightAveraging(decay=0.5)
    with pytest.raises(ArgumentError, match=r"`ema` is EMAWeightAveraging, which comes after .* Put it before: "):
        fit(tmp_path, [callback_for(tmp_path / "late", averaging), averaging])
    with pytest.raises(ArgumentError, match=r"`ema` must be a `WeightAveraging` callback .* but is Looking"):
        fit(tmp_path, [callback_for(tmp_path / "none", Looking(None))])
    probe = ef.Probe(nn.Linear(4, 1), INPUTS[:6], TARGETS[:6])
    callback = SpectralCallback(tmp_path / "probe", probe, ema=EMAWeightAveraging(), schedule=SCHEDULE)
    with pytest.raises(ArgumentError, match="`ema` needs a probe of its own"):
        fit(tmp_path, [callback.ema, callback])
