"""The program in this process (starting one costs a second): exit code and what it printed, and inputs for it."""

import contextlib
import io
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from eigenflow.cli import main
from forecast.logs import csv_of, rows, schedules_csv
from report.recorded import record_run

PROBLEM = """name = "small"
domain = [1e-4, 1.0]
times = {first = 0.1, last = 10.0, count = 3}
solver = {cells = 12}
initial = {form = "table", table = "cells.csv"}
"""
CELLS = "low,high,mass\n1e-3,1e-2,1.0\n1e-2,1e-1,2.0\n"


@dataclass(frozen=True)
class Done:
    code: int
    stdout: str
    stderr: str


def eigenflow(*words, cwd) -> Done:
    """Run the program, and give its exit code with what it printed. A foreign exception comes through."""
    stdout, stderr = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.chdir(cwd),
        contextlib.redirect_stdout(stdout),
        contextlib.redirect_stderr(stderr),
    ):
        patch.setattr(sys, "argv", ["eigenflow", *map(str, words)])
        patch.setenv("COLUMNS", "160")
        patch.setenv("NO_COLOR", "1")
        with pytest.raises(SystemExit) as left:
            main()
    assert "Traceback" not in stderr.getvalue()
    return Done(int(left.value.code or 0), stdout.getvalue(), stderr.getvalue())


def make_inputs(folder: Path) -> None:
    """Curves with schedules, a fit of them, finished runs, two run folders, and a transport problem with its table."""
    csv_of(pd.concat([rows("cosine"), rows("two_stage")]), folder)
    schedules_csv(folder)
    words = ["forecast", "fit", "curves.csv", "--schedules", "schedules.csv", "--law", "power_time", "--starts", 1]
    done = eigenflow(*words, cwd=folder)
    assert done.code == 0, done
    size = np.repeat(np.geomspace(1e8, 3e9, 6), 4)
    tokens = size * np.tile([5.0, 15.0, 45.0, 135.0], 6)
    loss = 1.69 + 406.4 * size**-0.34 + 410.7 * tokens**-0.28
    pd.DataFrame({"size": size, "tokens": tokens, "loss": loss}).to_csv(folder / "finished.csv", index=False)
    record_run(folder / "run")
    record_run(folder / "other", scale=2.0)
    (folder / "problem.toml").write_text(PROBLEM)
    (folder / "cells.csv").write_text(CELLS)
