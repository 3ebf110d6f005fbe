"""`eigenflow analyse RUN`: every conclusion from a run, written to its summary.json."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eigenflow.cli.console import claims_table, err, learning_table, out, print_json, say, scores_table, verdicts_table
from eigenflow.cli.writing import Force, check_outputs, check_own_file
from eigenflow.core.writing import write_whole

if TYPE_CHECKING:
    from eigenflow.store import Run

__all__ = ["analyse"]

NAME = "summary.json"


def analyse(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    out_file: Annotated[
        Path | None, typer.Option("--out", help="Write the summary here, not into the run folder.", metavar="FILE")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Show every assertion of every claim.")] = False,
    force: Force = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Analyse RUN: verdicts, drift law, budget, scored forecasts, what is learned when; writes RUN/summary.json.

    Example: `eigenflow analyse runs/digits`
    """
    from eigenflow.report.summary import analyse as analyse_run
    from eigenflow.store import open_run

    opened = open_run(run)
    check_outputs({"--out": out_file}, inputs=[run], replace=force)
    if out_file is None:
        check_own_file(opened.path / NAME)
    with err.status("Analysing, a few seconds ..."):
        analysis = analyse_run(opened)
        previous = opened.summary or {}
        summary = analysis.summary(**{k: v for k, v in previous.get("timings", {}).items() if k != "analyse_s"})
        _write(opened, summary, out_file, force)
    if as_json:
        print_json(summary)
        return
    out.print(claims_table(analysis.claims) if everything else verdicts_table(analysis.claims))
    if analysis.forecasts:
        out.print(scores_table(analysis.forecasts))
    if analysis.learned is not None:
        out.print(learning_table(analysis.learned))
        for note in analysis.learned.notes:
            say(note)
    for problem in analysis.problems:
        err.print(f"not computed: {problem}", markup=False)
    out.print(f"Summary: {out_file or opened.path / NAME}", markup=False, soft_wrap=True)


def _write(run: "Run", summary: dict[str, Any], out_file: Path | None, force: bool) -> None:
    if out_file is None:
        run.write_summary(summary)
        return
    from eigenflow.store.folder import to_json

    text = json.dumps(to_json(summary, "summary"), indent=2, allow_nan=False, ensure_ascii=False)
    write_whole(out_file, text + "\n", replace=force)
