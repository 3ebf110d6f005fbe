"""Settings of a measurement: what ships can be read, and everything out of range is named."""

import pytest

from eigenflow.core.errors import ConfigError, LimitError
from eigenflow.lab.double_descent import DoubleDescentConfig, estimate_study, load_double_descent
from eigenflow.lab.double_descent.study import cells_of

pytestmark = pytest.mark.measure


def test_shipped_measurements_are_read_and_the_default_is_the_default():
    assert load_double_descent() == DoubleDescentConfig.model_validate({}) == load_double_descent("digits")
    assert load_double_descent("classes").task.outputs == 10
    cells = cells_of(load_double_descent())
    assert len({cell.file for cell in cells}) == len(cells)


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("task.noise=[0.0, 1.0]", ["task.noise.1", "less than 1"]),
        ("task.noise=[-0.1]", ["task.noise.0", "greater than or equal to 0"]),
        ("task.noise=[0.2, 0.1]", ["task.noise", "must increase", "place 1: 0.2, 0.1"]),
        ("task.noise=[]", ["task.noise", "at least 1"]),
        ("task.noise=[nan]", ["task.noise.0"]),
        ("task.samples=[50, 50]", ["task.samples", "must increase"]),
        ("task.samples=[0]", ["task.samples.0"]),
        ("task.samples=[1200]", ["task", "at most 1797 together", "1200 and 600"]),
        ("task.holdout=1", ["task.holdout"]),
        ("task.seeds=1", ["task.seeds", "greater than or equal to 2"]),
        ("task.target=letters", ["task.target", "'parity'"]),
        ("task.pool=3", ["task.pool"]),
        ("networks.widths=[4, 2]", ["networks.widths", "must increase"]),
        ("networks.widths=[0]", ["networks.widths.0"]),
        ("networks.learning_rate=0", ["networks.learning_rate"]),
        ("networks.steps=1", ["networks.steps"]),
        ("networks.count=2", ["networks.count"]),
        ("networks.activation=gelu", ["networks.activation"]),
        ("networks.output_scale=0", ["networks.output_scale"]),
        ("networks.depth=2", ["'networks.depth' is not a known key", "widths"]),
        ("features.counts=[9, 3]", ["features.counts", "must increase"]),
        ("features.draws=1", ["features.draws"]),
        ("features.ridge=[-1.0]", ["features.ridge.0"]),
        ("features.times=[1.0, 0.5]", ["features", "two increasing numbers > 0"]),
        ("features.times=[0.0, 0.5]", ["features", "two increasing numbers > 0"]),
        ("name=a/b", ["name", "plain name"]),
    ],
)
def test_what_is_out_of_range_is_named(change, words):
    with pytest.raises(ConfigError) as told:
        load_double_descent(None, [change])
    for word in words:
        assert word in str(told.value)


@pytest.mark.rejects
def test_nothing_to_measure_and_files_that_are_not_there():
    with pytest.raises(ConfigError, match="must not both be empty"):
        load_double_descent(None, ["features.counts=[]", "networks.widths=[]"])
    with pytest.raises(ConfigError, match="one of classes, digits, but there is no file 'none'"):
        load_double_descent("none")


@pytest.mark.rejects
def test_kernels_that_would_fill_the_memory_are_refused_before_any_work():
    config = load_double_descent(None, ["task.samples=[1100]", "networks.count=200", "task.target=classes"])
    with pytest.raises(LimitError, match=r"networks.count.*--limit entries="):
        estimate_study(config)
