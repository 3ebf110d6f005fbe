"""What results of the equation show of themselves: short, with their status, and as tables with units."""

import numpy as np
import pytest

from eigenflow.transport import (
    PointMasses,
    PowerDrift,
    SelfSimilar,
    TransportProblem,
    classify,
    phase_diagram,
    recover,
    sensitivities,
    solve,
)

pytestmark = pytest.mark.long


def problem():
    return TransportProblem(PowerDrift(0.5, 2.0), 2.0, lambda x: np.exp(-(np.log(x) ** 2)) / x, (1e-4, 1e2))


@pytest.fixture(scope="module")
def solution():
    return solve(problem(), np.geomspace(0.01, 100, 12), cells=20)


def test_results_print_their_numbers_in_few_lines(solution):
    found = recover(solution.times, solution.edges, solution.mass)
    shown = [
        (problem(), "v = -0.5 lambda^2"),
        (solution, "converged"),
        (solution.budget, "dissipated"),
        (found, "converged"),
        (sensitivities(problem(), [1.0, 2.0]), "by b"),
        (classify(2.0, -0.5, 0.0, 0.5), "L ~ A t^-s"),
        (phase_diagram(np.linspace(0, 3, 5), np.linspace(0, 2, 5), -1, 0.5), "escape"),
        (SelfSimilar(2.0, -0.5, 0.5), "t^-0.5"),
        (PointMasses(np.arange(1.0, 1000.0), np.ones(999)), "999"),
    ]
    for result, words in shown:
        text = repr(result)
        assert words in text and text.startswith(type(result).__name__), text
        assert len(text.splitlines()) <= 15 and max(map(len, text.splitlines())) <= 110
        assert "<table>" in result._repr_html_() and "<script" not in result._repr_html_()


def test_solution_as_a_dataset_names_units_and_keeps_the_numbers(solution):
    data = solution.to_dataset()
    np.testing.assert_array_equal(data.mass, solution.mass)
    np.testing.assert_allclose(data.mass.sum("cell"), data.total, rtol=1e-14)
    assert data.cell.attrs["units"] == "1 / time" and data.mass.attrs["units"] == "mass"
    assert data.attrs["method"] == "exact" and data.attrs["status"] == "converged"


def test_methods_and_their_catalogue_agree_on_names():
    """What `solve` takes as a name is what the solution bears, and every method says what to do where it is rough."""
    from eigenflow.transport.methods.catalogue import CATALOGUE

    assert list(CATALOGUE) == ["exact", "march", "ladder", "positive", "lines"]
    for name, kind in CATALOGUE.items():
        assert kind.name == name and kind.advice.startswith("Use ")
