"""`eigenflow modes` as a user types it, within one process."""

import json
import sys

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from eigenflow.cli.app import app, main
from synthetic_run import power_law_modes, write_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Modes that neither move nor turn: mode k has lost 1 - 1/e of its energy at k^1.5 / 2."""
    folder = tmp_path_factory.mktemp("modes") / "still"
    write_run(folder, power_law_modes(20, rho=1.0, seed=0), count=40)
    return str(folder)


def test_table_fits_a_terminal_and_tells_all_bases(run):
    done = CliRunner().invoke(app, ["modes", run], env={"COLUMNS": "80"})
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    table = [line for line in lines if not line.startswith("fixed:")]
    assert max(map(len, table)) <= 80 and "…" not in done.stdout
    for word in ("fixed", "moving", "lazy", "1/e", "5%", "energy", "first operator stood still"):
        assert word in done.stdout


def test_json_and_csv_hold_the_relaxation_times(run, tmp_path):
    """Straight lines of ln(energy) are exact here; 1,000 updates of 0.1 end at 99.9."""
    words = ["modes", run, "--by", "rank", "--most", "9", "--csv", str(tmp_path / "modes.csv"), "--json"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    groups = json.loads(done.stdout)["groups"]
    frame = pd.read_csv(tmp_path / "modes.csv")
    exact = 0.5 * np.arange(1, 10) ** 1.5
    for found in ([group["fixed_1/e"] for group in groups], frame["fixed_1/e"], frame["lazy_1/e"]):
        np.testing.assert_allclose(found, exact, rtol=1e-2)  # updates of 0.1 are no flow


def test_help_has_an_example():
    assert "eigenflow modes runs/digits" in CliRunner().invoke(app, ["modes", "--help"]).stdout


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("words", "code", "message"),
    [(["--most", "0"], 2, "`most` must be 1 or more"), (["--shells", "3"], 2, "3"), (["--by", "mode"], 2, "mode")],
)
def test_wrong_usage(run, words, code, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["eigenflow", "modes", run, *words])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == code and message in capsys.readouterr().err.replace("\n", " ")
