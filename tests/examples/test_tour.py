"""The marimo notebook `examples/tour.py`: its cells run, and show what the functions behind them give."""

import re
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.special import beta

import eigenflow as ef
from eigenflow.shells import shell_budget
from eigenflow.theory.lazy_rich import lazy_rich

# In a lane of its own: transformers takes a process that has loaded marimo for a notebook, and wants IPython there.
pytestmark = [pytest.mark.measure, pytest.mark.slow]
ROOT = Path(__file__).parents[2]
TOUR = ROOT / "examples" / "tour.py"


def shown(outputs) -> str:
    """What a reader sees of all cells, as text: numbers of tables and words, without markup."""
    texts = [one.text if hasattr(one, "text") else str(one) for one in outputs if one is not None]
    return re.sub(r"<[^>]+>", " ", " ".join(texts))


@pytest.fixture(scope="module")
def tour():
    """Every cell, with the sliders as they stand at first."""
    return runpy.run_path(str(TOUR))["app"].run()


def test_run_is_recorded_and_its_place_shown(tour):
    outputs, names = tour
    run = names["run"]
    assert run.status == "complete" and len(run.losses) == 400 and len(run.measured_steps) >= 18
    distance = float(run.measurements["initial_distance"][-1])
    place = lazy_rich(run.measurements, shell_budget(run))
    assert names["place"].coordinate == distance == place.coordinate
    assert f"{distance:.3f}" in shown(outputs) and f"this run is {place.regime}" in re.sub(r"\s+", " ", shown(outputs))


def test_tables_are_those_of_the_functions(tour):
    outputs, names = tour
    claims = ef.claims(names["run"])
    pd.testing.assert_frame_equal(names["claims"].to_dataframe(), claims.to_dataframe())
    assert {"supported", "undecided"} <= set(claims.to_dataframe()["verdict"])
    lazy = names["learned"]["lazy_1/e"]
    # In the first operator's basis a mode's energy falls to 1/e at 1 / (2 lambda), but for updates of 0.1.
    first = names["run"].measurements["eigenvalue"].values[0][:8]
    np.testing.assert_allclose(lazy[2:], 1 / (2 * first[2:]), rtol=0.15)
    for value in lazy:
        assert f"{value:.6f}" in shown(outputs)


def test_forecast_is_that_of_the_log(tour):
    outputs, names = tour
    forecast = names["forecast"]
    truth = pd.read_csv(ROOT / "examples" / "logs" / "curves.csv").query(
        "curve == 'cosine_16000' and model_size_M == 25"
    )
    end, low, high = forecast.loss[-1], forecast.lower[-1], forecast.upper[-1]
    assert f"It ends at {end:.3f} [{low:.3f}, {high:.3f}]" in re.sub(r"\s+", " ", shown(outputs))
    assert low < truth["loss"].iloc[-1] < high and abs(end / truth["loss"].iloc[-1] - 1) < 0.01


def test_equation_is_its_closed_form(tour):
    _, names = tour
    times = np.geomspace(1.0, 1e3, 20)
    np.testing.assert_allclose(names["solution"].total, (0.5 * times) ** -0.7 * beta(0.7, 4 - 0.7), rtol=1e-6)
    assert names["miss"] < 1e-6


@pytest.mark.slow
def test_sliders_change_what_follows_from_them():
    """A larger scale is lazier; a log that is known further has a narrower interval; a stronger drift, less energy."""
    pages = [
        runpy.run_path(str(TOUR))["app"].run(
            defs={
                "scale": SimpleNamespace(value=scale),
                "seen": SimpleNamespace(value=seen),
                "others": SimpleNamespace(value=False),
                "drift": SimpleNamespace(value=drift),
            }
        )[1]
        for scale, seen, drift in ((0.5, 20, 0.2), (8, 80, 0.8))
    ]
    rich, lazy = (page["place"].coordinate for page in pages)
    assert lazy < 0.1 and rich > 1
    wide, narrow = (page["forecast"].upper[-1] - page["forecast"].lower[-1] for page in pages)
    assert narrow < wide / 3
    slow, fast = (page["solution"].total[-1] for page in pages)
    exact = [(c * 1e3) ** -0.7 * beta(0.7, 2 / c - 0.7) for c in (0.2, 0.8)]
    np.testing.assert_allclose([slow, fast], exact, rtol=1e-6)


@pytest.mark.slow
def test_as_a_script_and_as_a_page(tmp_path):
    """Within two minutes each, on one core; a cell that fails would give another exit status."""
    page = tmp_path / "tour.html"
    for command in ([str(TOUR)], ["-m", "marimo", "export", "html", str(TOUR), "-o", str(page), "--no-include-code"]):
        done = subprocess.run(
            [sys.executable, *command], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr[-3000:]
    text = page.read_text(encoding="utf-8")
    assert "A tour of eigenflow" in text and "It ends at" in text and "marimo-error" not in text
