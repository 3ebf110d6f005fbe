"""Parts of J P^(-1) J^T with a diagonal P: the outer products of the rules, unit by unit of a layer.

With weights p of shape (out, in), inputs a and signals g, the part of a linear map at one position a sample is

    M[(s, o), (t, q)] = sum_i g[s, o, i] g[t, q, i] C_i[s, t],    C_i[s, t] = sum_j p[i, j] a[s, j] a[t, j].

C costs in * out operations for a pair of samples, the sum over units out for a pair of rows; explicit rows cost
in * out for a pair of rows, which are as many times more as a sample has pairs of outputs. With positions, C_i has an
entry for a pair of them, and signals are multiplied to it from either side.
"""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from eigenflow.tangent.rules.parts import ENTRY_COST, AbstractPart, Target, outer_operations
from eigenflow.tangent.rules.uses import Factors

__all__ = ["ScaledPart", "ScaledPositionsPart", "cheapest_way", "folded", "scaled_operations", "scaled_part"]

# Numbers in one operand: operands of one step stay in the second-level cache.
ENTRIES = 1 << 17
# Pairs of samples in one product, enough for a matrix product to be efficient.
PAIRS = 256
# Samples on the other side of a block, times outputs, as `dense` cuts it for float64; for estimates alone.
SIDE = 350


def cheapest_way(
    classes: int, positions: int, outs: int, ins: int, *, is_token: bool = False, has_weights: bool = False
) -> str:
    """How the part of a layer is multiplied out: the one of "outer", "scaled" and "rows" with the fewest operations.

    Args:
        classes: Entries of the error per sample.
        positions: Of a sample.
        outs: Length of a signal.
        ins: Length of an input; for tokens, how many there are.
        is_token: Whether inputs are token numbers.
        has_weights: Whether a P^(-1) that does not fold into the factors weighs the columns.
    """
    ways = {}
    if is_token or not has_weights:
        if positions == 1 and not is_token:
            return "outer"
        ways["outer"] = outer_operations(classes, positions, outs, ins, is_token)
    if not is_token:
        ways["scaled"] = scaled_operations(classes, positions, outs, ins) / classes**2
    ways["rows"] = float(ins * outs)
    return min(ways, key=lambda way: ways[way])


