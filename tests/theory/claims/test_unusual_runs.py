"""Every claim on runs that are short, have gaps, or were written by an older version: marked, never a crash."""

import numpy as np
import pytest

import eigenflow as ef
from eigenflow.core.errors import RunFolderError
from eigenflow.store import open_run
from eigenflow.theory.verdicts import Verdict
from synthetic_run import riccati, write_run

NEW = (
    "coupling",
    "frame_overlap",
    "shell_overlap",
    "shell_overlap_initial",
    "initial_coefficient",
    "initial_rayleigh",
    "sample_energy",
    "initial_distance",
    "initial_alignment",
)
OF_OTHERS = ("C1.identity", "C1.flow", "C2.eigenvalues", "C3.closes", "C3.remainder", "C3.integrated")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    return write_run(folder, riccati(4, seed=1), steps=1000, count=20, step_size=2e-3)


def rows(run, measurements):
    again = open_run(run.path)
    again.__dict__["measurements"] = measurements
    return {row.claim: row for row in ef.claims(again)}


@pytest.mark.long
def test_run_of_an_older_schema(run):
    """What it does not hold is undecided and says so; the rest is as before."""
    found, full = rows(run, run.measurements.drop_vars(NEW)), rows(run, run.measurements)
    for name in ("C2.interval", "C1.basis"):
        assert found[name].verdict is Verdict.UNDECIDED and "older version" in found[name].reason
    for name in OF_OTHERS:
        assert found[name].estimate == full[name].estimate
    for row in found.values():
        assert row.estimate is None or np.isfinite(row.estimate)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_run_with_few_measurements(run, count):
    for row in rows(run, run.measurements.isel(step=slice(count))).values():
        assert row.reason and row.would_change
        assert row.estimate is None or np.isfinite(row.estimate)
        assert row.interval is None or np.isfinite(row.interval).all()


def test_run_with_a_gap(run):
    data = run.measurements
    times = data["time"].values
    data = data.assign(frame_time=("step", np.append(times[:1], times[:-1])))
    found = rows(run, data.isel(step=[*range(9), *range(12, 20)]))
    assert "2 lie over a gap" in found["C2.interval"].reason
    assert "1 are gaps" in found["C3.integrated"].reason


@pytest.mark.rejects
@pytest.mark.parametrize("name", ["time", "step"])
def test_run_whose_measurements_go_back(run, name):
    data = run.measurements.copy(deep=True)
    values = data[name].values.copy()
    values[5] = values[3]
    data[name] = ("step", values)
    with pytest.raises(RunFolderError, match=r"must increase in step and time.*record the run again"):
        rows(run, data)
