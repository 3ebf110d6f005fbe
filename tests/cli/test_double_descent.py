"""`eigenflow double-descent`: files that other programs read, cost before work, and errors with their exit codes."""

import json

import numpy as np
import pytest
import xarray as xr

from cli.program import eigenflow

pytestmark = pytest.mark.long

TINY = """name = "tiny"
[task]
samples = [10, 16, 24]
holdout = 30
seeds = 2
noise = [0.3]
[features]
counts = [5, 10, 16, 40]
draws = 3
count = 4
[networks]
widths = [1, 3, 8]
steps = 120
count = 6
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("descent")
    (path / "tiny.toml").write_text(TINY)
    return path


@pytest.fixture(scope="module")
def done(folder):
    return eigenflow("double-descent", "tiny.toml", "--out", "out", "--json", cwd=folder)


def test_files_hold_what_is_printed(folder, done):
    assert done.code == 0, done.stderr
    printed = json.loads(done.stdout)
    stored = json.loads((folder / "out" / "summary.json").read_text())
    files = printed.pop("files")
    assert printed == stored
    assert [file.split("/")[-1] for file in files] == [
        "networks.nc",
        "features.nc",
        "maps.png",
        "curves.png",
        "summary.json",
    ]
    networks = xr.open_dataset(folder / "out" / "networks.nc", engine="scipy")
    assert dict(networks["risk"].sizes) == {"width": 3, "samples": 3, "noise": 1, "seed": 2, "time": 6}
    assert json.loads(networks.attrs["config"])["task"]["samples"] == [10, 16, 24]
    row = next(r for r in stored["networks"] if r["kind"] == "model-wise" and r["where"]["samples"] == 16)
    mean = np.exp(np.log(networks["risk"].values).mean(axis=3))[:, 1, 0, -1]
    np.testing.assert_allclose(row["curves"]["measured"]["mean"], mean, rtol=1e-12)
    assert (folder / "out" / "maps.png").stat().st_size > 20_000
    assert "networks in 1,080 updates" in done.stderr and "36 regressions" in done.stderr


def test_for_people_it_prints_controls_peaks_and_files(folder):
    words = ["double-descent", "tiny.toml", "--set", "features.counts=[]", "--out", "people"]
    told = eigenflow(*words, cwd=folder)
    assert told.code == 0, told.stderr
    assert "Peaks of the test risk" in told.stdout and "over width" in told.stdout and "people/maps.png" in told.stdout
    assert "gives the measured risk back within" in told.stdout


@pytest.mark.parametrize("one", ["task.samples=[16]", "networks.widths=[3]", "features.counts=[16]"])
def test_of_one_size_or_one_number_of_samples_there_is_no_map_and_no_warning(folder, one):
    other = "features.counts=[]" if one != "features.counts=[16]" else "networks.widths=[]"
    words = ["double-descent", "tiny.toml", "--set", one, "--set", other, "--out", f"one-{one.split('.')[0]}", "--json"]
    told = eigenflow(*words, cwd=folder)
    assert told.code == 0, told.stderr
    assert "arning" not in told.stderr


def test_dry_run_states_the_cost_and_writes_nothing(folder):
    told = eigenflow("double-descent", "tiny.toml", "--dry-run", "--json", "--out", "never", cwd=folder)
    cost = json.loads(told.stdout)["cost"]
    assert told.code == 0 and not (folder / "never").exists()
    assert cost["networks"] == 18 and cost["updates"] == 9 * 120 and cost["readouts"] == 36 and cost["cells"] == 21


def test_only_random_features_and_resume_of_a_finished_one(folder):
    words = ["double-descent", "tiny.toml", "--set", "networks.widths=[]", "--out", "features", "--json"]
    first, again = eigenflow(*words, cwd=folder), eigenflow(*words, "--resume", cwd=folder)
    assert first.code == again.code == 0, again.stderr
    assert json.loads(first.stdout)["features"] == json.loads(again.stdout)["features"]
    assert json.loads(first.stdout)["networks"] == []


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("words", "code", "messages"),
    [
        (["none.toml"], 2, ["must be a TOML file or one of classes, digits"]),
        (["tiny.toml", "--set", "task.noise=[2]"], 2, ["`--set task.noise=[2]`", "task.noise.0", "less than 1"]),
        (["tiny.toml", "--set", "task.samples=[2000]"], 2, ["at most 1797"]),
        (["tiny.toml", "--set", "networks.widths=[8, 3]"], 2, ["networks.widths: must increase"]),
        (["tiny.toml", "--set", "a"], 2, ["section.key=value"]),
        (["tiny.toml", "--out", "out"], 1, ["is not empty", "--resume"]),
        (["tiny.toml", "--out", "tiny.toml"], 1, ["is a file"]),
        (["tiny.toml", "--out", "tiny.toml/below"], 1, ["a part of its path is a file"]),
        (["tiny.toml", "--out", "out", "--resume", "--set", "task.seed=9"], 1, ["of other settings"]),
        (["tiny.toml", "--out", "absent", "--resume"], 1, ["holds no measurement"]),
        (
            ["tiny.toml", "--out", "far", "--set", "networks.learning_rate=1e5", "--set", "networks.activation=relu"],
            1,
            ["has diverged", "Lower networks.learning_rate"],
        ),
    ],
)
def test_errors_say_what_to_do(folder, done, words, code, messages):
    assert done.code == 0
    told = eigenflow("double-descent", *words, cwd=folder)
    assert told.code == code, told
    for message in messages:
        assert message in told.stderr.replace("\n", " "), told.stderr
