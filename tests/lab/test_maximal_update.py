"""Maximal update with rates of single parameters: the table of Yang et al. (2022), and what it is for."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import t as student

from eigenflow.core.errors import ArgumentError, ConfigError
from eigenflow.lab import load_config, run_experiment
from eigenflow.lab.coordinates import coordinate_check
from eigenflow.lab.models import build_model
from eigenflow.lab.rates import parameter_groups
from eigenflow.lab.tasks import load_task
from eigenflow.lab.trainer import Trainer
from reference import dense_jacobian as oracle

SEEDS = (0, 1, 2, 3)
SMALL = {
    "mlp": ("digits", ["task.samples=12", "task.holdout=0", "model.output_scale=1.0", "train.optimizer=adam"]),
    "cnn": ("digits-cnn", ["task.samples=6", "task.holdout=0", "train.batch_size=0", "model.depth=2"]),
    "gpt": ("source", ["task.samples=2", "task.training=8", "task.holdout=0", "train.batch_size=0",
                       "task.symbols=12", "task.context=6", "model.depth=1"]),
}  # fmt: skip


def make(name, width, *changes):
    base, given = SMALL[name]
    config = load_config(base, [*given, "model.parametrisation=maximal_update", f"model.width={width}", *changes])
    task = load_task(config.task)
    model = build_model(*task.sizes, config.model)
    return config, model, task


def rates_in_use(model, config):
    """Rate of the weight in use: of Adam the parameter's times the factor before it, of SGD times its square."""
    power = 1 if config.train.optimizer != "sgd" else 2
    rates = {id(p): group["lr"] for group in parameter_groups(model, config) for p in group["params"]}
    found = {}
    for name, module in model.named_modules():
        outer, inner = getattr(module, "outer", 1.0), getattr(module, "inner", 1.0)
        for kind, p in module.named_parameters(recurse=False):
            factor = outer * inner if kind == "weight" else outer
            found[f"{name}.{kind}"] = rates[id(p)] * factor**power / config.train.learning_rate
    return found


def test_rates_of_adam_are_those_of_the_table():
    """Table 3 of the paper: 1 for inputs and vectors, 1 / r for hidden and (in use) for output weights; r = 4 here."""
    for name, first, hidden, last in [
        ("mlp", "body.0", "body.2", "body.4"),
        ("gpt", "embedding", "blocks.0.query", "head"),
    ]:
        config, model, _ = make(name, 64, "model.base_width=16")
        found = rates_in_use(model, config)
        assert found[f"{first}.weight"] == pytest.approx(1.0, rel=1e-12)
        assert found[f"{hidden}.weight"] == pytest.approx(0.25, rel=1e-12)
        assert found[f"{last}.weight"] == pytest.approx(0.25, rel=1e-12)
        assert found[f"{hidden}.bias"] == pytest.approx(1.0, rel=1e-12)
        assert found[f"{last}.bias"] == pytest.approx(1.0, rel=1e-12)
    assert found["norm.weight"] == found["place.weight"] == 1.0
    assert found["blocks.0.hidden.0.weight"] == found["blocks.0.hidden.2.weight"] == 0.25


def test_rates_of_sgd_are_those_of_the_table():
    """r for inputs and vectors, 1 for hidden weights, and 1 / r for the output weights in use; r = 4 here."""
    config, model, _ = make("cnn", 32, "model.base_width=8")
    found = rates_in_use(model, config)
    expected = {"body.0.weight": 4, "body.0.bias": 4, "body.2.weight": 1, "body.2.bias": 4}
    expected |= {"body.5.weight": 0.25, "body.5.bias": 1}
    assert found == pytest.approx(expected, rel=1e-12)


def test_the_output_begins_smaller_by_the_root_of_r_beyond_what_width_does():
    """Standard deviation of a weight in use: fan-in^-1/2 r^-1/2 = base^(1/2) / width, within 4 standard errors."""
    _, model, _ = make("gpt", 128, "model.base_width=16", "task.symbols=64")
    used = (model.head.inner * model.head.weight).detach()
    error = 1 / math.sqrt(2 * used.numel())
    assert float(used.std()) == pytest.approx(math.sqrt(16) / 128, rel=4 * error)


