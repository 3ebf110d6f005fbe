"""Rows about the time between measurements: C2.interval and C3.integrated."""

import numpy as np
import pytest

import eigenflow as ef
from eigenflow.theory.verdicts import Verdict
from synthetic_run import from_modes, riccati, write_run


def rows(folder, path, **options):
    return {row.claim: row for row in ef.claims(write_run(folder, path, **options))}


@pytest.fixture(scope="module")
def rotating(tmp_path_factory):
    """Balanced Riccati: exact, and it rotates."""
    folder = tmp_path_factory.mktemp("runs") / "riccati"
    return rows(folder, riccati(3, seed=1), steps=1000, count=16, step_size=2e-3)


def test_exact_system_supports_both(rotating):
    """The update's length of 2e-3 is all that keeps the error from that of the spacing."""
    for name in ("C2.interval", "C3.integrated"):
        assert rotating[name].verdict is Verdict.SUPPORTED
        assert rotating[name].estimate < 0.02
    assert "for a standing operator" in rotating["C2.interval"].reason
    assert "shells exchange" in rotating["C3.integrated"].reason


def test_sparse_measurements_decide_nothing(tmp_path):
    """Four measurements of modes that decay by e^20 between them: the quadrature says itself that it does not know."""
    labels = np.array([1.0, 0.9, 0.8])
    path = lambda t: from_modes(labels, 0 * labels, np.exp(-labels * t))  # noqa: E731
    found = rows(tmp_path / "run", path, steps=100, count=4, step_size=0.2)
    assert found["C3.integrated"].verdict is Verdict.UNDECIDED
    assert "1 of 3 intervals count" in found["C3.integrated"].reason  # a few updates after the start
    assert found["C3.integrated"].would_change == "measurements closer together"


def test_one_measurement_decides_nothing_and_says_why(tmp_path):
    found = rows(tmp_path / "run", riccati(3), steps=1, count=1)
    for name in ("C2.interval", "C3.integrated"):
        assert found[name].verdict is Verdict.UNDECIDED and "the run has 1" in found[name].reason


@pytest.mark.long
def test_updates_that_are_no_steps_of_the_flow_do_not_judge_the_mode_equations(tmp_path):
    """Half of each update is noise: C1 fails, and C2 between measurements is not to blame."""
    rng = np.random.default_rng(0)

    def noisy(now, dt):
        step = dt * now.frame.T @ (now.eigenvalues * now.coefficients)
        return now.error - step + rng.normal(size=len(step)) * np.linalg.norm(step)

    path = riccati(3, seed=1)
    run = write_run(tmp_path / "run", path, steps=100, count=7, step_size=1e-2, linear=noisy)
    data = run.measurements.copy()
    data["flow_residual"][:] = 0.7
    run.__dict__["measurements"] = data
    found = {row.claim: row for row in ef.claims(run)}
    assert found["C2.interval"].verdict is Verdict.UNDECIDED
    assert "updates that are no steps of the flow" in found["C2.interval"].reason
