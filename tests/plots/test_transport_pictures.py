"""The pictures of a solution draw its numbers, whatever the solution is like."""

import numpy as np
import pytest

import eigenflow as ef
from eigenflow.cli.solve import solution_figure


def solution(c=0.5, b=2.0, times=None, initial=lambda lam: lam**-0.5 * np.exp(-lam)):
    problem = ef.TransportProblem(drift=ef.PowerDrift(c=c, b=b), dissipation=2.0, initial=initial, domain=(1e-4, 1e2))
    return ef.solve(problem, np.geomspace(1e-2, 1e3, 20) if times is None else times, cells=60)


def test_curves_hold_the_numbers_of_the_solution():
    solved = solution()
    density, loss, slope, budget = solution_figure(solved, "a title").axes[:4]
    first = density.lines[0].get_ydata()
    width = np.diff(np.log(solved.edges))
    expected = solved.mass[0] / width
    np.testing.assert_allclose(first[expected > 1e-30], expected[expected > 1e-30])
    np.testing.assert_array_equal(loss.lines[0].get_ydata(), solved.total)
    # The closed form of the local slope at late times is that of the Beta-function loss: lambda^(1/2 - 1), b = 2.
    assert slope.lines[0].get_ydata()[-8] == pytest.approx(0.5, abs=0.03)
    top = max(path.vertices[:, 1].max() for c in budget.collections for path in c.get_paths())
    assert top == pytest.approx(1.0, abs=1e-9)  # the shares of the initial mass add up to it


@pytest.mark.long
@pytest.mark.parametrize(
    "options",
    [
        {"c": -0.5, "b": 1.5},  # escape through the upper end
        {"c": 0.5, "b": 0.5},  # modes that reach zero
        {"times": np.array([1.0])},
        {"initial": lambda lam: 0.0 * lam},
    ],
)
def test_every_kind_of_solution_can_be_drawn(options, tmp_path):
    solution_figure(solution(**options), "a title").savefig(tmp_path / "picture.png", dpi=40)
    assert (tmp_path / "picture.png").stat().st_size > 5_000
