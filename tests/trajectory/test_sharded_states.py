"""States recorded by two processes that share the samples: the folder of one process with all of them."""

from pathlib import Path

import numpy as np
import pytest

import eigenflow as ef
from eigenflow.tangent.sharded import ShardedProbe
from eigenflow.trajectory import StateRecorder, TailSettings
from problems import samples, tanh_net
from trajectory.recorded_states import RATE, states
from two_processes import on_two_processes

pytestmark = pytest.mark.long

COUNT, SCHEDULE = 13, (0, 2, 5, 9)
OPTIONS = {"modes": 6, "method": "tracked", "tolerance": 1e-14, "tail": TailSettings(steps=20, probes=2)}


def record(path, make_probe, select):
    """Two states, and with new objects on the same folder the rest."""
    for last in (2, len(SCHEDULE)):
        model, train = tanh_net(3, hidden=9), samples(3, count=COUNT)
        probe = make_probe(model, *(x[select] for x in train))
        with StateRecorder(path, probe, resume=True, **OPTIONS) as recorder:
            for step in states(model, train, SCHEDULE[:last]):
                recorder.record(step, time=RATE * step)


def worker(rank, folder):
    record(Path(folder) / "two", ShardedProbe, slice(0, 5) if rank == 0 else slice(5, None))


def test_two_processes_record_what_one_does(tmp_path):
    """To 1e-8, where vectors that are right to 1e-9 enter by their squares, as for a record of updates."""
    on_two_processes(__file__, "worker", tmp_path)
    record(tmp_path / "one", ef.Probe, slice(None))
    found, expected = (ef.open_run(tmp_path / name).measurements for name in ("two", "one"))
    assert tuple(found["step"].values) == SCHEDULE and set(found.data_vars) == set(expected.data_vars)
    np.testing.assert_allclose(found["eigenvalue"], expected["eigenvalue"], rtol=1e-10)
    for name in ("energy", "eigenvalue_sum", "shell_overlap_initial", "eigenvalue_change", "predecessor_overlap"):
        scale = float(np.abs(expected[name]).max())
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=1e-8 * scale, err_msg=name)
    for name in ("probe_loss", "total_energy", "trace", "parameter_distance", "time", "frame_time"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-10, err_msg=name)
