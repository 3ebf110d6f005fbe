"""Parts of J J^T in the forms in which they are cheapest to multiply out, with their derivatives.

A part holds one chunk of samples; a block of J J^T is made from two parts, or from one part twice. Blocks are small
enough to stay in the cache while all parts are added, so every entry of the result is written to memory once.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from eigenflow.tangent.rules.uses import Factors

__all__ = ["AbstractPart", "OuterPart", "RowPart", "Target", "Workspace", "outer_operations"]

# An entry-by-entry product costs about as much as this many multiply-adds inside a matrix product.
ENTRY_COST = 12


class Workspace:
    """Buffers that blocks share, so that no block allocates."""

    def __init__(self, like: Tensor):
        self._like = like
        self._buffers: dict[str, Tensor] = {}

    def take(self, name: str, rows: int, columns: int) -> Tensor:
        """A contiguous (rows, columns) matrix with undefined entries; the same memory at every call of that name."""
        buffer = self._buffers.get(name)
        if buffer is None or buffer.numel() < rows * columns:
            buffer = self._buffers[name] = self._like.new_empty(rows * columns)
        return buffer[: rows * columns].view(rows, columns)

    def clear(self) -> None:
        """Give all memory back."""
        self._buffers.clear()


@dataclass
class Target:
    """A block of the result and of its derivative, written by the first part and added to by the others."""

    block: Tensor
    rate: Tensor | None
    classes: int
    workspace: Workspace
    is_empty: bool = True
    is_rate_empty: bool = True

    def add_matrix_product(self, a: Tensor, b: Tensor) -> None:
        """block += a b^T."""
        torch.addmm(self.block, a, b.T, beta=0 if self.is_empty else 1, out=self.block)  # `out`: seen by counters
        self.is_empty = False

    def add_rate_product(self, a: Tensor, b: Tensor) -> None:
        """rate += a b^T."""
        assert self.rate is not None
        torch.addmm(self.rate, a, b.T, beta=0 if self.is_rate_empty else 1, out=self.rate)
        self.is_rate_empty = False

    def add_entries(self, signal_gram: Tensor, input_gram: Tensor) -> None:
        """block += signal_gram o input_gram, where every sample pair's entry of input_gram serves its outputs."""
        _add_entries(self.block, signal_gram, self._spread_out(input_gram), self.is_empty)
        self.is_empty = False

    def add_rate_entries(self, signal_gram: Tensor, input_gram: Tensor) -> None:
        """rate += signal_gram o input_gram."""
        assert self.rate is not None
        _add_entries(self.rate, signal_gram, self._spread_out(input_gram), self.is_rate_empty)
        self.is_rate_empty = False

    def finish(self) -> None:
        """Write zeros where no part wrote."""
        if self.is_empty:
            self.block.zero_()
        if self.rate is not None and self.is_rate_empty:
            self.rate.zero_()

    def _spread_out(self, input_gram: Tensor) -> Tensor:
        """(n, m) -> (n, m * classes): contiguous columns make the product three times faster than a broadcast."""
        n, m = input_gram.shape
        spread = self.workspace.take("spread", n, m * self.classes)
        spread.view(n, m, self.classes).copy_(input_gram[:, :, None].expand(n, m, self.classes))
        return spread


def _add_entries(block: Tensor, signal_gram: Tensor, spread: Tensor, is_empty: bool) -> None:
    n = len(spread)
    view, gram = block.unflatten(0, (n, -1)), signal_gram.unflatten(0, (n, -1))
    if is_empty:
        torch.mul(gram, spread[:, None], out=view)
    else:
        view.addcmul_(gram, spread[:, None])


class AbstractPart(ABC):
    """One part of J on a chunk of samples."""

    @abstractmethod
    def add_block(self, target: Target, other: "AbstractPart", first: slice, second: slice) -> None:
        """Add the product of samples `first` of this part with samples `second` of `other` to a block."""

    @property
    @abstractmethod
    def nbytes(self) -> int:
        """Memory held."""


