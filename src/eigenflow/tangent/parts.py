"""Parts of J J^T in the forms in which they are cheapest to multiply out, with their derivatives."""

from dataclasses import dataclass

import torch
from torch import Tensor

from eigenflow.tangent.rules import Factors

__all__ = ["OuterPart", "Part", "RowPart", "make_part"]


@dataclass(frozen=True)
class RowPart:
    """V V^T with explicit rows V, (samples * outputs, columns)."""

    rows: Tensor
    rows_dot: Tensor | None

    def add_block(self, block: Tensor, rate: Tensor | None, first: slice, second: slice, classes: int) -> None:
        """Add the part of two ranges of samples to `block`, and its derivative to `rate`."""
        a, b = (slice(s.start * classes, s.stop * classes) for s in (first, second))
        block.addmm_(self.rows[a], self.rows[b].T)
        if rate is not None and self.rows_dot is not None:
            rate.addmm_(self.rows_dot[a], self.rows[b].T)
            rate.addmm_(self.rows[a], self.rows_dot[b].T)


@dataclass(frozen=True)
class OuterPart:
    """sum_tt' (a_t . b_t') (g_t . h_t'): Gram matrices of inputs and of signals, multiplied entry by entry.

    Attributes:
        inputs: (samples, positions, in).
        signals: (samples, outputs, positions, out).
        inputs_dot: Derivative of `inputs`, or None.
        signals_dot: Derivative of `signals`, or None.
    """

    inputs: Tensor
    signals: Tensor
    inputs_dot: Tensor | None
    signals_dot: Tensor | None

    def add_block(self, block: Tensor, rate: Tensor | None, first: slice, second: slice, classes: int) -> None:
        """Add the part of two ranges of samples to `block`, and its derivative to `rate`."""
        a, b = self.inputs[first], self.inputs[second]
        g, h = self.signals[first], self.signals[second]
        input_gram, signal_gram = _gram(a, b), _gram(g, h)
        _add_product(block, input_gram, signal_gram)
        if rate is None or self.inputs_dot is None or self.signals_dot is None:
            return
        a_dot, b_dot = self.inputs_dot[first], self.inputs_dot[second]
        g_dot, h_dot = self.signals_dot[first], self.signals_dot[second]
        _add_product(rate, _gram(a_dot, b) + _gram(a, b_dot), signal_gram)
        _add_product(rate, input_gram, _gram(g_dot, h) + _gram(g, h_dot))


Part = RowPart | OuterPart


def make_part(factors: Factors, dots: Factors | None) -> Part:
    """Choose the cheaper form by its operation count per entry of the result."""
    inputs, signals = factors.inputs, factors.signals
    samples, classes, positions, outs = signals.shape
    if inputs is None:
        rows_dot = None if dots is None else dots.signals.sum(2).reshape(samples * classes, outs)
        return RowPart(signals.sum(2).reshape(samples * classes, outs), rows_dot)
    ins = inputs.shape[-1]
    outer_cost = positions**2 * (outs + 1 + ins / classes**2)
    if positions == 1 or outer_cost < ins * outs:
        if dots is None:
            return OuterPart(inputs, signals, None, None)
        return OuterPart(inputs, signals, dots.inputs, dots.signals)
    rows = _outer_rows(inputs, signals)
    if dots is None:
        return RowPart(rows, None)
    assert dots.inputs is not None
    return RowPart(rows, _outer_rows(dots.inputs, signals) + _outer_rows(inputs, dots.signals))


def _outer_rows(inputs: Tensor, signals: Tensor) -> Tensor:
    """sum_t g_t (x) a_t as rows, (samples * outputs, out * in)."""
    samples, classes = signals.shape[:2]
    outer = torch.matmul(signals.transpose(2, 3), inputs[:, None])
    return outer.reshape(samples * classes, -1)


def _gram(a: Tensor, b: Tensor) -> Tensor:
    """Products of all leading entries: a (..., in) with b (..., in)."""
    product = a.reshape(-1, a.shape[-1]) @ b.reshape(-1, b.shape[-1]).T
    return product.reshape(*a.shape[:-1], *b.shape[:-1])


def _add_product(block: Tensor, input_gram: Tensor, signal_gram: Tensor) -> None:
    """Add (n, t, m, s) o (n, c, t, m, d, s), summed over positions t and s, to a block (n c, m d)."""
    n, classes, positions, m, outputs, _ = signal_gram.shape
    view = block.unflatten(0, (n, classes)).unflatten(2, (m, outputs))
    if positions == 1:
        view.addcmul_(signal_gram[:, :, 0, :, :, 0], input_gram[:, 0, :, 0][:, None, :, None])
    else:
        view += (signal_gram * input_gram[:, None, :, :, None, :]).sum((2, 5))
