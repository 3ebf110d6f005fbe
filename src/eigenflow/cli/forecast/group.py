"""The group of the forecast commands. A first word that is none of them is a log: `eigenflow forecast run.csv`."""

from difflib import get_close_matches
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from eigenflow.cli.forecast.backtest import backtest
from eigenflow.cli.forecast.fit import fit
from eigenflow.cli.forecast.log import log
from eigenflow.cli.forecast.plan import plan
from eigenflow.cli.forecast.predict import predict
from eigenflow.cli.forecast.report import report
from eigenflow.cli.forecast.schedule import schedule
from eigenflow.cli.forecast.score import score
from eigenflow.core.errors import ArgumentError

__all__ = ["forecast_app"]

ONE_COMMAND = "log"


class LogGroup(TyperGroup):
    """Takes what is no command of the group for logs, and options before them too."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the command `log` in front of logs and of options."""
        helps = set(ctx.help_option_names)
        if args and args[0] not in self.commands and args[0] not in helps:
            if not args[0].startswith("-"):
                self._refuse_misspelt(args[0])
            args = [ONE_COMMAND, *args]
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """The commands, and then the options of the one that needs no name."""
        super().format_help(ctx, formatter)
        command = self.commands[ONE_COMMAND]
        with typer.Context(command, info_name=ONE_COMMAND, parent=ctx) as inner:
            command.format_help(inner, formatter)

    def _refuse_misspelt(self, word: str) -> None:
        """A word that is neither a file nor looks like one is a slip in the name of a command."""
        looks_like_a_file = any(sign in word for sign in "./\\")
        if looks_like_a_file or Path(word).exists():
            return
        near = get_close_matches(word, self.commands, 1)
        meant = f" Did you mean {near[0]!r}?" if near else ""
        raise ArgumentError(
            f"{word!r} is neither a file or folder that is there, nor a command of `eigenflow forecast`: "
            f"{', '.join(self.commands)}.{meant}"
        )


forecast_app = typer.Typer(
    name="forecast",
    cls=LogGroup,
    help="Forecast loss curves: the rest of a run, another schedule, another size. Needs logs only, no PyTorch.\n\n"
    "`eigenflow forecast LOG...` gives one answer to a log: how the run will end, how sure that is, and what else "
    "could be done. It is short for `eigenflow forecast log LOG...`, whose options stand below. The other commands do "
    "the same in steps. A log that is called like a command is given as `./fit`.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
commands: tuple[Any, ...] = (log, fit, predict, score, backtest, plan, schedule, report)
for command in commands:
    forecast_app.command(no_args_is_help=True)(command)
