"""The group of the forecast commands."""

import typer

from eigenflow.cli.forecast.backtest import backtest
from eigenflow.cli.forecast.fit import fit
from eigenflow.cli.forecast.plan import plan
from eigenflow.cli.forecast.predict import predict
from eigenflow.cli.forecast.report import report
from eigenflow.cli.forecast.schedule import schedule
from eigenflow.cli.forecast.score import score

__all__ = ["forecast_app"]

forecast_app = typer.Typer(
    name="forecast",
    help="Forecast loss curves: the rest of a run, another schedule, another size. Needs logs only, no PyTorch.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (fit, predict, score, backtest, plan, schedule, report):
    forecast_app.command(no_args_is_help=True)(command)
