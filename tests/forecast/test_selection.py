"""A recommendation says where the intervals of what it recommends did not hold."""

import numpy as np
import pandas as pd
import pytest

from eigenflow.forecast.evaluation.selection import recommend


def table(coverage):
    """Two laws on three curves and two protocols; law "a" has the better score everywhere."""
    rows = []
    for law, score in (("a", 0.1), ("b", 0.2)):
        for protocol, share in coverage.items():
            for curve in range(3):
                row = {"law": law, "protocol": protocol, "split": f"{protocol} {curve}", "curve": f"run {curve}"}
                rows.append({**row, "winkler": score * (1 + 0.1 * curve), "coverage": share if law == "a" else 0.9})
    return pd.DataFrame(rows)


def test_intervals_that_missed_are_spoken_of():
    choice = recommend(table({"rest from 10 %": 0.37, "schedule": 0.91}), np.random.default_rng(0))
    assert choice.law == "a" and choice.coverage == pytest.approx({"rest from 10 %": 0.37, "schedule": 0.91})
    (caution,) = choice.cautions
    assert "a's 90 % intervals held 37 % of the points hidden by 'rest from 10 %' (3 curves)" in caution
    assert "geometric mean" in choice.reason and "Winkler" in choice.reason


def test_intervals_that_held_are_not():
    assert recommend(table({"rest from 10 %": 0.85, "schedule": 1.0}), np.random.default_rng(0)).cautions == ()
