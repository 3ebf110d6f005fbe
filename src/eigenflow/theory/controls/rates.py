"""How often each row is right about controls, by their size: measured once, stored, and looked up for a run.

`benchmarks/control_rates.py` measures them and writes `rates.json`. A row of which controls that it holds of are seldom
supported at a run's size cannot tell anything about that run.
"""

import json
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

__all__ = ["RowRates", "rates_of", "stored_rates"]

LEAST_POWER = 0.5  # share of true controls that a row must support, to be believed at a size
VERDICTS = ("supported", "contradicted", "undecided")


@dataclass(frozen=True)
class RowRates:
    """Verdicts of a row on controls of one size.

    Attributes:
        modes: Modes of the controls.
        times: Their measured times.
        holds: Of controls for which the row is true: how many were supported, contradicted, undecided.
        fails: The same of those for which it is false.
    """

    modes: int
    times: int
    holds: tuple[int, int, int]
    fails: tuple[int, int, int]

    @property
    def power(self) -> float | None:
        """Share of true controls that were supported; None without any."""
        return self.holds[0] / sum(self.holds) if sum(self.holds) else None

    @property
    def is_too_small(self) -> bool:
        """Whether true controls of this size are seldom supported."""
        return self.power is not None and self.power < LEAST_POWER

    @property
    def told(self) -> str:
        """The rates in words."""
        parts = []
        for what, (yes, no, open_) in (("true", self.holds), ("false", self.fails)):
            if yes + no + open_:
                parts.append(f"of {yes + no + open_} {what} ones {yes} supported, {no} contradicted")
        return f"on controls of {self.modes} modes at {self.times} times, " + "; ".join(parts)

    @property
    def would_change(self) -> str:
        """What a run would need for the row to tell."""
        return "a run with more modes, or measured more often, at whose size controls of which it is true are supported"


def rates_of(key: str, modes: int, times: int) -> RowRates | None:
    """The rates of a row at the largest tabulated size that a run has, or else the smallest one.

    Args:
        key: "C1.flow" ...
        modes: Of the run.
        times: Its measured times.

    Returns:
        The rates, or None for a row without controls.
    """
    table = stored_rates()["rows"].get(key)
    if not table:
        return None
    sizes = sorted((int(size.split("x")[0]), int(size.split("x")[1])) for size in table)
    held, measured = max([size for size in sizes if size[0] <= modes and size[1] <= times] or sizes[:1])
    counts = table[f"{held}x{measured}"]
    return RowRates(held, measured, tuple(counts["holds"]), tuple(counts["fails"]))


@lru_cache(maxsize=1)
def stored_rates() -> dict[str, Any]:
    """The table as measured: `rows` by key and size, with what it was measured on."""
    return json.loads(files("eigenflow.theory.controls").joinpath("rates.json").read_text(encoding="utf-8"))
