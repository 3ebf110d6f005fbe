"""Trainer on two processes that hold halves of every parameter: the record of one process with the whole model."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from integrations.launched import trained
from integrations.parts_huggingface import Tagger, TaggerConfig

SCRIPT = Path(__file__).with_name("parts_huggingface.py")


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """In one process, and where its weights began."""
    folder = tmp_path_factory.mktemp("one")
    torch.manual_seed(0)
    Tagger(TaggerConfig()).double().save_pretrained(folder / "start")
    return trained(SCRIPT, folder, "one")[0], folder / "start"


@pytest.mark.parametrize("kind", ["parts", "sharded"])
def test_two_halves_record_what_one_does(kind, one, tmp_path):
    """fully_shard by transformers itself (`DistributedConfig`), gloo: float64 sums in another order.

    Step 0 has rate 0, so its measurement waits for step 1, which is in no schedule.
    """
    whole, start = one
    shutil.copytree(start, tmp_path / "start")
    run, said = trained(SCRIPT, tmp_path, kind)
    assert said.count("recording into") == 1
    assert run.status == whole.status and run.measured_steps == whole.measured_steps == (1, 2, 5, 7)
    assert run.header["preconditioner"] == whole.header["preconditioner"] == "AdamW"
    assert run.header["probe"]["checksum"] == whole.header["probe"]["checksum"]
    for name in ("eigenvalue", "time", "probe_loss", "energy", "dissipation", "transfer", "optimizer", "remainder"):
        ours, theirs = run.measurements[name], whole.measurements[name]
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-10 * float(np.abs(theirs).max()), err_msg=name)
    assert (run.losses.batch_size == 8).all()
    if kind == "sharded":
        np.testing.assert_allclose(run.losses.loss, whole.losses.loss, rtol=1e-12)
        assert run.header["probe"]["samples_by_process"] == [3, 3]
