"""A script that trains by Trainer, run in one process or by torchrun in two on 127.0.0.1."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import eigenflow as ef

TESTS = Path(__file__).parents[1]


def trained(script, folder, kind):
    """The record that `script FOLDER KIND` leaves in FOLDER/KIND, and what it says; "one" is without torchrun."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    paths = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-addr", "127.0.0.1"]
    launcher = [] if kind == "one" else [*launcher, "--master-port", str(port)]
    command = [sys.executable, *launcher, str(script), str(folder), kind]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return ef.open_run(folder / kind), done.stderr
