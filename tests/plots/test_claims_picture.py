"""The picture of verdicts shows every row of every run, and nothing where a run has no such row."""

from collections import Counter
from dataclasses import replace

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


def test_rows_beside_a_claim_are_paler_and_last(ax):
    good = Verdict.SUPPORTED
    beside = replace(row("C1.basis", good), decides=False)
    plot_claims({"a": [row("C1", good), beside, row("C1.flow", good)]}, ax=ax)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["C1", "C1.flow", "C1.basis"]
    shades = {patch.get_y(): patch.get_alpha() for patch in ax.patches}
    assert shades[0] == shades[1] == 1.0 > shades[2]
    assert ax.get_yticklabels()[2].get_alpha() < 1.0


def test_estimates_of_a_claim_name_the_assertion_that_decided(ax):
    """Two runs whose rows show different assertions have no band in common."""
    first = replace(row("C7", Verdict.SUPPORTED, 0.5), decided_by="C7.error", band=(None, 1.0))
    second = replace(row("C7", Verdict.CONTRADICTED, 1.5), decided_by="C7.clock", band=(None, 0.2))
    plot_estimates({"a": [first], "b": [second]}, "C7", ax=ax)
    assert [text.get_text() for text in ax.texts] == ["C7.error", "C7.clock"]
    assert len(ax.patches) == 0
    plt.close(ax.figure)
    _, other = plt.subplots()
    plot_estimates({"a": [first]}, "C7", ax=other)
    assert len(other.patches) == 1


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
