"""`eigenflow analyse RUN`: every conclusion from a run, written to its summary.json."""

from pathlib import Path
from typing import Annotated

import typer

from eigenflow.cli.console import claims_table, err, out, print_json, scores_table

__all__ = ["analyse"]


def analyse(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Analyse RUN: verdicts, drift law, budget, scored forecasts; writes RUN/summary.json.

    Example: `eigenflow analyse runs/digits`
    """
    from eigenflow.report.summary import analyse as analyse_run
    from eigenflow.store import open_run

    opened = open_run(run)
    with err.status("Analysing, a few seconds ..."):
        analysis = analyse_run(opened)
        previous = opened.summary or {}
        summary = analysis.summary(**{k: v for k, v in previous.get("timings", {}).items() if k != "analyse_s"})
        opened.write_summary(summary)
    if as_json:
        print_json(summary)
        return
    out.print(claims_table(analysis.claims))
    if analysis.forecasts:
        out.print(scores_table(analysis.forecasts))
    for problem in analysis.problems:
        err.print(f"not computed: {problem}", markup=False)
    out.print(f"Summary: {opened.path / 'summary.json'}", markup=False, soft_wrap=True)
