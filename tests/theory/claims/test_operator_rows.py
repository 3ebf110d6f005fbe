"""Rows about the operator: C1.heavy_tail and C1.basis."""

import numpy as np
import pytest

from eigenflow.store import open_run
from eigenflow.theory.claims import CLAIMS, Evidence
from eigenflow.theory.verdicts import Verdict
from synthetic_run import from_modes, power_law_modes, riccati, write_run

pytestmark = pytest.mark.long


def rows(run):
    return {row.claim: row for row in CLAIMS["C1"].judge(Evidence(run, knows_rates=False))}


@pytest.fixture(scope="module")
def power_law(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    return write_run(folder, power_law_modes(150, alpha=1.5), steps=200, count=6, step_size=0.01)


def test_power_law_spectrum_that_stands_still(power_law):
    """k^-1.5: index 1 + 1 / 1.5; no rotation at all, which contradicts a drifting basis but not the evolution."""
    found = rows(power_law)
    assert found["C1.heavy_tail"].estimate == pytest.approx(1 + 1 / 1.5, rel=0.05)
    assert found["C1.heavy_tail"].verdict is Verdict.SUPPORTED
    assert found["C1.basis"].estimate == pytest.approx(0.0, abs=1e-12)
    assert found["C1.basis"].verdict is Verdict.CONTRADICTED
    assert found["C1"].verdict is Verdict.SUPPORTED


def test_narrow_spectrum_is_not_heavy_tailed(tmp_path):
    """Uniform eigenvalues: the tail's index is far above 3."""
    labels = np.linspace(1.0, 2.0, 60)
    path = lambda t: from_modes(labels, 0 * labels, np.exp(-labels * t))  # noqa: E731
    found = rows(write_run(tmp_path / "run", path, steps=50, count=4, step_size=0.01))
    assert found["C1.heavy_tail"].verdict is Verdict.CONTRADICTED


def test_rotating_basis(tmp_path):
    found = rows(write_run(tmp_path / "run", riccati(3, seed=1, start=0.5), steps=300, count=10, step_size=0.01))
    assert found["C1.basis"].estimate > 0.1 and found["C1.basis"].verdict is Verdict.SUPPORTED
    assert found["C1.heavy_tail"].verdict is Verdict.UNDECIDED  # nine modes


def test_runs_that_lack_what_is_needed_say_so(power_law):
    run = open_run(power_law.path)
    run.__dict__["measurements"] = power_law.measurements.drop_vars("initial_rayleigh")
    assert "only tracked modes" in rows(run)["C1.basis"].reason
    run.__dict__["measurements"] = power_law.measurements.drop_vars("shell_overlap")
    assert "older version" in rows(run)["C1.basis"].reason
    run.__dict__["measurements"] = power_law.measurements.isel(step=slice(1))
    assert rows(run)["C1.basis"].reason == "the run has one measurement"
