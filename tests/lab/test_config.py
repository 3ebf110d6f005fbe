"""Experiment files: read, changed on the command line, refused with every problem named."""

import pytest

from eigenflow.core.errors import ConfigError
from eigenflow.lab import load_config, shipped_configs


def test_shipped_experiments_are_valid_and_named_after_their_file():
    for name in shipped_configs():
        assert load_config(name).name == name
    assert load_config() == load_config("digits")


def test_changes_are_typed_as_in_toml():
    config = load_config(
        "digits", ["train.steps=200", "train.learning_rate = 0.25", "model.activation=gelu", "name='x y'"]
    )
    assert (config.train.steps, config.train.learning_rate) == (200, 0.25)
    assert (config.model.activation, config.name) == ("gelu", "x y")


def test_file_of_the_user(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("[train]\nsteps = 7\n")
    assert load_config(path).train.steps == 7


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["train.loss=hinge"], r"train\.loss.*cross_entropy"),
        (["train.stesp=5"], r"'train\.stesp' is not a known key.*steps"),
        (["trian.steps=5"], r"'trian' is not a known key.*train"),
        (["train.steps=-5", "model.width=0"], r"(?s)train\.steps.*-5.*|model\.width"),
        (["train.batch_size=500"], r"train\.batch_size = 500 is more than task\.samples = 70"),
        (["train.optimizer=adam", "train.momentum=0.9"], "momentum"),
        (["model.name=cnn", "model.depth=5"], r"depth must lie in \[1, 4\] for a cnn"),
        (["measure.modes=701"], r"measure\.modes = 701 is more than the operator's 700 rows"),
        (["measure.method=tracked"], r"measure\.method = 'tracked' needs measure\.modes"),
        (["train.steps"], "section.key=value"),
        (["name.x=1"], "'name' is a value, not a section"),
    ],
)
def test_wrong_changes(changes, message):
    with pytest.raises(ConfigError, match=message):
        load_config("digits", changes)


@pytest.mark.rejects
def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigError, match="digits-sgd"):
        load_config("nonesuch")
    broken = tmp_path / "broken.toml"
    broken.write_text("[train\n")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load_config(broken)
