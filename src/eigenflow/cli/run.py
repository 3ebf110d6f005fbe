"""`eigenflow run [CONFIG]`: the main job, from training to report."""

from pathlib import Path
from time import perf_counter
from typing import Annotated

import typer

from eigenflow.cli.console import err, out, print_json, scores_table, verdicts_table
from eigenflow.cli.long_work import resumable, stated_only
from eigenflow.cli.progress import training_progress
from eigenflow.cli.writing import check_outputs

__all__ = ["run"]


def run(
    config: Annotated[
        str | None,
        typer.Argument(
            help="TOML file, or the name of a shipped experiment: digits, digits-sgd, digits-cnn, digits-width, "
            "gpt, patches, source."
        ),
    ] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="Change one key: section.key=value.", metavar="A.B=C")
    ] = None,
    out_folder: Annotated[
        Path | None,
        typer.Option("--out", help="Run folder, new or empty. Default: runs/NAME.", metavar="DIR"),
    ] = None,
    picture: Annotated[Path | None, typer.Option(help="Draw the loss and the eigenvalues.", metavar="PNG")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the picture, if there is one.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was cut off.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="State the cost and stop.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary (or cost) as JSON.")] = False,
) -> None:
    """Train a reference task, measure it, analyse it, forecast its rest, and write the report.

    Example: `eigenflow run --set train.steps=4000 --out runs/short`
    """
    from eigenflow.lab import estimate_cost, load_config, run_experiment

    begin = perf_counter()
    check_outputs({"--picture": picture}, replace=force)
    settings = load_config(config, changes)
    folder = out_folder or Path("runs") / settings.name
    cost = estimate_cost(settings)
    if stated_only(settings.name, settings, cost, dry_run=dry_run, as_json=as_json):
        return
    if not (resume or as_json or err.quiet):
        from eigenflow.cli.first_look import show_first_look

        show_first_look(settings)
    with resumable("run", config, changes, folder), training_progress(cost.share_done) as show:
        recorded = run_experiment(settings, folder, resume=resume, progress=show)
    train_s = perf_counter() - begin
    # Only now, as its imports would keep the first look waiting.
    from eigenflow.lab.judging import judge_run

    with err.status("Analysing and writing the report ..."):
        analysis, summary = judge_run(recorded, report=True, train_s=train_s, begin=begin)
    if picture is not None:
        from eigenflow.plots.file import write_picture
        from eigenflow.report.publication import course_figure

        write_picture(course_figure(analysis), picture, replace=force)
    if as_json:
        print_json(summary)
        return
    from eigenflow.cli.plot import print_run

    print_run(analysis)
    out.print(verdicts_table(analysis.claims))
    out.print(scores_table(analysis.forecasts))
    out.print(
        f"Summary: {recorded.path / 'summary.json'}\nReport:  {recorded.path / 'report.html'}",
        markup=False,
        soft_wrap=True,
    )
