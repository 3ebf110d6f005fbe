"""Records of J P^(-1) J^T, the operator that trains under Adam and its kin: against the update that was made."""

import numpy as np
import pytest
import torch
from torch import nn

import eigenflow as ef
from eigenflow.core.errors import ArgumentError, RunFolderError
from eigenflow.store import RecordGapWarning
from problems import samples, tanh_net

ADAM, RATE = torch.optim.Adam, 1e-2
# Without momentum the update is -eta P^(-1) g, P of the step itself: nothing is left for the optimizer's term.
MEMORYLESS = {
    "adam": lambda p: ADAM(p, RATE, betas=(0.0, 0.999)),
    "adamw": lambda p: torch.optim.AdamW(p, RATE, betas=(0.0, 0.999), weight_decay=0.0),
    "amsgrad": lambda p: ADAM(p, RATE, betas=(0.0, 0.999), amsgrad=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, RATE),
    "groups": lambda p: ADAM([{"params": p[:2]}, {"params": p[2:], "lr": 0.3 * RATE}], RATE, betas=(0.0, 0.999)),
}


def record(
    path, make, *, is_preconditioned=True, steps=9, schedule=(0, 3, 8), momentum=0.0, network=tanh_net, **options
):
    model, (inputs, targets) = network(), samples(0, count=12)
    probe = ef.Probe(model, inputs, targets, holdout=samples(7, count=3))
    optimizer = make(list(model.parameters()))
    preconditioner = optimizer if is_preconditioned else None
    with ef.Recorder(path, probe, schedule, preconditioner=preconditioner, **options) as recorder:
        for step in range(steps):
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(model(inputs), targets)
            loss.backward()
            optimizer.step()
            rate = [group["lr"] for group in optimizer.param_groups]
            recorder.step(step, loss=loss, learning_rate=rate, momentum=momentum)
    return ef.open_run(path)


def ratio(run):
    """|X| / D over all shells, at every measured update."""
    budget = ef.shell_budget(run)
    return np.abs(budget.optimizer.values.sum(1) / budget.dissipation.values.sum(1))


@pytest.mark.long
@pytest.mark.parametrize("name", MEMORYLESS)
@pytest.mark.parametrize("options", [{}, {"modes": 5, "method": "tracked"}])
def test_optimizer_term_is_rounding_without_momentum(tmp_path, name, options):
    run = record(tmp_path / "run", MEMORYLESS[name], **options)
    assert run.measured_steps == (0, 3, 8) and run.status == "complete"
    # Thousands of roundings of terms that cancel.
    assert ratio(run).max() <= 1e-11
    assert float(np.abs(run.measurements["holdout_optimizer"]).max()) <= 1e-12
    assert np.abs(ef.shell_budget(run).residual.values).max() <= 1e-12 * float(run.measurements["total_energy"].max())
    assert float(run.measurements["identity_residual"].max()) <= 1e-12
    assert run.header["operator"] == "J P^(-1) J^T" and run.why_no_updates is None
    # A single step along the preconditioned gradient, exactly.
    np.testing.assert_allclose(run.measurements["length_along"], 1.0, rtol=1e-10)


def test_eigenvalues_are_those_of_the_dense_operator_at_the_state_of_the_step(tmp_path):
    """P of step t holds v_t, which the gradient of that step is part of: by hand from Adam's recursion."""
    model, (inputs, targets) = tanh_net(0), samples(0, count=8)
    probe = ef.Probe(model, inputs, targets)
    optimizer, second = ADAM(model.parameters(), RATE), 0.0
    with ef.Recorder(tmp_path / "run", probe, [2], preconditioner=optimizer) as recorder:
        for step in range(3):
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(model(inputs), targets)
            loss.backward()
            flat = torch.cat([p.grad.reshape(-1) for p in model.parameters()])
            second = 0.999 * second + 0.001 * flat**2
            point = probe.at()
            optimizer.step()
            recorder.step(step, loss=loss, learning_rate=RATE)
    rows = point.pull(torch.eye(probe.size, dtype=torch.float64))
    jacobian = torch.cat([rows[name].reshape(probe.size, -1) for name, _ in model.named_parameters()], 1)
    inverse = 1.0 / ((second / (1.0 - 0.999**3)).sqrt() + 1e-8)
    expected = torch.linalg.eigvalsh((jacobian * inverse) @ jacobian.T).flip(0)
    found = ef.open_run(tmp_path / "run").measurements["eigenvalue"].values[0]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 * float(expected[0]))


def test_decoupled_weight_decay_is_all_that_is_left_of_the_optimizer(tmp_path):
    """h - h0 = -eta w J theta: a force of its own, not part of the operator."""
    decay = 0.3
    model, (inputs, targets) = tanh_net(0), samples(0, count=8)
    probe = ef.Probe(model, inputs, targets)
    point = probe.at()
    expected = point.push({name: -RATE * decay * p for name, p in point.parameters.items()})
    optimizer = torch.optim.AdamW(model.parameters(), RATE, betas=(0.0, 0.999), weight_decay=decay)
    with ef.Recorder(tmp_path / "run", probe, [0], preconditioner=optimizer) as recorder:
        loss = nn.functional.mse_loss(model(inputs), targets)
        loss.backward()
        optimizer.step()
        recorder.step(0, loss=loss, learning_rate=RATE)
    data = ef.open_run(tmp_path / "run").measurements.isel(step=0)
    left = np.linalg.norm(data["linear_step"].values - data["gradient_step"].values)
    assert left == pytest.approx(float(torch.linalg.vector_norm(expected)), rel=1e-9)