@dataclass(frozen=True)
class RowPart(AbstractPart):
    """Explicit rows (samples * outputs, columns)."""

    rows: Tensor
    rows_dot: Tensor | None
    classes: int

    def add_block(self, target: Target, other: AbstractPart, first: slice, second: slice) -> None:
        """One matrix product; for the derivative two."""
        assert isinstance(other, RowPart)
        a, b = (slice(s.start * self.classes, s.stop * self.classes) for s in (first, second))
        target.add_matrix_product(self.rows[a], other.rows[b])
        if target.rate is not None and self.rows_dot is not None and other.rows_dot is not None:
            target.add_rate_product(self.rows_dot[a], other.rows[b])
            target.add_rate_product(self.rows[a], other.rows_dot[b])

    @property
    def nbytes(self) -> int:
        """Of the rows and their derivative."""
        return sum(t.numel() * t.element_size() for t in (self.rows, self.rows_dot) if t is not None)


class OuterPart(AbstractPart):
    """sum_ts (a_t . b_s) (g_t . h_s): Gram matrices of inputs and of signals, multiplied entry by entry.

    Args:
        factors: Outer or token factors of a chunk.
        dots: Their derivative, or None.
    """

    def __init__(self, factors: Factors, dots: Factors | None):
        assert factors.inputs is not None
        self.positions = factors.signals.shape[2]
        self.classes = factors.signals.shape[1]
        self.is_token = factors.is_token
        self.inputs = factors.inputs
        self.signals = _by_position(factors.signals)
        self.inputs_dot = None if dots is None or self.is_token else dots.inputs
        self.signals_dot = None if dots is None else _by_position(dots.signals)

    @property
    def nbytes(self) -> int:
        """Of inputs, signals and their derivatives."""
        tensors = (self.inputs, self.inputs_dot, self.signals, self.signals_dot)
        return sum(t.numel() * t.element_size() for t in tensors if t is not None)

    def add_block(self, target: Target, other: AbstractPart, first: slice, second: slice) -> None:
        """One small matrix product and one product of entries per pair of positions."""
        assert isinstance(other, OuterPart)
        a, b = (slice(s.start * self.classes, s.stop * self.classes) for s in (first, second))
        size = (a.stop - a.start, b.stop - b.start)
        for t in range(self.positions):
            for s in range(other.positions):
                input_gram = self._input_gram(other, first, second, t, s)
                if self.is_token and not bool(input_gram.any()):
                    continue
                g, h = self.signals[t, a], other.signals[s, b]
                signal_gram = torch.mm(g, h.T, out=target.workspace.take("gram", *size))
                target.add_entries(signal_gram, input_gram)
                if target.rate is not None:
                    self._add_rate(target, other, (first, second), (a, b), (t, s), (signal_gram, input_gram))

    def _add_rate(
        self,
        target: Target,
        other: "OuterPart",
        samples: tuple[slice, slice],
        rows: tuple[slice, slice],
        at: tuple[int, int],
        grams: tuple[Tensor, Tensor],
    ) -> None:
        (first, second), (a, b), (t, s), (signal_gram, input_gram) = samples, rows, at, grams
        assert self.signals_dot is not None and other.signals_dot is not None
        if self.inputs_dot is not None and other.inputs_dot is not None:
            moved = self.inputs_dot[first, t] @ other.inputs[second, s].T
            torch.addmm(moved, self.inputs[first, t], other.inputs_dot[second, s].T, out=moved)
            target.add_rate_entries(signal_gram, moved)
        signal_gram = torch.mm(self.signals_dot[t, a], other.signals[s, b].T, out=signal_gram)
        torch.addmm(signal_gram, self.signals[t, a], other.signals_dot[s, b].T, out=signal_gram)
        target.add_rate_entries(signal_gram, input_gram)

    def _input_gram(self, other: "OuterPart", first: slice, second: slice, t: int, s: int) -> Tensor:
        x, y = self.inputs[first, t], other.inputs[second, s]
        if self.is_token:
            return (x[:, None] == y[None, :]).to(self.signals.dtype)
        return x @ y.T


def _by_position(signals: Tensor) -> Tensor:
    """(samples, outputs, positions, out) -> (positions, samples * outputs, out), contiguous."""
    samples, outputs, positions, outs = signals.shape
    return signals.permute(2, 0, 1, 3).reshape(positions, samples * outputs, outs).contiguous()


def outer_operations(classes: int, positions: int, outs: int, ins: int, is_token: bool) -> float:
    """Multiply-adds for an entry of the result by Gram matrices of pairs of positions."""
    gram = 0 if is_token else ins / classes**2
    return positions**2 * (outs + ENTRY_COST + gram)
