"""Two processes that share every batch, with the model on each of them or in parts: the record of a single one."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import eigenflow as ef

SCRIPT = Path(__file__).with_name("lightning_ddp.py")


def train(folder, kind):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(SCRIPT.parents[1]), *(p for p in sys.path if p)]),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
        "GLOO_SOCKET_IFNAME": "lo",
    }
    folder.mkdir()
    command = [sys.executable, str(SCRIPT), str(folder), kind]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    assert sorted(path.name for path in folder.glob("rank-*")) == [
        f"rank-{k}" for k in range(1 if kind == "one" else 2)
    ]
    return ef.open_run(folder / "run"), done.stderr


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    return train(tmp_path_factory.mktemp("ddp") / "one", "one")[0]


@pytest.mark.parametrize("kind", ["first", "sharded", "parts", "sharded-parts"])
def test_two_processes_leave_the_record_of_one(kind, one, tmp_path):
    """1e-10 of the largest entry: gradients are means of two halves, in another order. Losses are those of rank 0.

    In parts, parameters and Adam's second moments are DTensors, halves of them on each process.
    """
    two, told = train(tmp_path / kind, kind)
    assert told.count("recording into") == 1
    assert two.measured_steps == one.measured_steps == (0, 1, 3, 7)
    assert two.header["preconditioner"] == one.header["preconditioner"] == "AdamW"
    for name in ("eigenvalue", "energy", "time", "probe_loss", "dissipation", "transfer", "optimizer", "remainder"):
        scale = float(np.abs(one.measurements[name]).max())
        np.testing.assert_allclose(
            two.measurements[name], one.measurements[name], rtol=0, atol=1e-10 * scale, err_msg=name
        )
    assert two.losses.batch_size.tolist() == one.losses.batch_size.tolist() == [8] * 8
    assert two.status == one.status
    assert two.header["probe"]["checksum"] == one.header["probe"]["checksum"]
    if "sharded" in kind:
        assert two.header["probe"]["samples_by_process"] == [3, 3]
