"""How often is each row of the claims right about systems of which the truth is known?

Judges every control of `eigenflow.theory.controls` at several sizes and seeds. Writes the counts into the package
(`theory/controls/rates.json`, by which runs too small to tell are recognised), every verdict into
`benchmarks/results/control_rates.csv`, and the tables into `docs/validation/controls.md`. Some 25 CPU-minutes.

    python benchmarks/control_rates.py
    python benchmarks/control_rates.py --claims C6     after a change of C6 alone: all others stay as they were counted
"""

import argparse
import json
import sys
from importlib.metadata import version
from pathlib import Path

import pandas as pd

from eigenflow.theory.claims import CLAIMS
from eigenflow.theory.controls.catalogue import CONTROLS
from eigenflow.theory.controls.judging import ControlVerdict, counted, judge_controls

RATES = Path(__file__).parents[1] / "src" / "eigenflow" / "theory" / "controls" / "rates.json"
RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parents[1] / "docs" / "validation" / "controls.md"
NAMES = [one.name for one in CONTROLS]
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


def page(told: dict, frame: pd.DataFrame) -> str:
    """The tables in Markdown."""
    sizes = list(told["overall"])
    lines = [
        "# Controls of the claims",
        "",
        "Made by `python benchmarks/control_rates.py`. Systems of which the truth is known, judged by every row.",
        "How rows use this table stands in [the claims](../explanation/claims.md#controls).",
        "",
        "## In all",
        "",
        f"Shares of verdicts, {told['seeds']} seeds of every control. *Decidable* are rows that support at",
        "least half of the controls of which they are true at that size; the others are undecided in such runs.",
        "",
        "| modes x times | " + " | ".join(next(iter(told["overall"].values()))) + " |",
        "|---" * (1 + len(next(iter(told["overall"].values())))) + "|",
    ]
    for size, by in told["overall"].items():
        lines.append(f"| {size} | " + " | ".join(f"{value:.3g}" for value in by.values()) + " |")
    lines += [
        "",
        "## By row",
        "",
        "Supported / contradicted / undecided, of controls of which the row is true, and of the others.",
        "",
        "| row | " + " | ".join(f"{size} {kind}" for size in sizes for kind in ("true", "false")) + " |",
        "|---" * (1 + 2 * len(sizes)) + "|",
    ]
    for row, by in sorted(told["rows"].items()):
        cells = []
        for size in sizes:
            counts = by.get(size, {"holds": [0, 0, 0], "fails": [0, 0, 0]})
            cells += [" / ".join(map(str, counts[kind])) if sum(counts[kind]) else "" for kind in ("holds", "fails")]
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    lines += ["", "## Decided wrongly", ""]
    wrong = frame[frame["verdict"] == frame["is_true"].map({True: "contradicted", False: "supported"})]
    for (row, control), found in wrong.groupby(["row", "control"]):
        listed = ", ".join(f"{one.modes} x {one.times} seed {one.seed}" for one in found.itertuples())
        lines.append(f'- {row} on "{control}": {listed}')
    lines += ["" if len(wrong) else "None.", "## The controls", ""]
    for control in CONTROLS:
        kind = "positive" if control.is_positive else "negative"
        lines.append(f"- **{control.name}** ({kind}). True: {', '.join(sorted(control.holds))}. ")
        lines.append(f"  False: {', '.join(sorted(control.fails)) or 'none'}.")
    return "\n".join(lines) + "\n"


def kept(claims: tuple[str, ...]) -> list[ControlVerdict]:
    """Verdicts of the other claims, as they were counted last."""
    frame = pd.read_csv(RESULTS / "control_rates.csv")
    frame = frame[~frame["row"].str.split(".").str[0].isin(claims)]
    return [ControlVerdict(**row) for row in frame.astype(object).where(frame.notna(), None).to_dict("records")]


def main(seeds: int, processes: int, sizes: tuple[tuple[int, int], ...], claims: tuple[str, ...]) -> None:
    def progress(done: int, total: int) -> None:
        print(f"\r{done} of {total} controls", end="", file=sys.stderr, flush=True)

    verdicts = judge_controls(sizes, range(seeds), processes=processes, claims=claims, progress=progress)
    if claims != tuple(CLAIMS):
        verdicts = sorted(
            kept(claims) + verdicts, key=lambda one: (one.modes, one.times, NAMES.index(one.control), one.seed, one.row)
        )
    overall = summed(verdicts, sizes)
    told = {"seeds": seeds, "eigenflow": version("eigenflow"), "overall": overall, "rows": counted(verdicts)}
    RATES.write_text(json.dumps(told, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    frame = pd.DataFrame([vars(one) for one in verdicts])
    frame.to_csv(RESULTS / "control_rates.csv", index=False, float_format="%.4g")
    PAGE.write_text(page(told, frame), encoding="utf-8")
    print("\n", pd.DataFrame(overall).T.round(3).to_string())
    wrong = frame[[one.is_wrong for one in verdicts]]
    print(wrong.groupby(["row", "control", "modes"]).size().to_string())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--claims", nargs="+", choices=list(CLAIMS), default=list(CLAIMS))
    parser.add_argument("--sizes", nargs="+", default=["x".join(map(str, size)) for size in SIZES])
    arguments = parser.parse_args()
    chosen = tuple(tuple(map(int, size.split("x"))) for size in arguments.sizes)
    main(arguments.seeds, arguments.processes, chosen, tuple(arguments.claims))
