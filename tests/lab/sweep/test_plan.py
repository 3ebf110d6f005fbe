"""What a sweep's file means: which runs there are, what they are called, and what is refused."""

import itertools

import numpy as np
import pytest

from eigenflow.core.errors import ConfigError
from eigenflow.lab import load_config
from eigenflow.lab.sweep import load_sweep, plan_sweep, shipped_sweeps
from eigenflow.lab.sweep.naming import LONGEST, run_name


def plan(tmp_path, text, *changes):
    path = tmp_path / "s.toml"
    path.write_text(text)
    return plan_sweep(load_sweep(path, list(changes)))


GRID = """
name = "s"
base = "digits-width"
[task]
samples = 8
[sweep.grid]
model.width = [16, 32]
"train.learning_rate" = [1, 0.25]
"""


def test_grid_is_every_combination_of_the_base_with_its_changes(tmp_path):
    """Against the configurations that `--set` of `eigenflow run` makes."""
    found = plan(tmp_path, GRID).runs
    expected = [
        load_config("digits-width", ["task.samples=8", f"model.width={w}", f"train.learning_rate={r}"])
        for w, r in itertools.product((16, 32), (1.0, 0.25))
    ]
    assert [run.config.model_dump(exclude={"name"}) for run in found] == [
        one.model_dump(exclude={"name"}) for one in expected
    ]
    assert [run.name for run in found] == [
        "model.width=16,train.learning_rate=1.0",
        "model.width=16,train.learning_rate=0.25",
        "model.width=32,train.learning_rate=1.0",
        "model.width=32,train.learning_rate=0.25",
    ]
    assert all(run.config.name == run.name for run in found)


def test_keys_of_a_zip_go_together_and_share_a_dimension(tmp_path):
    text = "[[sweep.zip]]\nmodel.width = [8, 16, 32]\ntrain.learning_rate = [1.0, 0.5, 0.1]\n"
    found = plan(tmp_path, text, "sweep.repeats=2")
    assert [(one.name, one.length) for one in found.dimensions] == [("model.width", 3), ("repeat", 2)]
    pairs = {(run.config.model.width, run.config.train.learning_rate) for run in found.runs}
    assert pairs == {(8, 1.0), (16, 0.5), (32, 0.1)}
    assert len(found.runs) == 6


def test_repeats_have_other_seeds_and_the_first_has_the_name_of_a_run_without_any(tmp_path):
    alone, several = plan(tmp_path, GRID), plan(tmp_path, GRID, "sweep.repeats=3")
    assert [run.name for run in several.runs if run.index["repeat"] == 0] == [run.name for run in alone.runs]
    first = [run for run in several.runs if run.config.model.width == 16 and run.config.train.learning_rate == 1]
    assert [(run.config.model.seed, run.config.train.seed, run.config.task.seed) for run in first] == [
        (1, 2, 0),
        (2, 3, 0),
        (3, 4, 0),
    ]


DRAWN = """
[sweep.random]
count = 200
seed = 7
keys.train.learning_rate = {low = 0.001, high = 1.0, scale = "log"}
keys.model.width = {low = 8, high = 64}
keys.model.activation = {choice = ["tanh", "relu"]}
"""


def test_draws_have_the_distribution_that_was_asked_for(tmp_path):
    """A uniform sample's mean lies within 4 standard errors of the middle: one in 16,000 does not."""
    runs = plan(tmp_path, DRAWN).runs
    rates = np.log([run.config.train.learning_rate for run in runs])
    low, high = np.log(0.001), 0.0
    assert low <= rates.min() and rates.max() <= high
    assert abs(rates.mean() - (low + high) / 2) < 4 * (high - low) / np.sqrt(12 * 200)
    widths = np.array([run.config.model.width for run in runs])
    assert widths.min() >= 8 and widths.max() <= 64
    assert abs(widths.mean() - 36) < 4 * 57 / np.sqrt(12 * 200)
    share = np.mean([run.config.model.activation == "tanh" for run in runs])
    assert abs(share - 0.5) < 4 * 0.5 / np.sqrt(200)


def test_more_draws_and_other_keys_change_none_that_are_there(tmp_path):
    few, more = plan(tmp_path, DRAWN, "sweep.random.count=5"), plan(tmp_path, DRAWN, "sweep.random.count=9")
    assert [run.name for run in few.runs] == [run.name for run in more.runs][:5]
    other = plan(tmp_path, DRAWN, "sweep.random.count=5", "sweep.random.keys.model.depth={choice=[1,2]}")
    assert [run.config.train.learning_rate for run in other.runs] == [
        run.config.train.learning_rate for run in few.runs
    ]
    seeded = plan(tmp_path, DRAWN, "sweep.random.count=5", "sweep.random.seed=8")
    assert not {run.name for run in few.runs} & {run.name for run in seeded.runs}


