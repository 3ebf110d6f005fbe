"""What a measurement will cost, before it starts, and how it is cut so that it fits the memory.

Counts are leading terms: multiply-adds as two operations, numbers that are held at once. `plan_dense` chooses how many
samples are taken at once and what explicit rows may hold; a request that cannot fit is refused with the number of bytes
and what would make it fit.
"""

from dataclasses import dataclass

from eigenflow.core import memory
from eigenflow.core.errors import ArgumentError
from eigenflow.tangent.model.network import Parameters
from eigenflow.tangent.rules.groups import find_groups, group_size
from eigenflow.tangent.rules.layers import Structure
from eigenflow.tangent.rules.scaled import cheapest_way, scaled_operations

__all__ = ["DensePlan", "MeasureCost", "dense_cost", "physical_bytes", "plan_dense", "product_flops", "require_memory"]

# A small machine of today.
ASSUMED_BYTES = 8 * 2**30
# Explicit rows need not be longer than this for the matrix products to be efficient.
ROW_BYTES = 512 * 2**20
# Blocks and their Gram matrices, and what the allocator keeps.
WORKSPACE_BYTES = 16 * 2**20
# Share of the budget that is planned with; the rest is for what the estimate does not see.
PLANNED = 0.9


@dataclass(frozen=True)
class MeasureCost:
    """Estimated cost of one dense measurement.

    Attributes:
        flops: Floating-point operations; the eigensolver's share is counted as 9 n^3.
        peak_bytes: Memory held at once, beyond the model itself.
    """

    flops: float
    peak_bytes: int

    def summary(self) -> str:
        """One line for people."""
        return f"about {self.flops / 1e9:.1f} GFLOP and {self.peak_bytes / 2**20:.0f} MiB a measurement"


@dataclass(frozen=True)
class DensePlan:
    """How the dense operator is formed.

    Attributes:
        chunk: Samples taken at once.
        row_bytes: What explicit rows may hold at once.
        cost: Estimate for forming M, and its derivative if asked for.
    """

    chunk: int
    row_bytes: int
    cost: MeasureCost


@dataclass(frozen=True)
class _SampleSize:
    """Of one sample.

    Attributes:
        held: Numbers that are held from recording until all its blocks are done.
        columns: Columns of the longest explicit row, times outputs.
        slice: The same for one row of its parameter, the least that is made at once.
        pair_flops: Operations for one entry of the result.
        flops: Operations to record it.
    """

    held: int
    columns: int
    slice: int
    pair_flops: float
    flops: float


