"""What several runs say together."""

import numpy as np
import pytest
from scipy.stats import kendalltau, spearmanr

from eigenflow.core.errors import ArgumentError
from eigenflow.theory import Claim, Verdict
from eigenflow.theory.over_runs import regularity_gives_power


def rows(change, skill, kept=Verdict.UNDECIDED, power=Verdict.UNDECIDED):
    return [
        Claim("C4", "s", None, None, (None, None), Verdict.UNDECIDED, "r"),
        Claim("C4.regularity", "s", change, None, (-0.1, 0.1), kept, "r"),
        Claim("C4.form", "s", skill, None, (0.5, None), power, "r"),
    ]


def test_runs_that_keep_their_regularity_and_have_a_power_support_it():
    """Perfectly ordered, of either sign of the change: 1. The interval is Fisher's of twelve runs."""
    runs = {f"run {i}": rows((-1) ** i * 0.05 * i, 0.9 - 0.05 * i) for i in range(12)}
    found = regularity_gives_power(runs)
    assert found.estimate == pytest.approx(1.0) and found.verdict == "supported"
    assert 0.99 < found.interval[0] < found.estimate


def test_runs_without_order_are_undecided_and_turned_ones_contradict():
    rng = np.random.default_rng(1)
    changes, skills = rng.normal(size=14), rng.uniform(size=14)
    free = {str(i): rows(c, s) for i, (c, s) in enumerate(zip(changes, skills, strict=True))}
    assert abs(kendalltau(-np.abs(changes), skills).statistic) < 0.3  # an order of another kind says so too
    found = regularity_gives_power(free)
    assert (
        found.estimate == pytest.approx(spearmanr(-np.abs(changes), skills).statistic) and found.verdict == "undecided"
    )
    turned = {str(i): rows(0.05 * i, 0.2 + 0.05 * i) for i in range(12)}
    assert regularity_gives_power(turned).verdict == "contradicted"


def test_two_counterexamples_are_enough():
    runs = {f"run {i}": rows(0.05 * i, 0.9 - 0.05 * i) for i in range(12)}
    bad = rows(0.01, 0.1, Verdict.SUPPORTED, Verdict.CONTRADICTED)
    assert regularity_gives_power({**runs, "a": bad}).verdict == "supported"
    found = regularity_gives_power({**runs, "a": bad, "b": bad})
    assert found.verdict == "contradicted" and "2 keep their regularity without a power (a, b)" in found.reason


def test_what_is_missing_is_said():
    few = {str(i): rows(0.1, 0.5) for i in range(5)} | {"bare": rows(None, 0.5), "none": []}
    found = regularity_gives_power(few)
    assert found.verdict == "undecided" and found.estimate is None and "5 of 7 runs" in found.reason
    with pytest.raises(ArgumentError, match="`claims` must hold"):
        regularity_gives_power({})