@pytest.mark.parametrize("name", ["cnn", "gpt"])
def test_at_the_base_width_it_is_the_standard_parametrisation(name):
    """The same function, and the same losses in training, to rounding."""
    losses = []
    for kind in ("maximal_update", "standard"):
        config, model, task = make(name, 16, "model.base_width=16", f"model.parametrisation={kind}", "train.steps=12")
        targets = task.targets_of(config.train.loss)[0]
        trainer = Trainer(model, task.inputs, targets, config.train, parameter_groups(model, config))
        losses.append([update.loss for update in trainer.updates()])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-12)


def test_decoupled_decay_shrinks_every_weight_alike():
    config, model, _ = make("gpt", 64, "model.base_width=16", "train.weight_decay=0.1")
    for group in parameter_groups(model, config):
        assert group["lr"] * group["weight_decay"] == pytest.approx(config.train.learning_rate * 0.1, rel=1e-12)


def close_to(slope, expected, systematic):
    """Within three standard errors over seeds and a stated remainder of finite widths."""
    half = slope.interval[1] - slope.value
    error = half / student.ppf(0.95, slope.seeds - 1)
    return abs(slope.value - expected) <= 3 * error + systematic


WIDTHS = (64, 128, 256, 512, 1024)
# Corrections of relative order width^-1/2 fall from 0.13 to 0.03 over these widths: 0.1 / ln(16) = 0.035 of a slope.
FINITE = 0.04
DIGITS = ["task.samples=12", "task.holdout=0", "model.output_scale=1.0", "train.learning_rate=0.05"]


def checked(kind, *changes, operator=False):
    base = load_config("digits", [*DIGITS, f"model.parametrisation={kind}", *changes])
    return coordinate_check(base, WIDTHS, seeds=SEEDS, steps=4, operator=operator)


def test_under_maximal_update_units_and_outputs_move_alike_at_every_width():
    found = checked("maximal_update")
    for quantity in ("hidden", "output", "first_output"):
        assert close_to(found.slope(quantity), 0.0, FINITE), found


@pytest.mark.long
def test_under_ntk_outputs_move_alike_units_stand_still_and_so_does_the_operator():
    """Units fall as width^-1/2; the operator as width^-1: its first order has random signs and averages out."""
    found = checked("ntk", operator=True)
    assert close_to(found.slope("first_output"), 0.0, FINITE), found
    assert close_to(found.slope("output"), 0.0, FINITE), found
    assert close_to(found.slope("hidden"), -0.5, FINITE), found
    assert close_to(found.slope("operator"), -1.0, 0.1), found


@pytest.mark.long
def test_under_the_standard_one_outputs_move_with_the_width():
    """J J^T is a n + b: the hidden and the output layer's parts grow as the width n, the first one's does not.

    A step of a fixed rate moves outputs as J J^T does, so by a power that comes near 1 from below.
    """
    found = checked("standard", "train.learning_rate=0.001")
    assert found.slope("first_output").interval[0] > 0.5, found
    # Centred, so that all seeds begin with the same error.
    base = load_config("digits", [*DIGITS, "train.learning_rate=0.001", "model.centred=true"])
    wide = coordinate_check(base, (512, 2048), steps=1)
    assert close_to(wide.slope("first_output"), 1.0, 0.1), wide


@pytest.mark.long
def test_a_rate_that_trains_a_narrow_network_diverges_on_a_wide_one_unless_it_is_maximal_update():
    """2 / largest eigenvalue is where gradient descent stops to be stable: the standard one's eigenvalue grows."""
    grown = {}
    for kind in ("standard", "maximal_update"):
        for width in (64, 1024):
            config = load_config("digits", [*DIGITS, f"model.parametrisation={kind}", f"model.width={width}"])
            task = load_task(config.task)
            model = build_model(*task.sizes, config.model)
            if width == 64:
                largest = torch.linalg.eigvalsh(task.probe(model, config.train.loss, holdout=False).at().dense())[-1]
                rate = 1.0 / float(largest)
            train = config.train.model_copy(update={"learning_rate": rate, "steps": 30})
            losses = [update.loss for update in Trainer(model, task.inputs, task.targets, train).updates()]
            grown[kind, width] = losses[-1] / losses[0]
    assert max(grown["standard", 64], grown["maximal_update", 64], grown["maximal_update", 1024]) < 1
    assert grown["standard", 1024] > 10


