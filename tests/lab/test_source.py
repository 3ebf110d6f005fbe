"""A small transformer on the source of Python's library: its text, its network, its operator with and without P."""

import argparse
import re
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

import eigenflow as ef
from eigenflow.core.errors import ArgumentError, ConfigError
from eigenflow.lab import load_config, run_experiment
from eigenflow.lab.models import build_model
from eigenflow.lab.source_text import MODULES, draw_sequences, library_text
from eigenflow.lab.tasks import load_task
from reference import dense_jacobian as oracle

SMALL = ["task.samples=2", "task.training=40", "task.holdout=3", "task.context=4", "task.symbols=5", "model.width=4"]
SMALL += ["train.batch_size=20"]
RUN = [*SMALL, "train.steps=60", "measure.count=5", "measure.first=0", "measure.threads=1"]


def test_text_is_that_of_the_running_library():
    text = library_text()
    first = Path(argparse.__file__).read_bytes()
    assert MODULES[0] == "argparse" and bytes(text[: len(first)].astype(np.uint8)) == first
    assert len(text) > 1_000_000 and text.min() >= 0 and text.max() < 256


@pytest.mark.long
def test_sequences_are_pieces_of_the_text_and_share_no_byte():
    """With all bytes told apart, numbers are ranks of bytes. Pieces of sixty bytes stand at multiples of sixty from one
    beginning on; a piece that occurs several times has one occurrence there.
    """
    train, test = draw_sequences(50, 30, 60, 256, rng=np.random.default_rng(0))
    text = library_text()
    ranked = np.argsort(-np.bincount(text, minlength=256), kind="stable")
    whole, pieces = bytes(text.astype(np.uint8)), [bytes(ranked[r].astype(np.uint8)) for r in np.vstack([train, test])]
    places = {p: {found.start() for found in re.finditer(b"(?=" + re.escape(p) + b")", whole)} for p in pieces}
    remainders = set.intersection(*({place % 60 for place in found} for found in places.values()))
    assert len(remainders) == 1
    start = remainders.pop()
    for piece, count in Counter(pieces).items():
        assert count <= sum(place % 60 == start for place in places[piece])


def test_rare_bytes_are_one_symbol():
    all_train, _ = draw_sequences(200, 0, 9, 256, rng=np.random.default_rng(1))
    train, _ = draw_sequences(200, 0, 9, 7, rng=np.random.default_rng(1))
    np.testing.assert_array_equal(train, np.minimum(all_train, 6))


def test_targets_are_the_bytes_that_follow():
    task = load_task(load_config("source", SMALL).task)
    assert task.labels is not None
    assert torch.equal(task.inputs[:, 1:], task.labels[:, :-1])
    assert torch.equal(task.targets.argmax(-1), task.labels)
    assert task.sizes == (4, 5) and len(task.inputs) == 40 and task.probed == 2


def make(*changes):
    config = load_config("source", [*SMALL, *changes])
    task = load_task(config.task)
    return config, build_model(*task.sizes, config.model), task


def test_transformer_is_the_formula():
    """Written out for one sequence: normalise, attend to what came before, add, normalise, hidden layer, add."""
    _, model, task = make("model.depth=1", "model.output_scale=0.5")
    p = dict(model.named_parameters())
    x = p["embedding.weight"][task.inputs[0]] + p["place.weight"]

    def norm(x, name):
        return functional.layer_norm(x, (4,), p[f"{name}.weight"], p[f"{name}.bias"])

    def linear(x, name):
        return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]

    y = norm(x, "blocks.0.before_attention")
    query, key, value = (linear(y, f"blocks.0.{name}") for name in ("query", "key", "value"))
    attended = []
    for head in (slice(0, 2), slice(2, 4)):
        rows = []
        for t in range(4):
            weights = torch.softmax(key[: t + 1, head] @ query[t, head] / 2**0.5, 0)
            rows.append(weights @ value[: t + 1, head])
        attended.append(torch.stack(rows))
    x = x + linear(torch.cat(attended, 1), "blocks.0.out")
    hidden = functional.gelu(linear(norm(x, "blocks.0.before_hidden"), "blocks.0.hidden.0"))
    x = x + linear(hidden, "blocks.0.hidden.2")
    expected = 0.5 * linear(norm(x, "norm"), "head")
    torch.testing.assert_close(model(task.inputs)[0], expected, rtol=1e-12, atol=1e-14)