def plan_dense(
    structure: Structure | None,
    parameters: Parameters,
    samples: int,
    width: int,
    itemsize: int,
    *,
    drift: bool,
    budget: int | None = None,
    has_weights: bool = False,
    root_bytes: int = 0,
) -> DensePlan:
    """Choose chunks of samples and slices of rows that fit the budget.

    Args:
        structure: Where rules hold; None if samples meet in the network.
        parameters: Trainable parameters.
        samples: Of the probe set.
        width: Entries of the error per sample.
        itemsize: Bytes a number.
        drift: Whether the derivative is formed too.
        budget: Bytes that may be held beyond the model; None: this machine's memory.
        has_weights: Whether a preconditioner weighs the parameters.
        root_bytes: What the loss holds (`AbstractLoss.root_bytes`).

    Raises:
        ArgumentError: If not even one sample at a time fits.
    """
    budget = physical_bytes() if budget is None else budget
    one = _sample_size(structure, parameters, width, has_weights)
    copies = 3 if drift else 1  # value, derivative, and what is on the way
    matrices = (2 if drift else 1) * (samples * width) ** 2 * itemsize + root_bytes
    held, slice_bytes, columns = (n * itemsize * copies for n in (one.held, one.slice, one.columns))
    if has_weights:  # a layer's weights are joined with its bias's
        matrices += sum(p.numel() for p in parameters.values()) * itemsize
    room = int(PLANNED * budget) - matrices - WORKSPACE_BYTES
    chunk = samples
    if structure is not None and samples * (held + slice_bytes) > room:
        chunk = max(1, room // (2 * (held + slice_bytes)))
    alive = samples if chunk >= samples else 2 * chunk
    least = alive * (held + slice_bytes)
    if least > room:
        needed = int((matrices + WORKSPACE_BYTES + least) / PLANNED) + 1
        raise ArgumentError(
            f"The dense operator of {samples * width:,} rows needs at least {needed:,} bytes "
            f"({matrices:,} for {'M and Mdot' if drift else 'M'} alone), but `memory_budget` is {budget:,}. "
            + _remedy(budget, samples, width, (2 if drift else 1) * itemsize)
        )
    row_bytes = max(alive * slice_bytes, min(ROW_BYTES, alive * columns, room - alive * held))
    recordings = 1.0 if chunk >= samples else 0.5 * (-(-samples // chunk) + 1)
    flops = (3 if drift else 1) * (one.pair_flops * (samples * width) ** 2 / 2 + one.flops * samples * recordings)
    peak = matrices + WORKSPACE_BYTES + alive * held + row_bytes
    return DensePlan(min(chunk, samples), max(1, row_bytes), MeasureCost(flops, peak))


def _remedy(budget: int, samples: int, width: int, bytes_an_entry: int) -> str:
    fits = int((0.5 * PLANNED * budget / bytes_an_entry) ** 0.5) // width
    fewer = f"Use at most about {fits} of the {samples} samples, " if 0 < fits < samples else "Use fewer samples, "
    return (
        fewer + "a larger memory_budget, fewer outputs a sample (a sketched loss), or some modes by products: "
        "measure(modes=64, method='products')."
    )


def _sample_size(structure: Structure | None, parameters: Parameters, width: int, has_weights: bool) -> _SampleSize:
    if structure is None:
        numel = sum(p.numel() for p in parameters.values())
        longest = max(p.numel() for p in parameters.values())
        return _SampleSize(0, width * longest, width * longest, 2.0 * numel, 4.0 * numel * width)
    held = structure.activations + 2 * width * structure.largest
    held += sum(use.met.numel() + width * max(1, use.rows) * use.shape.numel() for use in structure.uses)
    columns = least = 0
    pair_flops = flops = 0.0
    groups, _ = find_groups(structure)
    for group in groups:
        found = group_size(group, structure, parameters)
        for size in found:
            held += 2 * size.elements(width)
            flops += 2.0 * max(1, size.positions) * size.columns * (1 + 2 * width)
            if size.positions == 0:
                pair_flops += 2.0 * size.outs
                continue
            # Weights that fold into the factors, which only their values tell, cost less.
            sizes = width, size.positions, size.outs, size.ins
            way = cheapest_way(*sizes, is_token=size.is_token, has_weights=has_weights)
            way = way if len(found) == 1 else "rows"  # a table of tokens that is a linear map too
            if way == "outer":
                gram = 0.0 if size.is_token else 2.0 * size.ins / width**2
                pair_flops += size.blocks * size.positions**2 * (2.0 * size.outs + gram + 2.0)
            elif way == "scaled":
                pair_flops += 2.0 * size.blocks * scaled_operations(*sizes) / width**2
            else:
                pair_flops += 2.0 * size.columns
                columns = max(columns, width * size.columns // size.blocks)
                least = max(least, width * (size.outs if size.is_token else size.ins))
    covered = {name for group in groups for name in group.names}
    others = {name: p.numel() for name, p in parameters.items() if name not in covered}
    if others:
        held += width * structure.activations
        columns = max(columns, 3 * width * sum(others.values()))
        least = max(least, 3 * width * max(others.values()))
        pair_flops += 2.0 * sum(others.values())
        flops += 4.0 * width * sum(p.numel() for p in parameters.values())
    return _SampleSize(held, columns, least, pair_flops, flops)


def product_flops(structure: Structure | None, parameters: Parameters, samples: int) -> float:
    """Operations of one product with cached factors: four for every use of a weight, two each way."""
    if structure is None or not structure.uses:
        return 4.0 * samples * sum(p.numel() for p in parameters.values())
    groups, _ = find_groups(structure)
    sizes = [size for group in groups for size in group_size(group, structure, parameters)]
    return 4.0 * samples * sum(max(1, s.positions) * (s.outs if s.is_token else s.columns) for s in sizes)


def dense_cost(size: int, num_parameters: int, drift: bool, forming: float | None = None) -> MeasureCost:
    """Estimate a dense measurement of an operator of `size` rows.

    The leading terms: eigh with vectors (9 n^3), the residuals (2 n^3), Mdot in the eigenbasis (4 n^3), and
    forming M and Mdot.

    Args:
        size: Rows of M.
        num_parameters: Trainable parameters; used where `forming` is not known.
        drift: Whether Mdot is formed.
        forming: Operations that forming M (and Mdot) takes, from `plan_dense`.
    """
    if forming is None:
        forming = 2.0 * size**2 * max(1.0, num_parameters**0.5) * (5.0 if drift else 1.0)
    flops = 11.0 * size**3 + forming + drift * 4.0 * size**3
    matrices = 6 if drift else 4
    return MeasureCost(flops, matrices * 8 * size**2)


def physical_bytes() -> int:
    """Memory of this machine, or what is assumed where the system does not tell."""
    return memory.physical_bytes() or ASSUMED_BYTES


def require_memory(cost: MeasureCost, size: int, budget: int | None = None) -> None:
    """Refuse a measurement that cannot fit in the memory.

    Args:
        cost: Estimate.
        size: Rows of M.
        budget: Bytes allowed; None: this machine's memory.

    Raises:
        ArgumentError: With the number of bytes, and what would make it fit.
    """
    allowed = physical_bytes() if budget is None else budget
    if cost.peak_bytes > allowed:
        fits = int((allowed / cost.peak_bytes) ** 0.5 * size)
        whose = "this machine has" if budget is None else "`memory_budget` is"
        raise ArgumentError(
            f"`inputs` give an operator of {size} rows (samples * outputs), whose dense measurement needs "
            f"{cost.peak_bytes:,} bytes; {whose} {allowed:,}. Use a probe set with at most {fits} rows, or "
            f"measure some of the modes by products: measure(modes=64, method='products')."
        )
