"""Pictures of a run's course: what is drawn is what was given, at its place."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from eigenflow.plots import plot_eigenvalues, plot_lazy_rich, plot_rest_forecasts


@pytest.fixture
def ax():
    return Figure().subplots()


def test_eigenvalues_and_frontier_stand_where_they_are(ax):
    times = np.array([0.0, 1.0, 10.0, 100.0])
    eigenvalues = np.array([4.0, 2.0, 1.0]) * (1 + times[:, None])
    plot_eigenvalues(times, eigenvalues, ax=ax, most=3)
    *ranks, frontier = ax.get_lines()
    for rank, line in enumerate(ranks):
        np.testing.assert_allclose(line.get_xdata(), times[1:])
        np.testing.assert_allclose(line.get_ydata(), eigenvalues[1:, rank])
    np.testing.assert_allclose(frontier.get_ydata(), [0.5, 0.05, 0.005])
    low, high = ax.get_ylim()
    assert 0.5 < low < 2 and high > 404  # the frontier does not stretch the axis


def test_eigenvalues_that_are_rounding_are_left_out(ax):
    """A matrix of rank 2 has a third eigenvalue of 1e-14, by the solver; ranks are spread over the others."""
    times = np.array([1.0, 10.0])
    plot_eigenvalues(times, np.array([[40.0, 2.0, 1e-14], [80.0, 4.0, -1e-14]]), ax=ax, has_frontier=False)
    drawn = [line.get_ydata() for line in ax.get_lines()]
    np.testing.assert_allclose(drawn, [[40.0, 80.0], [2.0, 4.0]])


def test_states_that_count_updates_have_no_frontier(ax):
    plot_eigenvalues(np.array([1.0, 2.0]), np.ones((2, 2)), ax=ax, has_frontier=False)
    assert ax.get_legend() is None and ax.get_xlabel() == "completed updates"


def test_forecasts_begin_where_the_known_ends(ax):
    known = (np.array([0.0, 1.0, 2.0]), np.array([3.0, 2.0, 1.5]))
    truth = (np.array([4.0, 8.0]), np.array([1.0, 0.5]))
    plot_rest_forecasts(known, truth, {"lazy": (truth[1] * 1.1, truth[1], truth[1] * 1.2)}, ax=ax)
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert names == ["known", "what came", "lazy"]
    drawn = {line.get_label(): line for line in ax.get_lines()}
    np.testing.assert_allclose(drawn["known"].get_xdata(), [1.0, 2.0])
    np.testing.assert_allclose(drawn["lazy"].get_ydata(), [1.1, 0.55])


def test_a_way_begins_at_a_distance_that_can_be_seen_and_names_of_strangers_are_text(ax):
    distance, share = np.array([0.0, 1e-9, 0.01, 0.5]), np.array([0.0, 0.3, 0.2, 0.1])
    plot_lazy_rich({"$x$": (distance, share), "other": (2 * distance, share)}, ax=ax, lazy=0.1, rich=1.0)
    np.testing.assert_allclose(ax.get_lines()[0].get_xdata(), [0.01, 0.5])
    left, right = ax.get_xlim()
    assert 1e-3 < left < 0.01 and right >= 2.0
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [r"\$x\$", "other"]
