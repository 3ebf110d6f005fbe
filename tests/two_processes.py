"""Runs a function of a test file on two processes, under torchrun with gloo on 127.0.0.1."""

import os
import socket
import subprocess
import sys
from pathlib import Path

WORKER = """
import os, sys, datetime, importlib.util
import torch, torch.distributed as dist
torch.set_num_threads(1)
_, file, tests, name, folder = sys.argv
sys.path[:0] = [tests]
spec = importlib.util.spec_from_file_location("worker_tests", file)
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
dist.init_process_group("gloo", timeout=datetime.timedelta(seconds=45))
getattr(module, name)(dist.get_rank(), folder)
dist.barrier()  # a process that leaves first closes connections that the other still uses
dist.destroy_process_group()
# What was asked is done and written; torch's own threads may abort a process that goes down the long way.
sys.stdout.flush()
os._exit(0)
"""


def on_two_processes(file: str, name: str, folder: Path) -> None:
    """Call `name(rank, folder)` of a test file on both. A hang ends at the group's timeout, as a failure."""
    script, here = folder / "worker.py", Path(file).resolve()
    script.write_text(WORKER)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "GLOO_SOCKET_IFNAME": "lo"}
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-addr", "127.0.0.1"]
    command += ["--master-port", str(port), str(script), str(here), str(Path(__file__).parent), name, str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr[-4000:]


def told(call) -> str:
    """What a call raises, in words; an empty text if nothing."""
    try:
        call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""