@pytest.mark.long
def test_under_adam_the_same_holds_for_the_mlp():
    """The standard one's outputs move as width^1/2 or faster by Adam's steps of one size; maximal update's do not."""
    maximal = checked("maximal_update", "train.optimizer=adam", "train.learning_rate=0.003")
    for quantity in ("hidden", "output"):
        assert close_to(maximal.slope(quantity), 0.0, FINITE), maximal
    standard = checked("standard", "train.optimizer=adam", "train.learning_rate=0.0003")
    assert standard.slope("first_output").interval[0] > 0.4


@pytest.mark.long
@pytest.mark.parametrize(("kind", "is_flat"), [("maximal_update", True), ("standard", False)])
def test_coordinate_check_of_the_transformer(kind, is_flat):
    base = load_config("source", ["task.samples=2", "task.training=8", "task.holdout=0", "train.batch_size=0",
                                  "task.symbols=16", "model.base_width=32", f"model.parametrisation={kind}",
                                  "train.learning_rate=0.002"])  # fmt: skip
    found = coordinate_check(base, (32, 64, 128, 256), seeds=SEEDS, steps=4)
    if is_flat:  # widths are smaller than those of the mlp, and corrections twice as large
        assert close_to(found.slope("hidden"), 0.0, 2 * FINITE), found
        assert close_to(found.slope("output"), 0.0, 2 * FINITE), found
    else:
        assert found.slope("output").interval[0] > 0.2, found


def test_operator_of_a_readout_with_a_factor_is_that_of_reverse_mode():
    config, model, task = make("gpt", 8, "model.base_width=4", "model.heads=2")
    point = task.probe(model, config.train.loss, holdout=False).at()
    J = oracle.jacobian(model, task.inputs[: task.probed])
    assert J.shape[1] == sum(p.numel() for p in model.parameters())
    assert point.dense().shape[0] == J.shape[0]


@pytest.mark.long
def test_rates_of_all_groups_are_recorded(tmp_path):
    changes = ["model.parametrisation=maximal_update", "model.base_width=8", "model.width=16", "task.samples=2",
               "task.training=4", "task.holdout=0", "task.context=4", "task.symbols=6", "train.batch_size=0",
               "model.depth=1", "train.steps=14", "measure.count=2", "measure.first=4"]  # fmt: skip
    config = load_config("source", changes)
    run = run_experiment(config, tmp_path / "run")
    rate = config.train.learning_rate
    assert (run.losses["learning_rate"] == rate).all()
    assert run.losses["learning_rate_hidden"].to_numpy() == pytest.approx(rate / 2)
    assert float(run.measurements["time"][-1]) == pytest.approx(rate * 9)  # the first group's rate is the clock


@pytest.mark.rejects
def test_only_an_mlp_has_the_ntk_parametrisation():
    with pytest.raises(ConfigError, match="'ntk' is one of the mlp alone, but it is 'ntk' for a cnn"):
        load_config("digits-cnn", ["model.parametrisation=ntk"])


@pytest.mark.rejects
def test_a_check_needs_widths():
    base = load_config("digits", DIGITS)
    with pytest.raises(ArgumentError, match="`widths` must hold two or more"):
        coordinate_check(base, [64, 64])
    found = coordinate_check(base, [8, 16], seeds=(0, 1), steps=1)
    assert len(repr(found).splitlines()) <= 15
    with pytest.raises(ArgumentError, match="`quantity` must be one of hidden, output, first_output"):
        found.slope("operator")
