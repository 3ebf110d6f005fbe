"""Products with blocks of J that are kept as factors: inputs and signals, cached once, used for every product.

A block is the part of J that one group of parameters makes up. Vectors over the error come as (samples, vectors, width)
arrays, so that a product with the signals is one small matrix product per sample, and everything else one large one.
What a block returns for J^T v is in a layout of its own; only the same block reads it.

With signals cached, a layer costs one product with its inputs and one with its signals each way; going back through
the layers above, as automatic differentiation does, is saved. The price is memory for the signals.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from eigenflow.linalg import matrix_product
from eigenflow.tangent.rules.uses import Factors

__all__ = ["AbstractBlock", "GramBlock", "OuterBlock", "RowBlock", "TiedBlock", "TokenBlock", "make_block"]

# Products with explicit rows are limited by memory, those with inputs by arithmetic: a row entry costs as much as
# this many operations of a matrix product.
ROW_COST = 2.0
# What explicit rows of one block may hold.
ROW_BYTES = 256 * 2**20

Vectors = Float[Tensor, "samples vectors width"]


class AbstractBlock(ABC):
    """One group of parameters' part of J on all samples, and its derivative if there is one."""

    @abstractmethod
    def pull(self, vectors: Vectors) -> Tensor:
        """J^T v for each vector."""

    @abstractmethod
    def push(self, gradients: Tensor) -> Vectors:
        """J times what `pull` returned."""

    @abstractmethod
    def pull_rate(self, vectors: Vectors) -> Tensor:
        """Jdot^T v for each vector."""

    @abstractmethod
    def push_rate(self, gradients: Tensor) -> Vectors:
        """Jdot times what `pull` returned."""

    @abstractmethod
    def row_products(self, is_rate: bool) -> Float[Tensor, "samples width"]:
        """Squared length of every row of J, or, for the derivative, its product with the row of Jdot."""

    @property
    @abstractmethod
    def work_bytes(self) -> int:
        """Memory that a product takes per vector."""


class RowBlock(AbstractBlock):
    """Explicit rows (samples, width, columns)."""

    def __init__(self, rows: Tensor, rows_dot: Tensor | None):
        self.shape = rows.shape[:2]
        self.rows = rows.reshape(-1, rows.shape[2])
        self.rows_dot = None if rows_dot is None else rows_dot.reshape(-1, rows.shape[2])

    def pull(self, vectors: Vectors) -> Tensor:
        """(vectors, columns)."""
        return matrix_product(self._flat(vectors), self.rows)

    def push(self, gradients: Tensor) -> Vectors:
        """J times (vectors, columns)."""
        return self._unflat(matrix_product(gradients, self.rows.T))

    def pull_rate(self, vectors: Vectors) -> Tensor:
        """(vectors, columns)."""
        assert self.rows_dot is not None
        return matrix_product(self._flat(vectors), self.rows_dot)

    def push_rate(self, gradients: Tensor) -> Vectors:
        """Jdot times (vectors, columns)."""
        assert self.rows_dot is not None
        return self._unflat(matrix_product(gradients, self.rows_dot.T))

    def row_products(self, is_rate: bool) -> Tensor:
        """Row by row."""
        other = self.rows_dot if is_rate else self.rows
        assert other is not None
        return (self.rows * other).sum(1).reshape(self.shape)

    @property
    def work_bytes(self) -> int:
        """Of the vectors and of one row in parameter space."""
        return (len(self.rows) * 2 + self.rows.shape[1]) * self.rows.element_size()

    def _flat(self, vectors: Tensor) -> Tensor:
        return vectors.transpose(0, 1).reshape(vectors.shape[1], -1)

    def _unflat(self, rows: Tensor) -> Tensor:
        return rows.reshape(len(rows), *self.shape).transpose(0, 1)


class _SignalBlock(AbstractBlock):
    """Shared by blocks with signals: (samples * positions, width, out), contiguous."""

    def __init__(self, signals: Tensor, signals_dot: Tensor | None):
        self.samples, self.width, self.positions, self.outs = signals.shape
        self.signals = self._by_position(signals)
        self.signals_dot = None if signals_dot is None else self._by_position(signals_dot)

    def _by_position(self, signals: Tensor) -> Tensor:
        return signals.transpose(1, 2).reshape(-1, self.width, self.outs)

    def _spread(self, vectors: Tensor, signals: Tensor) -> Tensor:
        """sum_c v_c g_ct, (samples * positions, vectors, out)."""
        if self.positions > 1:
            vectors = vectors[:, None].expand(-1, self.positions, -1, -1).reshape(-1, *vectors.shape[1:])
        return torch.bmm(vectors, signals)

    def _collect(self, changes: Tensor, signals: Tensor) -> Tensor:
        """sum_t g_ct . u_t, (samples, vectors, width)."""
        products = torch.bmm(changes, signals.transpose(1, 2))
        return products.unflatten(0, (self.samples, self.positions)).sum(1) if self.positions > 1 else products

    @property
    def work_bytes(self) -> int:
        """Of signals and changes at all positions."""
        return 2 * len(self.signals) * (self.outs + self.width) * self.signals.element_size()


