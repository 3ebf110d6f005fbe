"""Experiments: repeatable, resumable after SIGKILL at any moment, and the claims that must hold on them."""

import json
import os
import random
import signal
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
import torch
import xarray as xr
from safetensors.torch import load_file
from torch import nn

import eigenflow as ef
from eigenflow.core.errors import NonFiniteError, RunFolderError
from eigenflow.lab import load_config, run_experiment
from eigenflow.lab.models import build_model
from eigenflow.lab.tasks import load_task
from eigenflow.store import RunFolderWarning, accept_run
from reference import dense_jacobian as oracle

pytestmark = pytest.mark.long

SMALL = [
    "task.samples=10",
    "task.holdout=20",
    "model.width=12",
    "model.depth=1",
    "train.steps=400",
    "measure.count=24",
    "measure.threads=1",
]
SCRIPT = """
import sys
from eigenflow.lab import load_config, run_experiment
config = load_config("digits", sys.argv[3:])
print("start", flush=True)
run_experiment(config, sys.argv[1], resume=sys.argv[2] == "resume",
               progress=lambda done, total, measured: print(done, measured, flush=True))
"""


def small(*changes):
    return load_config("digits", [*SMALL, *changes])


@pytest.fixture(scope="module")
def full_batch(tmp_path_factory):
    return run_experiment(small(), tmp_path_factory.mktemp("lab") / "run")


def test_training_is_full_batch_gradient_descent(full_batch):
    """Against a loop written out in plain autograd: theta - eta grad, loss = mean squared error."""
    config = small()
    task = load_task(config.task)
    model = build_model(64, 10, config.model)
    losses = []
    for _ in range(30):
        loss = torch.nn.functional.mse_loss(model(task.inputs), task.targets)
        losses.append(float(loss.detach()))
        for p, g in zip(model.parameters(), torch.autograd.grad(loss, list(model.parameters())), strict=True):
            p.data -= config.train.learning_rate * g
    np.testing.assert_allclose(full_batch.losses["loss"][:30], losses, rtol=1e-12)


def test_recorded_operator_is_that_of_the_untouched_network(full_batch):
    config = small()
    task = load_task(config.task)
    model = build_model(64, 10, config.model)
    expected = torch.linalg.eigvalsh(oracle.kernel(model, task.inputs, 2.0 / task.targets.numel())).flip(0)
    stored = full_batch.modes["eigenvalue"][0]
    np.testing.assert_allclose(stored, expected, rtol=0, atol=1e-12 * float(expected[0]))


def test_claims_that_are_identities_hold(full_batch):
    rows = {row.claim: row for row in ef.claims(full_batch)}
    assert set(rows) >= {"C1", "C2", "C3", "C4", "C8"}
    for name in ("C1", "C1.identity", "C1.flow", "C2.eigenvalues", "C3.closes", "C3.remainder", "C3.integrated"):
        assert rows[name].verdict == "supported", rows[name]
    assert all(row.reason and row.verdict in {"supported", "contradicted", "undecided"} for row in rows.values())


def test_minibatch_updates_are_not_steps_of_the_probe_flow(tmp_path):
    """One sample in ten: de = -dt M e must fail for single updates, and the budget must still close."""
    run = run_experiment(small("train.batch_size=1", "train.learning_rate=0.05"), tmp_path / "run")
    rows = {row.claim: row for row in ef.claims(run)}
    assert rows["C1.flow"].verdict == "contradicted" and rows["C1.identity"].verdict == "supported"
    assert rows["C3.closes"].verdict == "supported"


@pytest.mark.parametrize(
    "changes", [(), ("train.batch_size=3", "train.momentum=0.5"), ("train.optimizer=adam", "train.learning_rate=0.01")]
)
def test_resume_after_an_exception_repeats_the_run(tmp_path, changes):
    config = small("train.steps=60", "measure.count=8", *changes)
    whole = run_experiment(config, tmp_path / "whole")

    def stop(done, total, measured):
        if done == 37:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_experiment(config, tmp_path / "run", progress=stop)
    assert ef.open_run(tmp_path / "run").status == "interrupted"
    run = run_experiment(config, tmp_path / "run", resume=True)
    assert run.status == "complete"
    assert_same_run(run, whole)


def assert_same_run(run, whole):
    np.testing.assert_array_equal(run.losses["step"], whole.losses["step"])
    np.testing.assert_allclose(run.losses["loss"], whole.losses["loss"], rtol=1e-9)
    assert run.measured_steps == whole.measured_steps
    invariant = [name for name, v in run.measurements.items() if not v.attrs["label_dependent"]]
    scale = float(whole.measurements["energy"].max())
    for name in set(invariant) & {"energy", "dissipation", "transfer", "eigenvalue"}:
        xr.testing.assert_allclose(run.measurements[name], whole.measurements[name], rtol=1e-6, atol=1e-12 * scale)


@pytest.fixture(scope="module")
def entropy_run(tmp_path_factory):
    config = load_config("digits", [*SMALL, "train.loss=cross_entropy", "train.learning_rate=0.2"])
    return config, run_experiment(config, tmp_path_factory.mktemp("entropy") / "run")


