"""The `eigenflow` program: its commands, and how errors become exit codes."""

import os
import sys
import warnings
from typing import Annotated

import typer

from eigenflow import __version__
from eigenflow.cli.analyse import analyse
from eigenflow.cli.claims import claims
from eigenflow.cli.compare import compare
from eigenflow.cli.console import be_quiet, err, fail
from eigenflow.cli.doctor import doctor
from eigenflow.cli.double_descent import double_descent
from eigenflow.cli.export import export
from eigenflow.cli.figures import figures
from eigenflow.cli.forecast import forecast_app
from eigenflow.cli.measure import measure
from eigenflow.cli.modes import modes
from eigenflow.cli.report import report
from eigenflow.cli.run import run
from eigenflow.cli.solve import solve
from eigenflow.cli.sweep import sweep
from eigenflow.cli.watch import watch
from eigenflow.core.errors import ArgumentError, ConfigError, EigenflowError, NonFiniteError
from eigenflow.core.extras import EXTRAS, remedy
from eigenflow.core.limits import limits, parse_limits
from eigenflow.core.writing import explain

__all__ = ["app", "main"]

# What reads and judges works on many small matrices: threads of OpenBLAS mostly wait for each other there, on a busy
# machine for several times as long as the work takes. Who sets the variable keeps it.
ONE_THREAD = "OPENBLAS_NUM_THREADS"
OF_LARGE_MATRICES = ("double-descent", "measure", "modes", "solve")

app = typer.Typer(
    name="eigenflow",
    help="Measure, model and forecast how learning flows through the spectrum of a network.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    run,
    sweep,
    measure,
    analyse,
    claims,
    modes,
    compare,
    report,
    figures,
    export,
    watch,
    solve,
    double_descent,
    doctor,
):
    app.command(no_args_is_help=False)(command)
app.add_typer(forecast_app)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"eigenflow {__version__}")
        raise typer.Exit


@app.callback()
def settings(
    context: typer.Context,
    limit: Annotated[
        list[str] | None,
        typer.Option("--limit", help="Raise what an input may ask for, such as steps=1e8.", metavar="NAME=VALUE"),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No notes and no progress, only results.")] = False,
    told_version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Measure, model and forecast how learning flows through the spectrum of a network."""
    be_quiet(quiet)
    if context.invoked_subcommand not in OF_LARGE_MATRICES:
        os.environ.setdefault(ONE_THREAD, "1")
    context.with_resource(limits(**parse_limits(limit or [])))


def _tell_warning(message: Warning | str, *_: object, **__: object) -> None:
    """One line for a person, without the place in our source."""
    err.print(f"warning: {message}", markup=False, highlight=False, soft_wrap=True)


def main() -> None:
    """Run the program: exit 0 for success, 1 for a failed run, 2 for wrong usage."""
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _tell_warning
            app()
    except NonFiniteError as error:  # on the command line: training diverged
        fail(error, code=1)
    except (ConfigError, ArgumentError) as error:
        fail(error, code=2)
    except EigenflowError as error:
        fail(error, code=1)
    except ModuleNotFoundError as error:
        if error.name not in EXTRAS:
            raise
        fail(f"This needs {error.name}, which is not installed. {remedy(error.name)}", code=1)
    except BrokenPipeError:  # the reader of the output, such as `head`, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        fail(explain(error.filename or "a file", error, "used"), code=1)
    except KeyboardInterrupt:
        sys.exit(130)
