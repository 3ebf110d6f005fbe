"""A model of Hugging Face inside a LightningModule, and an average that takes over at the end."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import lightning.pytorch as lightning
    from lightning.pytorch.callbacks import StochasticWeightAveraging
    from transformers import GPT2Config, GPT2LMHeadModel

import eigenflow as ef
from eigenflow.integrations.language import language_probe
from eigenflow.integrations.lightning import SpectralCallback
from integrations.lightning_modules import LIGHTNINGS_OWN, quiet_trainer

pytestmark = LIGHTNINGS_OWN
TOKENS = torch.randint(0, 13, (12, 6), generator=torch.Generator().manual_seed(0))


class Language(lightning.LightningModule):
    """The model computes its own loss."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        config = GPT2Config(vocab_size=13, n_positions=8, n_embd=8, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0)
        self.model = GPT2LMHeadModel(config)

    def training_step(self, batch, batch_idx):
        return self.model(input_ids=batch, labels=batch).loss

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


def test_a_model_of_hugging_face_inside(tmp_path):
    """The spectrum before training is that of `language_probe` on the same samples; 1e-10 for sums in another order."""
    module = Language()
    picked = np.unique(np.linspace(0, 11, 4).astype(int)).tolist()
    expected = language_probe(module.model, {"input_ids": TOKENS[picked], "labels": TOKENS[picked]})
    expected = expected.measure(5, drift=False)
    callback = SpectralCallback(
        tmp_path / "run",
        samples=4,
        modes=5,
        schedule=[0, 2],
        max_overhead=None,
        preconditioner=False,
        say=lambda text: None,
    )
    trainer = quiet_trainer(lightning, tmp_path, callbacks=[callback], max_steps=3)
    trainer.fit(module, torch.utils.data.DataLoader(TOKENS, batch_size=4))
    run = ef.open_run(tmp_path / "run")
    np.testing.assert_allclose(run.measurements.eigenvalue[0], expected.eigenvalues, rtol=1e-10)
    assert run.losses.batch_size.tolist() == [4, 4, 4]


class Regression(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.network = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 1))

    def training_step(self, batch, batch_idx):
        return nn.functional.mse_loss(self.network(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.05)


def test_stochastic_weight_averaging(tmp_path):
    """What is measured at the end are the trained weights; every row is there."""
    inputs = torch.randn(16, 4, generator=torch.Generator().manual_seed(1))
    data = torch.utils.data.TensorDataset(inputs, inputs.sum(1, keepdim=True))
    found = []
    for name, others in (("plain", []), ("averaged", [StochasticWeightAveraging(0.05, 3, annealing_epochs=1)])):
        callback = SpectralCallback(
            tmp_path / name, modes=3, schedule=[0, 4, 11], max_overhead=None, say=lambda text: None
        )
        trainer = quiet_trainer(lightning, tmp_path, callbacks=[callback, *others], max_epochs=3)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer.fit(Regression(), torch.utils.data.DataLoader(data, batch_size=4))
        found.append(ef.open_run(tmp_path / name))
    plain, averaged = found
    assert len(plain.losses) == 12 and len(averaged.losses) >= 12
    np.testing.assert_array_equal(plain.losses.loss[:12], averaged.losses.loss[:12])
    np.testing.assert_array_equal(plain.measurements.eigenvalue, averaged.measurements.eigenvalue[:3])


@pytest.mark.rejects
def test_without_lightning_the_message_says_what_to_install():
    import subprocess
    import sys

    code = (
        "import sys\n"
        "for name in ('lightning', 'lightning.pytorch', 'pytorch_lightning'): sys.modules[name] = None\n"
        "import eigenflow.integrations.lightning"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "eigenflow[lightning]" in done.stderr.splitlines()[-1]