def test_cross_entropy_is_trained_and_recorded(entropy_run):
    """The trained loss is torch's own, the energy 1 / p_y - 1; all by the network that the checkpoint holds."""
    config, run = entropy_run
    assert run.header["probe"]["loss"] == "cross_entropy" and not run.header["probe"]["is_quadratic"]
    data, logged = run.measurements, run.losses.set_index("step")["loss"]
    np.testing.assert_allclose(data["probe_loss"], logged.loc[list(run.measured_steps)], rtol=1e-12)
    task, model = load_task(config.task), build_model(64, 10, config.model)
    log_p = model(task.inputs).detach().log_softmax(-1)[torch.arange(10), task.labels]
    assert float(logged[0]) == pytest.approx(float(-log_p.mean()), rel=1e-12)
    assert float(data["total_energy"][0]) == pytest.approx(float((torch.exp(-log_p) - 1).mean()), rel=1e-12)
    test_loss = nn.functional.cross_entropy(model(task.test_inputs).detach(), task.test_labels)
    assert float(data["holdout_loss"][0]) == pytest.approx(float(test_loss), rel=1e-12)
    assert float(logged.iloc[-1]) < 0.1 * float(logged.iloc[0])
    budget = ef.shell_budget(run)
    assert np.abs(budget.residual.values).max() <= 1e-12 * float(budget.energy.sum("shell").max())


def killed_run(folder, seed):
    """Record in a subprocess and SIGKILL it at a random moment after the first measurement; returns its last words."""
    rng = random.Random(seed)
    arguments = [sys.executable, "-c", SCRIPT, str(folder), "new", *SMALL]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    last, deadline = (0, 0), None
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line != "start\n":
                last = tuple(int(word) for word in line.split())
                deadline = deadline or time.monotonic() + rng.uniform(0.0, 0.9)
            if deadline and time.monotonic() > deadline:
                process.send_signal(signal.SIGKILL)
                break
        # What it said before it died counts as said; a last line may be cut off.
        for line in process.stdout.read().splitlines(keepends=True):
            if line.endswith("\n"):
                last = tuple(int(word) for word in line.split())
    return last


def check_kill(folder, seed, whole):
    done, measured = killed_run(folder, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RunFolderWarning)  # a half-written tail is what is expected here
        run = ef.open_run(folder)
        steps = run.measured_steps
        losses = run.measurements["probe_loss"]
    # All measurements that were finished when it last spoke are there, and equal those of the whole run.
    assert len(steps) >= measured
    assert steps == whole.measured_steps[: len(steps)]
    np.testing.assert_allclose(losses, whole.measurements["probe_loss"][: len(steps)], rtol=1e-9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RunFolderWarning)
        resumed = run if run.status == "complete" else run_experiment(small(), folder, resume=True)
    assert resumed.status == "complete"
    assert_same_run(resumed, whole)
    assert done <= 400


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 5))])
def test_killed_at_a_random_moment_the_run_opens_and_resumes(tmp_path, seed, full_batch):
    check_kill(tmp_path / "run", seed, full_batch)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 150))
def test_killed_at_many_random_moments(tmp_path, seed, full_batch):
    check_kill(tmp_path / "run", seed, full_batch)


def test_a_folder_of_an_earlier_version_is_resumed(tmp_path):
    """Its run.json lacks the newer keys; they take their defaults."""
    config = small("train.steps=60", "measure.count=8")

    def stop(done, total, measured):
        if done == 37:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_experiment(config, tmp_path / "run", progress=stop)
    path = tmp_path / "run" / "run.json"
    header = json.loads(path.read_text())
    del header["config"]["model"]["residual"], header["config"]["model"]["centred"]
    path.write_text(json.dumps(header))
    accept_run(tmp_path / "run")
    assert run_experiment(config, tmp_path / "run", resume=True).status == "complete"
    with pytest.raises(RunFolderError, match="another configuration"):
        run_experiment(small("train.steps=60", "model.centred=true"), tmp_path / "run", resume=True)


@pytest.mark.rejects
class TestRejects:
    def test_existing_folder(self, tmp_path, full_batch):
        before = {p: p.read_bytes() for p in full_batch.path.rglob("*") if p.is_file()}
        with pytest.raises(RunFolderError, match="resume"):
            run_experiment(small(), full_batch.path)
        assert {p: p.read_bytes() for p in full_batch.path.rglob("*") if p.is_file()} == before

    def test_resume_with_another_configuration(self, full_batch):
        with pytest.raises(
            RunFolderError, match=r"another configuration.*train\.learning_rate is \S+ there and 0\.3 here"
        ):
            run_experiment(small("train.learning_rate=0.3"), full_batch.path, resume=True)

    def test_divergence_is_told_and_the_record_kept(self, tmp_path):
        with pytest.raises(NonFiniteError, match=r"step \d+|NaN or infinite"):
            run_experiment(small("train.learning_rate=1e6"), tmp_path / "run")
        run = ef.open_run(tmp_path / "run")
        assert run.status == "failed" and len(run.losses) >= 1

    def test_checkpoints_are_plain_tensors(self, full_batch):
        state = load_file(str(full_batch.path / "checkpoint.safetensors"))
        assert int(state["step"]) == 400


def test_convolutional_network_is_measured_by_its_rules(tmp_path):
    """A short digits-cnn: all modes of a small probe, the operator by layer rules only, shells that close."""
    changes = ["task.samples=10", "task.holdout=10", "model.width=2", "train.steps=12", "measure.count=3"]
    config = load_config("digits-cnn", [*changes, "train.batch_size=5", "measure.threads=1"])
    run = run_experiment(config, tmp_path / "run")
    assert run.header["probe"]["method"] == "dense, layer rules for all parameters"
    task, model = load_task(config.task), build_model(64, 10, config.model)
    exact = np.linalg.eigvalsh(oracle.kernel(model, task.inputs, 2 / 100).numpy())[::-1]
    np.testing.assert_allclose(run.measurements["eigenvalue"][0], exact, rtol=0, atol=1e-12 * exact[0])
    budget = ef.shell_budget(run)
    assert np.abs(budget.residual.values).max() <= 1e-12 * float(budget.energy.sum("shell").max())
    assert (budget.optimizer.values != 0).any()  # batches and momentum
