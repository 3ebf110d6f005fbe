"""Runs side by side, on runs of exact systems whose coordinate is known."""

import json
import shutil

import pytest

import eigenflow as ef
from eigenflow.core.errors import ArgumentError, RunFolderError
from eigenflow.report.answers.compared import compared_answers
from eigenflow.report.comparison import compare
from eigenflow.report.comparison_page import write_comparison
from eigenflow.store import RunWriter, accept_run
from report.recorded import Page
from store.packed import unpack
from synthetic_run import power_law_modes, write_run

END = 99.9  # the last of 1000 steps of 0.1 begins here


pytestmark = [pytest.mark.usefixtures("analysed_once"), pytest.mark.long]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compared")
    for name, rho in (("a/still", 1.0), ("b/growing", 1.5)):
        write_run(folder / name, power_law_modes(20, rho=rho, seed=0), count=16)
    write_run(folder / "short/growing", power_law_modes(20, rho=1.5, seed=0), steps=300, count=16)
    return folder


@pytest.fixture(scope="module")
def both(folder):
    return compare([ef.open_run(folder / name) for name in ("a/still", "b/growing")])


@pytest.fixture(scope="module")
def alike(folder):
    return compare([ef.open_run(folder / name) for name in ("b/growing", "short/growing")])


def test_coordinates_are_those_of_the_systems(both):
    """M = (1 + t)^(rho - 1) M0: distance 0, and sqrt(1 + t) - 1 at the last measurement, at step 999."""
    still, growing = (run.to_dict()["lazy_rich"] for run in both.runs)
    assert still["distance"] == pytest.approx(0, abs=1e-12) and still["regime"] == "lazy"
    assert growing["distance"] == pytest.approx((1 + END) ** 0.5 - 1, rel=1e-9) and growing["regime"] == "rich"
    assert growing["alignment"] == pytest.approx(1.0) and growing["flux_share"] > still["flux_share"] == 0


def test_rows_are_the_runs_own_claims(both, folder):
    expected = {row.claim: row for row in ef.claims(ef.open_run(folder / "b/growing"))}
    assert set(both.claims) >= set(expected)
    for name, row in expected.items():
        assert both.runs[1].claim(name) == row
    assert both.runs[0].claim("C8.rich") is None and both.runs[1].claim("C8.rich") is not None


def test_names_are_as_short_as_they_can_be(both, alike):
    assert [run.name for run in both.runs] == ["still", "growing"]
    assert [run.name for run in alike.runs] == ["b/growing", "short/growing"]


def test_what_differs_is_told_and_nothing_else(both, alike):
    assert both.differences == {} and both.cautions == []  # one task, one optimizer, one probe
    assert alike.differences == {"train.steps": ["1000", "300"]}
    (caution,) = alike.cautions
    assert "λ₁(0) t = 29.9 to 99.9" in caution  # λ₁(0) = 1


def test_distances_are_also_given_at_the_common_time(alike):
    """Linear between measurements a factor r = 1.58 apart: off by less than (ln r)^2 / 32 = 0.7 % of a square root."""
    long, short = alike.runs
    assert short.common_distance == short.place.coordinate
    assert long.common_distance == pytest.approx(short.place.coordinate, rel=8e-3) and long.place.coordinate > 9


def test_a_changed_probe_set_is_marked(folder, tmp_path):
    shutil.copytree(folder / "b/growing", tmp_path / "other")
    header = json.loads((tmp_path / "other/run.json").read_text())
    header["probe"]["checksum"] = "xyz"
    header["config"]["train"]["optimizer"] = "adam"
    (tmp_path / "other/run.json").write_text(json.dumps(header))
    accept_run(tmp_path / "other")
    found = compare([ef.open_run(folder / "a/still"), ef.open_run(tmp_path / "other")])
    assert any("probe sets differ (checksum)" in caution for caution in found.cautions)
    assert any("optimizers differ (adam, sgd)" in caution for caution in found.cautions)
    assert found.differences == {"train.optimizer": ["sgd", "adam"]}


