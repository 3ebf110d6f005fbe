"""`eigenflow solve`: files that other programs read, and errors with their exit codes."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner

import eigenflow as ef
from eigenflow.cli.app import app
from eigenflow.core.errors import ConfigError, RunFolderError
from eigenflow.transport import GivenSource, KernelSource, LogNormalKernel, SgdNoise
from eigenflow.transport.config import load_solve_config

EXAMPLE = Path(__file__).parents[2] / "examples" / "transport.toml"
FEW = ["--set", "times.count=5", "--set", "solver.cells=40"]


def invoke(*words):
    return CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=True)


@pytest.mark.long
def test_solution_file_holds_the_solution(tmp_path):
    done = invoke("solve", EXAMPLE, *FEW, "--out", tmp_path / "out", "--json")
    assert done.exit_code == 0, done.output
    summary = json.loads(done.stdout)
    data = xr.open_dataset(tmp_path / "out" / "solution.nc", engine="scipy")
    problem = ef.TransportProblem(
        drift=ef.PowerDrift(c=0.5, b=2.0),
        dissipation=2.0,
        initial=lambda lam: lam**-0.5 * np.exp(-1e-5 / lam - (lam / 10) ** 2),
        domain=(1e-6, 1e2),
    )
    expected = ef.solve(problem, np.geomspace(1e-3, 1e4, 5), cells=40)
    np.testing.assert_allclose(data["mass"], expected.mass, rtol=1e-12, atol=1e-300)
    np.testing.assert_allclose(summary["total"], expected.total, rtol=1e-12)
    assert summary["status"] == "converged" and json.loads(data.attrs["config"])["drift"]["b"] == 2.0
    assert (tmp_path / "out" / "solution.png").stat().st_size > 20_000


@pytest.mark.long
def test_decaying_drift_and_table_of_masses(tmp_path):
    """c(t) = c / (1 + t) at b = 1 has the closed form lambda = lambda0 (1 + t)^-c
    (equations/solutions.md#rescaled-time)."""
    (tmp_path / "cells.csv").write_text("low,high,mass\n0.9,1.0,2.0\n1.0,1.1,2.0\n")
    shutil.copy(EXAMPLE, tmp_path / "problem.toml")
    done = invoke(
        "solve", tmp_path / "problem.toml", "--out", tmp_path / "out", "--json",
        "--set", "drift.b=1.0", "--set", "drift.c=0.5", "--set", "drift.decay=1.0", "--set", "initial.form=table",
        "--set", "initial.table=cells.csv", "--set", "times.first=3.0", "--set", "times.last=3.5",
        "--set", "times.count=2",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    summary = json.loads(done.stdout)
    # The mean of e^{-2 lambda int} over the two cells; (1 + t)^(1/2) integrates to 2 ((1 + t)^(1/2) - 1) = 2 at t = 3.
    lam = np.linspace(0.9, 1.1, 2001)
    expected = 4.0 * np.trapezoid(np.exp(-2 * lam * 2.0), lam) / 0.2
    assert summary["total"][0] == pytest.approx(expected, rel=1e-3)  # the table says nothing of what is inside a cell


@pytest.mark.long
@pytest.mark.parametrize(
    ("words", "source", "method"),
    [
        (["source.form=jumps", "source.rate=0.3"], KernelSource(0.3, LogNormalKernel(0.5)), "ladder"),
        (
            ["source.form=noise", "source.batch_size=4", "source.label_noise=0.1", "source.exponent=-1.5"],
            SgdNoise(0.01, 4, lambda lam: lam**-1.5 * np.exp(-1e-5 / lam - (lam / 10) ** 2), 0.1),
            "ladder",
        ),
        (
            ["source.form=given", "source.decay=1.0", "source.amplitude=0.2"],
            GivenSource(lambda lam, t: 0.2 / lam * np.exp(-1e-5 / lam - (lam / 10) ** 2) / (1 + t)),
            "exact",
        ),
    ],
)
def test_sources(words, source, method, tmp_path):
    """The same masses as from the source made by hand; the file has the gain in its budget."""
    changes = [word for change in (*words, "times.last=1.0") for word in ("--set", change)]
    done = invoke("solve", EXAMPLE, *FEW, *changes, "--out", tmp_path / "out", "--json")
    assert done.exit_code == 0, done.output
    data = xr.open_dataset(tmp_path / "out" / "solution.nc", engine="scipy")
    initial = lambda lam: lam**-0.5 * np.exp(-1e-5 / lam - (lam / 10) ** 2)  # noqa: E731
    problem = ef.TransportProblem(ef.PowerDrift(c=0.5, b=2.0), 2.0, initial, (1e-6, 1e2), source)
    expected = ef.solve(problem, np.geomspace(1e-3, 1.0, 5), cells=40)
    assert data.attrs["method"] == expected.method == method
    np.testing.assert_allclose(data["mass"], expected.mass, rtol=1e-12, atol=1e-300)
    np.testing.assert_allclose(data["source"], expected.budget.source, rtol=1e-12, atol=1e-15)


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        (["nonesuch.toml"], ConfigError, "no file 'nonesuch.toml'"),
        ([EXAMPLE, "--set", "drfit.c=1"], ConfigError, "'drfit' is not a known key"),
        ([EXAMPLE, "--set", "times.last=1e-9"], ConfigError, "last must be later than first"),
        ([EXAMPLE, "--set", "initial.form=table"], ConfigError, "go together"),
        ([EXAMPLE, "--set", "initial.form=table", "--set", "initial.table=none.csv"], ConfigError, "cannot be read"),
        ([EXAMPLE, "--set", "domain=[1.0, 0.1]"], ValueError, "`domain`"),
        ([EXAMPLE, "--set", "solver.method=rk9"], ValueError, "method 'rk9'"),
        ([EXAMPLE, "--set", "source.form=some"], ConfigError, "source.form"),
        ([EXAMPLE, "--set", "source.form=jumps", "--set", "solver.method=exact"], ValueError, "its source depends"),
    ],
)
def test_wrong_problems(words, error, message, tmp_path):
    done = invoke("solve", *words, "--out", tmp_path / "out")
    assert isinstance(done.exception, error), done.output
    assert message in str(done.exception)


@pytest.mark.rejects
def test_folder_with_something_in_it_is_refused(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    done = invoke("solve", EXAMPLE, *FEW, "--out", tmp_path)
    assert isinstance(done.exception, RunFolderError) and [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_example_has_every_key():
    settings = load_solve_config(EXAMPLE)
    assert settings == load_solve_config(EXAMPLE, ["drift.decay=0.0", "initial.form=power"])
