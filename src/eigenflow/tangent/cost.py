"""What a measurement will cost, before it starts."""

import os
from dataclasses import dataclass

from eigenflow.core.errors import ArgumentError

__all__ = ["MeasureCost", "dense_cost", "physical_bytes", "require_memory"]


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


def dense_cost(size: int, num_parameters: int, drift: bool) -> MeasureCost:
    """Estimate a dense measurement of an operator of `size` rows.

    The leading terms: eigh with vectors (9 n^3), the residuals (2 n^3), Mdot in the eigenbasis
    (4 n^3), and forming M and Mdot layer by layer (of order n^2 times the widths).
    """
    forming = 2.0 * size**2 * max(1.0, num_parameters**0.5)
    flops = 11.0 * size**3 + forming + drift * (4.0 * size**3 + 4.0 * forming)
    matrices = 6 if drift else 4
    return MeasureCost(flops, matrices * 8 * size**2)


def physical_bytes() -> int:
    """Memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def require_memory(cost: MeasureCost, size: int) -> None:
    """Refuse a measurement that cannot fit in this machine's memory.

    Raises:
        ArgumentError: With the number of bytes, and what would make it fit.
    """
    physical = physical_bytes()
    if cost.peak_bytes > physical:
        fits = int((physical / cost.peak_bytes) ** 0.5 * size)
        raise ArgumentError(
            f"`inputs` give an operator of {size} rows (samples * outputs), whose dense measurement needs "
            f"{cost.peak_bytes:,} bytes; this machine has {physical:,}. Use a probe set with at most {fits} rows, or "
            f"measure some of the modes by products: measure(modes=64, method='products')."
        )
