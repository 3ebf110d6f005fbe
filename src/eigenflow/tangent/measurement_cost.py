"""What a measurement will take: operations, memory and seconds, from the measurement itself on a few samples.

Every phase is a polynomial in the number of samples whose powers are known: recording and auditing are linear, forming
M has a term for every pair of samples, the eigensolver goes with the third power of the rows. Three small sizes give
the coefficients, exactly for operations. One larger size is timed, so that seconds are those of this machine now.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from eigenflow.core.checks import check_choice, check_kind
from eigenflow.core.display import AbstractPrinted, Card, figure
from eigenflow.core.errors import ArgumentError
from eigenflow.tangent.audit import audit, audit_rows
from eigenflow.tangent.choice import LEAST_PRODUCTS, PRODUCTS_A_MODE, choose_method
from eigenflow.tangent.cost import physical_bytes, product_flops
from eigenflow.tangent.counted import Counted, counted, made_in, timed
from eigenflow.tangent.dense import BLOCK_BYTES, dense_kernel, dense_kernel_and_rate
from eigenflow.tangent.measuring import audit_products, measure_dense
from eigenflow.tangent.model.evaluation import undisturbed
from eigenflow.tangent.model.network import Parameters
from eigenflow.tangent.model.samples import named_tensors
from eigenflow.tangent.point import TangentPoint
from eigenflow.tangent.probe import Probe
from eigenflow.tangent.products import WORK_BYTES, CachedJacobian

__all__ = ["MeasurementCost", "PhaseCost", "measurement_cost"]

# Samples on which operations are counted.
SIZES = (2, 4, 6)
# What is timed takes about so many operations, on at most so many rows.
TIMED_FLOPS, TIMED_ROWS = 1e10, 512
# Vectors of one product, as in cold solves.
BLOCK = 4


@dataclass(frozen=True)
class PhaseCost:
    """One part of a measurement.

    Attributes:
        name: What it does.
        flops: Operations.
        peak_bytes: Tensors held at once in it, with what earlier phases left.
        seconds: Of the processor.
    """

    name: str
    flops: float
    peak_bytes: float
    seconds: float


@dataclass(frozen=True, repr=False)
class MeasurementCost(AbstractPrinted):
    """Estimated cost of one measurement, beyond the model itself.

    Attributes:
        method: "dense", "products" (a cold solve) or "tracked" (one warm instant).
        flops: Operations of matrix products, convolutions and attention; an eigensolver's are taken as 9 n^3.
        peak_bytes: Memory held at once.
        seconds: Of the processor, on this machine as it is now.
        products: Products with M that are assumed; 0 if M is formed. A solve takes what the spectrum asks for.
        phases: Its parts.
    """

    method: str
    flops: float
    peak_bytes: int
    seconds: float
    products: int
    phases: tuple[PhaseCost, ...]

    def summary(self) -> str:
        """One line for people."""
        return (
            f"about {self.seconds:.3g} s of the processor, {self.flops / 1e9:.3g} GFLOP and "
            f"{self.peak_bytes / 2**20:.0f} MiB a measurement ({self.method})"
        )

    def _card(self) -> Card:
        rows = [
            ("one measurement", self.summary()),
            ("products with M", str(self.products) if self.products else "none: M is formed"),
        ]
        for phase in self.phases:
            told = f"{figure(phase.flops / 1e9, 3)} GFLOP, {figure(phase.seconds, 2)} s"
            rows.append((phase.name, f"{told}, {phase.peak_bytes / 2**20:.0f} MiB"))
        return Card("MeasurementCost", rows)


@undisturbed()
@torch.no_grad()
def measurement_cost(
    probe: Probe,
    modes: int | None = None,
    method: str = "auto",
    *,
    drift: bool = True,
    products: int | None = None,
    at: TangentPoint | None = None,
) -> MeasurementCost:
    """Estimate one measurement by making it on a few samples; takes about a second for networks of a workstation.

    Args:
        probe: What will be measured.
        modes: As for `Probe.measure`; needed for "products" and "tracked".
        method: "dense", "products", "tracked" (products that follow known modes), or "auto", as `Probe.measure` takes.
        drift: Whether Mdot is measured.
        products: Products with M that a solve will make; None: about what it takes for spectra of trained networks.
        at: Instant, with its preconditioner; None: the model's present state.

    Raises:
        ArgumentError: For an unknown method, or one that needs `modes`.
    """
    check_kind("probe", probe, Probe, "a Probe, such as Probe(model, inputs, targets)")
    check_choice("method", method, ("auto", "dense", "products", "tracked"))
    point = probe.at() if at is None else at
    if method == "auto":
        flops = product_flops(probe.structure, point.parameters, probe.samples)
        allowed = probe.memory_budget or physical_bytes()
        method = choose_method("auto", probe.size, modes, False, drift, probe.cost(drift=drift), flops, allowed)
    if method != "dense" and modes is None:
        raise ArgumentError(f"`method={method!r}` finds some of the modes: say how many with `modes`.")
    along = point.descent() if drift else None
    kept = probe.size if modes is None else min(modes, probe.size)
    if method == "dense":
        phases, assumed = _dense_phases(point, along, kept), 0
    else:
        is_warm = method == "tracked"
        usual = kept + max(4, kept // 4) + 1 if is_warm else max(LEAST_PRODUCTS, PRODUCTS_A_MODE * kept)
        assumed = min(usual, probe.size) if products is None else products
        phases = _product_phases(point, along, kept, assumed, is_warm=is_warm)
    return MeasurementCost(
        method,
        sum(phase.flops for phase in phases),
        int(max(phase.peak_bytes for phase in phases)),
        sum(phase.seconds for phase in phases),
        assumed,
        tuple(phases),
    )


def _sizes(samples: int) -> tuple[int, ...]:
    return tuple(size for size in SIZES if size < samples) if samples > SIZES[-1] else (samples,)


def _part(point: TangentPoint, samples: int) -> TangentPoint:
    """Some of the samples, as a point of its own."""
    return point if samples == len(point.inputs) else point.part(slice(0, samples))


def _tensors(point: TangentPoint, along: Parameters | None) -> list[torch.Tensor]:
    """What is there before a measurement begins."""
    inputs = [tensor for _, tensor in named_tensors(point.inputs, "inputs")]
    own = (point.parameters, point.rest, along or {}, point.preconditioner or {})
    return [*inputs, point.targets, point.outputs, point.error, *(t for side in own for t in side.values())]


def _extrapolated(sizes: Sequence[int], values: Sequence[float], powers: Sequence[Callable], at: float) -> float:
    """The polynomial through the values, at another size; one value goes with the last power."""
    if len(sizes) == 1:
        return values[0] * powers[-1](at) / powers[-1](sizes[0])
    from scipy.optimize import nnls

    matrix = np.array([[power(size) for power in powers] for size in sizes], dtype=float)
    scale = max(max(values), 1e-300)
    weights = matrix.max(0)
    found, _ = nnls(matrix / weights, np.array(values) / scale)
    return float(sum(c / w * scale * power(at) for c, w, power in zip(found, weights, powers, strict=True)))


def _timed_size(point: TangentPoint, flops: Callable[[int], float], rows: int = TIMED_ROWS) -> int:
    """The largest number of samples that is timed in about a second."""
    samples = len(point.inputs)
    size = min(samples, max(SIZES[-1], rows // max(1, point.size // samples)))
    while size > SIZES[-1] and flops(size) > TIMED_FLOPS:
        size = max(SIZES[-1], size // 2)
    return size


def _one(size: float) -> float:
    del size
    return 1.0


def _same(size: float) -> float:
    return float(size)


def _square(size: float) -> float:
    return float(size) ** 2


def _dense_phases(point: TangentPoint, along: Parameters | None, modes: int) -> list[PhaseCost]:
    drift, samples = along is not None, len(point.inputs)
    plan = point.dense_plan(drift=drift)
    alive = min(samples, 2 * plan.chunk)
    recordings = 1.0 if plan.chunk >= samples else 0.5 * (-(-samples // plan.chunk) + 1)
    width, itemsize = point.size // samples, point.network.dtype.itemsize
    step = max(1, int((BLOCK_BYTES / itemsize) ** 0.5) // width)
    matrices = (2 if drift else 1) * itemsize * point.size**2

    def form(size: int) -> tuple[torch.Tensor, torch.Tensor | None]:
        part = _part(point, size)
        if part.reverse_only or part.rate_by_differences:
            return (part.dense(), None) if along is None else part.dense_and_rate(along)
        task = part.dense_task(drift=drift)
        task = replace(task, chunk=size, row_bytes=max(1, int(plan.row_bytes * size / alive)))
        return (dense_kernel(task), None) if along is None else dense_kernel_and_rate(task, along)

    def audited(size: int, matrix: torch.Tensor, rate: torch.Tensor | None):
        part = _part(point, size)
        rows = audit_rows(part).to(matrix)
        return audit(part, rows @ matrix, None if rate is None else rows[:2] @ rate, along)

    sizes, there = _sizes(samples), _tensors(point, along)
    formed = [counted(lambda size=size: form(size), there) for size in sizes]
    known = [[t for t in one.result if t is not None] for one in formed]
    checks = [
        counted(lambda s=s, one=one: audited(s, *one.result), [*there, *k])
        for s, one, k in zip(sizes, formed, known, strict=True)
    ]
    own = [one.peak_bytes - sum(t.untyped_storage().nbytes() for t in k) for one, k in zip(formed, known, strict=True)]

    def pairs(size: float) -> float:
        return _covered(int(size), step)

    powers = (_one, _same, pairs)

    def forming_flops(size: int) -> float:
        values = [one.flops for one in formed]
        linear = _extrapolated(sizes, values, powers, size)
        if size < samples or recordings == 1.0 or len(sizes) < len(powers):
            return linear
        once = _extrapolated(sizes, values, powers, size) - _quadratic_part(sizes, values, powers, size)
        return linear + (recordings - 1.0) * once

    timed_at = _timed_size(point, forming_flops)
    largest = _part(point, timed_at)
    # Forming rows is linear and goes with memory, pairs of rows are quadratic and go with the processor.
    halves = [max(1, timed_at // 2), timed_at] if timed_at < samples else [timed_at]
    # The first of a kind is slow.
    few, few_rate = formed[-1].result
    measure_dense(_part(point, sizes[-1]), few, few_rate, 1, checks[-1].result, "")
    form(halves[0])
    (matrix, rate), form_s = made_in(lambda: form(timed_at))
    forms_s = [*(timed(lambda n=n: form(n)) for n in halves[:-1]), form_s]
    found, audit_s = made_in(lambda: audited(timed_at, matrix, rate))
    here = max(1, round(modes * largest.size / point.size))

    def solve() -> object:
        return measure_dense(largest, matrix, rate, here, found, "")

    solved, solve_s = counted(solve, [*there, *(t for t in (matrix, rate) if t is not None)]), timed(solve)
    ratio = point.size / largest.size
    # LAPACK's divide and conquer holds the vectors and twice as much beside the matrix.
    in_double = 0 if itemsize == 8 else matrices * 8 // itemsize
    solver_bytes = max(solved.peak_bytes * ratio**2, in_double + 3 * 8 * point.size**2)
    audit_flops = _extrapolated(sizes, [one.flops for one in checks], (_one, _same), samples)
    audit_here = _extrapolated(sizes, [one.flops for one in checks], (_one, _same), timed_at)
    return [
        PhaseCost(
            "forming M and Mdot" if drift else "forming M",
            forming_flops(samples),
            matrices + _extrapolated(sizes, own, (_one, _same), alive),
            _extrapolated(halves, forms_s, (_same, _square), samples),
        ),
        PhaseCost(
            "audit",
            audit_flops,
            matrices + _extrapolated(sizes, [one.peak_bytes for one in checks], (_one, _same), samples),
            audit_s * audit_flops / max(audit_here, 1.0),
        ),
        PhaseCost("eigenpairs", solved.flops * ratio**3, matrices + solver_bytes, solve_s * ratio**3),
    ]


def _quadratic_part(sizes: Sequence[int], values: Sequence[float], powers: Sequence[Callable], at: float) -> float:
    """What the term for pairs of samples adds to the polynomial."""
    second = [_extrapolated(sizes, values, powers, n) for n in (at, 2 * at)]
    # c0 + c1 n + c2 p(n), with c0 small: the part beyond doubling.
    extra = powers[-1](2 * at) - 2 * powers[-1](at)
    return max(0.0, second[1] - 2 * second[0]) * powers[-1](at) / max(extra, 1e-300)


def _covered(samples: int, step: int) -> float:
    """Pairs of samples in the blocks of the upper triangle."""
    sides = [min(step, samples - start) for start in range(0, samples, step)]
    total = sum(sides)
    return 0.5 * (total**2 + sum(side**2 for side in sides))


def _product_phases(
    point: TangentPoint, along: Parameters | None, modes: int, products: int, *, is_warm: bool
) -> list[PhaseCost]:
    samples, size = len(point.inputs), point.size

    def record(count: int) -> CachedJacobian:
        return CachedJacobian(_part(point, count), along, like_samples=samples)

    def rows(jacobian: CachedJacobian, count: int = BLOCK) -> torch.Tensor:
        return torch.ones(count, jacobian.point.size, dtype=torch.float64, device=point.error.device)

    sizes, there = _sizes(samples), _tensors(point, along)
    recorded = [counted(lambda n=n: record(n), there) for n in sizes]

    def on_each(work: Callable[[CachedJacobian], object]) -> list[Counted]:
        return [counted(lambda one=one: work(one.result), there, after=[one]) for one in recorded]

    audited = on_each(audit_products)
    multiplied = on_each(lambda one: one.product(rows(one)))
    moved = on_each(lambda one: one.rate_product(rows(one, modes))) if along else []
    powers = (_one, _same, _square)

    def at(found: Sequence, what: str, count: int, *, by: Sequence[Callable] = powers) -> float:
        return _extrapolated(sizes, [getattr(one, what) for one in found], by, count) if found else 0.0

    timed_at = _timed_size(point, lambda n: at(recorded, "flops", n) + at(audited, "flops", n), 8 * TIMED_ROWS)
    jacobian, record_s = made_in(lambda: record(timed_at))
    seconds = {
        "record": record_s,
        "audit": timed(lambda: audit_products(jacobian)),
        "product": timed(lambda: jacobian.product(rows(jacobian))),
        "rate": timed(lambda: jacobian.rate_product(rows(jacobian, modes))) if along else 0.0,
    }

    def scaled(name: str, found: Sequence) -> float:
        here = at(found, "flops", timed_at)
        return seconds[name] * (at(found, "flops", samples) / here if here > 0 else samples / timed_at)

    factors = at(recorded, "kept_bytes", samples)
    basis = min(size, products + 2 * BLOCK if is_warm else min(products + 2 * BLOCK, 4 * modes + 16 * BLOCK))
    held = 16.0 * basis * size
    algebra = 10.0 * products * basis / (1 if is_warm else 2) * size + 8.0 * (2 * modes + 8) * basis * size
    linear = _one, _same
    recording = _extrapolated(sizes, [one.peak_bytes - one.kept_bytes for one in recorded], linear, samples)
    work = at(multiplied, "peak_bytes", samples, by=linear)
    phases = [
        PhaseCost(
            "recording factors",
            at(recorded, "flops", samples),
            factors + recording,
            scaled("record", recorded),
        ),
        PhaseCost(
            "audit",
            at(audited, "flops", samples),
            factors + at(audited, "peak_bytes", samples, by=linear),
            scaled("audit", audited),
        ),
        PhaseCost(
            "products and solver",
            at(multiplied, "flops", samples) / BLOCK * products + algebra,
            factors + work + held + 8.0 * (2 * modes + 8) * size * 3,
            scaled("product", multiplied) / BLOCK * products + _algebra_seconds(size, basis, algebra),
        ),
    ]
    if along is not None:
        moving = at(moved, "peak_bytes", samples, by=linear)
        if jacobian.others is None:
            # Vectors are taken in groups that fit the working memory; those of torch.func are taken together.
            moving = min(moving, 2.0 * WORK_BYTES + 3 * 8.0 * modes * size)
        flops = at(moved, "flops", samples)
        phases.append(PhaseCost("motion of the modes", flops, factors + held + moving, scaled("rate", moved)))
    return phases


def _algebra_seconds(size: int, basis: int, flops: float) -> float:
    """By the rate of one product of the solver's shape."""
    rows = torch.ones(min(basis, 64), min(size, 8192), dtype=torch.float64)
    vectors = rows[:BLOCK].clone()
    took = timed(lambda: [vectors @ rows.T for _ in range(20)])
    return took / (20 * 2.0 * rows.numel() * BLOCK) * flops
