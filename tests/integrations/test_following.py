"""What all callbacks share: where a record goes on, what is kept, and what happens when other parameters train."""

import copy

import numpy as np
import pytest
import torch

import eigenflow as ef
from eigenflow.core.errors import ModelError, RunFolderError
from eigenflow.integrations.averaged import AveragedStates
from eigenflow.integrations.following import Follower, Wishes

INPUTS = torch.linspace(-1, 1, 10, dtype=torch.float64)[:, None]
TARGETS = torch.sin(3 * INPUTS)


class Loop:
    """A trainer in miniature: it tells a follower of every update."""

    def __init__(self, folder, *, optimizer="adamw", done=0, total=12, network=None, **wishes):
        torch.manual_seed(0)
        made = torch.nn.Sequential(torch.nn.Linear(1, 6), torch.nn.Tanh(), torch.nn.Linear(6, 1)).double()
        self.network = made if network is None else network
        kinds = {
            "adamw": lambda p: torch.optim.AdamW(p, lr=0.01),
            "momentum": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.5),
            "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.05),
        }
        self.optimizer = kinds[optimizer](self.network.parameters())
        self.said, self.step, averages = [], done, wishes.pop("averages", None)
        told = {"max_overhead": None, "schedule": range(total), "modes": None, **wishes}
        self.follower = Follower(
            Wishes(folder, **told),
            self.probe,
            self.network,
            self.optimizer,
            total_steps=total,
            done_steps=done,
            averages=averages,
            say=self.said.append,
        )

    def probe(self, network=None):
        return ef.Probe(self.network if network is None else network, INPUTS, TARGETS)

    def train(self, steps, **told):
        for _ in range(steps):
            loss = torch.nn.functional.mse_loss(self.network(INPUTS), TARGETS)
            self.optimizer.zero_grad()
            loss.backward()
            rate = self.optimizer.param_groups[0]["lr"]
            self.optimizer.step()
            self.numbers = self.follower.update(self.step, loss=loss, learning_rate=rate, **told)
            self.step += 1


def test_a_run_that_was_cut_off_and_begins_anew_is_kept(tmp_path):
    first = Loop(tmp_path / "run")
    first.train(5)
    first.follower.close("interrupted")
    second = Loop(tmp_path / "run")
    second.train(12)
    second.follower.close()
    assert ef.open_run(tmp_path / "run-cut-off-1").measured_steps == tuple(range(5))
    assert ef.open_run(tmp_path / "run").measured_steps == tuple(range(12))
    assert any("kept in" in line and "run-cut-off-1" in line for line in second.said)


def test_a_loop_that_broke_off_in_this_process_gives_its_folder_free(tmp_path):
    """As in a notebook: nobody closed the first record, and its lock is held."""
    first = Loop(tmp_path / "run")
    first.train(3)
    second = Loop(tmp_path / "run")
    second.follower.close()
    assert ef.open_run(tmp_path / "run-cut-off-1").status == "interrupted"


@pytest.mark.rejects
def test_a_finished_run_is_not_begun_anew(tmp_path):
    first = Loop(tmp_path / "run")
    first.train(12)
    first.follower.close()
    with pytest.raises(RunFolderError, match="holds a run that is complete, and training begins at step 0"):
        Loop(tmp_path / "run")
    assert ef.open_run(tmp_path / "run").measured_steps == tuple(range(12))


