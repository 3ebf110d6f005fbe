"""Pictures of test risks draw the numbers they are given, whatever those are like."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure

from eigenflow.plots import plot_risk_curves, plot_risk_map
from eigenflow.theory.double_descent import random_features_risk
from eigenflow.theory.task_spectrum import TaskSpectrum

TASK = TaskSpectrum.power_law(1.5, 2.0, modes=300, noise=0.05)
PLACES = np.geomspace(5, 1000, 12)


@pytest.fixture
def ax():
    return Figure().subplots()


def saved(ax, path):
    ax.figure.savefig(path / "picture.png", dpi=40)
    return (path / "picture.png").stat().st_size


def test_map_holds_the_risk_and_its_lines(ax, tmp_path):
    surface = random_features_risk(TASK, PLACES, PLACES, 1.0)
    surface.plot(ax=ax)
    mesh = ax.collections[0]
    np.testing.assert_allclose(mesh.get_array(), surface.risk.values.T)  # features upwards
    line = ax.lines[0]
    # The threshold is n = k up to the number of modes, and n = modes beyond.
    np.testing.assert_allclose(line.get_xdata(), np.minimum(line.get_ydata(), 300.0))
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "interpolation threshold",
        "resolution frontier",
    ]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("training samples n", "features k")
    assert saved(ax, tmp_path) > 5_000


def test_frontier_is_where_half_of_the_modes_is_resolved(ax):
    """Of a field that is x y the line at one half is a hyperbola; contours are straight between points 2 % apart."""
    x, y = np.geomspace(0.1, 10, 200), np.geomspace(0.1, 10, 200)
    plot_risk_map(
        x, y, np.ones((200, 200)) + x, ax=ax, names=("time", "ridge"), resolved=np.minimum(y[:, None] * x, 1.0)
    )
    red = ax.collections[-1]
    points = np.concatenate([path.vertices for path in red.get_paths()])
    np.testing.assert_allclose(points[:, 0] * points[:, 1], 0.5, rtol=2e-3)


def test_infinite_and_unknown_points_are_drawn(ax, tmp_path):
    risk = np.ones((3, 4))
    risk[1, 1], risk[2, 2] = np.inf, np.nan
    plot_risk_map(np.array([0.0, 1, 2, 3]), np.array([1.0, 2, 3]), risk, ax=ax, frontier={"a line": ([1, 2], [1, 3])})
    assert saved(ax, tmp_path) > 3_000


def test_map_of_samples_upwards_turns_its_threshold(ax):
    plot_risk_map(PLACES, PLACES, np.ones((12, 12)), ax=ax, names=("features", "samples"), threshold=100.0)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), np.minimum(ax.lines[0].get_xdata(), 100.0))


def test_curves_hold_the_parts_and_what_was_measured(ax, tmp_path):
    surface = random_features_risk(TASK, 100, [10, 50, 100, 300], 0.0)
    measured = {"excess test risk": ([50.0], [0.3], [0.02])}
    surface.plot(ax=ax, measured=measured, thresholds={"n = k": 100.0})
    risk = ax.lines[0].get_ydata()
    assert np.isnan(risk[2])
    np.testing.assert_allclose(risk[[0, 1, 3]], surface.risk.values[[0, 1, 3]])
    low, high = ax.containers[0].lines[2][0].get_segments()[0][:, 1]
    assert (low, high) == (pytest.approx(0.26), pytest.approx(0.34))
    assert saved(ax, tmp_path) > 3_000


def test_curves_without_anything_positive(ax, tmp_path):
    plot_risk_curves(np.array([1.0, 2.0]), {"nothing": np.zeros(2)}, ax=ax)
    assert saved(ax, tmp_path) > 1_000


def test_a_reader_in_a_notebook_gives_no_axes():
    drawn = random_features_risk(TASK, 100, [10, 50], 0.1).plot()
    assert drawn.get_xlabel() == "features k"
    plt.close(drawn.figure)
