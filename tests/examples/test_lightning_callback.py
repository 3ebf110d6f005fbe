"""The example of Lightning runs, and records what it trains."""

import runpy
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

import eigenflow as ef

EXAMPLE = Path(__file__).parents[2] / "examples" / "lightning_callback.py"


@pytest.mark.measure
@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:`isinstance\\(treespec, LeafSpec")
def test_a_run_of_lightning_is_recorded(tmp_path, capsys):
    """Spirals are learned: the loss falls below that of three equal classes, and modes are there to be drawn."""
    pytest.importorskip("lightning")
    runpy.run_path(str(EXAMPLE))["main"](str(tmp_path / "run"), epochs=8)
    assert plt.get_fignums()
    plt.close("all")
    run = ef.open_run(tmp_path / "run")
    assert len(run.losses) == 80 and run.losses.loss.tail(10).mean() < 0.9 < 1.0 < run.losses.loss[0]
    assert len(run.measured_steps) >= 15  # of twenty planned, of which some fall on one step: enough for a picture
    assert run.header["preconditioner"] == "AdamW" and run.header["probe"]["loss"] == "cross_entropy"
    assert "80 updates" in capsys.readouterr().out
