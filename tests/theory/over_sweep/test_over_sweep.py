"""What is read off a sweep, against runs whose losses, distances and verdicts were made by hand."""

import json

import numpy as np
import pytest
import xarray as xr

from eigenflow.core.errors import ArgumentError, RunFolderError
from eigenflow.theory.over_sweep import (
    is_sweep,
    open_results,
    open_sweep,
    sweep_dataset,
    sweep_effects,
    write_results,
)
from eigenflow.theory.over_sweep.dataset import STATES, VERDICTS
from theory.over_sweep.swept import loss_of, write_sweep

pytestmark = pytest.mark.long

WIDTHS = [8, 16, 32, 64, 128]
RATES = [0.5, 2.0]
DIMENSIONS = [("model.width", {"model.width": WIDTHS}, 0), ("train.learning_rate", {"train.learning_rate": RATES}, 0),
              ("repeat", {}, 2)]  # fmt: skip
EXPONENT, FLOOR, POWER = 0.7, 0.2, -0.5


def size(values, index):
    """A law with a floor, and repeats that scatter by 1 %."""
    law = FLOOR + (values["model.width"] / 8) ** -EXPONENT
    return values["train.learning_rate"] * law * (1.0 + 0.01 * (2 * index["repeat"] - 1))


def growth(values):
    return 0.3 * values["model.width"] ** POWER


