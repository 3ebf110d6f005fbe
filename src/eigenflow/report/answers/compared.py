"""Four questions about runs side by side, answered: what differs? how lazy? which claims flip? which ends better?"""

from collections.abc import Sequence

from eigenflow.report.answers.questions import REGIMES, Answer
from eigenflow.report.comparison import ABSENT, ComparedRun, Comparison
from eigenflow.report.numbers import number
from eigenflow.theory.claim_words import CLAIM_WORDS
from eigenflow.theory.lazy_rich import LAZY, RICH

__all__ = ["compared_answers", "verdicts_in_words"]

TOLD = 4  # settings, or claims, of which more than the name is told


def compared_answers(comparison: Comparison) -> list[Answer]:
    """Answer the four questions.

    Args:
        comparison: As from `compare`.
    """
    return [
        Answer("differs", "What differs?", *_differs(comparison), "differences"),
        Answer("regime", "Lazy or feature learning?", *_regimes(comparison.runs), "plane"),
        Answer("flips", "Which claims flip?", *_flips(comparison), "claims"),
        Answer("better", "Which ends better?", *_better(comparison), "loss"),
    ]


def _differs(comparison: Comparison) -> tuple[str, str]:
    rows = comparison.differences
    names = ", ".join(list(rows)[:TOLD]) + (f" and {len(rows) - TOLD} more" if len(rows) > TOLD else "")
    told = [f"{key}: {', '.join(values)}." for key, values in list(rows.items())[:TOLD]]
    if told:
        told.insert(0, f"In the order {', '.join(run.name for run in comparison.runs)}.")
    if comparison.partial:
        some = [run.name for run, cells in zip(comparison.runs, zip(*comparison.partial.values(), strict=True),
                                               strict=True) if ABSENT in cells]  # fmt: skip
        count = len(comparison.partial)
        told.append(
            f"{count} more {'setting is' if count == 1 else 'settings are'} not recorded by {_and(some)}: nothing says "
            f"whether {'it differs' if count == 1 else 'they differ'}."
        )
    none = "No setting that all recorded" if comparison.partial else "No recorded setting"
    return names or none, " ".join(told) or "All recorded settings are the same."


def _regimes(runs: Sequence[ComparedRun]) -> tuple[str, str]:
    by_regime: dict[str, list[str]] = {}
    for run in runs:
        word = "not known" if run.place is None else REGIMES[run.place.regime].lower()
        by_regime.setdefault(word, []).append(run.name)
    if len(by_regime) == 1:
        headline = f"{'Both' if len(runs) == 2 else 'All'}: {next(iter(by_regime))}"
    else:
        headline = "; ".join(f"{_and(names)}: {word}" for word, names in by_regime.items())
    far = []
    for run in runs:
        if run.place is not None:
            bound = "at least " if run.place.is_lower_bound else ""
            far.append(f"{bound}{number(run.place.coordinate)} in {run.name}")
    if not far:
        return headline, "No run says how far its operator went."
    told = f"Distance that the operator went, in units of its own size: {', '.join(far)}."
    both = [(run.place.coordinate, run.common_distance) for run in runs
            if run.place is not None and run.common_distance is not None]  # fmt: skip
    if any(abs(end - common) > 0.01 * end for end, common in both):
        told += f" Where all runs reach: {', '.join(number(common) for _, common in both)}."
    return headline, f"{told} Below {LAZY:g} is lazy, above {RICH:g} is rich."


def _flips(comparison: Comparison) -> tuple[str, str]:
    whole = [name for name in comparison.flips if "." not in name]
    parts = [name for name in comparison.flips if "." in name]
    told = [f"{name}, {_plain(name)}: {verdicts_in_words(comparison, name)}." for name in whole[:TOLD]]
    if len(whole) > TOLD:
        told.append(f"Also {_and(whole[TOLD:])}.")
    if parts:
        named = ", ".join(parts[:6]) + (f" and {len(parts) - 6} more" if len(parts) > 6 else "")
        told.append(f"Single assertions that flip: {named}.")
    some = [name for name in comparison.claims if "." not in name and len(comparison.verdicts(name)) > 1]
    if open_ := [name for name in some if name not in whole]:
        told.append(f"Decided in some runs and undecided in others: {_and(open_)}.")
    headline = _and(whole) if whole else "None of the eight"
    return headline, " ".join(told) or "All verdicts are the same."


def verdicts_in_words(comparison: Comparison, name: str) -> str:
    """Which runs support a row, and which contradict it."""
    found: dict[str, list[str]] = {}
    for run in comparison.runs:
        row = run.claim(name)
        found.setdefault("not judged" if row is None else row.verdict.value, []).append(run.name)
    order = ("supported", "contradicted", "undecided", "not judged")
    return ", ".join(f"{word} in {_and(found[word])}" for word in order if word in found)


def _better(comparison: Comparison) -> tuple[str, str]:
    runs = comparison.runs
    if len(runs) < 2:
        return "Nothing to compare", "There are fewer than two runs."
    if not comparison.is_one_problem:
        fell = [f"{run.name} to {number(100 * run.loss[1] / run.loss[0])} %" for run in runs if run.loss[0] > 0]
        return "Not comparable", f"The probe sets differ. Of its own first probe loss fell {', '.join(fell)}."
    data = [run.analysis.run.measurements for run in runs]
    has_tests = all("holdout_loss" in one for one in data)
    what = "held-out loss" if has_tests else "probe loss"
    ends = [float(one["holdout_loss" if has_tests else "probe_loss"].values[-1]) for one in data]
    order = sorted(range(len(runs)), key=lambda place: ends[place])
    best, others = order[0], order[1:]
    numbers = f"{what} {number(ends[best])}, against {', '.join(number(ends[place]) for place in others)}"
    if ends[others[0]] <= ends[best] * (1 + 1e-3):
        return "They end alike", f"The last {numbers}."
    told = [f"Of one run each: what another seed would give is not known. In order: {_ranked(runs, order)}."]
    if has_tests:
        train = ", ".join(f"{number(runs[place].loss[1])} in {runs[place].name}" for place in order)
        told.append(f"On the probe, {train}.")
    return f"{runs[best].name}: {numbers}", " ".join(told)


def _ranked(runs: Sequence[ComparedRun], order: Sequence[int]) -> str:
    return ", ".join(runs[place].name for place in order)


def _plain(name: str) -> str:
    words = CLAIM_WORDS[name].plain.rstrip(".") if name in CLAIM_WORDS else name
    return words[0].lower() + words[1:]


def _and(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]])) if names else ""
