"""Processes that are killed or hang: a message that says who, in time; a folder that opens; a process that goes on.

Processes are started by hand with the environment of torchrun, so that the one that is left tells its own story; under
torchrun itself the launcher ends it.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import eigenflow as ef
from eigenflow.core.errors import ArgumentError, ShapeError
from eigenflow.integrations.distributed import is_under_torchrun, my_part, part_of, process_group, sharded_probe
from eigenflow.tangent import ShardedProbe
from problems import samples, tanh_net

COUNT, RATE, STEPS, FLUSHED, HURT = 9, 0.05, 6, 3, 4
SCHEDULE = (0, 4)
TIMEOUT_S = 4.0

WORKER = """
import os, signal, sys, time
import torch
from safetensors.torch import save_file
torch.set_num_threads(1)
sys.path[:0] = [sys.argv[1]]
import test_distributed as cases
victim, how, folder = int(sys.argv[2]), sys.argv[3], sys.argv[4]
with cases.process_group(timeout_s=cases.TIMEOUT_S):
    cases.train(folder, victim, how)
"""


def descend(model, whole, start, stop):
    """Full-batch gradient descent on the whole loss, the same on every process."""
    for step in range(start, stop):
        point = whole.at()
        loss, gradient = point.loss, point.gradient()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter -= RATE * gradient[name]
        yield step, loss


def problem():
    model, (inputs, targets) = tanh_net(3, hidden=9), samples(3, count=COUNT)
    return model, inputs, targets


OPTIONS = {"modes": 2 * COUNT, "method": "tracked", "tolerance": 1e-14}


def train(folder, victim, how):
    """Records; in the measurement of one step a process kills itself, or falls asleep."""
    model, inputs, targets = problem()
    probe = sharded_probe(model, inputs, targets)
    assert isinstance(probe, ShardedProbe) and probe.samples == COUNT
    whole = ef.Probe(model, inputs, targets)
    with ef.Recorder(folder, probe, SCHEDULE, **OPTIONS) as recorder:
        for step, loss in descend(model, whole, 0, STEPS):
            if step == HURT and probe.processes.rank == victim:
                hurt(probe.processes, how)
            recorder.step(step, loss=loss, learning_rate=RATE)
            if step == FLUSHED - 1:
                recorder.flush()  # where a trainer saves its checkpoint


def hurt(processes, how):
    """From now on, in the twentieth sum over processes."""
    plain, left = processes.sum, [20]

    def sum_of(part):
        left[0] -= 1
        if left[0] == 0:
            if how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(30)
        return plain(part)

    processes.sum = sum_of


def start_two(folder, victim, how):
    """Both processes of a group, as torchrun starts them."""
    script = folder / "worker.py"
    script.write_text(WORKER)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    search = os.pathsep.join([str(Path(__file__).parent.parent), *(p for p in sys.path if p)])
    common = {**os.environ, "PYTHONPATH": search, "GLOO_SOCKET_IFNAME": "lo", "MASTER_ADDR": "127.0.0.1"}
    common |= {"MASTER_PORT": str(port), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    command = [sys.executable, str(script), str(Path(__file__).parent), str(victim), how, str(folder / "run")]
    started = []
    for rank in (0, 1):
        with (folder / f"{rank}.txt").open("w") as words:
            own = {**common, "RANK": str(rank), "LOCAL_RANK": str(rank)}
            started.append(subprocess.Popen(command, env=own, stderr=words, stdout=subprocess.DEVNULL))
    return started


def ended(folder, processes, victim, how):
    """What the other one writes, and how many seconds after the trouble it has ended."""
    survivor = processes[1 - victim]
    try:
        if how == "kill":
            assert processes[victim].wait(60) == -signal.SIGKILL
        began = time.monotonic()
        assert survivor.wait(60) == 1
        seconds = time.monotonic() - began
        last = (folder / f"{1 - victim}.txt").read_text().strip().splitlines()[-1]
        return last.removeprefix(f"[rank{1 - victim}]: "), seconds
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
            process.wait()


def record_alone(folder, start, stop):
    model, inputs, targets = problem()
    probe = ef.Probe(model, inputs, targets)
    for _ in descend(model, probe, 0, start):
        pass
    with ef.Recorder(folder, probe, SCHEDULE, resume_from=start or None, **OPTIONS) as recorder:
        for step, loss in descend(model, probe, start, stop):
            recorder.step(step, loss=loss, learning_rate=RATE)


FREE_OF_GAUGE = ("eigenvalue", "energy", "dissipation", "transfer", "remainder", "rate_sum", "trace", "probe_loss")


def assert_same_run(found, expected):
    """1e-10 of the largest; all modes are solved for, so nothing but rounding differs."""
    assert found.status == expected.status == "complete"
    assert found.measured_steps == expected.measured_steps == SCHEDULE
    np.testing.assert_allclose(found.losses["loss"], expected.losses["loss"], rtol=1e-10)
    np.testing.assert_allclose(found.losses["time"], expected.losses["time"], rtol=1e-14)
    energy = float(expected.measurements["energy"].max())
    for name in FREE_OF_GAUGE:
        a, b = (run.measurements[name].values for run in (found, expected))
        scale = energy if expected.measurements[name].attrs["units"] == "loss" else np.abs(b).max()
        np.testing.assert_allclose(a / scale, b / scale, rtol=0, atol=1e-10, err_msg=name)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone") / "run"
    record_alone(folder, 0, STEPS)
    return ef.open_run(folder)


@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_process_ends_the_other_and_one_process_goes_on(tmp_path, victim, uninterrupted):
    """Whichever of them: the one that writes the folder, or the other."""
    last, seconds = ended(tmp_path, start_two(tmp_path, victim, "kill"), victim, "kill")
    assert last.startswith(f"eigenflow.core.errors.ProcessLostError: Rank {1 - victim} of 2 ended its wait in")
    assert f"the group's timeout is {TIMEOUT_S:g} s" in last and f": rank {victim} (process " in last
    assert "has ended" in last and "resume_from" in last and "Warning" not in last
    assert seconds < TIMEOUT_S + 6.0  # it does not wait for the timeout where a connection is closed
    run = ef.open_run(tmp_path / "run")
    assert run.measured_steps == SCHEDULE[:1]
    assert run.status == ("failed" if victim else "interrupted")
    record_alone(tmp_path / "run", FLUSHED, STEPS)
    assert_same_run(ef.open_run(tmp_path / "run"), uninterrupted)


def test_a_process_that_hangs_is_left_after_the_timeout(tmp_path):
    processes = start_two(tmp_path, 1, "sleep")
    began = time.monotonic()
    last, _ = ended(tmp_path, processes, 1, "sleep")
    assert "ProcessLostError: Rank 0 of 2 ended its wait in the collective call 'all_reduce of" in last
    waited = float(last.partition(" after ")[2].partition(" s")[0])
    assert TIMEOUT_S - 0.5 <= waited <= TIMEOUT_S + 3.0
    assert "has ended, so one of the ranks 1 hangs" in last
    assert time.monotonic() - began < 60.0
    assert ef.open_run(tmp_path / "run").measured_steps == SCHEDULE[:1]


def test_samples_are_shared_out_in_order():
    for count, processes in ((13, 2), (7, 3), (2, 4), (16, 4)):
        whole = list(range(count))
        parts = [whole[part_of(count, rank, processes)] for rank in range(processes)]
        assert [index for part in parts for index in part] == whole
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_in_one_process_it_is_a_plain_probe():
    model, inputs, targets = problem()
    probe = sharded_probe(model, inputs, targets, holdout=(inputs[:3], targets[:3]))
    assert isinstance(probe, ef.Probe) and probe.holdout is not None and not is_under_torchrun()


@pytest.fixture
def torchrun_of_one(monkeypatch):
    """The environment that torchrun gives to a single process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    values = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    for name, value in {**values, "GLOO_SOCKET_IFNAME": "lo"}.items():
        monkeypatch.setenv(name, value)


