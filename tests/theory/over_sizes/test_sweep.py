"""Losses of finished runs by size: checked, read from a table and from run folders."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from eigenflow.core.errors import ArgumentError, FileError, NonFiniteError, ShapeError
from eigenflow.theory.over_sizes import SizeSweep, read_sweep

SIZES = np.array([1.0, 2.0, 4.0, 8.0])


def test_means_and_scatter_are_those_of_two_way_analysis():
    """Residuals of a two-way table without interaction: each less its row's and column's mean, plus the whole one."""
    rng = np.random.default_rng(0)
    table = np.exp(rng.standard_normal((4, 3)))
    sweep = SizeSweep("width", np.repeat(SIZES, 3), table.ravel(), np.tile([7, 11, 5], 4))
    logs = np.log(table)
    left = logs - logs.mean(1, keepdims=True) - logs.mean(0, keepdims=True) + logs.mean()
    assert sweep.scatter()[1] == 6
    assert sweep.scatter()[0] == pytest.approx(np.sqrt((left**2).sum() / 6), rel=1e-10)
    assert sweep.means == pytest.approx(table.mean(1))
    alone = SizeSweep("width", np.repeat(SIZES, 3), table.ravel())
    assert alone.scatter()[1] == 8
    assert alone.scatter()[0] == pytest.approx(np.sqrt(logs.var(1, ddof=1).mean()), rel=1e-10)


def test_without_repeats_scatter_is_not_known():
    assert SizeSweep("width", SIZES, SIZES).scatter() == (0.0, 0)
    assert "not known" in str(SizeSweep("width", SIZES, SIZES))


def test_runs_need_not_be_balanced_nor_sorted():
    sweep = SizeSweep("data", np.array([8.0, 1, 4, 2, 1]), np.array([0.1, 1.0, 0.2, 0.5, 3.0]))
    assert sweep.places.tolist() == [1, 2, 4, 8] and sweep.counts.tolist() == [2, 1, 1, 1]
    assert sweep.means.tolist() == [2.0, 0.5, 0.2, 0.1]


def test_smaller_runs_alone():
    sweep = SizeSweep("data", np.arange(1.0, 8.0), np.ones(7), np.arange(7))
    assert len(sweep.up_to(5.0)) == 5


def test_a_table_is_read(tmp_path: Path):
    path = tmp_path / "runs.csv"
    frame = pd.DataFrame({"width": [8, 16, 32, 64, 8], "test": [4.0, 3, 2, 1, 9], "seed": 0, "task": [*"aaaa", "b"]})
    frame.to_csv(path, index=False)
    sweep = read_sweep(path, "width", size="width", loss="test", repeat="seed", where={"task": "a"})
    assert sweep.means.tolist() == [4.0, 3.0, 2.0, 1.0] and sweep.source == str(path)


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("arguments", "error", "told"),
    [
        (("depth", SIZES, SIZES), ArgumentError, "Unknown `resource` 'depth'"),
        (("width", SIZES[:3], SIZES[:3]), ArgumentError, "needs 4 different sizes"),
        (("width", np.ones(9), np.ones(9)), ArgumentError, "but has 1"),
        (("width", SIZES, SIZES[:3]), ShapeError, "rows of one length"),
        (("width", SIZES, [1.0, np.nan, 1, 1]), NonFiniteError, "`losses` must be finite, but is nan at place 1"),
        (("width", SIZES, [1.0, 0, 1, 1]), ArgumentError, "`losses` must be > 0, but is 0 at place 1"),
        (("width", -SIZES, SIZES), ArgumentError, "`sizes` must be > 0"),
        (("width", SIZES, SIZES, [1, 2]), ShapeError, "`repeats` must have one value a run, 4, but has 2"),
        (("width", list("abcd"), SIZES), ArgumentError, "`sizes` must be real numbers"),
    ],
)
def test_what_is_no_sweep_is_refused(arguments: tuple, error: type, told: str):
    with pytest.raises(error, match=told):
        SizeSweep(*arguments)


@pytest.mark.rejects
def test_tables_that_cannot_be_used(tmp_path: Path):
    path = tmp_path / "runs.csv"
    with pytest.raises(FileError, match="cannot be read so"):
        read_sweep(path, "width", size="width", loss="test")
    path.write_text("width,test\n1,a\n2,1\n4,1\n8,1\n")
    with pytest.raises(ArgumentError, match=r"no column 'loss'\. It has width, test"):
        read_sweep(path, "width", size="width", loss="loss")
    with pytest.raises(ArgumentError, match="no row has"):
        read_sweep(path, "width", size="width", loss="test", where={"width": 3})
    with pytest.raises(NonFiniteError, match="`losses` must be finite"):
        read_sweep(path, "width", size="width", loss="test")


@pytest.mark.long
@pytest.mark.measure
def test_run_folders_are_gathered(tmp_path: Path):
    """Four widths: sizes, seeds and last test losses are those of the folders."""
    import eigenflow as ef
    from eigenflow.lab import load_config, run_experiment
    from eigenflow.theory.over_sizes import sweep_of_runs

    small = ["task.samples=4", "task.holdout=10", "train.steps=12", "measure.count=4"]
    for width in (2, 4, 8, 16):
        run_experiment(load_config("digits", [*small, f"model.width={width}"]), tmp_path / f"w{width}")
    sweep = sweep_of_runs(sorted(tmp_path.iterdir()), "width")
    assert sweep.places.tolist() == [2, 4, 8, 16]
    last = ef.open_run(tmp_path / "w8").measurements["holdout_loss"].values[-1]
    assert sweep.losses[sweep.sizes == 8] == pytest.approx([last])
    with pytest.raises(ArgumentError, match="Unknown `resource` 'time'"):
        sweep_of_runs([tmp_path / "w8"], "time")
    with pytest.raises(ArgumentError, match="needs 4 different sizes"):
        sweep_of_runs(sorted(tmp_path.iterdir()), "data")