def test_a_folder_in_which_nothing_had_begun_is_begun(tmp_path):
    """A process that is killed before the header was written leaves a folder, and perhaps a lock."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").touch()
    loop = Loop(tmp_path / "run")
    loop.train(2)
    loop.follower.close()
    assert ef.open_run(tmp_path / "run").measured_steps == (0, 1)


def test_a_run_goes_on_from_a_checkpoint(tmp_path):
    whole = Loop(tmp_path / "whole")
    whole.train(12)
    whole.follower.close()
    first = Loop(tmp_path / "run")
    first.train(4)
    first.follower.before_checkpoint()
    kept = copy.deepcopy((first.network, first.optimizer.state_dict()))
    first.train(3)  # updates that are lost
    first.follower.close("failed")
    second = Loop(tmp_path / "run", done=4, network=kept[0])
    second.optimizer.load_state_dict(kept[1])
    second.train(8)
    second.follower.close()
    ours, theirs = ef.open_run(tmp_path / "run"), ef.open_run(tmp_path / "whole")
    assert ours.measured_steps == theirs.measured_steps and ours.losses.equals(theirs.losses)
    for name in ("eigenvalue", "energy", "transfer", "shell_overlap_initial"):
        np.testing.assert_array_equal(ours.measurements[name], theirs.measurements[name], err_msg=name)


def test_other_trainable_parameters_begin_a_record_beside_the_first(tmp_path):
    """A freezing schedule: the operator is another one from then on. The old record stays whole."""
    loop = Loop(tmp_path / "run")
    loop.network[0].requires_grad_(False)
    loop.follower.close()
    loop = Loop(tmp_path / "frozen", network=loop.network, optimizer="momentum")
    loop.train(5)
    loop.network[0].requires_grad_(True)
    loop.train(7)
    loop.follower.close()
    before, after = ef.open_run(tmp_path / "frozen"), ef.open_run(tmp_path / "frozen-from-5")
    assert (before.status, before.measured_steps) == ("complete", (0, 1, 2, 3, 4))
    assert (before.header["probe"]["parameters"], after.header["probe"]["parameters"]) == (7, 19)
    # The copy from before the change is of the old parameters, so the first update is seen by the new record alone.
    assert after.measured_steps[-1] == 11 and after.losses.step.iloc[0] == 5
    resumed = Loop(tmp_path / "frozen", network=loop.network, optimizer="momentum", done=8)
    assert resumed.follower.path == tmp_path / "frozen-from-5"
    resumed.follower.close()


def test_an_update_that_a_loss_scaler_left_out_takes_no_time(tmp_path):
    loop = Loop(tmp_path / "run", optimizer="momentum")
    loop.train(2)
    before = copy.deepcopy(loop.network.state_dict())
    loop.optimizer.step = lambda: None
    loop.train(1, was_skipped=True)
    assert all(torch.equal(tensor, before[name]) for name, tensor in loop.network.state_dict().items())
    loop.follower.close()
    losses = ef.open_run(tmp_path / "run").losses
    assert losses.learning_rate.iloc[2] == 0.0 and "left this update out" in losses.skipped.iloc[2]
    assert 2 not in ef.open_run(tmp_path / "run").measured_steps


@pytest.mark.parametrize(
    ("optimizer", "operator", "length"), [("adamw", "AdamW", 0.01), ("momentum", None, 0.1), ("adagrad", None, 0.05)]
)
def test_the_operator_is_that_of_the_optimizer_where_it_is_known(optimizer, operator, length, tmp_path):
    """Heavy ball with mu = 1/2 makes updates twice as long; Adagrad's P is not known, which is said."""
    loop = Loop(tmp_path / "run", optimizer=optimizer)
    loop.train(3)
    loop.follower.close()
    run = ef.open_run(tmp_path / "run")
    assert run.header["preconditioner"] == operator
    np.testing.assert_allclose(run.measurements.step_size, length, rtol=1e-12)
    assert any("plain operator" in line for line in loop.said) == (optimizer == "adagrad")


def test_numbers_for_a_tracker_are_those_of_the_record(tmp_path):
    loop = Loop(tmp_path / "run", optimizer="momentum")
    loop.train(1)
    numbers = loop.numbers
    loop.follower.close()
    one = ef.open_run(tmp_path / "run").measurements.isel(step=0)
    assert numbers["eigenflow/largest_eigenvalue"] == float(one.eigenvalue[0])
    assert numbers["eigenflow/edge"] == pytest.approx(float(one.eigenvalue[0]) * 0.1, rel=1e-12)
    assert "eigenflow/overhead" not in numbers  # without a cap nobody counts, and 0 would be wrong
    assert numbers["eigenflow/participation"] == pytest.approx(float(one.eigenvalue.sum() / one.eigenvalue[0]))
    assert numbers["eigenflow/probe_loss"] == pytest.approx(float(one.probe_loss), rel=1e-12)


def test_averaged_weights_are_recorded_beside_the_run(tmp_path):
    """Spectra of the average against a probe on it, made by hand."""
    loop = Loop(tmp_path / "run")
    loop.follower.close()
    average = torch.optim.swa_utils.AveragedModel(
        loop.network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.8)
    ).requires_grad_(False)

    def averages(path):
        return AveragedStates(path, average, loop.network, lambda twin: loop.probe(twin), modes=None)

    loop = Loop(tmp_path / "both", network=loop.network, schedule=[0, 2, 5], averages=averages)
    expected = {}
    for step in range(6):
        loop.train(1)
        if step in (0, 2, 5):
            by_hand = copy.deepcopy(average.module).requires_grad_(True)
            expected[step + 1] = ef.Probe(by_hand, INPUTS, TARGETS).measure(drift=False).eigenvalues.numpy()
        average.update_parameters(loop.network)
    loop.follower.close()
    run = ef.open_run(tmp_path / "both-ema")
    assert run.measured_steps == tuple(expected)
    for step, eigenvalues in expected.items():
        np.testing.assert_allclose(run.measurements.eigenvalue.sel(step=step), eigenvalues, rtol=1e-12, atol=1e-14)


@pytest.mark.rejects
def test_an_average_of_another_model_is_refused(tmp_path):
    loop = Loop(tmp_path / "run")
    loop.follower.close()
    with pytest.raises(ModelError, match=r"`ema` must hold all trainable parameters .* lacks \['0.bias'"):
        AveragedStates(tmp_path / "ema", lambda: {"0.weight": torch.zeros(6, 1)}, loop.network, loop.probe, modes=None)