def test_draws_are_all_different(tmp_path):
    text = "[sweep.random]\ncount = 3\nkeys.model.width = {choice = [8, 16, 32]}\n"
    assert {run.config.model.width for run in plan(tmp_path, text).runs} == {8, 16, 32}


def test_long_names_are_cut_and_stay_different():
    values = [{"model.width": 8, "train.loss": "x" * 200 + end} for end in "ab"]
    names = [run_name(one) for one in values]
    assert names[0] != names[1]
    assert all(len(name.encode()) <= LONGEST for name in names)


def test_names_hold_nothing_that_leads_elsewhere():
    name = run_name({"a": "../../etc", "b": "a/b\\c", "c": True, "d": 1e-05})
    assert "/" not in name and "\\" not in name
    assert name.endswith("c=true,d=1e-05")


def test_a_base_may_be_a_file_beside_the_sweep(tmp_path):
    (tmp_path / "mine.toml").write_text('name = "mine"\n[model]\nwidth = 20\n')
    found = plan(tmp_path, 'base = "mine.toml"\n[sweep.grid]\ntrain.learning_rate = [0.1]\n')
    assert found.runs[0].config.model.width == 20
    assert found.config.name == "s"


@pytest.mark.parametrize("name", sorted(shipped_sweeps()))
def test_shipped_sweeps_are_sweeps(name):
    assert len(plan_sweep(load_sweep(name)).runs) > 1


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("sweep.grid.model.wdith=[1]", r"'model.wdith' is no key of an experiment; known: .*model.width"),
        ("sweep.grid.width=[1]", r"'width' is no key of an experiment"),
        ("sweep.grid.model.width=[]", r"'model.width' has no values"),
        ("sweep.grid.model.width=[16,16]", r"'model.width' has the value 16 more than once"),
        ('sweep.grid.model.width=["a"]', r"the run with model.width = 'a'.*\n.*model.width"),
        ("sweep.grid.train.steps=[1]", r"the run with .*train.steps = 1.*\n.*train.steps.*greater than or equal to 2"),
        ("sweep.grid.model.heads=[2,2.0]", r"holds the run .* twice"),
        ("model.widht=3", r"'model.widht' is not a known key"),
        ("base=q", r"`base` in .* must be a TOML file beside it or one of .*, but is 'q'"),
        ("sweep.engin=3", r"'sweep.engin' is not a known key"),
        ("sweep.engine.name=slurm", r"sweep.engine.name: Input should be 'local', 'ray' or 'submitit'"),
        ("sweep.repeats=0", r"sweep.repeats"),
        ("sweep.repeat_seeds=['model.width']", r"repeat_seeds must be names of seeds"),
        ("sweep.analyse=false", r"report must be false where analyse is"),
        ("sweep.random={count=1,keys={}}", r"must name at least one key"),
        ("sweep.random={count=1,keys={model={width={low=3,high=1}}}}", r"low must be less than high"),
        ("sweep.random={count=1,keys={train={seed={low=0,high=1,scale='log'}}}}", r"low must be > 0 for scale = 'log'"),
        ("sweep.random={count=1,keys={train={seed={low=0}}}}", r"must have either low and high"),
        ("sweep.random={count=1,keys={model={width={choice=[1]}}}}", r"'model.width' is swept twice"),
        ("sweep.random={count=9,keys={train={seed={choice=[1,2]}}}}", r"more draws than there are different ones"),
        (
            "sweep.zip=[{model={depth=[1,2],seed=[1]}}]",
            r"zip.0 must hold two keys .* model.depth has 2, model.seed has 1",
        ),
    ],
)
def test_wrong_settings_name_the_key(tmp_path, change, words):
    with pytest.raises(ConfigError, match=f"(?s){words}"):
        plan(tmp_path, GRID, change)


@pytest.mark.rejects
def test_a_repeated_seed_cannot_be_swept_too(tmp_path):
    with pytest.raises(ConfigError, match=r"'model.seed' is swept, so repeat_seeds must not hold it"):
        plan(tmp_path, GRID, "sweep.repeats=2", "sweep.grid.model.seed=[1,2]")


@pytest.mark.rejects
def test_a_sweep_that_is_not_there_names_those_that_are():
    with pytest.raises(ConfigError, match=r"or one of .*width, but there is no\s+file 'nope'"):
        load_sweep("nope")
