"""A comparison of runs as one self-contained HTML file: the answer first, beside the runs in the lazy-rich plane."""

from dataclasses import dataclass
from pathlib import Path

from eigenflow.core.writing import write_whole
from eigenflow.report.answers.compared import compared_answers
from eigenflow.report.comparison import Comparison
from eigenflow.report.figures.compared import losses_figure
from eigenflow.report.figures.lazy_rich import LEAST_DISTANCE, plane_figure
from eigenflow.report.figures.run import METHODS
from eigenflow.report.page import render_page
from eigenflow.report.sections import Picture
from eigenflow.theory import Claim
from eigenflow.theory.claim_words import CLAIM_WORDS

__all__ = ["write_comparison"]


@dataclass(frozen=True)
class _Row:
    """A row of the claims over all runs.

    Attributes:
        name: "C4" or "C4.form".
        statement: What is asserted.
        is_beside: Whether no claim's verdict depends on it.
        flips: Whether it is supported in one run and contradicted in another.
        claims: One a run; None for one that has no such row.
    """

    name: str
    statement: str
    is_beside: bool
    flips: bool
    claims: list[Claim | None]

    @property
    def tags(self) -> str:
        """What the page filters rows by."""
        verdicts = {row.verdict.value for row in self.claims if row is not None}
        return " ".join([*sorted(verdicts), *(["flips"] if self.flips else [])])


def write_comparison(comparison: Comparison, path: Path, *, replace: bool = True) -> Path:
    """Write a comparison: four answers, the lazy-rich plane, cautions, differences, verdicts, scores.

    Args:
        comparison: As from `compare`.
        path: The file to write, in a folder that exists.
        replace: Whether an existing file may be replaced.

    Returns:
        The path.
    """
    return write_whole(path, _render(comparison), replace=replace)


def _render(comparison: Comparison) -> str:
    names = [run.name for run in comparison.runs]
    return render_page(
        "comparison.html.j2",
        kind="comparison",
        title=", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else ""),
        comparison=comparison,
        answers=compared_answers(comparison),
        pictures={"plane": _plane(comparison), "losses": _losses(comparison)},
        claims=_claims(comparison),
        words=CLAIM_WORDS,
        methods={name: found[0] for name, found in METHODS.items()},
    )


def _claims(comparison: Comparison) -> list[list[_Row]]:
    """Rows of each claim, the whole first; those that flip before those that do not."""
    flips, beside = set(comparison.flips), comparison.beside
    groups: dict[str, list[_Row]] = {}
    for name in comparison.claims:
        found = [run.claim(name) for run in comparison.runs]
        statement = next(row.statement for row in found if row is not None)
        row = _Row(name, statement, name in beside, name in flips, found)
        groups.setdefault(name.split(".")[0], []).append(row)
    for rows in groups.values():
        rows.sort(key=lambda row: ("." in row.name, row.is_beside, not row.flips))
    return sorted(groups.values(), key=lambda rows: (not rows[0].flips, not any(row.flips for row in rows)))


def _losses(comparison: Comparison) -> Picture:
    is_one = comparison.is_one_problem
    told = "" if is_one else " The probes differ, so each is drawn relative to the loss of its first measurement."
    return Picture(
        "losses",
        losses_figure(comparison.runs, is_one_problem=is_one),
        f"The loss on the probe at every measurement. Update 0 has no place on a logarithmic axis.{told}",
    )


def _plane(comparison: Comparison) -> Picture:
    found = {run.name: run.place for run in comparison.runs if run.place is not None}
    places = {name: place for name, place in found.items() if place.flux_share is not None}
    missing = [run.name for run in comparison.runs if run.place is None]
    left_out = (
        f" Left out, because they do not say how far their operator went: {', '.join(missing)}." if missing else ""
    )
    if len(places) < len(found):
        states = ", ".join(name for name in found if name not in places)
        left_out += f" Left out, as records of states, which do not tell how much energy changes its shell: {states}."
    if still := [name for name, place in places.items() if place.distance[-1] <= LEAST_DISTANCE]:
        left_out += f" Not seen, as their operator stood still: {', '.join(still)}."
    if not places:
        return Picture("plane", None, "No run says how far its operator went and what changed its shell." + left_out)
    return Picture(
        "plane",
        plane_figure(places),
        "Each line is a run, from left to right as its operator moves away from the first measured one; the marker "
        "is its end. Left of the first dashed line the operator stays within 10 % of itself (lazy), right of the "
        "second it has moved by its own norm (rich). Upwards is the share of the energy that left its shell and went "
        "to another one instead of being learned, from the start to that time, in shells of a quarter decade. "
        "Distances below 10⁻⁴ and shares of 0 have no place on the axes." + left_out,
    )
