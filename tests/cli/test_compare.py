"""`eigenflow compare` as a user types it, within one process."""

import json
import sys

import pytest
from typer.testing import CliRunner

from eigenflow.cli.app import app, main
from synthetic_run import power_law_modes, write_run

pytestmark = pytest.mark.usefixtures("analysed_once")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compare")
    for name, rho in (("still", 1.0), ("growing", 1.5)):
        write_run(folder / name, power_law_modes(20, rho=rho, seed=0), count=16)
    return str(folder / "still"), str(folder / "growing")


@pytest.mark.long
def test_tables_and_page(runs, tmp_path):
    done = CliRunner().invoke(
        app, ["compare", *runs, "--all", "--html", str(tmp_path / "page.html")], env={"COLUMNS": "120"}
    )
    assert done.exit_code == 0, done.output
    for text in ("still", "growing", "regime", "lazy", "rich", "C8.equation", "supported", "Forecast", "Page: "):
        assert text in done.stdout
    assert (tmp_path / "page.html").read_text().startswith("<!DOCTYPE html>")


def test_json_is_all_there_is_on_stdout(runs):
    done = CliRunner().invoke(app, ["compare", *runs, "--json"])
    found = json.loads(done.stdout)
    assert [run["lazy_rich"]["regime"] for run in found["runs"]] == ["lazy", "rich"]


def test_help_has_an_example():
    assert "eigenflow compare runs/digits" in CliRunner().invoke(app, ["compare", "--help"]).stdout


@pytest.mark.rejects
@pytest.mark.parametrize(("words", "code", "message"), [([0], 2, "two or more"), ([0, 0], 2, "more than once")])
def test_wrong_usage(runs, words, code, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["eigenflow", "compare", *(runs[word] for word in words)])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == code and message in capsys.readouterr().err.replace("\n", " ")
