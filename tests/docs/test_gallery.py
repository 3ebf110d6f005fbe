"""The gallery of the first page: pictures that are there, and lines that make them."""

import importlib.util
import inspect
import json
import re
import runpy
import shutil
import struct
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.main import get_command

from cli.program import eigenflow
from eigenflow.cli.app import app

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "docs" / "images"
LOG = ROOT / "examples" / "logs" / "gpt.csv"
MOST_BYTES = 150_000


def pictures():
    """The script beside the pages, which reads the gallery and makes its pictures anew."""
    spec = importlib.util.spec_from_file_location("pictures", ROOT / "docs" / "pictures.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def findings():
    return pictures().read_findings()


def named(findings, name):
    return next(one for one in findings if one.image == f"gallery_{name}.png")


def test_every_finding_has_a_picture_and_an_alternative_text(findings):
    assert len(findings) == 5
    page = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    for one in findings:
        data = (IMAGES / one.image).read_bytes()
        assert data[1:4] == b"PNG" and len(data) < MOST_BYTES, one.image
        width, height = struct.unpack(">II", data[16:24])
        assert 900 <= width <= 1100 and height <= 800
        (words,) = re.findall(rf"!\[([^\]]+)\]\(images/{one.image}\)", page)
        assert len(words) > 40
        assert one.image == f"gallery_{Path(one.made).stem}.png"
    assert {path.name for path in IMAGES.glob("gallery_*.png")} == {one.image for one in findings}


def test_the_readme_prints_the_same_lines(findings):
    assert [vars(one) for one in pictures().read_findings(ROOT / "README.md")] == [vars(one) for one in findings]


def test_every_line_is_one_that_the_program_understands(findings):
    """Commands and options exist, values are of their kind, files are there; nothing is run."""
    for one in findings:
        program, *words = one.words
        for word in words:
            assert (ROOT / word).exists() or not word.startswith("examples/"), word
        if program == "python":
            main = runpy.run_path(str(ROOT / words[0]), run_name="looked at")["main"]
            inspect.signature(main).bind(*words[1:])
            continue
        assert program == "eigenflow"
        inner: Any = get_command(app)
        context = inner.make_context("eigenflow", words)
        while hasattr(inner, "resolve_command"):
            name, inner, rest = inner.resolve_command(context, [*context._protected_args, *context.args])
            context = inner.make_context(name, rest, parent=context)
        assert context.params["picture"] == Path(one.made)


@pytest.mark.parametrize("name", ["forecast", "plan"])
def test_cheap_lines_run_and_say_what_the_page_says(findings, name, tmp_path):
    """The forecasts, their intervals, and what came: to the digits that are printed."""
    shutil.copytree(ROOT / "examples" / "logs", tmp_path / "examples" / "logs")
    one = named(findings, name)
    done = eigenflow(*one.words[1:], "--json", cwd=tmp_path)
    assert done.code == 0, done.stderr
    assert (tmp_path / one.made).read_bytes()[1:4] == b"PNG"
    told = json.loads(done.stdout)
    ends = pd.read_csv(LOG).groupby("curve")["loss"].last()
    page = " ".join((ROOT / "docs" / "index.md").read_text(encoding="utf-8").split())
    end = told["end"]
    if name == "forecast":
        assert told["came"]["holds"] and told["came"]["loss"] == ends["cosine"]
        said = f"at {end['loss']:.3f}, 90 % interval {end['lower']:.3f} to {end['upper']:.3f}; "
        said += f"the run ended at {ends['cosine']:.3f}"
    else:
        decay = told["endings"][0]
        gain, (most, least) = -decay["difference"], [-bound for bound in decay["difference_interval"]]
        gained = ends["constant"] - ends["decay"]
        said = f"to gain {gain:.3f}, 90 % interval {least:.3f} to {most:.3f}; the run made so gained {gained:.3f}"
        assert decay["lower"] <= ends["decay"] <= decay["upper"]
        kept = f"ended at {ends['constant']:.3f}, just below its interval of {end['lower']:.3f} to {end['upper']:.3f}"
        assert kept in page
    assert said in page


@pytest.mark.measure
def test_the_runs_of_the_log_are_made_by_their_script(tmp_path):
    """Three runs, the same until the schedules part; a log of a shortened training, as the losses differ by Python."""
    made = runpy.run_path(str(ROOT / "examples" / "train_gpt_logs.py"))["main"](str(tmp_path / "gpt.csv"), total=300)
    kept = pd.read_csv(LOG)
    assert list(made.columns) == list(kept.columns) and list(made["curve"].unique()) == list(kept["curve"].unique())
    wide = made.pivot(index="step", columns="curve", values="loss")
    assert (wide["constant"] == wide["decay"])[:4].all() and wide["constant"].iloc[-1] != wide["decay"].iloc[-1]
    assert (wide.iloc[-1] < wide.iloc[0] - 0.5).all()


@pytest.mark.measure
@pytest.mark.slow
def test_the_transformer_of_the_gallery_trains_and_is_drawn(findings, tmp_path):
    """On few updates: the whole run takes two minutes."""
    one = named(findings, "gpt")
    few = ["--set", "train.steps=60", "--set", "measure.count=12", "--set", "task.training=200"]
    done = eigenflow(*one.words[1:], *few, cwd=tmp_path)
    assert done.code == 0, done.stderr
    assert (tmp_path / one.made).read_bytes()[1:4] == b"PNG"
