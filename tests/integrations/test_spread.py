"""A model in parts, recorded through `Follower`: the record of the whole model, whatever the training loop does.

Alone in its group a process holds all of every parameter, as DTensors: everything but the exchange is as with many.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

import eigenflow as ef
from eigenflow.core.errors import ModelError
from eigenflow.integrations.following import Follower, Wishes
from eigenflow.integrations.spread import SpreadModel, is_spread
from two_processes import on_two_processes

INPUTS = torch.linspace(-1, 1, 10, dtype=torch.float64)[:, None]
TARGETS = torch.sin(3 * INPUTS)
NAMES = ("eigenvalue", "time", "step_size", "probe_loss", "energy", "dissipation", "transfer", "remainder")


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(1, 7), nn.Tanh(), nn.Linear(7, 1)).double()


def in_parts():
    model, mesh = network(), init_device_mesh("cpu", (dist.get_world_size(),))
    fully_shard(model[0], mesh=mesh)
    return fully_shard(model, mesh=mesh)


class Loop:
    """A trainer in miniature on every process; the same batch everywhere, so that the mean of gradients is exact."""

    def __init__(self, folder, model, *, make=torch.optim.AdamW, total=12, **wishes):
        self.model, self.optimizer = model, make(model.parameters(), lr=0.01)
        self.is_first = not dist.is_initialized() or dist.get_rank() == 0
        self.parts = SpreadModel(model, measures=self.is_first) if is_spread(model) else None
        self.follower, self.step, self.met = None, 0, []
        self.wishes = Wishes(folder, **{"max_overhead": None, "schedule": [0, 3, 4, 9], "modes": None, **wishes})
        self.total = total
        if self.parts is None:
            self.begin()
            return
        self.parts.begin(self.begin, [self.optimizer], all_measure=False)
        first = self.parts.processes.first
        self.parts.processes.first = lambda work: self.met.append(self.step) or first(work)

    def begin(self):
        measured = self.model if self.parts is None else self.parts.module
        self.follower = Follower(
            self.wishes,
            lambda: ef.Probe(measured, INPUTS, TARGETS),
            self.model,
            self.optimizer,
            total_steps=self.total,
            parts=self.parts,
            say=lambda text: None,
        )
        return self.follower.plan()

    def train(self, steps, *, rate=0.01, scale=1.0):
        for _ in range(steps):
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            loss = torch.nn.functional.mse_loss(self.model(INPUTS), TARGETS)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            if self.follower is None:
                self.parts.meet(self.step)
            else:
                self.follower.update(self.step, loss=loss.detach() * scale, learning_rate=rate)
            self.step += 1

    def freeze(self, layer):
        self.model[layer].requires_grad_(False)

    def close(self):
        if self.follower is not None:
            self.follower.close()


@pytest.fixture
def alone(tmp_path):
    """A group of this process only."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def assert_same(folder, other, steps):
    run, whole = ef.open_run(folder), ef.open_run(other)
    assert run.measured_steps == whole.measured_steps == steps and run.status == whole.status
    assert run.header["preconditioner"] == whole.header["preconditioner"]
    np.testing.assert_array_equal(run.losses.time, whole.losses.time)
    for name in NAMES:  # sums in float64 in another order
        scale = float(np.abs(whole.measurements[name]).max())
        np.testing.assert_allclose(
            run.measurements[name], whole.measurements[name], rtol=0, atol=1e-10 * scale, err_msg=name
        )


@pytest.mark.parametrize("make", [torch.optim.AdamW, torch.optim.SGD])
def test_the_record_is_that_of_the_whole_model(make, alone, tmp_path):
    for name, model in (("whole", network()), ("parts", in_parts())):
        loop = Loop(tmp_path / name, model, make=make)
        loop.train(12)
        loop.close()
    assert_same(tmp_path / "parts", tmp_path / "whole", (0, 3, 4, 9))
    # A look at the first, at those of the schedule and the ones before, and whether each is followed by another.
    assert loop.met == [0, 1, 2, 3, 4, 5, 8, 9, 10]


