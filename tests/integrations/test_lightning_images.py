"""A ResNet and a U-Net as people train them, from the callback to the claims and the report."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - as people write it

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import lightning.pytorch as lightning

import eigenflow as ef
from eigenflow.integrations.lightning import SpectralCallback
from eigenflow.report import analyse, write_report
from integrations.lightning_modules import LIGHTNINGS_OWN, quiet_trainer

pytestmark = LIGHTNINGS_OWN


class Block(nn.Module):
    """Two convolutions around which the signal goes."""

    def __init__(self, width):
        super().__init__()
        self.inner = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, images):
        return F.relu(images + self.inner(images))


class ResNet(nn.Module):
    """Two blocks over eight channels."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), nn.ReLU())
        self.blocks = nn.Sequential(Block(6), nn.MaxPool2d(2), Block(6))
        self.head = nn.Linear(6, 3)

    def forward(self, images):
        return self.head(self.blocks(self.stem(images)).mean((2, 3)))


class UNet(nn.Module):
    """One level down, one up, and across."""

    def __init__(self):
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.SiLU())
        self.deep = nn.Sequential(nn.Conv2d(4, 6, 3, stride=2, padding=1), nn.SiLU(), nn.Conv2d(6, 4, 3, padding=1))
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, images):
        down = self.down(images)
        up = F.interpolate(self.deep(down), scale_factor=2, mode="nearest")
        return self.head(torch.cat([down, up], 1))


class Images(lightning.LightningModule):
    """AdamW under a cosine."""

    def __init__(self, network):
        super().__init__()
        self.network = network
        self.criterion = nn.CrossEntropyLoss(label_smoothing=0.05)

    def forward(self, images):
        return self.network(images)

    def training_step(self, batch, batch_idx):
        loss = self.criterion(self(batch["image"]), batch["label"])
        self.log("loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=5e-3)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.trainer.estimated_stepping_batches)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


class Bars(torch.utils.data.Dataset):
    """Bars, upright, lying or none, in noise; the class, or which pixels are of the bar."""

    def __init__(self, is_mask):
        generator = torch.Generator().manual_seed(3)
        self.labels = torch.arange(96) % 3
        self.images = 0.3 * torch.randn(96, 1, 8, 8, generator=generator)
        self.masks = torch.zeros(96, 8, 8, dtype=torch.long)
        for index, label in enumerate(self.labels.tolist()):
            place = int(torch.randint(1, 6, (1,), generator=generator))
            if label == 0:
                self.masks[index, place : place + 2] = 1
            elif label == 1:
                self.masks[index, :, place : place + 2] = 1
        self.images += self.masks[:, None]
        self.is_mask = is_mask

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return {"image": self.images[index], "label": (self.masks if self.is_mask else self.labels)[index]}


@pytest.mark.parametrize("kind", ["ResNet", "U-Net"])
def test_images_are_recorded_judged_and_reported(tmp_path, kind):
    """Accumulation, bfloat16 under autocast, clipping: rows say what happened, verdicts come out."""
    torch.manual_seed(0)
    module = Images(ResNet() if kind == "ResNet" else UNet())
    said = []
    callback = SpectralCallback(
        tmp_path / "run", samples=8, max_rows=300, modes=12, count=8, max_overhead=None, say=said.append
    )
    loader = torch.utils.data.DataLoader(Bars(kind == "U-Net"), batch_size=8, shuffle=True)
    trainer = quiet_trainer(
        lightning,
        tmp_path,
        callbacks=[callback],
        accumulate_grad_batches=2,
        precision="bf16-mixed",
        gradient_clip_val=1.0,
        max_epochs=6,
    )
    trainer.fit(module, loader)
    run = ef.open_run(tmp_path / "run")
    assert len(run.losses) == 36 and run.losses.loss.tail(6).mean() < run.losses.loss.head(6).mean()
    probe = run.header["probe"]
    rows = probe["samples"] * probe["outputs"]
    assert (probe["samples"], rows) == ((8, 24) if kind == "ResNet" else (4, 4 * 2 * 37))
    assert "label smoothing 0.05" in probe["loss"] and run.header["preconditioner"] == "AdamW"
    assert any("positions of each" in text for text in said) == (kind == "U-Net")
    assert len(run.measured_steps) >= 6 and np.isfinite(run.measurements.eigenvalue).all()
    summary = analyse(run)
    assert {row.claim for row in ef.claims(run)} >= {"C1", "C2", "C3"}
    page = write_report(summary)
    assert page.exists() and page.stat().st_size > 50_000
