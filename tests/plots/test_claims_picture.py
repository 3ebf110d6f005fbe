"""The picture of verdicts shows every row of every run, and nothing where a run has no such row."""

from collections import Counter

import matplotlib.pyplot as plt
import pytest
from matplotlib.colors import to_hex

from eigenflow.core.errors import ArgumentError
from eigenflow.plots import plot_claims, plot_estimates
from eigenflow.theory import Claim, Verdict


def row(claim, verdict, estimate=1.0):
    return Claim(claim, "s", estimate, (0.0, 2.0), (None, None), verdict, "r")


@pytest.fixture
def ax():
    figure, ax = plt.subplots()
    yield ax
    plt.close(figure)


def test_each_verdict_is_one_cell(ax):
    good, bad = Verdict.SUPPORTED, Verdict.CONTRADICTED
    runs = {"a": [row("C1", good), row("C1.flow", good, 0.25)], "b": [row("C1", bad, None)]}
    plot_claims(runs, ax=ax)
    colours = Counter(to_hex(patch.get_facecolor()) for patch in ax.patches)
    assert colours["#ffffff"] == 1 and colours["#9ec9a8"] == 2 and colours["#e6a39a"] == 1
    assert sorted(text.get_text() for text in ax.texts) == ["0.25", "1"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["C1", "C1.flow"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["a", "b"]


def test_claims_as_a_whole_can_be_left_out(ax):
    plot_claims({"a": [row("C1", Verdict.SUPPORTED), row("C1.flow", Verdict.SUPPORTED)]}, ax=ax, only_assertions=True)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["C1.flow"]


@pytest.mark.rejects
def test_no_run(ax):
    with pytest.raises(ArgumentError, match="at least one run"):
        plot_claims({}, ax=ax)


def test_estimates_stand_beside_their_intervals(ax):
    runs = {"a": [row("C7.error", Verdict.SUPPORTED, 0.5)], "b": [row("C7.error", Verdict.UNDECIDED, None)]}
    plot_estimates(runs, "C7.error", ax=ax)
    interval, point = ax.lines
    assert list(interval.get_xdata()) == [0.0, 2.0] and list(point.get_xdata()) == [0.5]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]


@pytest.mark.rejects
def test_no_such_row(ax):
    with pytest.raises(ArgumentError, match="There are: C1"):
        plot_estimates({"a": [row("C1", Verdict.SUPPORTED)]}, "C9", ax=ax)
