"""The digits are those of scikit-learn, with and without its import."""

import importlib
import subprocess
import sys

import numpy as np
import pytest
from sklearn import datasets

from eigenflow.lab import digits


@pytest.mark.parametrize("is_table_there", [True, False])
def test_digits_are_those_of_scikit_learn(monkeypatch, is_table_there):
    if not is_table_there:
        monkeypatch.setattr(digits, "TABLE", digits.TABLE / "moved elsewhere")
    pixels, labels = digits.load_digits.__wrapped__()
    found = datasets.load_digits()
    np.testing.assert_array_equal(pixels, found.data)
    np.testing.assert_array_equal(labels, found.target)
    assert pixels.dtype == np.float64 and labels.dtype == np.int64 and pixels.flags.c_contiguous


def test_without_scikit_learn_its_name_is_told(monkeypatch):
    def none(name, *rest):
        raise ModuleNotFoundError(f"No module named {name!r}", name="sklearn")

    monkeypatch.setattr(digits, "find_spec", lambda name: None)
    monkeypatch.setattr(importlib, "import_module", none)
    with pytest.raises(ModuleNotFoundError, match="sklearn"):
        digits.load_digits.__wrapped__()


@pytest.mark.long
def test_the_default_experiment_does_not_wait_for_scikit_learn():
    code = (
        "import sys; from eigenflow.lab import load_config; from eigenflow.lab.experiment import build_experiment;"
        "build_experiment(load_config('digits'));"
        "sys.exit('sklearn.datasets' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0
