"""The first seconds of an experiment, against the training itself."""

import itertools

import numpy as np
import pytest

from eigenflow.lab import first_look, load_config
from eigenflow.lab.experiment import build_experiment

SMALL = ["task.samples=10", "task.holdout=0", "train.steps=400", "measure.threads=1"]


def trained(config, count):
    trainer, _, _ = build_experiment(config)
    return np.array([update.loss for update in itertools.islice(trainer.updates(), count)])


def stopping_after(monkeypatch, updates):
    """A clock by which so many updates take a second: what is seen does not depend on the machine."""
    ticks = itertools.count()
    # Of this very function, as other tests have the lab imported anew.
    monkeypatch.setitem(first_look.__globals__, "perf_counter", lambda: next(ticks) / updates)


def test_a_linear_network_is_carried_to_its_end(monkeypatch):
    """Its operator stands still, so what is carried is the training that is to come, up to rounding."""
    stopping_after(monkeypatch, 60)
    config = load_config("digits", [*SMALL, "model.depth=0", "train.learning_rate=0.2"])
    found = first_look(config, 1.0)
    assert 40 < len(found.losses) < 80 and found.missed < 1e-9
    # The loss after k updates is that which update k + 1 is computed from.
    whole = trained(load_config("digits", [*SMALL, "model.depth=0", "train.learning_rate=0.2", "train.steps=401"]), 401)
    np.testing.assert_array_equal(found.losses, whole[: len(found.losses)])
    expected = np.interp(found.steps, np.arange(401), np.log(whole))
    apart = np.abs(np.log(found.carried) - expected)
    assert found.steps[-1] == 400
    # Between whole updates ln(loss) is nearly straight.
    assert apart[found.steps == np.round(found.steps)].max() < 1e-8 and apart.max() < 1e-3


def test_a_tanh_network_is_carried_and_says_how_far_it_was_off(monkeypatch):
    stopping_after(monkeypatch, 100)
    config = load_config("digits", [*SMALL, "model.width=32"])
    found = first_look(config, 1.0)
    half = found.missed
    assert 1e-6 < half < 1.0  # its operator moves
    assert abs(np.log(found.carried[-1] / trained(config, 400)[-1])) < 1.0


@pytest.mark.parametrize(
    "change", ["train.batch_size=5", "train.momentum=0.5", "train.optimizer=adam", "train.loss=cross_entropy"]
)
def test_where_modes_do_not_make_the_loss_only_losses_are_shown(change, monkeypatch):
    stopping_after(monkeypatch, 30)
    config = load_config("digits", [*SMALL, "model.width=8", change])
    found = first_look(config, 1.0)
    assert len(found.losses) > 10 and len(found.steps) == 0 and found.missed == np.inf


def test_a_training_that_ends_within_the_look_is_all_there_is(monkeypatch):
    stopping_after(monkeypatch, 1000)
    found = first_look(load_config("digits", [*SMALL, "model.width=8", "train.steps=20"]), 1.0)
    assert len(found.losses) == 20 and len(found.steps) == 0
