"""
An atlas of recorded runs
=========================

One static page of many runs: a card each, with its losses, its spectrum at a few times, its verdicts, and its place
between lazy and rich; then a picture of every claim over all of them.

``python examples/atlas.py atlas.html runs/*`` takes any run folders. Verdicts are those of their summaries, as
``eigenflow run`` and ``eigenflow analyse`` write them. The page holds everything that it shows: it fetches nothing.
"""

# sphinx_gallery_thumbnail_path = "images/study_verdicts.png"
import base64
import io
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import matplotlib.pyplot as plt
import numpy as np

import eigenflow as ef
from eigenflow.plots.claims import plot_claims, plot_estimates
from eigenflow.plots.measured import plot_run_losses
from eigenflow.theory import Claim
from eigenflow.theory.lazy_rich import LAZY, RICH, lazy_rich

SHOWN_TIMES = 5
# Ends of the scale on which distances are shown: most operators lie between.
NEAREST, FARTHEST = 1e-3, 1e1

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'; base-uri 'none'">
<title>Atlas of {{ cards | length }} runs</title>
<style>
{% include "report.css" %}
.runs { display: grid; grid-template-columns: repeat(auto-fill, minmax(500px, 1fr)); gap: 18px; margin: 20px 0; }
.run { border: 1px solid var(--line); border-radius: 6px; padding: 12px 16px; break-inside: avoid; }
.run h3 { margin: 0; font-size: 16px; }
.run p { margin: 2px 0; font-size: 13.5px; }
.run img { width: 100%; height: auto; display: block; }
figure img { max-width: 100%; height: auto; display: block; }
.chips { display: flex; flex-wrap: wrap; gap: 4px; margin: 6px 0; }
.chip { font-size: 12px; border-radius: 4px; padding: 1px 7px; color: #fff; background: #9aa4ae; }
.chip.supported { background: var(--supported); }
.chip.contradicted { background: var(--contradicted); }
.chip.undecided { background: var(--undecided); }
.scale { position: relative; height: 14px; border-radius: 7px; margin: 8px 0 2px; border: 1px solid var(--line);
  background: linear-gradient(to right,
  #dceaf5 {{ lazy }}%, #f5f7fa {{ lazy }}%, #f5f7fa {{ rich }}%, #f6e3d6 {{ rich }}%); }
.scale span { position: absolute; top: -3px; width: 4px; height: 18px; margin-left: -2px; background: var(--ink); }
.ends { display: flex; justify-content: space-between; color: var(--muted); font-size: 12px; }
@media (max-width: 560px) { .runs { grid-template-columns: 1fr; } }
</style>
</head>
<body>
<div class="page">
<header>
<p class="kind">Eigenflow atlas</p>
<h1>{{ cards | length }} runs</h1>
<p>Each card: losses by updates, the eigenvalues of the operator at a few times by their rank, the verdict on each
claim, and how far the operator went, ‖M − M₀‖ / ‖M₀‖. Lazy is less than 0.1, rich more than 1. Colours of verdicts:
<span class="verdict supported">supported</span>, <span class="verdict contradicted">contradicted</span>,
<span class="verdict undecided">undecided</span>.</p>
</header>
<h2>Runs</h2>
<div class="runs">
{% for card in cards %}
<article class="run" id="{{ loop.index }}">
<h3>{{ card.name }}</h3>
{% if card.varied %}
<p>{{ card.varied }}</p>
{% endif %}
<p class="note">{{ card.setup }}</p>
<img alt="Losses and eigenvalues of {{ card.name }}" src="data:image/png;base64,{{ card.picture }}">
{% if card.distance is none %}
<p class="note">This run does not say how far its operator went.</p>
{% else %}
<div class="scale" role="img" aria-label="distance {{ card.distance }}">
<span style="left: {{ card.position }}%"></span></div>
<div class="ends"><span>lazy</span><span>distance of the operator {{ card.distance }}, {{ card.regime }}</span>
<span>rich</span></div>
{% endif %}
<div class="chips">
{% for claim in card.claims %}
<span class="chip {{ claim.verdict.value }}" title="{{ claim.statement }}: {{ claim.verdict.value }}">
{{- claim.claim }}</span>
{% else %}
<span class="chip">not judged</span>
{% endfor %}
</div>
{% if card.report %}
<p><a href="{{ card.report }}">Report</a></p>
{% endif %}
</article>
{% endfor %}
</div>
{% for title, picture in pictures.items() %}
<h2>{{ title }}</h2>
<figure><img alt="{{ title }}" src="data:image/png;base64,{{ picture }}"></figure>
{% endfor %}
</div>
</body>
</html>
"""


@dataclass(frozen=True)
class Card:
    """What the page says of one run."""

    name: str
    varied: str
    setup: str
    picture: str
    distance: str | None
    position: float
    regime: str
    claims: list[Claim]
    report: str | None


def write_atlas(runs: Mapping[str, tuple[Path, str]], page: Path) -> Path:
    """Write the page of runs, given by name with their folders and what was varied in them."""
    judged = {name: judged_rows(ef.open_run(folder)) for name, (folder, _) in runs.items()}
    cards = [_card(name, folder, varied, judged[name], page) for name, (folder, varied) in runs.items()]
    pictures = _claim_pictures({name: rows for name, rows in judged.items() if rows})
    loaders = [jinja2.DictLoader({"atlas": PAGE}), jinja2.PackageLoader("eigenflow.report", "templates")]
    environment = jinja2.Environment(loader=jinja2.ChoiceLoader(loaders), autoescape=True, trim_blocks=True)
    places = {"lazy": round(_position(LAZY), 1), "rich": round(_position(RICH), 1)}
    text = environment.get_template("atlas").render(cards=cards, pictures=pictures, **places)
    page.write_text(text, encoding="utf-8")
    return page


def judged_rows(run: Any) -> list[Claim]:
    """Rows of the claims in a run's summary; none where it was not judged."""
    return [Claim.from_dict(row) for row in (run.summary or {}).get("claims", [])]


def _card(name: str, folder: Path, varied: str, rows: list[Claim], page: Path) -> Card:
    run = ef.open_run(folder)
    probe, parameters = run.header["probe"], run.header["probe"].get("parameters")
    size = "" if parameters is None else f", {parameters:,} parameters"
    setup = f"{probe['samples']} samples, {probe['outputs']} outputs{size}, {len(run.measured_steps)} measured times"
    found = lazy_rich(run.measurements, ef.shell_budget(run))
    return Card(
        name,
        varied,
        setup,
        _picture(run),
        f"{found.coordinate:.2g}",
        _position(found.coordinate),
        found.regime.value,
        [row for row in rows if "." not in row.claim],
        os.path.relpath(folder / "report.html", page.parent) if (folder / "report.html").is_file() else None,
    )


def _position(distance: float) -> float:
    """Per cent of the way along the scale, which is logarithmic."""
    share = np.log(max(distance, NEAREST) / NEAREST) / np.log(FARTHEST / NEAREST)
    return float(100 * min(share, 1.0))


def _picture(run: Any) -> str:
    """Losses, and eigenvalues by rank at a few times from early to late."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.4, 2.5), layout="constrained")
    losses = run.losses
    measured = np.array(run.measured_steps)
    plot_run_losses(losses["step"].to_numpy(), losses["loss"].to_numpy(dtype=float), ax=left, measured=measured)
    data = run.measurements
    times, eigenvalues = data["time"].values, data["eigenvalue"].values
    shown = np.unique(np.linspace(0, len(times) - 1, SHOWN_TIMES).round().astype(int))
    for index, colour in zip(shown, plt.colormaps["viridis"](np.linspace(0, 0.9, len(shown))), strict=True):
        values = np.sort(eigenvalues[index])[::-1]
        # What a float64 of the largest one cannot tell from zero is left out.
        values = values[values > 1e-14 * values[0]]
        right.loglog(
            np.arange(1, len(values) + 1), values, color=colour, linewidth=1.2, label=f"t = {times[index]:.2g}"
        )
    right.set(xlabel="rank", ylabel="eigenvalue [1 / time]")
    right.legend(frameon=False, fontsize=7)
    return _encoded(figure, dpi=150)


def _claim_pictures(rows: Mapping[str, list[Claim]]) -> dict[str, str]:
    """All verdicts, then one picture a claim, as PNG in base64 by title."""
    if not rows:
        return {}
    titles = {row.claim: row.statement for found in rows.values() for row in found if "." not in row.claim}
    pictures = {"All verdicts": _encoded(verdicts_picture(rows))}
    for claim, statement in sorted(titles.items()):
        figure = claim_picture(rows, claim)
        if figure is not None:
            pictures[f"{claim}: {statement}"] = _encoded(figure)
    return pictures


def verdicts_picture(rows: Mapping[str, list[Claim]]) -> Any:
    """Verdict and estimate of every row and run."""
    lines = len({row.claim for found in rows.values() for row in found})
    figure, ax = plt.subplots(figsize=(4.4 + 0.5 * len(rows), 3.0 + 0.19 * lines), layout="constrained")
    plot_claims(rows, ax=ax)
    return figure


def claim_picture(rows: Mapping[str, list[Claim]], claim: str) -> Any:
    """Estimates of a claim's assertions side by side, run by run, or None where none has an interval."""
    parts: dict[str, list[Claim]] = {}
    for row in (row for found in rows.values() for row in found):
        if row.claim.startswith(f"{claim}.") and row.estimate is not None and row.interval is not None:
            parts.setdefault(row.claim, []).append(row)
    if not parts:
        return None
    columns = min(len(parts), 5)
    lines = -(-len(parts) // columns)
    size = (2.6 + 3.0 * columns, lines * (2.6 + 0.22 * len(rows)))
    figure, axes = plt.subplots(lines, columns, figsize=size, layout="constrained", sharey=True, squeeze=False)
    for ax, (key, found) in zip(axes.flat, parts.items(), strict=False):
        lows = np.array([row.interval[0] for row in found if row.interval is not None])
        plot_estimates(rows, key, ax=ax, log=bool(lows.min() > 0 and lows.max() > 30 * lows.min()))
        ax.title.set_fontsize(8)
    for ax in axes.flat[len(parts) :]:
        ax.set_visible(False)
    return figure


def _encoded(figure: Any, dpi: int = 100) -> str:
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=dpi)
    plt.close(figure)
    return base64.b64encode(content.getvalue()).decode("ascii")


def main(page: str, folders: list[str]) -> Path:
    runs = {Path(folder).name: (Path(folder), "") for folder in folders}
    return write_atlas(runs, Path(page))


if __name__ == "__main__":
    print(f"Atlas: {main(sys.argv[1], sys.argv[2:])}")
