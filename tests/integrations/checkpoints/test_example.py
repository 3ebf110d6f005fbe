"""The example of checkpoints runs, and says what it promises."""

import runpy
from pathlib import Path

import matplotlib.pyplot as plt

import eigenflow as ef

EXAMPLE = Path(__file__).parents[3] / "examples" / "checkpoints.py"


def test_checkpoints_of_a_gpt_are_measured(tmp_path, capsys):
    found = runpy.run_path(str(EXAMPLE))["main"](str(tmp_path), steps=100)
    plt.close("all")
    assert found.steps == tuple(step for step in range(0, 101, 10) if step != 50)
    assert "checkpoint-50 (50): " in capsys.readouterr().out
    run = ef.open_run(found.path)
    assert run.measurements["probe_loss"].values[-1] < 0.7 * run.measurements["probe_loss"].values[0]


def test_the_example_has_at_most_five_lines_of_ours():
    lines = EXAMPLE.read_text().splitlines()
    assert len([line for line in lines if "eigenflow" in line or "ef." in line or "measure_checkpoints" in line]) <= 6