def test_later_bytes_change_no_earlier_score():
    _, model, task = make()
    changed = task.inputs.clone()
    changed[:, 2] = (changed[:, 2] + 1) % 5
    before, after = model(task.inputs), model(changed)
    assert torch.equal(before[:, :2], after[:, :2]) and not torch.equal(before[:, 2:], after[:, 2:])


def cross_entropy_operator(model, inputs):
    """J^T's Gram matrix between the roots diag(q) - q p^T of the curvature of the mean over positions."""
    kernel = oracle.kernel(model, inputs, 1.0)
    p = model(inputs).detach().softmax(-1).flatten(0, 1)
    q = p.sqrt()
    blocks = torch.diag_embed(q) - q[:, :, None] * p[:, None, :]
    root = torch.block_diag(*blocks) / len(p) ** 0.5
    return root @ kernel @ root.T


def test_operator_is_formed_by_rules_and_is_that_of_plain_autograd():
    _, model, task = make()
    probe = task.probe(model, "cross_entropy", holdout=True)
    assert probe.size == 2 * 4 * 5
    assert probe.describe()["method"] == "dense, layer rules for all parameters"
    expected = torch.linalg.eigvalsh(cross_entropy_operator(model, task.inputs[:2])).flip(0)
    found = probe.measure().eigenvalues
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 * float(expected[0]))


@pytest.mark.long
@pytest.mark.parametrize("preconditioner", ["false", "true"])
def test_a_small_run_is_recorded_with_and_without_the_preconditioner(tmp_path, preconditioner):
    """AdamW written out: the first logged losses; and the operator of the first update, J P^(-1) J^T."""
    config = load_config("source", [*RUN, f"measure.preconditioner={preconditioner}"])
    run = run_experiment(config, tmp_path / "run")
    assert run.status == "complete" and not run.gaps
    assert run.header["versions"]["python"] == sys.version.split()[0]
    assert (run.header["preconditioner"] == "AdamW") is (preconditioner == "true")
    task = load_task(config.task)
    model = build_model(*task.sizes, config.model)
    losses, expected = adamw(model, task, config)
    np.testing.assert_allclose(run.losses["loss"][:10], losses, rtol=1e-9)
    assert float(run.losses["loss"].tail(5).mean()) < float(run.losses["loss"].head(5).mean())
    if preconditioner == "true":
        np.testing.assert_allclose(run.measurements["eigenvalue"][0], expected, rtol=0, atol=1e-9 * expected[0])
    budget = ef.shell_budget(run)
    assert np.abs(budget.residual.values).max() <= 1e-11 * float(np.abs(budget.energy.sum("shell")).max())