class OuterBlock(_SignalBlock):
    """Rows sum_t g_t (x) a_t of a linear map.

    Args:
        factors: Inputs (samples, positions, in) and signals (samples, width, positions, out).
        dots: Their derivatives, or None.
    """

    def __init__(self, factors: Factors, dots: Factors | None):
        super().__init__(factors.signals, None if dots is None else dots.signals)
        assert factors.inputs is not None
        self.inputs = factors.inputs.reshape(-1, factors.inputs.shape[-1])
        self.inputs_dot = None
        if dots is not None and dots.inputs is not None and bool(dots.inputs.any()):
            self.inputs_dot = dots.inputs.reshape(self.inputs.shape)

    def pull(self, vectors: Vectors) -> Tensor:
        """(in, vectors, out): both products have plain, contiguous operands."""
        return self._to_parameters(self.inputs, self._spread(vectors, self.signals))

    def push(self, gradients: Tensor) -> Vectors:
        """J times (in, vectors, out)."""
        return self._collect(self._to_positions(self.inputs, gradients), self.signals)

    def pull_rate(self, vectors: Vectors) -> Tensor:
        """(in, vectors, out)."""
        assert self.signals_dot is not None
        moved = self._to_parameters(self.inputs, self._spread(vectors, self.signals_dot))
        if self.inputs_dot is not None:
            moved += self._to_parameters(self.inputs_dot, self._spread(vectors, self.signals))
        return moved

    def push_rate(self, gradients: Tensor) -> Vectors:
        """Jdot times (in, vectors, out)."""
        assert self.signals_dot is not None
        moved = self._collect(self._to_positions(self.inputs, gradients), self.signals_dot)
        if self.inputs_dot is not None:
            moved = moved + self._collect(self._to_positions(self.inputs_dot, gradients), self.signals)
        return moved

    def row_products(self, is_rate: bool) -> Tensor:
        """Gram matrices of one sample's positions, multiplied entry by entry."""
        inputs = self.inputs.unflatten(0, (self.samples, self.positions))
        signals = self.signals.unflatten(0, (self.samples, self.positions)).transpose(1, 2)
        gram = _gram(inputs, inputs)
        if not is_rate:
            return (gram[:, None] * _gram(signals, signals)).sum((2, 3))
        assert self.signals_dot is not None
        signals_dot = self.signals_dot.unflatten(0, (self.samples, self.positions)).transpose(1, 2)
        total = (gram[:, None] * _gram(signals, signals_dot)).sum((2, 3))
        if self.inputs_dot is not None:
            inputs_dot = self.inputs_dot.unflatten(0, (self.samples, self.positions))
            total += (_gram(inputs, inputs_dot)[:, None] * _gram(signals, signals)).sum((2, 3))
        return total

    def _to_parameters(self, inputs: Tensor, spread: Tensor) -> Tensor:
        return matrix_product(inputs.T, spread.flatten(1)).unflatten(1, spread.shape[1:])

    def _to_positions(self, inputs: Tensor, gradients: Tensor) -> Tensor:
        return matrix_product(inputs, gradients.flatten(1)).unflatten(1, gradients.shape[1:])


