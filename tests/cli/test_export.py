"""`eigenflow export` as a user types it: what it prints, what it refuses, and that it needs no torch."""

import json
import sys

import pandas as pd
import pytest
import xarray as xr

from cli.program import eigenflow
from eigenflow.store import open_run, record_size
from report.recorded import MEASURED, record_run


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    record_run(folder / "run")
    return folder


def test_tables_and_how_large_the_record_is(place):
    done = eigenflow("export", "run", "--out", "tables", cwd=place)
    assert done.code == 0, done.stderr
    files = done.stdout.split()
    assert "tables/losses.csv" in files and files[-1] == "tables/columns.json"
    size = record_size(place / "run")
    assert f"The record of {len(MEASURED)} measurements: {size}." in " ".join(done.stderr.split())  # wrapped or not
    assert f"{size.files:,} files" in done.stderr
    losses = pd.read_csv(place / "tables" / "losses.csv")
    pd.testing.assert_frame_equal(losses, open_run(place / "run").losses, check_exact=True)


@pytest.mark.long
def test_json_of_a_netcdf_file(place):
    done = eigenflow("export", "run", "--out", "run.nc", "--format", "netcdf", "--json", cwd=place)
    told = json.loads(done.stdout)
    assert told["files"] == ["run.nc"] and told["content_bytes"] == (place / "run.nc").stat().st_size
    assert told["record"]["content_bytes"] == record_size(place / "run").content_bytes
    with xr.open_dataset(place / "run.nc") as found:  # xarray finds the engine itself
        xr.testing.assert_equal(found, open_run(place / "run").measurements)


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--format", "xlsx", "--out", "x"], "xlsx"),
        ([], "--out"),
        (["--out", "run/tables"], "in the run folder 'run'"),
        (["--out", "run.json", "--format", "parquet"], "must be a folder for parquet"),
        (["--out", "taken", "--format", "csv"], "exists already. Give another path, or replace it with --force"),
    ],
)
def test_wrong_usage(place, words, message):
    (place / "taken").mkdir(exist_ok=True)
    (place / "taken" / "losses.csv").write_text("mine")
    (place / "run.json").write_text("mine")
    done = eigenflow("export", "run", *words, cwd=place)
    assert done.code == 2 and message in " ".join(done.stderr.split())
    assert (place / "taken" / "losses.csv").read_text() == (place / "run.json").read_text() == "mine"


@pytest.mark.rejects
def test_missing_package_is_one_sentence(place, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5netcdf", None)
    done = eigenflow("export", "run", "--out", "other.nc", "--format", "netcdf", cwd=place)
    assert done.code == 1 and "pip install 'eigenflow[export]'" in done.stderr and not (place / "other.nc").exists()


def test_help_has_an_example(place):
    assert "eigenflow export runs/digits" in " ".join(eigenflow("export", "--help", cwd=place).stdout.split())