@pytest.mark.filterwarnings("ignore:.*no checksums:eigenflow.store.RunFolderWarning")
def test_runs_of_older_schemas_are_compared_as_far_as_they_go(tmp_path):
    """Schema 1 gives a lower bound of the distance, a tracked run of schema 2 none at all."""
    found = compare([ef.open_run(unpack(name, tmp_path)) for name in ("schema-1", "schema-2-tracked")])
    first, tracked = found.runs
    assert first.place.is_lower_bound and first.place.regime in ("between", "rich") and tracked.place is None
    assert any("lower bounds: schema-1" in caution for caution in found.cautions)
    assert any("probe sets differ" in caution for caution in found.cautions)
    page = Page(write_comparison(found, tmp_path / "page.html").read_text())
    assert "do not say how far their operator went: schema-2-tracked" in page.text


def test_runs_of_one_measurement_are_compared_too(tmp_path):
    for name in ("one", "other"):
        write_run(tmp_path / name, power_law_modes(10, rho=1.5, seed=0), steps=1, count=1)
    found = compare([ef.open_run(tmp_path / name) for name in ("one", "other")])
    assert [run.place.coordinate for run in found.runs] == [0.0, 0.0]
    assert found.runs[0].claim("C7").verdict == found.runs[0].claim("C8").verdict == "undecided"


def test_comparison_is_plain_json(both):
    text = json.dumps(both.to_dict(), allow_nan=False, default=lambda value: value.tolist())
    assert [run["name"] for run in json.loads(text)["runs"]] == ["still", "growing"]


def test_a_setting_that_is_missing_is_no_difference(folder, tmp_path):
    """A record of before a setting was there: what it had is not known, and may be what the other one has."""
    shutil.copytree(folder / "b/growing", tmp_path / "older")
    header = json.loads((tmp_path / "older/run.json").read_text())
    del header["config"]["train"]["optimizer"]
    header["config"]["train"]["steps"] = 10
    (tmp_path / "older/run.json").write_text(json.dumps(header))
    accept_run(tmp_path / "older")
    found = compare([ef.open_run(folder / "a/still"), ef.open_run(tmp_path / "older")])
    assert found.differences == {"train.steps": ["1000", "10"]} and found.partial == {"train.optimizer": ["sgd", "–"]}
    assert not any("optimizer" in caution for caution in found.cautions)
    told = compared_answers(found)[0]
    assert told.headline == "train.steps" and "1 more setting is not recorded by older" in told.text


def test_answers_name_what_flips_and_what_ends_better(both):
    """The loss of the system that stands still is the sum of g² exp(-2 λ t) / 2, far above that of one that grows."""
    found = {answer.key: answer for answer in compared_answers(both)}
    assert list(found) == ["differs", "regime", "flips", "better"]
    assert found["differs"].headline == "No recorded setting"
    assert found["regime"].headline == "still: lazy; growing: feature learning"
    flipped = [
        name for name in (f"C{number}" for number in range(1, 9))
        if {run.claim(name).verdict.value for run in both.runs} >= {"supported", "contradicted"}
    ]  # fmt: skip
    assert flipped and found["flips"].headline == " and ".join(flipped)
    losses = [run.analysis.run.measurements["probe_loss"].values[-1] for run in both.runs]
    assert losses[1] < losses[0] and found["better"].headline.startswith("growing: probe loss")


def test_page_holds_the_plane_and_every_verdict(both, tmp_path):
    page = Page(write_comparison(both, tmp_path / "page.html").read_text())
    assert set(page.traces("plane")) >= {"growing"} and set(page.traces("losses")) == {"still", "growing"}
    cells = [cell["text"] for attributes, row in page.rows if "data-claim" in attributes for cell in row[3:]]
    shown = sorted(word for cell in cells for word in ("supported", "contradicted", "undecided") if word in cell)
    assert shown == sorted(row.verdict.value for run in both.runs for row in run.analysis.claims)
    for _, attributes in page.elements:
        assert "src" not in attributes and str(attributes.get("href", "#")).startswith("#")


@pytest.mark.rejects
class TestRejects:
    def test_a_single_run(self, folder):
        with pytest.raises(ArgumentError, match=r"two or more, but there are 1.*analyse"):
            compare([ef.open_run(folder / "a/still")])

    def test_the_same_run_twice(self, folder):
        with pytest.raises(ArgumentError, match="more than once"):
            compare([ef.open_run(folder / "a/still"), ef.open_run(folder / "b/../a/still")])

    def test_a_run_without_a_measurement(self, folder, tmp_path):
        RunWriter.create(tmp_path / "empty", header={}).close()
        with pytest.raises(RunFolderError, match="holds no measurement"):
            compare([ef.open_run(folder / "a/still"), ef.open_run(tmp_path / "empty")])
