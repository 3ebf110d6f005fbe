"""A probe set spread over processes: products, tracker, drift and budget of one process, to rounding."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist

import eigenflow as ef
from eigenflow.core.errors import ArgumentError
from eigenflow.core.grid import shell_edges
from eigenflow.linalg import ModeTracker
from eigenflow.tangent.sharded import ShardedProbe
from eigenflow.trajectory import TailSettings, measure_tracked_step
from eigenflow.trajectory.tracked_variables import tracked_variables
from problems import samples, tanh_net

COUNT, MODES, STEP = 13, 6, 0.05


def measure(make_probe, select):
    """One update by the gradient of the whole loss, measured; the numbers that must not depend on the processes."""
    model, (inputs, targets) = tanh_net(3, hidden=9), samples(3, count=COUNT)
    whole = ef.Probe(model, inputs, targets)
    gradient = whole.at().gradient()
    probe = make_probe(model, inputs[select], targets[select])
    before = probe.state()
    after = ({n: p - STEP * gradient[n] for n, p in before[0].items()}, before[1])
    settings = {"tail": TailSettings(steps=20, probes=2)}
    one = measure_tracked_step(probe, ModeTracker(MODES, tolerance=1e-14), before, after, STEP, **settings)
    edges = shell_edges(float(one.before.pairs.eigenvalues[0]))
    variables = tracked_variables(one, edges, time=0.0, nodes=20)
    kept = ("eigenvalue", "eigenvalue_rate", "energy", "dissipation", "transfer", "remainder", "rate_sum", "probe_loss")
    found = {name: variables[name].values for name in (*kept, "mode_count", "tail_energy_below", "kato_parameter")}
    found["energy_rate"] = variables["energy_rate"].values
    found["identity"] = np.asarray(one.identity_residual)
    return found


def assert_same(found, expected):
    """1e-8 of the largest: pairs are certified to 1e-14, which leaves 1e-7 of the vectors at first order, and these
    square or cancel in all that is compared."""
    for name, values in expected.items():
        if name in ("identity", "rate_sum"):  # the sum over the tail is known to one process only
            continue
        scale = max(np.abs(values).max(), 1e-300)
        np.testing.assert_allclose(found[name] / scale, values / scale, rtol=0, atol=1e-8, err_msg=name)
    assert found["identity"] <= 1e-13


@pytest.fixture
def alone(tmp_path):
    """A group of this process only."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_one_process_is_the_plain_probe(alone):
    assert_same(measure(ShardedProbe, slice(None)), measure(ef.Probe, slice(None)))


def test_products_are_those_of_the_dense_operator(alone):
    model, (inputs, targets) = tanh_net(3, hidden=9), samples(3, count=COUNT)
    plain, sharded = ef.Probe(model, inputs, targets), ShardedProbe(model, inputs, targets)
    point = plain.at()
    direction = {name: -g for name, g in point.gradient().items()}
    matrix, rate = point.dense_and_rate(direction)
    rows = torch.randn(3, plain.size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    jacobian = sharded.jacobian(sharded.at(), direction)
    torch.testing.assert_close(jacobian.product(rows), rows @ matrix, rtol=1e-11, atol=1e-13)
    torch.testing.assert_close(jacobian.rate_product(rows), rows @ rate, rtol=1e-11, atol=1e-13)


WORKER = """
import sys, datetime, importlib.util
import numpy as np, torch, torch.distributed as dist
torch.set_num_threads(1)
sys.path[:0] = [sys.argv[2]]
spec = importlib.util.spec_from_file_location("sharded_tests", sys.argv[1])
tests = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tests)
dist.init_process_group("gloo", timeout=datetime.timedelta(seconds=90))
rank = dist.get_rank()
found = tests.measure(tests.ShardedProbe, slice(0, 5) if rank == 0 else slice(5, None))
np.savez(sys.argv[3] + f"/{rank}.npz", **found)
try:
    tests.ShardedProbe(tests.tanh_net(), *(t[: 4 * rank] for t in tests.samples()))
except Exception as error:
    open(sys.argv[3] + f"/{rank}.txt", "w").write(f"{type(error).__name__}: {error}")
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_agree_with_one_and_refuse_an_empty_one_together(tmp_path):
    """13 samples as 5 and 8, under torchrun with gloo on 127.0.0.1."""
    script, here = tmp_path / "worker.py", Path(__file__).resolve()
    script.write_text(WORKER)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "GLOO_SOCKET_IFNAME": "lo"}
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-addr", "127.0.0.1"]
    command += ["--master-port", str(port), str(script), str(here), str(here.parent.parent), str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    expected = measure(ef.Probe, slice(None))
    for rank in (0, 1):
        assert_same(dict(np.load(tmp_path / f"{rank}.npz")), expected)
        told = (tmp_path / f"{rank}.txt").read_text()
        assert told.startswith(
            "ArgumentError: `inputs` must hold at least one sample on every process, but rank 0 of 2"
        )


@pytest.mark.rejects
def test_no_process_group():
    with pytest.raises(ArgumentError, match=r"needs a process group.*torchrun.*use Probe"):
        ShardedProbe(tanh_net(), *samples())
