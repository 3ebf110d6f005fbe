"""The `eigenflow` program: its commands, and how errors become exit codes."""

import sys

import typer

from eigenflow.cli.analyse import analyse
from eigenflow.cli.claims import claims
from eigenflow.cli.compare import compare
from eigenflow.cli.console import fail
from eigenflow.cli.doctor import doctor
from eigenflow.cli.forecast import forecast_app
from eigenflow.cli.report import report
from eigenflow.cli.run import run
from eigenflow.cli.solve import solve
from eigenflow.core.errors import ArgumentError, ConfigError, EigenflowError, NonFiniteError

__all__ = ["app", "main"]

app = typer.Typer(
    name="eigenflow",
    help="Measure, model and forecast how learning flows through the spectrum of a network.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (run, analyse, claims, compare, report, solve, doctor):
    app.command(no_args_is_help=False)(command)
app.add_typer(forecast_app)


def main() -> None:
    """Run the program: exit 0 for success, 1 for a failed run, 2 for wrong usage."""
    try:
        app()
    except NonFiniteError as error:  # on the command line: training diverged
        fail(error, code=1)
    except (ConfigError, ArgumentError) as error:
        fail(error, code=2)
    except EigenflowError as error:
        fail(error, code=1)
    except ModuleNotFoundError as error:
        if error.name not in {"torch", "safetensors"}:
            raise
        fail(
            f"This command measures networks and needs {error.name}. Install it: pip install -c constraints.txt "
            f"'eigenflow[measure]'",
            code=1,
        )
    except KeyboardInterrupt:
        sys.exit(130)