class GramBlock(AbstractBlock):
    """Rows of a linear map with more inputs than samples and positions, multiplied in the space of samples.

    J^T v is A^T U with the inputs A and the vectors spread by the signals to U, and J takes it back through A: the
    small Gram matrix A A^T stands for the way there and back, and nothing of the parameters' size is made.

    Args:
        outer: The same block by way of the parameters.
    """

    def __init__(self, outer: OuterBlock):
        self.outer = outer
        inputs = outer.inputs if outer.inputs_dot is None else torch.cat([outer.inputs, outer.inputs_dot])
        self.gram, self.rows = inputs @ inputs.T, len(outer.inputs)

    def pull(self, vectors: Vectors) -> Tensor:
        """U: the factor of A^T U."""
        return self.outer._spread(vectors, self.outer.signals)

    def push(self, gradients: Tensor) -> Vectors:
        """J times A^T U, or times the stack that `pull_rate` returns."""
        return self.outer._collect(self._met(slice(None, self.rows), gradients), self.outer.signals)

    def pull_rate(self, vectors: Vectors) -> Tensor:
        """Udot, and behind it U for the inputs' derivatives if they move."""
        assert self.outer.signals_dot is not None
        moved = self.outer._spread(vectors, self.outer.signals_dot)
        return moved if self.outer.inputs_dot is None else torch.cat([moved, self.pull(vectors)])

    def push_rate(self, gradients: Tensor) -> Vectors:
        """Jdot times A^T U."""
        assert self.outer.signals_dot is not None
        moved = self.outer._collect(self._met(slice(None, self.rows), gradients), self.outer.signals_dot)
        if self.outer.inputs_dot is not None:
            moved = moved + self.outer._collect(self._met(slice(self.rows, None), gradients), self.outer.signals)
        return moved

    def row_products(self, is_rate: bool) -> Tensor:
        """Those of the outer block."""
        return self.outer.row_products(is_rate)

    @property
    def work_bytes(self) -> int:
        """Of signals and changes at all positions."""
        return self.outer.work_bytes

    def _met(self, rows: slice, gradients: Tensor) -> Tensor:
        return matrix_product(self.gram[rows, : len(gradients)], gradients.flatten(1)).unflatten(1, gradients.shape[1:])


class TokenBlock(_SignalBlock):
    """Rows of an embedding table: the signal at a position goes to the row of its token.

    Args:
        factors: Token numbers (samples, positions) and signals (samples, width, positions, out).
        dots: Derivatives of the signals, or None.
        length: Rows of the table.
    """

    def __init__(self, factors: Factors, dots: Factors | None, length: int):
        super().__init__(factors.signals, None if dots is None else dots.signals)
        assert factors.inputs is not None
        self.tokens, self.length = factors.inputs.reshape(-1), length

    def pull(self, vectors: Vectors) -> Tensor:
        """(tokens, vectors, out)."""
        return self._to_table(self._spread(vectors, self.signals))

    def push(self, gradients: Tensor) -> Vectors:
        """J times (tokens, vectors, out)."""
        return self._collect(gradients[self.tokens], self.signals)

    def pull_rate(self, vectors: Vectors) -> Tensor:
        """(tokens, vectors, out)."""
        assert self.signals_dot is not None
        return self._to_table(self._spread(vectors, self.signals_dot))

    def push_rate(self, gradients: Tensor) -> Vectors:
        """Jdot times (tokens, vectors, out)."""
        assert self.signals_dot is not None
        return self._collect(gradients[self.tokens], self.signals_dot)

    def row_products(self, is_rate: bool) -> Tensor:
        """Positions with the same token meet."""
        tokens = self.tokens.unflatten(0, (self.samples, self.positions))
        is_same = (tokens[:, :, None] == tokens[:, None, :]).to(self.signals.dtype)
        other = self.signals_dot if is_rate else self.signals
        assert other is not None
        signals, other = (t.unflatten(0, (self.samples, self.positions)).transpose(1, 2) for t in (self.signals, other))
        return (is_same[:, None] * (signals @ other.mT)).sum((2, 3))

    def _to_table(self, spread: Tensor) -> Tensor:
        table = spread.new_zeros(self.length, *spread.shape[1:])
        return table.index_add_(0, self.tokens, spread)


