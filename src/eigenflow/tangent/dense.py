"""The operator M = J J^T as a dense matrix, and its exact derivative, by layer rules where there are any.

J J^T is a sum over parameters, so every group of parameters adds its own part. Samples are taken in chunks that fit
the memory; for a pair of chunks the parts are added block by block, each block small enough for the cache, over the
upper triangle only.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from eigenflow.tangent.model.network import Network, Parameters
from eigenflow.tangent.model.samples import Inputs
from eigenflow.tangent.rules.explicit import FactorRows, full_rows, sample_rows
from eigenflow.tangent.rules.groups import Group, find_groups, first_axis, record_factors
from eigenflow.tangent.rules.layers import Spread, Structure
from eigenflow.tangent.rules.parts import AbstractPart, OuterPart, RowPart, Target, Workspace
from eigenflow.tangent.rules.scaled import cheapest_way, folded, scaled_part
from eigenflow.tangent.rules.uses import Factors
from eigenflow.tangent.tape import batches

__all__ = ["DenseTask", "dense_kernel", "dense_kernel_and_rate"]

# Sides of the blocks: the block, its Gram matrix and the operands stay in the second-level cache.
BLOCK_BYTES = 1_000_000


@dataclass(frozen=True)
class DenseTask:
    """What the dense operator is formed from.

    Attributes:
        network: The module as a pure function.
        structure: Where rules hold; None if outputs depend on other samples' inputs, so that none do.
        parameters: Trainable parameters, by name.
        rest: Frozen parameters and buffers, by name.
        inputs: Sample axis first.
        spread: B times rows, of the samples in a slice: spread(outputs, rows, samples).
        width: Entries of the error per sample.
        chunk: Samples taken at once.
        row_bytes: What explicit rows may hold at once.
        weights: What weighs the columns of J in J P^(-1) J^T (the diagonal of P^(-1)), by parameter, or None.
    """

    network: Network
    structure: Structure | None
    parameters: Parameters
    rest: Parameters
    inputs: Inputs
    spread: Callable[[Tensor, Tensor, slice], Tensor]
    width: int
    chunk: int
    row_bytes: int
    weights: Parameters | None = None

    @property
    def size(self) -> int:
        """Rows of the operator."""
        return len(self.inputs) * self.width

    def spread_of(self, samples: slice) -> Spread:
        """`spread` of one chunk."""
        return lambda outputs, rows: self.spread(outputs, rows, samples)


@torch.no_grad()
def dense_kernel(task: DenseTask) -> Float[Tensor, "size size"]:
    """Form J J^T with J = B^T J_net, sample-major (index = sample * width + entry)."""
    kernel, _ = _assemble(task, None)
    return kernel


@torch.no_grad()
def dense_kernel_and_rate(
    task: DenseTask, direction: Parameters
) -> tuple[Float[Tensor, "size size"], Float[Tensor, "size size"]]:
    """Form J J^T and its exact derivative when the parameters move along a direction, by forward mode."""
    kernel, rate = _assemble(task, direction)
    assert rate is not None
    return kernel, rate


def _assemble(task: DenseTask, direction: Parameters | None) -> tuple[Tensor, Tensor | None]:
    kernel = _empty(task.inputs.device, task.size, task.network.dtype)
    rate = None if direction is None else _empty(task.inputs.device, task.size, task.network.dtype)
    workspace, tables = Workspace(kernel), _Tables(task, Workspace(kernel))
    chunks = [slice(s, min(s + task.chunk, len(task.inputs))) for s in range(0, len(task.inputs), task.chunk)]
    for index, first in enumerate(chunks):
        one = _Chunk(task, first, direction, tables)
        for second in chunks[index:]:
            other = one if second is first else _Chunk(task, second, direction, tables)
            sums = list(_sums(one, other))
            for position, parts in enumerate(sums):
                parts = parts()
                is_last = position == len(sums) - 1
                _sweep((kernel, rate), parts, (first, second), task.width, workspace, position == 0, is_last)
                del parts
    return kernel, rate


class _Tables:
    """What chunks share: weights of every layer as a table, and the memory that explicit rows take turns in."""

    def __init__(self, task: DenseTask, rows: Workspace):
        self.rows = rows
        self._task = task
        self._found: dict[tuple[tuple[str, ...], int], Tensor] = {}

    def weights(self, group: Group, block: int, factors: Factors) -> Tensor | None:
        """Of a block's columns, as (out, in), or flat for entries and (tokens, width) for tokens; None without P."""
        if self._task.weights is None:
            return None
        key = group.names, block if factors.inputs is not None else -1
        if key not in self._found:
            self._found[key] = _table(self._task.weights, group, block, factors)
        return self._found[key]


