"""Settings as TOML files: read, changed on the command line, checked key by key with pydantic."""

import tomllib
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from eigenflow.core.errors import ConfigError, FileError
from eigenflow.core.limits import current_limits, within
from eigenflow.core.text import clean
from eigenflow.core.writing import explain

__all__ = ["FolderName", "Section", "explain_problems", "read_config"]

LONGEST_NAME = 100
# A message shows this much of a value, and this many problems.
LONGEST_VALUE = 80
MOST_PROBLEMS = 20


def _folder_name(name: str) -> str:
    is_plain = name == clean(name) and name == name.strip() and not set(name) & set('/\\:*?"<>|')
    if not is_plain or name in ("", ".", "..") or name.startswith("-") or len(name.encode()) > LONGEST_NAME:
        raise ValueError(
            f"must be a plain name of at most {LONGEST_NAME} bytes, without slashes and control characters, as results "
            f"go to the folder runs/NAME; choose the place itself with --out"
        )
    return name


# The name of a run, of which a folder of that name is made: it never leads out of the folder that it is put into.
FolderName = Annotated[str, AfterValidator(_folder_name)]


class Section(BaseModel):
    """Base of every table of settings: unknown keys are errors, numbers are finite, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


SectionT = TypeVar("SectionT", bound=Section)


def read_config(path: Path, model: type[SectionT], overrides: list[str] | None = None) -> SectionT:
    """Read a TOML file and apply `section.key=value` changes.

    Args:
        path: An existing file.
        model: What the file must hold.
        overrides: Changes such as "train.steps=2000"; values are read as TOML, else as text.

    Returns:
        The checked settings.

    Raises:
        ConfigError: If the file is no TOML, or a key or value is not allowed; the message lists every
            problem with its key, and says whether it is of the file or of a change.
        FileError: If the file cannot be read.
        LimitError: If the file is too long or nested too deeply.
    """
    values = _parsed(_text(path), f"`{path}`")
    for change in overrides or []:
        _apply(values, change)
    try:
        return model.model_validate(values)
    except ValidationError as error:
        problems = explain_problems(error, model)
    if not overrides:
        raise ConfigError(f"`{path}` does not hold valid settings:\n" + _listed(problems))
    # What the file alone gets wrong too is not the changes' doing.
    own = _problems_of(_parsed(_text(path), f"`{path}`"), model)
    changed = [line for line in problems if line not in own]
    parts = []
    if changed:
        given = " ".join(f"--set {_shortened(change)}" for change in overrides)
        parts.append(f"`{given}` does not give valid settings:\n" + _listed(changed))
    if len(changed) < len(problems):
        kept = [line for line in problems if line in own]
        parts.append(f"`{path}` does not hold valid settings:\n" + _listed(kept))
    raise ConfigError("\n".join(parts))


def _text(path: Path) -> str:
    most = current_limits().config_bytes
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
            size = max(len(content), path.stat().st_size)
    except OSError as error:
        raise FileError(explain(path, error, "read")) from None
    within("config_bytes", size, f"`{path}`")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"`{path}` is not valid TOML: it is no UTF-8 text ({error}).") from None


def _parsed(text: str, what: str) -> dict[str, Any]:
    # The parser takes a time that grows with the square of the parts of a key.
    parts = max((piece.count(".") for line in text.splitlines() for piece in line.split("=")), default=0)
    within("depth", parts, f"A key in {what}")
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ConfigError(f"{what} is nested too deeply. Settings are sections of keys.") from None
    except ValueError as error:  # of the parser itself, and of numbers of thousands of digits
        raise ConfigError(f"{what} is not valid TOML: {clean(str(error))}.") from None


def _apply(values: dict[str, Any], change: str) -> None:
    key, equals, text = change.partition("=")
    *sections, last = (part.strip() for part in key.split("."))
    if not equals or not all((*sections, last)):
        raise ConfigError(
            f"`--set` takes section.key=value, for example train.steps=2000, but got '{_shortened(change)}'."
        )
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise ConfigError(f"`--set {_shortened(change)}`: '{section}' is a value, not a section.")
    values[last] = _value(text.strip(), f"`--set {_shortened(change)}`")


def _value(text: str, what: str) -> Any:
    within("config_bytes", len(text), what)
    if "\n" in text:  # would be more than one entry
        return text
    try:
        return _parsed(f"value = {text}", what)["value"]
    except ConfigError:
        return text


def _problems_of(values: dict[str, Any], model: type[Section]) -> list[str]:
    try:
        model.model_validate(values)
    except ValidationError as error:
        return explain_problems(error, model)
    return []


def _listed(lines: list[str]) -> str:
    rest = len(lines) - MOST_PROBLEMS
    return "\n".join([*lines[:MOST_PROBLEMS], *([f"  ... and {rest} more."] if rest > 0 else [])])


def explain_problems(error: ValidationError, model: type[Section]) -> list[str]:
    """What is wrong with settings: an indented line a problem, with its key.

    Args:
        error: As pydantic raised it.
        model: What the settings were to be.
    """
    lines = []
    for problem in error.errors(include_url=False):
        where = [str(part) for part in problem["loc"]]
        key = _shortened(".".join(where))
        if problem["type"] == "extra_forbidden":
            lines.append(f"  '{key}' is not a known key. Known here: {', '.join(_known_keys(model, where[:-1]))}.")
        else:
            came = "" if isinstance(problem["input"], dict) else f" (it is {_shortened(repr(problem['input']))})"
            message = problem["msg"].removeprefix("Value error, ")
            if problem["type"] == "model_type":
                message = "must be a section, that is a table of keys"
            lines.append(f"  {key + ': ' if key else ''}{message}{came}.")
    return lines


def _known_keys(model: Any, sections: list[str]) -> list[str]:
    for section in sections:
        model = model.model_fields[section].annotation
    return list(model.model_fields)


def _shortened(text: str) -> str:
    shown = clean(text)
    return shown if len(shown) <= LONGEST_VALUE else f"{shown[:LONGEST_VALUE]} ..."
