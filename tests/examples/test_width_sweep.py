"""The sweep of widths runs, and the width does what it should in each parametrisation."""

import runpy
from pathlib import Path

import pytest

from eigenflow.theory.over_sweep import open_results

EXAMPLE = Path(__file__).parents[2] / "examples" / "width_sweep.py"


@pytest.mark.measure
def test_width_makes_ntk_lazy_and_leaves_maximal_update_as_it_is(tmp_path, capsys):
    """One seed and small widths: the power of the NTK lies between -1/2, its bound, and -1, its limit."""
    powers = runpy.run_path(str(EXAMPLE))["main"](str(tmp_path / "sweep"))
    assert -1.3 < powers["ntk"] < -0.4
    assert abs(powers["maximal_update"]) < 0.3
    assert "8 of 8 runs are done" in capsys.readouterr().out
    assert open_results(tmp_path / "sweep" / "results.zarr").sizes["model.width"] == 4