class TiedBlock(AbstractBlock):
    """One table used as an embedding and as a linear map: J is the sum of both.

    Args:
        token: The embedding's block.
        linear: The linear map's, whose out is the table's first axis.
    """

    def __init__(self, token: TokenBlock, linear: OuterBlock):
        self.token, self.linear = token, linear

    def pull(self, vectors: Vectors) -> Tensor:
        """(tokens, vectors, out)."""
        return self.token.pull(vectors) + self.linear.pull(vectors).permute(2, 1, 0)

    def push(self, gradients: Tensor) -> Vectors:
        """J times (tokens, vectors, out)."""
        return self.token.push(gradients) + self.linear.push(gradients.permute(2, 1, 0).contiguous())

    def pull_rate(self, vectors: Vectors) -> Tensor:
        """(tokens, vectors, out)."""
        return self.token.pull_rate(vectors) + self.linear.pull_rate(vectors).permute(2, 1, 0)

    def push_rate(self, gradients: Tensor) -> Vectors:
        """Jdot times (tokens, vectors, out)."""
        return self.token.push_rate(gradients) + self.linear.push_rate(gradients.permute(2, 1, 0).contiguous())

    def row_products(self, is_rate: bool) -> Tensor:
        """Both parts' own, and their meeting: the linear map's input against the signal at the token."""
        own = self.token.row_products(is_rate) + self.linear.row_products(is_rate)
        if not is_rate:
            return own + 2.0 * self._meeting(self.token.signals, self.linear.inputs, self.linear.signals)
        assert self.token.signals_dot is not None and self.linear.signals_dot is not None
        moved = self._meeting(self.token.signals_dot, self.linear.inputs, self.linear.signals)
        moved = moved + self._meeting(self.token.signals, self.linear.inputs, self.linear.signals_dot)
        if self.linear.inputs_dot is not None:
            moved = moved + self._meeting(self.token.signals, self.linear.inputs_dot, self.linear.signals)
        return own + moved

    @property
    def work_bytes(self) -> int:
        """Of both."""
        return self.token.work_bytes + self.linear.work_bytes

    def _meeting(self, token_signals: Tensor, inputs: Tensor, signals: Tensor) -> Tensor:
        """sum_ts (h_t . a_s) g_s[token_t] for each sample and entry of the error."""
        total = []
        width = self.token.width
        tokens = self.token.tokens.unflatten(0, (self.token.samples, self.token.positions))
        h = token_signals.unflatten(0, tokens.shape).transpose(1, 2)
        a = inputs.unflatten(0, (self.linear.samples, self.linear.positions))
        g = signals.unflatten(0, (self.linear.samples, self.linear.positions)).transpose(1, 2)
        for sample in range(len(tokens)):
            picked = g[sample][:, :, tokens[sample]].mT  # (width, token positions, linear positions)
            total.append(((h[sample] @ a[sample].T) * picked).reshape(width, -1).sum(1))
        return torch.stack(total)


def make_block(
    factors: Sequence[Factors], dots: Sequence[Factors] | None, length: int, samples: int | None = None
) -> AbstractBlock:
    """Choose the form in which products are cheapest.

    Args:
        factors: Of one group of parameters: one, or a token and a linear factor of one table.
        dots: Their derivatives, or None.
        length: Rows of the parameter (tokens of an embedding).
        samples: Choose as for so many; None: as many as there are.
    """
    if len(factors) > 1:
        kinds = [f.is_token for f in factors]
        token, linear = kinds.index(True), kinds.index(False)
        pair = [None, None] if dots is None else [dots[token], dots[linear]]
        return TiedBlock(TokenBlock(factors[token], pair[0], length), OuterBlock(factors[linear], pair[1]))
    first, dot = factors[0], None if dots is None else dots[0]
    if first.inputs is None:
        return RowBlock(first.signals.sum(2), None if dot is None else dot.signals.sum(2))
    if first.is_token:
        return TokenBlock(first, dot, length)
    here, width, positions, outs = first.signals.shape
    samples = here if samples is None else samples
    ins = first.inputs.shape[-1]
    outer_cost, row_cost = positions * (width * outs + outs * ins), ROW_COST * width * outs * ins
    row_bytes = samples * width * outs * ins * first.signals.element_size() * (1 if dot is None else 2)
    if outer_cost <= row_cost or row_bytes > ROW_BYTES:
        outer = OuterBlock(first, dot)
        # Through the parameters and back takes 2 in multiplications an entry, through the Gram matrix as many as rows.
        return GramBlock(outer) if samples * positions < 2 * ins else outer
    rows = _outer_rows(first.inputs, first.signals)
    if dot is None:
        return RowBlock(rows, None)
    assert dot.inputs is not None
    return RowBlock(rows, _outer_rows(dot.inputs, first.signals) + _outer_rows(first.inputs, dot.signals))


def _gram(left: Tensor, right: Tensor) -> Tensor:
    """left @ right.mT; of single rows their dot products, which small matrix products make five times dearer."""
    return torch.linalg.vecdot(left, right)[..., None] if left.shape[-2] == right.shape[-2] == 1 else left @ right.mT


def _outer_rows(inputs: Tensor, signals: Tensor) -> Tensor:
    """sum_t g_t (x) a_t, (samples, width, out * in)."""
    return torch.matmul(signals.transpose(2, 3), inputs[:, None]).flatten(2)