def verdicts(index):
    """C1 flips with the width, C2 with nothing that is swept, C3 never."""
    coin = (index["model.width"] + index["train.learning_rate"] + index["repeat"]) % 2
    return {
        "C1": "supported" if index["model.width"] < 2 else "contradicted",
        "C2": "supported" if coin else "contradicted",
        "C3": "supported" if coin else "undecided",
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_sweep(tmp_path_factory.mktemp("known") / "sweep", DIMENSIONS, size, growth=growth, verdicts=verdicts)


@pytest.fixture(scope="module")
def data(folder):
    return sweep_dataset(open_sweep(folder))


def test_dimensions_are_what_was_swept(data):
    assert dict(data["state"].sizes) == {"model.width": 5, "train.learning_rate": 2, "repeat": 2}
    assert data["model.width"].values.tolist() == WIDTHS
    assert (data["state"] == STATES.index("done")).all()
    assert data["run_name"].sel({"model.width": 32, "train.learning_rate": 2.0, "repeat": 1}) == "2_1_1"


def test_numbers_are_those_of_the_runs(data):
    """Against the formulas of modes that do not rotate; the last measurement is of 39 of 40 updates of 0.05."""
    time = 39 * 0.05
    for place in np.ndindex(5, 2, 2):
        values = {"model.width": WIDTHS[place[0]], "train.learning_rate": RATES[place[1]]}
        here = data.isel({"model.width": place[0], "train.learning_rate": place[1], "repeat": place[2]})
        expected = loss_of(time, size(values, {"repeat": place[2]}), growth(values))
        assert float(here["probe_loss"]) == pytest.approx(expected, rel=1e-9)
        assert float(here["distance"]) == pytest.approx(growth(values) * time, rel=1e-9)
        assert float(here["time"]) == pytest.approx(time, rel=1e-12)
        assert float(here["largest_eigenvalue"]) == pytest.approx(1 + growth(values) * time, rel=1e-9)
    assert float(data["drift_exponent"].max()) == 1.5 and float(data["drift_exponent_lower"].min()) == 1.0
    assert np.isnan(data["holdout_loss"]).all()
    assert float(data["forecast_rms_log_ratio"].sel(forecast="lazy", cut=0.5).mean()) == pytest.approx(0.2)
    assert float(data["estimate_upper"].sel(claim="C1").mean()) == pytest.approx(0.6)


def test_verdicts_are_codes_with_their_meaning(data):
    flags = data["verdict"].attrs
    assert flags["flag_meanings"].split()[int(data["verdict"].sel(claim="C1")[0, 0, 0])] == "supported"
    assert flags["flag_meanings"].split()[int(data["verdict"].sel(claim="C1")[4, 0, 0])] == "contradicted"
    assert tuple(flags["flag_meanings"].split()) == VERDICTS


def test_exponent_over_the_width_is_the_one_that_was_put_in(data):
    """In its 90 % interval at both rates; losses that differ by a factor alone have the same one."""
    found = sweep_effects(data).exponents
    assert [(one.resource, one.where["train.learning_rate"]) for one in found] == [("width", 0.5), ("width", 2.0)]
    for one in found:
        assert one.law is not None and one.law.runs == 10
        # Growth of the operator, other at each width, changes the factor of the loss by up to 30 %, smoothly.
        assert one.law.exponent.lower < EXPONENT + 0.15 and one.law.exponent.upper > EXPONENT - 0.15


def test_power_of_the_distance_is_the_one_that_was_put_in(data):
    powers = {(one.quantity, one.key): one for one in sweep_effects(data).powers}
    found = powers["distance", "model.width"]
    assert found.value == pytest.approx(POWER, abs=1e-9) and found.explained == pytest.approx(1.0, abs=1e-9)
    assert powers["distance", "train.learning_rate"].value == pytest.approx(0.0, abs=1e-9)
    rate = powers["loss", "train.learning_rate"]
    assert rate.lower < 1.0 < rate.upper and rate.value == pytest.approx(1.0, abs=0.01)


def test_verdicts_that_flip_are_told_with_the_key_that_tells_them(data):
    flips = {one.claim: one for one in sweep_effects(data).flips}
    assert set(flips) == {"C1", "C2"}
    assert flips["C1"].counts == {"supported": 8, "contradicted": 12, "undecided": 0}
    # All of the entropy, ln 2 nearly, less what five values take away by chance: 4 / 40 of a nat.
    assert flips["C1"].key == "model.width" and flips["C1"].told > 0.8
    assert flips["C1"].by_value["8"]["supported"] == 4 and flips["C1"].by_value["128"]["contradicted"] == 4
    assert flips["C2"].key is None


def test_the_best_is_the_least_mean_over_repeats(data):
    best = sweep_effects(data).best
    assert best is not None and best[0] == {"model.width": 128, "train.learning_rate": 0.5}
    losses = data["probe_loss"].values[4, 0]
    assert best[1] == pytest.approx(losses.mean()) and best[2] == pytest.approx(losses.std(ddof=1) / np.sqrt(2))


def test_a_result_prints_itself_in_few_lines(data, folder):
    for one in (sweep_effects(data), open_sweep(folder)):
        assert len(repr(one).splitlines()) <= 15


def test_runs_that_are_not_there_are_no_numbers_and_said(tmp_path):
    folder = write_sweep(tmp_path / "sweep", DIMENSIONS[:1], lambda values, _: values["model.width"] ** -0.5,
                         left_out=["4"])  # fmt: skip
    (folder / "failures").mkdir()
    (folder / "failures" / "4.json").write_text(json.dumps({"error": "it diverged"}))
    found = sweep_effects(sweep_dataset(open_sweep(folder)))
    assert found.states == {"failed": 1, "recorded": 4}
    assert any("1 of 5 runs did not end" in note for note in found.notes)
    assert found.exponents[0].law is not None and found.exponents[0].law.sizes == 4
    assert np.isnan(found.data["probe_loss"].values[4])


def test_too_few_sizes_are_said(tmp_path):
    dimensions = [("model.width", {"model.width": [8, 16, 32]}, 0)]
    folder = write_sweep(tmp_path / "sweep", dimensions, lambda values, _: values["model.width"] ** -0.5)
    (one,) = sweep_effects(sweep_dataset(open_sweep(folder))).exponents
    assert one.law is None and "4 sizes are needed for an exponent, but 3 ended" in one.told()


def test_draws_lie_along_one_dimension_and_have_powers(tmp_path):
    rng = np.random.default_rng(0)
    drawn = {"train.learning_rate": rng.uniform(0.1, 1, 8).tolist(), "model.width": [8, 9, 14, 20, 30, 50, 70, 90],
             "model.activation": ["tanh", "relu"] * 4}  # fmt: skip
    folder = write_sweep(tmp_path / "sweep", [("run", drawn, 8)],
                         lambda v, _: v["train.learning_rate"] ** 0.4 * (2 if v["model.activation"] == "relu" else 1),
                         growth=growth)  # fmt: skip
    data = sweep_dataset(open_sweep(folder))
    assert data["state"].dims == ("run",) and data["model.width"].dims == ("run",)
    powers = {(one.quantity, one.key): one for one in sweep_effects(data).powers}
    assert powers["distance", "model.width"].value == pytest.approx(POWER, abs=1e-9)
    assert powers["loss", "train.learning_rate"].value == pytest.approx(0.4, abs=0.05)


def test_a_dataset_comes_back_from_a_folder(tmp_path, data):
    write_results(data, tmp_path / "results.zarr")
    xr.testing.assert_equal(open_results(tmp_path / "results.zarr").load(), data)
    write_results(data.isel(repeat=[0]), tmp_path / "results.zarr")  # what was there is replaced as a whole
    assert open_results(tmp_path / "results.zarr").sizes["repeat"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["results.zarr"]


def test_a_dataset_comes_back_from_object_storage(data, tmp_path):
    """A store in memory, and a URL of a folder; both by the same calls as s3://."""
    pytest.importorskip("obstore")
    from obstore.store import MemoryStore
    from zarr.storage import ObjectStore

    storage = MemoryStore()
    write_results(data, ObjectStore(storage))
    found = open_results(ObjectStore(storage, read_only=True)).load()
    xr.testing.assert_equal(found, data)
    assert found["distance"].attrs == data["distance"].attrs
    assert sweep_effects(found).to_dict() == sweep_effects(data).to_dict()
    url = (tmp_path / "cloud").as_uri()
    write_results(data, url)
    xr.testing.assert_equal(open_results(url).load(), data)


@pytest.mark.rejects
def test_other_folders_and_addresses_are_refused(tmp_path, data, folder):
    pytest.importorskip("obstore")
    assert is_sweep(folder) and not is_sweep(tmp_path)
    with pytest.raises(RunFolderError, match=r"is no sweep: it has no `sweep.json`"):
        open_sweep(tmp_path)
    with pytest.raises(
        ArgumentError, match=r"`--results` must be a folder or a URL of one of s3://.*but is 'gopher://x'"
    ):
        write_results(data, "gopher://x")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "text").write_text("years")
    with pytest.raises(RunFolderError, match="is there, and is no dataset"):
        write_results(data, tmp_path / "thesis")
    assert (tmp_path / "thesis" / "text").read_text() == "years"
    with pytest.raises(RunFolderError, match="holds no dataset of a sweep"):
        open_results(tmp_path / "nothing")
    with pytest.raises(ArgumentError, match="`data` must be a dataset of a sweep"):
        sweep_effects(xr.Dataset())


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema_version": 9}, "schema version 9, but this eigenflow reads up to 1"),
        ({"dimensions": 3}, "damaged or was not written by eigenflow"),
        ({"runs": [{"name": "../../etc", "values": {}, "index": {}}]}, "is no name of a run"),
        ({"runs": [{"name": "a", "values": {}, "index": {"model.width": 99}}]}, "run a has no place"),
    ],
)
def test_a_damaged_header_is_refused(tmp_path, change, words):
    folder = write_sweep(tmp_path / "sweep", DIMENSIONS[:1], lambda *_: 1.0, left_out=list("01234"))
    header = json.loads((folder / "sweep.json").read_text()) | change
    (folder / "sweep.json").write_text(json.dumps(header))
    with pytest.raises(RunFolderError, match=words):
        open_sweep(folder)