def test_a_group_lasts_as_long_as_its_context(torchrun_of_one):
    model, inputs, targets = problem()
    handler = signal.getsignal(signal.SIGTERM)
    with process_group(timeout_s=20.0) as group:
        assert group.timeout_s == 20.0 and group.count == 1
        named = {"left": (inputs, inputs), "flag": True}
        kept, _ = my_part(named, targets)
        assert kept["flag"] is True and torch.equal(kept["left"][1], inputs)
        assert isinstance(sharded_probe(model, inputs, targets), ShardedProbe)
        with process_group() as again:  # one that exists is used, and stays
            assert again.timeout_s == 20.0
        assert torch.distributed.is_initialized()
    assert not torch.distributed.is_initialized() and signal.getsignal(signal.SIGTERM) is handler
    with pytest.raises(KeyError), process_group(timeout_s=20.0):
        raise KeyError
    assert not torch.distributed.is_initialized()


@pytest.mark.rejects
def test_no_torchrun_and_wrong_arguments(torchrun_of_one, monkeypatch):
    _, inputs, targets = problem()
    with (
        pytest.raises(ArgumentError, match=r"`timeout_s` must be a number of seconds > 0, but is 0"),
        process_group(timeout_s=0),
    ):
        pass
    with pytest.raises(ArgumentError, match=r"no process group to share samples with.*process_group\(\)"):
        my_part(inputs, targets)
    with pytest.raises(ShapeError, match=r"same number of samples, but have 9 and 8"):
        my_part(inputs, targets[1:])
    monkeypatch.delenv("MASTER_PORT")
    with pytest.raises(ArgumentError, match=r"MASTER_PORT is not set.*torchrun --nproc-per-node 2"), process_group():
        pass


