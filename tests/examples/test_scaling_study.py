"""The study over sizes in small: recorded, resumed, and judged."""

import runpy
from pathlib import Path

import numpy as np
import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "scaling_study.py"
pytestmark = pytest.mark.measure


def test_it_is_recorded_and_judged(tmp_path, capsys, monkeypatch):
    from eigenflow.lab import size_runs

    monkeypatch.setattr(size_runs, "POOL", 300)
    monkeypatch.setattr(size_runs, "TESTS", 100)
    study = runpy.run_path(str(EXAMPLE), run_name="scaling_study")
    kind = study["Kind"]
    kinds = {
        "photograph, limit": kind({"name": "photograph"}, widths=(4, 8, 16, 32), samples=60),
        "photograph, lazy": kind({"name": "photograph"}, (60, 60), (20, 30, 40, 60), (4, 8, 16, 32), 16, 40),
    }
    study["main"].__globals__.update(KINDS=kinds, SEEDS=(0, 1))
    study["main"]("record", str(tmp_path))
    assert capsys.readouterr().out.count("test ") == 2 + 2 * 8
    study["main"]("record", str(tmp_path))  # everything is there
    assert capsys.readouterr().out == ""
    study["main"]("status", str(tmp_path))
    assert "photograph, lazy: 16 of 16 runs" in capsys.readouterr().out
    table = study["main"]("judge", str(tmp_path))
    assert set(table["row"]) >= {"ntk: regression", "features: width", "first: data", "first: width"}
    assert (tmp_path / "table.csv").exists()
    assert table["verdict"].isin({"supported", "contradicted", "undecided", "no exponent"}).all()
    regressions = table[table["row"] == "ntk: regression"]
    assert np.isfinite(regressions["curve"].astype(float)).all() and (regressions["curve"] < 0.5).all()
