"""Trainer on two processes: the first one records alone, or both measure together; the same record either way."""

from pathlib import Path

import numpy as np
import pytest

from integrations.launched import trained

SCRIPT = Path(__file__).with_name("ddp_huggingface.py")


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    return trained(SCRIPT, tmp_path_factory.mktemp("one"), "one")[0]


@pytest.mark.parametrize("kind", ["first", "sharded"])
def test_two_processes_record_what_one_does(kind, one, tmp_path):
    """The batch of an update is shared out, its gradient is the same: float64 sums in another order."""
    run, said = trained(SCRIPT, tmp_path, kind)
    assert run.status == one.status and run.measured_steps == one.measured_steps
    assert said.count("recording into") == 1
    for name in ("eigenvalue", "time", "probe_loss", "energy", "dissipation", "transfer", "optimizer", "remainder"):
        ours, theirs = run.measurements[name], one.measurements[name]
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-10 * float(np.abs(theirs).max()), err_msg=name)
    assert (run.losses.batch_size == 8).all()
    np.testing.assert_allclose(run.losses.learning_rate, one.losses.learning_rate, rtol=1e-14)
    if kind == "sharded":  # the loss over all processes; the first one's alone is that of half of the batch
        np.testing.assert_allclose(run.losses.loss, one.losses.loss, rtol=1e-12)
        assert run.header["probe"]["samples_by_process"] == [3, 3]
        assert run.header["probe"]["checksum"] == one.header["probe"]["checksum"]