BUILD = """
import torch
from safetensors.torch import save_file
from torch import nn

def build():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))
"""


def test_the_command_under_torchrun_writes_the_record_of_one_process(tmp_path):
    """Checkpoints, one of them broken; the samples of the probe, and of its test set, on two processes."""
    (tmp_path / "own_training.py").write_text(BUILD)
    (tmp_path / "out").mkdir()
    for step in (0, 5):
        torch.manual_seed(step)
        net = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.Tanh(), torch.nn.Linear(6, 3))
        torch.save(net.state_dict(), tmp_path / f"out/step_{step}.pt")
    (tmp_path / "out/step_7.pt").write_bytes(b"")
    torch.manual_seed(9)
    names = {"inputs": torch.randn(5, 4), "targets": torch.randint(0, 3, (5,))}
    held = {"holdout_inputs": torch.randn(3, 4), "holdout_targets": torch.randint(0, 3, (3,))}
    save_file({**names, **held}, tmp_path / "probe.safetensors")
    words = ["-m", "eigenflow", "measure", "--checkpoints", "out", "--model", "own_training.py:build", "--probe"]
    words += ["probe.safetensors", "--modes", "15", "--method", "tracked", "--json", "--out"]
    search = os.pathsep.join(p for p in sys.path if p)
    environment = {**os.environ, "PYTHONPATH": search, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    told = []
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for before, name in (([], "one"), (torchrun, "two")):
        done = subprocess.run(
            [sys.executable, *before, *words, name],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        told.append(json.loads(done.stdout))  # one process speaks
        assert done.stderr.count("GFLOP") == 1
    assert told[0]["steps"] == told[1]["steps"] == [0, 5] and len(told[1]["left_out"]) == 1
    one, two = (ef.open_run(tmp_path / name).measurements for name in ("one", "two"))
    assert set(one.data_vars) == set(two.data_vars)
    for name in ("eigenvalue", "energy", "probe_loss", "holdout_loss", "holdout_rate", "trace"):
        scale = np.abs(one[name].values).max()
        np.testing.assert_allclose(two[name].values, one[name].values, rtol=0, atol=1e-10 * scale, err_msg=name)
