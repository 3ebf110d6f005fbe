"""The verdicts of every row on every control: the table behind `rates.json`."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Literal

from eigenflow.theory.claims import CLAIMS, Evidence
from eigenflow.theory.controls.catalogue import CONTROLS
from eigenflow.theory.controls.rates import VERDICTS

__all__ = ["ControlVerdict", "counted", "judge_control", "judge_controls"]


@dataclass(frozen=True)
class ControlVerdict:
    """A row's verdict on one control.

    Attributes:
        control: Its name.
        is_positive: Whether it obeys the equation exactly.
        modes: Its modes.
        times: Its measured times.
        seed: Of its draw.
        row: "C1.flow" ...
        is_true: Whether the row holds of it.
        verdict: "supported", "contradicted" or "undecided".
        estimate: What the row measured; None without an estimate.
    """

    control: str
    is_positive: bool
    modes: int
    times: int
    seed: int
    row: str
    is_true: bool
    verdict: str
    estimate: float | None

    @property
    def is_wrong(self) -> bool:
        """Decided, and not as it is."""
        return self.verdict == ("contradicted" if self.is_true else "supported")


Kept = Literal["updates", "states", "even states"]


def judge_control(
    name: str, modes: int, times: int, seed: int, claims: Sequence[str] = tuple(CLAIMS), kept: Kept = "updates"
) -> list[ControlVerdict]:
    """Judge one control by every row of which the truth about it is known.

    Args:
        name: Of the control.
        modes: How many.
        times: Measured times.
        seed: Of the draw.
        claims: "C1" ..., those that are judged.
        kept: What of it is recorded: measured updates, their states alone, or states evenly spread over time.

    Returns:
        Verdicts; a claim that is undecided as a whole leaves all of its rows undecided.
    """
    control = next(one for one in CONTROLS if one.name == name)
    run = control.run(modes, times, seed, is_even=kept == "even states")
    evidence = Evidence(run if kept == "updates" else run.as_states(), knows_rates=False)
    rows = {row.claim: row for claim in claims for row in CLAIMS[claim].judge(evidence)}
    found = []
    known = sorted(key for key in control.holds | control.fails if key.split(".")[0] in claims)
    for key in known:
        row = rows.get(key)
        verdict, estimate = ("undecided", None) if row is None else (row.verdict.value, row.estimate)
        truth = key in control.holds
        found.append(ControlVerdict(name, control.is_positive, modes, times, seed, key, truth, verdict, estimate))
    return found


def judge_controls(
    sizes: Sequence[tuple[int, int]],
    seeds: Sequence[int],
    *,
    processes: int = 2,
    claims: Sequence[str] = tuple(CLAIMS),
    progress: Callable[[int, int], None] | None = None,
) -> list[ControlVerdict]:
    """Judge all controls.

    Args:
        sizes: Pairs of modes and measured times.
        seeds: Of the draws.
        processes: How many at a time.
        claims: "C1" ..., those that are judged.
        progress: Called as progress(done, total) after each control.

    Returns:
        All verdicts, in the order of sizes, controls and seeds.
    """
    jobs = [(one.name, *size, seed, claims) for size in sizes for one in CONTROLS for seed in seeds]
    found: dict[int, list[ControlVerdict]] = {}
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        started = {pool.submit(judge_control, *job): place for place, job in enumerate(jobs)}
        for done, future in enumerate(as_completed(started)):
            found[started[future]] = future.result()
            if progress is not None:
                progress(done + 1, len(jobs))
    return [verdict for place in sorted(found) for verdict in found[place]]


def counted(verdicts: Iterable[ControlVerdict]) -> dict[str, dict[str, dict[str, list[int]]]]:
    """Count verdicts by row, size and truth.

    Args:
        verdicts: As from `judge_controls`.

    Returns:
        By row, "modes x times", and "holds" or "fails": how many were supported, contradicted, undecided.
    """
    table: dict[str, dict[str, dict[str, list[int]]]] = {}
    for one in verdicts:
        size = table.setdefault(one.row, {}).setdefault(
            f"{one.modes}x{one.times}", {"holds": [0] * 3, "fails": [0] * 3}
        )
        size["holds" if one.is_true else "fails"][VERDICTS.index(one.verdict)] += 1
    return table