class _Chunk:
    """The parts of J on some samples: small ones held, explicit rows made when asked for."""

    def __init__(self, task: DenseTask, samples: slice, direction: Parameters | None, tables: _Tables):
        self.task, self.samples, self.direction, self.tables = task, samples, direction, tables
        self.held: list[AbstractPart] = []
        self.lazy: list[FactorRows] = []
        structure = task.structure
        groups = [] if structure is None else find_groups(structure)[0]
        if groups:
            assert structure is not None
            self._collect(structure)
        covered = {name for group in groups for name in group.names}
        self.others = [name for name in task.parameters if name not in covered]

    def _collect(self, structure: Structure) -> None:
        task = self.task
        found = record_factors(
            task.network,
            structure,
            task.parameters,
            task.rest,
            task.inputs[self.samples],
            task.spread_of(self.samples),
            task.width,
            self.direction,
        )
        while found:  # released one by one, as their parts are made
            one = found.pop(0)
            self._sort(one.group, one.block, one.factors, one.dots)

    def _sort(self, group: Group, block: int, factors: list[Factors], dots: list[Factors] | None) -> None:
        """Into parts that are held, or rows that are made later."""
        first, dot = factors[0], None if dots is None else dots[0]
        weights = self.tables.weights(group, block, first)
        classes, positions, outs = first.signals.shape[1:]
        if first.inputs is None:
            rows = [f.signals.reshape(-1, outs) for f in (first, *(dots or ()))]
            rows = rows if weights is None else [r * weights.sqrt() for r in rows]
            self.held.append(RowPart(rows[0], rows[1] if dots else None, classes))
            return
        length = first_axis(self.task.parameters[group.names[0]]) if first.is_token else outs
        ins = length if first.is_token else first.inputs.shape[-1]
        if len(factors) > 1:
            self.lazy.append(FactorRows(factors, dots, length, weights))
            return
        plain = (first, dot) if weights is None else folded(first, dot, weights)
        sizes = classes, positions, outs, ins
        way = cheapest_way(*sizes, is_token=first.is_token, has_weights=plain is None)
        if plain is not None and way == "outer":
            self.held.append(OuterPart(*plain))
        elif way == "scaled":
            self.held.append(scaled_part(first, dot, weights))
        else:
            self.lazy.append(FactorRows(factors, dots, length, weights))

    def explicit(self, names: list[str]) -> RowPart:
        """Rows of parameters that no rule covers."""
        self.tables.rows.clear()
        task, width = self.task, self.task.width
        args = (task.network, names, task.parameters, task.rest, task.inputs[self.samples], self.direction)
        spread = task.spread_of(self.samples)
        rows = dots = None
        if task.structure is not None:
            # What vmap cannot follow (control flow by values, in-place writes) is left to the whole chunk's passes.
            with suppress(Exception):
                rows, dots = sample_rows(*args, spread, width)
        if rows is None:
            numel = sum(task.parameters[name].numel() for name in names)
            at_once = max(1, min(task.size, task.row_bytes // (4 * numel * task.network.dtype.itemsize)))
            rows, dots = full_rows(*args, spread, width, at_once)
        if task.weights is not None:
            roots = torch.cat([task.weights[name].reshape(-1) for name in names]).sqrt()
            rows, dots = rows.mul_(roots), None if dots is None else dots.mul_(roots)
        return RowPart(rows, dots, width)

    def rows(self, index: int, part: slice, name: str) -> RowPart:
        """Rows of a layer, in shared memory of that name."""
        return RowPart(*self.lazy[index].rows(part, self.tables.rows, name), self.task.width)


def _sums(one: _Chunk, other: _Chunk) -> Iterator[Callable[[], list[tuple[AbstractPart, AbstractPart]]]]:
    """Parts that are added in one sweep over the blocks, made when called."""
    task = one.task
    is_same = one is other
    if one.held:
        yield lambda: list(zip(one.held, other.held, strict=True))
    copies = (1 if one.direction is None else 3) * (1 if is_same else 2)
    row_bytes = task.chunk * task.width * task.network.dtype.itemsize * copies
    for index, lazy in enumerate(one.lazy):
        for part in lazy.slices(max(1, min(lazy.length, -(-row_bytes * lazy.columns // task.row_bytes)))):

            def made(index: int = index, part: slice = part) -> list[tuple[AbstractPart, AbstractPart]]:
                rows = one.rows(index, part, "one")
                return [(rows, rows if is_same else other.rows(index, part, "other"))]

            yield made
    for names in batches({name: task.parameters[name] for name in one.others}, task.row_bytes // (3 * row_bytes)):

        def explicit(names: list[str] = names) -> list[tuple[AbstractPart, AbstractPart]]:
            rows = one.explicit(names)
            return [(rows, rows if is_same else other.explicit(names))]

        yield explicit


def _sweep(
    results: tuple[Tensor, Tensor | None],
    parts: list[tuple[AbstractPart, AbstractPart]],
    samples: tuple[slice, slice],
    width: int,
    workspace: Workspace,
    is_first: bool,
    is_last: bool,
) -> None:
    """Add parts to the blocks of a pair of chunks; the last sweep mirrors each block while it is in the cache."""
    step = max(1, int((BLOCK_BYTES / results[0].element_size()) ** 0.5) // width)
    first, second = ([slice(i, min(i + step, s.stop)) for i in range(s.start, s.stop, step)] for s in samples)
    for i, a in enumerate(first):
        for b in second[i if samples[0] == samples[1] else 0 :]:
            rows, columns = (slice(s.start * width, s.stop * width) for s in (a, b))
            # Transposing and accumulating in contiguous memory is many times faster than in the strided result.
            blocks = [_block(r, rows, columns, workspace, f"block {n}", is_first) for n, r in enumerate(results)]
            assert blocks[0] is not None
            target = Target(blocks[0], blocks[1], width, workspace, is_first, is_first)
            local = [slice(s.start - c.start, s.stop - c.start) for s, c in zip((a, b), samples, strict=True)]
            for part, other in parts:
                part.add_block(target, other, local[0], local[1])
            target.finish()
            for result, block in zip(results, blocks, strict=True):
                if result is None or block is None:
                    continue
                result[rows, columns] = block
                if is_last and rows != columns:
                    turned = workspace.take("turned", block.shape[1], block.shape[0])
                    result[columns, rows] = turned.copy_(block.T)


def _block(
    result: Tensor | None, rows: slice, columns: slice, workspace: Workspace, name: str, is_empty: bool
) -> Tensor | None:
    if result is None:
        return None
    view = result[rows, columns]
    block = workspace.take(name, *view.shape)
    return block if is_empty else block.copy_(view)


def _empty(device: torch.device, size: int, dtype: torch.dtype) -> Tensor:
    """An undefined (size, size) matrix. NumPy asks the system for large pages, which makes first writes cheap."""
    if device.type != "cpu":
        return torch.empty(size, size, dtype=dtype, device=device)
    return torch.from_numpy(np.empty((size, size), dtype=np.float32 if dtype == torch.float32 else np.float64))


def _table(weights: Parameters, group: Group, block: int, factors: Factors) -> Tensor:
    weight = weights[group.names[0]]
    if factors.inputs is None:
        return weight.reshape(-1)
    if factors.is_token:
        return weight
    outs = factors.signals.shape[-1]
    table = weight.T if factors.is_transposed else weight.reshape(len(weight), -1)[block * outs : (block + 1) * outs]
    if len(group.names) == 1:
        return table
    bias = weights[group.names[1]].reshape(-1)[block * outs : (block + 1) * outs]
    return torch.cat([table, bias[:, None]], dim=1)
