"""Options that the forecast commands share, and how they become curves."""

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eigenflow.cli.console import err
from eigenflow.cli.writing import Force, check_outputs
from eigenflow.core.errors import ArgumentError

if TYPE_CHECKING:
    from eigenflow.forecast import CurveSet

__all__ = [
    "AsJson",
    "Columns",
    "Curves",
    "Exclude",
    "FitFile",
    "Force",
    "KeepSpikes",
    "Names",
    "Pattern",
    "Picture",
    "Roles",
    "Schedules",
    "Seed",
    "Size",
    "SkipUnitCheck",
    "Tokens",
    "Unit",
    "Warmup",
    "check_outputs",
    "named_columns",
    "parse_size",
    "reads_curves",
    "reads_logs",
    "show_notes",
]

Curves = Annotated[
    list[Path],
    typer.Argument(help="Tables, text logs, trainer_state.json, event files, run folders, or folders of these."),
]
Schedules = Annotated[
    str | None,
    typer.Option(
        help="Table of schedules (curve, schedule, total_steps, ... or curve, step, lr), or 'constant'. "
        "Default: the learning rates in the logs.",
        metavar="FILE",
    ),
]
Columns = Annotated[
    list[str] | None, typer.Option("--column", help="Name a column: loss=val_loss, curve=run, ...", metavar="WHAT=NAME")
]
Names = Annotated[list[str] | None, typer.Option("--curve", help="Use these curves only.", metavar="NAME")]
Roles = Annotated[list[str] | None, typer.Option("--role", help="Use curves of these roles only.", metavar="ROLE")]
Exclude = Annotated[list[str] | None, typer.Option(help="Leave out these curves.", metavar="NAME")]
Unit = Annotated[str, typer.Option(help="Unit of the losses: nats or bits.")]
Warmup = Annotated[int | None, typer.Option(min=0, help="Updates of linear warm-up that the logs do not show.")]
Tokens = Annotated[
    float | None, typer.Option("--tokens-per-step", help="Tokens per update, for logs that count tokens.", min=0)
]
Pattern = Annotated[
    str | None,
    typer.Option(
        help="Regular expression for lines of text, with groups named step, loss, learning_rate, ...", metavar="REGEX"
    ),
]
KeepSpikes = Annotated[bool, typer.Option("--keep-spikes", help="Keep single points far above their neighbours.")]
SkipUnitCheck = Annotated[bool, typer.Option("--no-check-units", help="Accept what looks like mixed units.")]


FitFile = Annotated[Path, typer.Argument(help="File of `eigenflow forecast fit`.")]
Size = Annotated[
    str | None,
    typer.Option(help="Model size, in the unit of the fitted table, or as 400M, 1.3B. Need not be a fitted one."),
]
Seed = Annotated[int, typer.Option(help="Draws starting points, and resamples.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Picture = Annotated[Path | None, typer.Option(help="Draw the result.", metavar="PNG")]


def reads_curves(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command that takes `known`, a `CurveSet`, the argument and options by which curves are read and chosen."""
    return _reading(command, assumes_rates=False)


def reads_logs(command: Callable[..., None]) -> Callable[..., None]:
    """The same for a command that takes logs without learning rates too: a constant rate is then assumed, and said."""
    return _reading(command, assumes_rates=True)


def _reading(command: Callable[..., None], *, assumes_rates: bool) -> Callable[..., None]:
    own = inspect.signature(command)
    reading = dict(inspect.signature(_read).parameters)
    del reading["assumes_rates"]
    kept = [parameter for name, parameter in own.parameters.items() if name != "known"]
    arguments = [parameter for parameter in kept if parameter.default is inspect.Parameter.empty]
    options = [parameter for parameter in kept if parameter.default is not inspect.Parameter.empty]
    first, *others = reading.values()

    @functools.wraps(command)
    def reader(**given: Any) -> None:
        if "force" in given:  # of a command that writes: its files are checked before any work
            outputs = {"--out": given.get("out_file"), "--picture": given.get("picture"), "--card": given.get("card")}
            check_outputs(outputs, inputs=[*given["curves"], given["schedules"]], replace=given["force"])
        known = _read(**{name: given.pop(name) for name in reading}, assumes_rates=assumes_rates)
        command(known=known, **given)

    told = [*arguments, first, *others[:1], *options, *others[1:]]
    told = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in told]
    reader.__dict__["__signature__"] = own.replace(parameters=told)
    reader.__annotations__ = {parameter.name: parameter.annotation for parameter in told} | {"return": None}
    return reader


def _read(
    curves: Curves,
    schedules: Schedules = None,
    names: Names = None,
    roles: Roles = None,
    exclude: Exclude = None,
    columns: Columns = None,
    unit: Unit = "nats",
    warmup: Warmup = None,
    tokens: Tokens = None,
    pattern: Pattern = None,
    keep_spikes: KeepSpikes = False,
    skip_unit_check: SkipUnitCheck = False,
    *,
    assumes_rates: bool,
) -> "CurveSet":
    """Read and choose curves; the reader's report goes to stderr."""
    from eigenflow.forecast.outlook import read_logs
    from eigenflow.forecast.reading import read_curves

    read = read_logs if assumes_rates else read_curves
    found = read(
        curves,
        schedules=schedules,
        columns=named_columns(columns),
        exclude=exclude or (),
        unit=unit,
        warmup=warmup,
        tokens_per_step=tokens,
        keep_spikes=keep_spikes,
        check_units=not skip_unit_check,
        **({} if pattern is None else {"pattern": pattern}),
    )
    if names or roles:
        found = found.select(names=names, role=roles)
    own = {line for curve in found for line in curve.changes}
    # Notes on a curve that was not chosen are of no interest; those that are not on a curve are.
    show_notes(tuple(note for note in found.notes if not _is_of_a_curve(note) or note.partition(": ")[2] in own))
    return found


def show_notes(notes: tuple[str, ...], most: int = 12) -> None:
    """Print a report on stderr, cut where it is long."""
    for note in notes[:most]:
        err.print(f"note: {note}", markup=False, highlight=False, soft_wrap=True)
    if len(notes) > most:
        err.print(f"note: ... and {len(notes) - most} more", markup=False)


def parse_size(text: str | None, unit: float) -> float | None:
    """Turn `400`, `400M` or `1.3B` into parameters; a plain number is in the unit of the fitted table."""
    if text is None:
        return None
    letters = {"K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}
    factor = letters.get(text.strip()[-1:].upper())
    try:
        number = float(text.strip()[:-1]) if factor else float(text)
    except ValueError:
        number = float("nan")
    if not 0 < number < float("inf"):
        raise ArgumentError(f"`--size` must be a positive number such as 400, 400M or 1.3B, but is {text!r}.")
    return number * (factor or unit)


def _is_of_a_curve(note: str) -> bool:
    return any(text in note for text in ("restarted at step", "left out: step", "share their history"))


def named_columns(pairs: list[str] | None) -> dict[str, str]:
    """What `--column WHAT=NAME` says."""
    mapping = {}
    for pair in pairs or []:
        field, equals, column = pair.partition("=")
        if not equals or not field or not column:
            raise ArgumentError(f"`--column` must be WHAT=NAME, such as loss=val_loss, but is {pair!r}.")
        mapping[field.strip()] = column.strip()
    return mapping
