"""A run that is killed goes on from its last checkpoint, whatever was measured after it.

The run that nobody killed is the oracle, bit for bit on one thread: the modes that a measurement is compared with, and
the labels and signs of tracked ones, are those of the checkpoint's instant and not those of a measurement that the
killed process made after it.
"""

import copy
import shutil

import numpy as np
import pytest
import torch
from torch import nn

import eigenflow as ef
from problems import samples, tanh_net

pytestmark = pytest.mark.long

RATE, STEPS = 0.1, 18
SCHEDULE = [0, 3, 6, 8, 12, 17]
METHODS = {"dense": {}, "tracked": {"modes": 5, "method": "tracked"}}


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Training:
    """Plain gradient descent; a checkpoint is the number of updates, and the parameters."""

    def __init__(self, folder, method, checkpoint=None, schedule=SCHEDULE):
        self.model = tanh_net(0)
        self.inputs, self.targets = samples(0)
        self.step = 0
        if checkpoint is not None:
            self.step, state = checkpoint
            self.model.load_state_dict(state)
        probe = ef.Probe(self.model, self.inputs, self.targets)
        resume = None if checkpoint is None else self.step
        self.recorder = ef.Recorder(folder, probe, schedule, resume_from=resume, **METHODS[method])

    def train(self, until):
        for k in range(self.step, until):
            loss = nn.functional.mse_loss(self.model(self.inputs), self.targets)
            self.model.zero_grad()
            loss.backward()
            with torch.no_grad():
                for p in self.model.parameters():
                    p -= RATE * p.grad
            self.recorder.step(k, loss=float(loss.detach()), learning_rate=RATE)
        self.step = until

    def checkpoint(self):
        self.recorder.flush()
        return self.step, copy.deepcopy(self.model.state_dict())


def same(one, other):
    """Both records, all variables of all measurements, bit for bit."""
    a, b = ef.open_run(one), ef.open_run(other)
    assert a.measured_steps == b.measured_steps and a.losses.equals(b.losses)
    for name in a.measurements.data_vars:
        np.testing.assert_array_equal(a.measurements[name].values, b.measurements[name].values, err_msg=str(name))


def whole(folder, method, **more):
    training = Training(folder, method, **more)
    training.train(STEPS)
    training.recorder.close()


@pytest.fixture(scope="module")
def wholes(tmp_path_factory):
    """Runs that nobody killed, by method: made once, as a training gives the same bits each time."""
    path = tmp_path_factory.mktemp("wholes")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for method in METHODS:
        whole(path / method, method)
    torch.set_num_threads(threads)
    return path


@pytest.mark.parametrize(
    ("method", "saved", "killed"),
    [
        *(("dense", *moments) for moments in [(5, 8), (5, 9), (4, 7), (7, 13), (1, 2), (1, 5), (12, 13), (13, 18)]),
        *(("tracked", *moments) for moments in [(5, 9), (7, 13), (13, 18)]),
    ],
)
def test_after_a_measurement_that_no_checkpoint_saw(wholes, tmp_path, method, saved, killed):
    """At most one measurement lies between a checkpoint's flush and the last state: (7, 13) has two."""
    first = Training(tmp_path / "first", method)
    first.train(saved)
    checkpoint = first.checkpoint()
    first.train(killed)
    path = tmp_path / "run"
    shutil.copytree(tmp_path / "first", path, ignore=shutil.ignore_patterns("*.lock", ".lock"))
    first.recorder.close("interrupted")
    again = Training(path, method, checkpoint)
    again.train(STEPS)
    again.recorder.close()
    same(path, wholes / method)


@pytest.mark.parametrize("method", METHODS)
def test_killed_again_and_again_from_the_same_checkpoint(wholes, tmp_path, method):
    """The second process keeps for the third what the first kept for it; so when another checkpoint came between."""
    path, checkpoint = tmp_path / "run0", None
    for turn, (saved, killed) in enumerate([(5, 9), (None, 7), (None, 14), (10, 13), (None, 18)]):
        training = Training(path, method, checkpoint)
        if saved is not None:
            training.train(saved)
            checkpoint = training.checkpoint()
        training.train(killed)
        path = tmp_path / f"run{turn + 1}"
        shutil.copytree(tmp_path / f"run{turn}", path, ignore=shutil.ignore_patterns("*.lock", ".lock"))
        training.recorder.close("interrupted")
    last = Training(path, method, checkpoint)
    last.train(STEPS)
    last.recorder.close()
    same(path, wholes / method)


def test_a_state_of_a_measurement_that_was_dropped_is_not_kept(tmp_path):
    """The second process measures other steps: the first one's last state may not pass for one of its own."""
    first = Training(tmp_path / "run", "dense")
    first.train(5)
    checkpoint = first.checkpoint()
    first.train(13)
    first.recorder.close("interrupted")
    second = Training(tmp_path / "run", "dense", checkpoint, schedule=[0, 3, 16])
    second.train(15)
    late = second.checkpoint()
    second.train(17)
    second.recorder.close("interrupted")
    third = Training(tmp_path / "run", "dense", late, schedule=[0, 3, 16])
    third.train(STEPS)
    third.recorder.close()
    run = ef.open_run(tmp_path / "run")
    assert run.measured_steps == (0, 3, 16)
    # In time units of SGD: the frame before that of step 16 is that of step 3.
    assert run.measurements["frame_time"].values[-1] == pytest.approx(3 * RATE)
