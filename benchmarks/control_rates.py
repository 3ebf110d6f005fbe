"""How often is each row of the claims right about systems of which the truth is known?

Judges every control of `eigenflow.theory.controls` at several sizes and seeds, writes the counts into the package
(`theory/controls/rates.json`, by which runs too small to tell are recognised) and the table of every control and row
into `benchmarks/results/control_rates.csv`. Some 20 CPU-minutes.

    python benchmarks/control_rates.py
"""

import argparse
import json
import sys
from importlib.metadata import version
from pathlib import Path

import pandas as pd

from eigenflow.theory.controls.judging import ControlVerdict, counted, judge_controls

RATES = Path(__file__).parents[1] / "src" / "eigenflow" / "theory" / "controls" / "rates.json"
RESULTS = Path(__file__).parent / "results"
SIZES = ((100, 24), (300, 24), (300, 48), (600, 48), (1000, 48))


def summed(verdicts: list[ControlVerdict], sizes: tuple[tuple[int, int], ...]) -> dict[str, dict[str, float]]:
    """Share of wrong verdicts of all, and of positives that a size can decide the share that is supported."""
    found = {}
    table = counted(verdicts)
    for modes, times in sizes:
        size = f"{modes}x{times}"
        here = [one for one in verdicts if (one.modes, one.times) == (modes, times)]
        true = {row: by[size]["holds"] for row, by in table.items() if size in by and sum(by[size]["holds"])}
        able = {row for row, (supported, *others) in true.items() if supported >= sum(others)}
        false = [one for one in here if not one.is_true]
        positives = [one for one in here if one.is_positive and one.is_true]
        decidable = [one for one in positives if one.row in able]
        found[size] = {
            "verdicts": len(here),
            "wrong": _share([one.is_wrong for one in here]),
            "wrong of false ones": _share([one.is_wrong for one in false]),
            "false ones contradicted": _share([one.verdict == "contradicted" for one in false]),
            "positives supported": _share([one.verdict == "supported" for one in positives]),
            "decidable positives supported": _share([one.verdict == "supported" for one in decidable]),
            "rows too small": len(true) - len(able),
        }
    return found


def _share(values: list[bool]) -> float:
    return sum(values) / len(values) if values else float("nan")


def main(seeds: int, processes: int, sizes: tuple[tuple[int, int], ...]) -> None:
    def progress(done: int, total: int) -> None:
        print(f"\r{done} of {total} controls", end="", file=sys.stderr, flush=True)

    verdicts = judge_controls(sizes, range(seeds), processes=processes, progress=progress)
    overall = summed(verdicts, sizes)
    told = {"seeds": seeds, "eigenflow": version("eigenflow"), "overall": overall, "rows": counted(verdicts)}
    RATES.write_text(json.dumps(told, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    frame = pd.DataFrame([vars(one) for one in verdicts])
    frame.to_csv(RESULTS / "control_rates.csv", index=False, float_format="%.4g")
    print("\n", pd.DataFrame(overall).T.round(3).to_string())
    wrong = frame[[one.is_wrong for one in verdicts]]
    print(wrong.groupby(["row", "control", "modes"]).size().to_string())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--sizes", nargs="+", default=["x".join(map(str, size)) for size in SIZES])
    arguments = parser.parse_args()
    chosen = tuple(tuple(map(int, size.split("x"))) for size in arguments.sizes)
    main(arguments.seeds, arguments.processes, chosen)
