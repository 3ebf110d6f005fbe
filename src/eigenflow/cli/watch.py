"""`eigenflow watch RUN-OR-LOG`: a live page of a run that goes on."""

import socket
import sys
from pathlib import Path
from typing import Annotated

import typer

from eigenflow.cli.console import err, print_json
from eigenflow.cli.forecast.options import Columns, Pattern, Tokens, named_columns

__all__ = ["watch"]

# Seconds between two looks at the run.
SLOWEST_S = 3600.0


def watch(
    run: Annotated[
        Path,
        typer.Argument(
            help="Run folder, or any log that `forecast` reads; it need not be there yet.", metavar="RUN-OR-LOG"
        ),
    ],
    host: Annotated[
        str, typer.Option(help="Address to bind to. Any but this machine's own asks for a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port; 0 for any that is free.")] = 0,
    every: Annotated[float, typer.Option(min=0.1, max=SLOWEST_S, help="Seconds between two looks at the run.")] = 1.0,
    total: Annotated[int | None, typer.Option(min=2, help="Updates in all. Default: what the run says.")] = None,
    name: Annotated[str | None, typer.Option("--run", help="Which of a log's runs.", metavar="NAME")] = None,
    columns: Columns = None,
    tokens: Tokens = None,
    pattern: Pattern = None,
    token: Annotated[
        bool, typer.Option("--token", help="Ask for a token on this machine's own address too, as others use it.")
    ] = False,
    allow_host: Annotated[
        list[str] | None,
        typer.Option("--allow-host", help="Answer under this name too, as that of a proxy.", metavar="NAME"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the address as a JSON object.")] = False,
) -> None:
    """Show a run while it goes on, in a browser: loss, the forecast of the rest, eigenvalues, alarms.

    Example: `eigenflow watch runs/digits`, or `eigenflow watch train.csv --port 8765`

    Nothing is written. Over SSH: `ssh -L 8765:127.0.0.1:8765 HOST`, then open the address that is printed.
    """
    from eigenflow.report.live.serving import Place, serve
    from eigenflow.report.live.sources import ChosenSource
    from eigenflow.report.live.sources.log import LogOptions

    source = ChosenSource(run, LogOptions(name, named_columns(columns) or None, tokens, pattern))

    def started(address: str) -> None:
        if as_json:
            print_json({"address": address})
        else:
            sys.stdout.write(f"{address}\n")
        sys.stdout.flush()
        _tell(run, address, host)

    place = Place(host, port, tuple(allow_host or ()), token)
    serve(source, place, started=started, every_s=every, total=total)
    err.print("Stopped. The run is not touched.", markup=False)


def _tell(run: Path, address: str, host: str) -> None:
    """On stderr, what a person may want to know."""
    port = address.partition("://")[2].partition("/")[0].rpartition(":")[2]
    lines = [
        f"Watching {run}; open the address above, Ctrl-C stops. Reading costs what is new, a forecast 1 to 3 processor "
        f"seconds at some twenty moments of a run."
    ]
    if host == "127.0.0.1":
        lines.append(f"From another machine: ssh -L {port}:127.0.0.1:{port} {socket.gethostname()}")
    else:
        lines.append("Who knows the token sees the run; the connection is not encrypted.")
    for line in lines:
        err.print(line, markup=False, highlight=False, soft_wrap=True)