@pytest.mark.long
def test_optimizer_term_of_adamw_becomes_small_with_its_operator(tmp_path):
    """beta1 = 0.9: what the average of gradients does beyond the last one stays; 7 times the dissipation before."""

    def make(parameters):
        return torch.optim.AdamW(parameters, 1e-3, weight_decay=0.01)

    def wide():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2)).double()

    def tried(name, is_preconditioned):
        options = {"steps": 13, "schedule": range(0, 13, 3), "is_preconditioned": is_preconditioned}
        return record(tmp_path / name, make, network=wide, **options)

    plain, own = tried("plain", False), tried("own", True)
    assert np.median(ratio(plain)) > 3.0
    assert np.median(ratio(own)) < 0.2
    assert np.median(own.measurements["flow_residual"]) < 0.3 < 0.7 < np.median(plain.measurements["flow_residual"])


@pytest.mark.long
def test_heavy_ball_is_the_same_with_its_operator_or_in_its_time(tmp_path):
    """eta M / (1 - mu) either way: P = 1 - mu with time the sum of eta, or M with time the sum of eta / (1 - mu)."""

    def make(parameters):
        return torch.optim.SGD(parameters, 0.05, momentum=0.8)

    plain = record(tmp_path / "plain", make, is_preconditioned=False, momentum=0.8)
    own = record(tmp_path / "own", make, momentum=0.8)
    data, other = own.measurements, plain.measurements
    np.testing.assert_allclose(data["time"], 0.2 * other["time"], rtol=1e-12)
    np.testing.assert_allclose(data["eigenvalue"][0], 5.0 * other["eigenvalue"][0], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(ratio(own), ratio(plain), rtol=1e-9)
    # Resumed, time goes on by the same clock.
    assert float(own.losses["time"].iloc[-1]) == pytest.approx(8 * 0.05)


def test_given_diagonal_is_the_operator_of_all_measurements(tmp_path):
    model, (inputs, targets) = tanh_net(0), samples(0, count=8)
    probe = ef.Probe(model, inputs, targets)
    inverse = {name: torch.full_like(p, 2.0) for name, p in model.named_parameters()}
    expected = 2.0 * probe.measure().eigenvalues
    with ef.Recorder(tmp_path / "run", probe, [0], preconditioner=inverse) as recorder:
        gradient = probe.at().gradient()
        with torch.no_grad():
            for name, p in model.named_parameters():
                p -= 0.05 * 2.0 * gradient[name]
        recorder.step(0, loss=1.0, learning_rate=0.05)
    run = ef.open_run(tmp_path / "run")
    np.testing.assert_allclose(run.measurements["eigenvalue"][0], expected, rtol=1e-10, atol=1e-13)
    assert ratio(run).max() <= 1e-11 and run.header["preconditioner"] == "given"


def test_optimizer_without_state_is_a_gap_and_its_first_update_is_measured(tmp_path):
    """As when the first steps are skipped by a GradScaler whose loss does not show it."""
    model, (inputs, targets) = tanh_net(0), samples(0, count=8)
    probe = ef.Probe(model, inputs, targets)
    optimizer = ADAM(model.parameters(), RATE)
    with ef.Recorder(tmp_path / "run", probe, [0], preconditioner=optimizer) as recorder:
        for step in range(4):
            loss = nn.functional.mse_loss(model(inputs), targets)
            loss.backward()
            if step < 2:  # by hand: the optimizer has made no step
                with torch.no_grad():
                    for p in model.parameters():
                        p -= 1e-3 * p.grad
            else:
                optimizer.step()
            optimizer.zero_grad()
            if step == 0:
                with pytest.warns(RecordGapWarning, match=r"no state yet.*waits for the first update that has it"):
                    recorder.step(step, loss=loss, learning_rate=RATE)
            else:
                assert recorder.step(step, loss=loss, learning_rate=RATE) is (step == 2)
    run = ef.open_run(tmp_path / "run")
    assert run.measured_steps == (2,) and run.status == "complete with gaps"
    assert [(gap.kind, gap.step) for gap in run.gaps] == [("measurement", 0)] and "no state yet" in run.gaps[0].reason


@pytest.mark.rejects
class TestRejects:
    def test_what_is_no_preconditioner(self, tmp_path):
        model, (inputs, targets) = tanh_net(0), samples(0)
        probe = ef.Probe(model, inputs, targets)
        for wrong, message in (
            ("adam", "`preconditioner` must be a torch optimizer.*str"),
            (torch.optim.Adagrad(model.parameters(), 0.1), "Adagrad"),
            (ADAM([model[0].weight], 0.1), r"does not hold.*'0\.bias'"),
        ):
            with pytest.raises(ArgumentError, match=message):
                ef.Recorder(tmp_path / "run", probe, [0], preconditioner=wrong)
        assert not (tmp_path / "run").exists()

    def test_two_operators_in_one_record(self, tmp_path):
        run = record(tmp_path / "run", MEMORYLESS["adam"])
        model, (inputs, targets) = tanh_net(0), samples(0, count=8)
        probe = ef.Probe(model, inputs, targets)
        with pytest.raises(RunFolderError, match=r"preconditioner='Adam'.*None.*two operators"):
            ef.Recorder(run.path, probe, [0], resume_from=9)
        assert ef.open_run(run.path).measured_steps == run.measured_steps