def adamw(model, task, config):
    """Ten updates by the published rule (Loshchilov and Hutter), and the first operator's eigenvalues."""
    rate, decay, betas, eps = config.train.learning_rate, config.train.weight_decay, (0.9, 0.999), 1e-8
    names, parameters = zip(*model.named_parameters(), strict=True)
    first, second = ([torch.zeros_like(p) for p in parameters] for _ in range(2))
    losses, eigenvalues = [], np.zeros(0)
    for step in range(10):
        generator = torch.Generator().manual_seed(config.train.seed * 1_000_003 + step // 2)
        rows = torch.randperm(40, generator=generator)[20 * (step % 2) : 20 * (step % 2) + 20]
        scores = model(task.inputs[rows]).log_softmax(-1)
        loss = -scores.gather(-1, task.labels[rows][..., None]).mean()
        losses.append(float(loss.detach()))
        gradients = torch.autograd.grad(loss, parameters)
        for m, v, g in zip(first, second, gradients, strict=True):
            m.mul_(betas[0]).add_((1 - betas[0]) * g)
            v.mul_(betas[1]).add_((1 - betas[1]) * g**2)
        inverse = {
            name: 1 / ((v / (1 - betas[1] ** (step + 1))).sqrt() + eps) for name, v in zip(names, second, strict=True)
        }
        if step == 0:
            eigenvalues = preconditioned(model, task, inverse)
        with torch.no_grad():
            for name, p, m in zip(names, parameters, first, strict=True):
                p.mul_(1 - rate * decay)
                p.sub_(rate * inverse[name] * m / (1 - betas[0] ** (step + 1)))
    return losses, eigenvalues


def preconditioned(model, task, inverse):
    """Every parameter's columns of J times sqrt(P^-1), by giving the network c w for w with c = P^(-1/2)."""
    values = {name: p.detach().clone() for name, p in model.named_parameters()}
    scales = {name: inverse[name].sqrt() for name in values}

    def scores(*changes):
        changed = dict(zip(values, changes, strict=True))
        now = {name: values[name] + scales[name] * changed[name] for name in values}
        return torch.func.functional_call(model, now, (task.inputs[:2],)).flatten()

    zeros = tuple(torch.zeros_like(value) for value in values.values())
    jacobian = torch.cat([j.flatten(1) for j in torch.autograd.functional.jacobian(scores, zeros)], 1)
    p = model(task.inputs[:2]).detach().softmax(-1).flatten(0, 1)
    q = p.sqrt()
    root = torch.block_diag(*(torch.diag_embed(q) - q[:, :, None] * p[:, None, :])) / len(p) ** 0.5
    found = root @ jacobian
    return np.linalg.eigvalsh((found @ found.T).numpy())[::-1]


@pytest.mark.long
def test_interrupted_and_resumed_it_is_the_same_run(tmp_path):
    config = load_config("source", RUN)
    whole = run_experiment(config, tmp_path / "whole")

    def stop(done, total, measured):
        if done == 37:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_experiment(config, tmp_path / "run", progress=stop)
    run = run_experiment(config, tmp_path / "run", resume=True)
    np.testing.assert_allclose(run.losses["loss"], whole.losses["loss"], rtol=1e-9)
    scale = float(whole.measurements["eigenvalue"].max())
    np.testing.assert_allclose(run.measurements["eigenvalue"], whole.measurements["eigenvalue"], atol=1e-9 * scale)


@pytest.mark.long
def test_a_record_that_begins_later_is_the_rest_of_the_whole_one(tmp_path):
    """Also if it was cut off: the same updates, measured at the same states, with time from the first of them on."""
    changes = [*SMALL, "train.steps=9", "measure.count=9", "measure.threads=1"]
    whole = run_experiment(load_config("source", [*changes, "measure.first=0"]), tmp_path / "whole")
    later = load_config("source", [*changes, "measure.first=3"])

    def stop(done, total, measured):
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_experiment(later, tmp_path / "later", progress=stop)
    run = run_experiment(later, tmp_path / "later", resume=True)
    assert run.first_step == 3 and list(run.measured_steps) == [3, 4, 5, 6, 7, 8] and run.status == "complete"
    np.testing.assert_allclose(run.losses["loss"], whole.losses["loss"][3:], rtol=1e-9)
    expected = whole.measurements["eigenvalue"][3:]
    np.testing.assert_allclose(run.measurements["eigenvalue"], expected, atol=1e-9 * float(expected.max()))
    np.testing.assert_allclose(run.measurements["time"], 0.001 * np.arange(6), rtol=1e-12)


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["model.name=mlp"], "model.name must be 'gpt' for task.name = 'source'"),
        (["model.heads=3"], "a width that its heads divide"),
        (["model.residual=true"], "residual must be false for a gpt"),
        (["task.training=2"], "training must be 0 or at least samples = 3"),
        (["train.batch_size=5000"], r"train\.batch_size = 5000 is more than task\.training = 4000"),
        (["train.momentum=0.5"], "adamw have their own"),
        (["measure.first=2999"], r"measure\.first must leave at least 2 of train\.steps = 3000"),
    ],
)
def test_wrong_settings(changes, message):
    with pytest.raises(ConfigError, match=message):
        load_config("source", changes)


@pytest.mark.rejects
def test_more_sequences_than_the_text_has():
    with pytest.raises(ArgumentError, match=r"must be at most \d+ together"):
        draw_sequences(10**6, 0, 9, 32, rng=np.random.default_rng(0))
