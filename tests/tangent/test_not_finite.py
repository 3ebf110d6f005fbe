"""Derivatives that are not numbers: said so, never returned."""

import contextlib

import pytest
import torch
from torch import nn

import eigenflow as ef
from eigenflow.core.errors import EigenflowError

pytestmark = pytest.mark.long


class MaskedRows(nn.Module):
    """Softmax over rows of which some are masked altogether, repaired behind it: the values are finite."""

    def __init__(self):
        super().__init__()
        self.inner, self.outer = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x):
        logits = self.inner(x).masked_fill(x[:, :1] > 0.0, float("-inf"))
        return self.outer(torch.nan_to_num(torch.softmax(logits, -1)))


@pytest.mark.parametrize("method", ["dense", "products"])
def test_what_is_not_a_number_is_refused_or_right(method):
    """Rows without a mask have derivatives; where a way of differentiating makes NaN of the others, it is not taken."""
    torch.manual_seed(0)
    model, inputs, targets = MaskedRows().double(), torch.randn(6, 4).double(), torch.randn(6, 3).double()
    probe, found = ef.Probe(model, inputs, targets), None
    with contextlib.suppress(EigenflowError):
        found = probe.measure(4, method=method)
    if found is not None:
        for values in (found.eigenvalues, found.eigenvalue_rates, found.coefficients):
            assert torch.isfinite(values).all()
