"""Several runs in one table whose column of runs has an unknown name, beside runs that really were started again."""

import numpy as np
import pandas as pd
import pytest

from eigenflow import read_curves
from eigenflow.core.errors import ArgumentError
from eigenflow.forecast.reading.rows.hidden_runs import HiddenRunWarning


def piece(first: int, last: int, *, floor: float = 2.0, **constants: object) -> pd.DataFrame:
    """Points every 20 steps of a power law; what is constant in this piece beside it."""
    steps = np.arange(first, last + 1, 20)
    table = pd.DataFrame({"step": steps, "loss": floor + 3.0 * (1.0 + steps / 50.0) ** -0.5, "lr": 1e-3})
    return table.assign(**constants)


RUNS = [
    piece(20, last, floor=floor, job=job) for job, floor, last in (("A", 2.0, 600), ("B", 2.1, 600), ("C", 2.2, 500))
]


@pytest.mark.rejects
def test_runs_under_an_unknown_column_are_not_taken_for_restarts():
    table = pd.concat(RUNS, ignore_index=True).rename(columns={"job": "who"})
    with pytest.raises(
        ArgumentError, match=r"row 31.*from 600 to 20.*column 'who'.*'A' to 'B'.*'curve': 'who'"
    ) as error:
        read_curves(table, warmup=0)
    assert "--column curve=who" in str(error.value)
    found = read_curves(table, warmup=0, columns={"curve": "who"})
    assert found.names == ["A", "B", "C"]
    assert found.points == sum(len(run) for run in RUNS)


@pytest.mark.rejects
@pytest.mark.parametrize("first", [20, 60])
def test_a_later_run_that_logs_from_a_little_later_is_one_too(first):
    """Step 60 of 30 points: 28 of them would go."""
    table = pd.concat([piece(20, 600, color=1), piece(first, 600, color=2)], ignore_index=True)
    with pytest.raises(ArgumentError, match="column 'color'"):
        read_curves(table, warmup=0)


@pytest.mark.rejects
def test_runs_of_one_name_are_told_apart_by_a_further_column():
    table = pd.concat([piece(20, 600, run="a", color=color) for color in (0, 1)], ignore_index=True)
    with pytest.raises(ArgumentError, match=r"curve 'a'.*column 'color'.*one column of both"):
        read_curves(table, warmup=0)


@pytest.mark.parametrize(
    "columns",
    [{}, {"host": ("n1", "n2")}, {"project": ("p", "p")}, {"attempt": (1, 2), "host": ("n1", "n2")}],
    ids=["none", "host", "constant", "several"],
)
def test_a_late_restart_stays_one_run_whatever_other_columns_say(columns, recwarn):
    """A checkpoint at step 400 of 600: the earlier 19 points stay, 11 are replaced, nothing is warned of."""
    before = piece(20, 600, **{name: values[0] for name, values in columns.items()})
    after = piece(400, 1000, **{name: values[1] for name, values in columns.items()})
    found = read_curves(pd.concat([before, after], ignore_index=True), warmup=0)
    assert found.points == len(before) + len(after) - 11
    assert any("restarted at step 400" in note and "11 points" in note for note in found.notes)
    assert not recwarn


@pytest.mark.parametrize("extra", [{}, {"project": "p"}, {"wall": None}], ids=["none", "constant", "changing"])
def test_a_run_that_is_started_anew_is_kept_with_a_warning(extra):
    """No column tells the pieces apart: one has the same value in both, the other another value in each row."""
    first, second = piece(20, 300, **extra), piece(20, 600, floor=2.1, **extra)
    table = pd.concat([first, second], ignore_index=True)
    if "wall" in extra:
        table["wall"] = np.arange(len(table)) * 1.5
    with pytest.warns(HiddenRunWarning, match=r"row 16.*replace 15 of the 15 points.*--column curve=NAME"):
        found = read_curves(table, warmup=0)
    assert found.points == len(second)


def test_a_restart_within_one_of_several_runs_is_no_further_run():
    """Within run b the host changes at step 400; the column of runs is mapped, so nothing is wrong."""
    parts = [
        piece(20, 600, job="a", host="n1"),
        piece(20, 600, job="b", host="n1"),
        piece(400, 800, job="b", host="n2"),
    ]
    found = read_curves(pd.concat(parts, ignore_index=True), warmup=0, columns={"curve": "job"})
    assert found.names == ["a", "b"]
    assert [len(curve.steps) for curve in found] == [30, 40]