def scaled_operations(classes: int, positions: int, outs: int, ins: int) -> float:
    """Multiply-adds for a pair of samples, products of entries counted as in `parts`."""
    if positions == 1:
        return outs * (ins + classes * (classes + 2 * ENTRY_COST)) + ENTRY_COST * ins
    # Weights are multiplied to the inputs once for all samples on the other side.
    side = max(1, SIDE // classes)
    grams = positions * ins * (positions + ENTRY_COST / side)
    return outs * (grams + classes * positions * (positions + 2 * ENTRY_COST + classes))


def folded(factors: Factors, dots: Factors | None, weights: Tensor) -> tuple[Factors, Factors | None] | None:
    """Factors that hold the roots of the weights themselves, where these are products of one for each side.

    Tokens always do: a token has one row of weights. Linear maps do if weights differ along one axis at most.

    Args:
        factors: Outer or token factors.
        dots: Their derivatives, or None.
        weights: Diagonal of P^(-1), (out, in), or (tokens, width).

    Returns:
        The factors and their derivatives, or None.
    """
    assert factors.inputs is not None
    if factors.is_token:
        root = weights.sqrt()[factors.inputs][:, None]
        return _times(factors, None, root), None if dots is None else _times(dots, None, root)
    if bool((weights == weights[:1]).all()):
        inputs, signals = weights[0].sqrt(), None
    elif bool((weights == weights[:, :1]).all()):
        inputs, signals = None, weights[:, 0].sqrt()
    else:
        return None
    return _times(factors, inputs, signals), None if dots is None else _times(dots, inputs, signals)


def _times(factors: Factors, inputs: Tensor | None, signals: Tensor | None) -> Factors:
    moved = factors.inputs
    if inputs is not None and moved is not None:
        moved = moved * inputs
    return replace(factors, inputs=moved, signals=factors.signals if signals is None else factors.signals * signals)


def scaled_part(factors: Factors, dots: Factors | None, weights: Tensor | None) -> AbstractPart:
    """The part of a linear map.

    Args:
        factors: Outer factors of a chunk.
        dots: Their derivatives, or None.
        weights: Diagonal of P^(-1), (out, in); None: ones, which pays where there are fewer positions than outputs.
    """
    assert factors.inputs is not None
    if weights is None:
        weights = factors.signals.new_ones(1, 1).expand(factors.signals.shape[-1], factors.inputs.shape[-1])
    kind = ScaledPart if factors.signals.shape[2] == 1 else ScaledPositionsPart
    return kind(factors, dots, weights)


class _AbstractScaledPart(AbstractPart):
    """Inputs (samples, positions, in), signals (samples, outputs, out, positions), and their derivatives."""

    def __init__(self, factors: Factors, dots: Factors | None, weights: Tensor):
        assert factors.inputs is not None
        self.weights = weights
        self.inputs, self.signals = factors.inputs, factors.signals.transpose(2, 3).contiguous()
        self.inputs_dot = self.signals_dot = None
        if dots is not None:
            assert dots.inputs is not None
            # What a network's inputs meet first does not move.
            self.inputs_dot = dots.inputs if bool(dots.inputs.any()) else None
            self.signals_dot = dots.signals.transpose(2, 3).contiguous()
        self.classes, self.outs, self.positions = self.signals.shape[1:]

    @property
    def nbytes(self) -> int:
        """Of inputs, signals and their derivatives."""
        tensors = (self.inputs, self.inputs_dot, self.signals, self.signals_dot)
        return sum(t.numel() * t.element_size() for t in tensors if t is not None)


class ScaledPart(_AbstractScaledPart):
    """A linear map at one position a sample: one matrix product for all C_i, one for each sample with the signals."""

    def add_block(self, target: Target, other: AbstractPart, first: slice, second: slice) -> None:
        """Some samples of `first` at a time."""
        assert isinstance(other, ScaledPart)
        count = second.stop - second.start
        for group in _slices(first.start, first.stop, max(1, PAIRS // count)):
            pairs = (group.stop - group.start) * count
            is_first = True
            for wide in _slices(0, self.outs, max(1, ENTRIES // pairs)):
                grams = self._grams(target, other, group, second, wide)
                for units in _slices(wide.start, wide.stop, max(1, ENTRIES // (pairs * self.classes))):
                    local = slice(units.start - wide.start, units.stop - wide.start)
                    part = [gram[..., local] for gram in grams]
                    at = slice(group.start - first.start, group.stop - first.start)
                    self._add_units(target, other, (group, second), units, at, part, is_first)
                    is_first = False
        target.is_empty = False
        target.is_rate_empty = target.is_rate_empty and target.rate is None

    def _grams(self, target: Target, other: "ScaledPart", first: slice, second: slice, units: slice) -> list[Tensor]:
        """C_i of some units, (samples, other samples, units), and its derivative if inputs move."""
        rows, columns = first.stop - first.start, second.stop - second.start
        a, b = self.inputs[first], other.inputs[second, 0]
        moves = target.rate is not None and (self.inputs_dot is not None or other.inputs_dot is not None)
        stack, pairs = 2 if moves else 1, rows * columns
        grams = target.workspace.take("scaled grams", stack * pairs, units.stop - units.start)
        ins = a.shape[-1]
        for part in _slices(0, ins, max(1, ENTRIES // pairs)):
            products = target.workspace.take("scaled products", stack * pairs, part.stop - part.start)
            view = products.view(stack, rows, columns, -1)
            torch.mul(a[..., part], b[:, part], out=view[0])
            if moves:
                a_dot = None if self.inputs_dot is None else self.inputs_dot[first, :, part]
                b_dot = None if other.inputs_dot is None else other.inputs_dot[second, 0, part]
                _sum_of_products(view[1], a_dot, b[:, part], a[..., part], b_dot)
            torch.addmm(grams, products, self.weights[units, part].T, beta=0 if part.start == 0 else 1, out=grams)
        return list(grams.view(stack, rows, columns, -1))

    def _add_units(
        self,
        target: Target,
        other: "ScaledPart",
        samples: tuple[slice, slice],
        units: slice,
        at: slice,
        grams: list[Tensor],
        is_first: bool,
    ) -> None:
        """Signals of the other side times C, then the product with this side's, for each sample of this side."""
        rows, columns, width = at.stop - at.start, samples[1].stop - samples[1].start, units.stop - units.start
        g, h = self.signals[samples[0], :, units, 0], other.signals[samples[1], :, units, 0]
        spread = target.workspace.take("scaled signals", rows * columns * self.classes, width)
        met = spread.view(rows, columns, self.classes, width)
        torch.mul(grams[0][:, :, None], h, out=met)
        flat = spread.view(rows, columns * self.classes, width).mT

        def piece(block: Tensor) -> Tensor:
            return block[at.start * self.classes : at.stop * self.classes].view(rows, self.classes, -1)

        _add_product(piece(target.block), g, flat, 0 if is_first and target.is_empty else 1)
        if target.rate is None:
            return
        assert self.signals_dot is not None and other.signals_dot is not None
        rate = piece(target.rate)
        g_dot = self.signals_dot[samples[0], :, units, 0]
        _add_product(rate, g_dot, flat, 0 if is_first and target.is_rate_empty else 1)
        torch.mul(grams[0][:, :, None], other.signals_dot[samples[1], :, units, 0], out=met)
        if len(grams) > 1:
            met.addcmul_(grams[1][:, :, None], h)
        _add_product(rate, g, flat, 1)


class ScaledPositionsPart(_AbstractScaledPart):
    """A linear map at several positions a sample: C_i of all positions, signals multiplied from both sides."""

    def add_block(self, target: Target, other: AbstractPart, first: slice, second: slice) -> None:
        """One sample of `first` at a time."""
        assert isinstance(other, ScaledPositionsPart)
        count, classes = second.stop - second.start, self.classes
        for row, sample in enumerate(range(first.start, first.stop)):
            size = count * classes, classes
            pieces = [
                target.workspace.take(f"scaled piece {n}", *size).view(count, classes, classes)
                for n in range(1 if target.rate is None else 2)
            ]
            is_first = True
            for units, positions in self._steps(other, count):
                self._add_step(target, other, (sample, second), units, positions, pieces, is_first)
                is_first = False
            at = slice(row * classes, (row + 1) * classes)
            for block, piece, is_empty in zip(
                (target.block, target.rate), pieces, (target.is_empty, target.is_rate_empty), strict=False
            ):
                assert block is not None
                view = block[at].view(classes, count, classes).transpose(0, 1)
                _ = view.copy_(piece) if is_empty else view.add_(piece)
        target.is_empty = False
        target.is_rate_empty = target.is_rate_empty and target.rate is None

    def _steps(self, other: "ScaledPositionsPart", count: int) -> Iterator[tuple[slice, slice]]:
        """Units, and positions of the other side, for which all operands are small."""
        longest = max(self.positions, self.classes) * count
        at_once = max(1, min(other.positions, ENTRIES // longest))
        most = max(1, ENTRIES // (longest * at_once))
        for units in _slices(0, self.outs, most):
            for positions in _slices(0, other.positions, at_once):
                yield units, positions

    def _add_step(
        self,
        target: Target,
        other: "ScaledPositionsPart",
        samples: tuple[int, slice],
        units: slice,
        positions: slice,
        pieces: list[Tensor],
        is_first: bool,
    ) -> None:
        sample, second = samples
        grams = self._grams(target, other, sample, second, units, positions)
        g = self.signals[sample, :, units].transpose(0, 1)  # (units, outputs, positions)
        h = _flat(other.signals[second, :, units, positions])
        beta = 0 if is_first else 1
        held = (second.stop - second.start, self.classes)
        met = self._met(target, "scaled signals", [(g, grams[0])], held)
        _add_product(pieces[0], met, h, beta)
        if len(pieces) == 1:
            return
        assert self.signals_dot is not None and other.signals_dot is not None
        _add_product(pieces[1], met, _flat(other.signals_dot[second, :, units, positions]), beta)
        moved = [(self.signals_dot[sample, :, units].transpose(0, 1), grams[0])]
        moved += [(g, gram) for gram in grams[1:]]
        _add_product(pieces[1], self._met(target, "scaled signals", moved, held), h, 1)

    def _grams(
        self,
        target: Target,
        other: "ScaledPositionsPart",
        sample: int,
        second: slice,
        units: slice,
        positions: slice,
    ) -> list[Tensor]:
        """C_i of some units, (units, positions, other samples * positions), and its derivative if inputs move."""
        a, b = self.inputs[sample], other.inputs[second, positions]
        a_dot = b_dot = None
        if target.rate is not None:
            a_dot = None if self.inputs_dot is None else self.inputs_dot[sample]
            b_dot = None if other.inputs_dot is None else other.inputs_dot[second, positions]
        grams = []
        for n, terms in enumerate(([(a, b)], [(a_dot, b), (a, b_dot)])):
            present = [(x, y) for x, y in terms if x is not None and y is not None]
            if not present:
                continue
            rows, columns = (units.stop - units.start) * len(a), b.shape[0] * b.shape[1]
            gram = target.workspace.take(f"scaled grams {n}", rows, columns)
            beta = 0
            for x, y in present:
                flat = y.reshape(columns, -1)
                for part in _slices(0, a.shape[-1], max(1, ENTRIES // rows)):
                    weighed = target.workspace.take("scaled products", rows, part.stop - part.start)
                    view = weighed.view(units.stop - units.start, len(a), -1)
                    torch.mul(self.weights[units, None, part], x[:, part], out=view)
                    torch.addmm(gram, weighed, flat[:, part].T, beta=beta, out=gram)
                    beta = 1
            grams.append(gram.view(units.stop - units.start, len(a), columns))
        return grams

    def _met(self, target: Target, name: str, terms: list[tuple[Tensor, Tensor]], held: tuple[int, int]) -> Tensor:
        """sum of g C over this side's positions, (other samples, outputs, units * positions)."""
        count, classes = held
        units, _, columns = terms[0][1].shape
        product = target.workspace.take(f"{name} by unit", units * classes, columns).view(units, classes, columns)
        for n, (g, gram) in enumerate(terms):
            _add_product(product, g, gram, min(n, 1))
        turned = target.workspace.take(name, count * classes, units * (columns // count))
        view = turned.view(count, classes, units, columns // count)
        view.copy_(product.view(units, classes, count, -1).permute(2, 1, 0, 3))
        return turned.view(count, classes, -1)


def _add_product(result: Tensor, a: Tensor, b: Tensor, beta: int) -> None:
    """result = beta result + a b, for a batch. Counters of operations see what has an `out`, not work in place."""
    torch.baddbmm(result, a, b, beta=beta, out=result)


def _flat(signals: Tensor) -> Tensor:
    """(samples, outputs, units, positions) -> (samples, units * positions, outputs)."""
    return signals.reshape(*signals.shape[:2], -1).mT


def _sum_of_products(result: Tensor, a_dot: Tensor | None, b: Tensor, a: Tensor, b_dot: Tensor | None) -> None:
    """Write a_dot b + a b_dot; None stands for zeros, on one side at most."""
    if a_dot is None:
        assert b_dot is not None
        torch.mul(a, b_dot, out=result)
        return
    torch.mul(a_dot, b, out=result)
    if b_dot is not None:
        result.addcmul_(a, b_dot)


def _slices(start: int, stop: int, step: int) -> Iterator[slice]:
    for at in range(start, stop, step):
        yield slice(at, min(at + step, stop))