def test_a_measurement_that_waits_is_followed(alone, tmp_path):
    """Rates of 0 move nothing, so what is due at step 4 waits for step 7, which the schedule does not have."""
    for name, model in (("whole", network()), ("parts", in_parts())):
        loop = Loop(tmp_path / name, model, schedule=[0, 4])
        loop.train(4)
        loop.train(3, rate=0.0)
        loop.train(5)
        loop.close()
    assert_same(tmp_path / "parts", tmp_path / "whole", (0, 7))


@pytest.mark.filterwarnings("ignore:`loss` is nan at step 6")
def test_time_goes_on_where_a_loss_is_not_finite(alone, tmp_path):
    """The parameters moved, though nobody looked at the copy."""
    for name, model in (("whole", network()), ("parts", in_parts())):
        loop = Loop(tmp_path / name, model)
        loop.train(6)
        loop.train(1, scale=float("nan"))
        loop.train(5)
        loop.close()
    assert_same(tmp_path / "parts", tmp_path / "whole", (0, 3, 4, 9))
    assert ef.open_run(tmp_path / "parts").losses.time.tolist()[-1] == pytest.approx(0.11)


def test_layers_that_are_frozen_on_the_way(alone, tmp_path):
    """The copy follows, and the record goes on beside the first."""
    for name, model in (("whole", network()), ("parts", in_parts())):
        loop = Loop(tmp_path / name, model)
        loop.train(6)
        loop.freeze(0)
        loop.train(6)
        loop.close()
    assert_same(tmp_path / "parts", tmp_path / "whole", (0, 3, 4))
    assert_same(tmp_path / "parts-from-6", tmp_path / "whole-from-6", (9,))
    assert ef.open_run(tmp_path / "parts-from-6").header["probe"]["parameters"] == 8


def work(rank, folder):
    """With a cap, so that what is measured depends on the first process's clock."""
    model = in_parts()
    loop = Loop(Path(folder) / "parts", model, total=120, schedule=range(0, 120, 5), max_overhead=0.5)
    loop.train(60)
    loop.freeze(2)
    loop.train(60)
    loop.close()
    assert is_spread(model) and (loop.follower is None) == (rank == 1)
    torch.save([p.full_tensor() for p in model.parameters()], f"{folder}/{rank}.pt")


@pytest.mark.slow
def test_two_processes_meet_whatever_the_first_one_has_time_for(tmp_path):
    """The training is that of one process, and every measured loss that of the whole model at its step."""
    on_two_processes(__file__, "work", tmp_path)
    loop = Loop(tmp_path / "whole", network(), total=120, schedule=range(120))
    loop.train(60)
    loop.freeze(2)
    loop.train(60)
    loop.close()
    for rank in (0, 1):
        for own, other in zip(torch.load(tmp_path / f"{rank}.pt"), loop.model.parameters(), strict=True):
            torch.testing.assert_close(own, other.detach(), rtol=1e-10, atol=1e-12)
    for suffix in ("", "-from-60"):
        run, whole = ef.open_run(f"{tmp_path / 'parts'}{suffix}"), ef.open_run(f"{tmp_path / 'whole'}{suffix}")
        assert len(run.measured_steps) >= 1 and len(run.losses) == 60
        for step in run.measured_steps:
            ours, theirs = run.measurements.sel(step=step), whole.measurements.sel(step=step)
            np.testing.assert_allclose(ours.eigenvalue, theirs.eigenvalue, rtol=0, atol=1e-10 * theirs.eigenvalue[0])
            assert float(ours.probe_loss) == pytest.approx(float(theirs.probe_loss), rel=1e-10)


@pytest.mark.rejects
def test_what_cannot_be_copied_says_so(alone):
    class Stubborn(nn.Linear):
        def __deepcopy__(self, memo):
            raise TypeError("holds a lock")

    with pytest.raises(ModelError, match=r"cannot be copied \(TypeError: holds a lock\)"):
        SpreadModel(fully_shard(Stubborn(2, 2), mesh=init_device_mesh("cpu", (1,))), measures=True)
