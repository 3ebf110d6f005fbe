"""Settings as TOML files: read, changed on the command line, checked key by key with pydantic."""

import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from eigenflow.core.errors import ConfigError

__all__ = ["Section", "read_config"]


class Section(BaseModel):
    """Base of every table of settings: unknown keys are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


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
            problem with its key.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"`{path}` is not valid TOML: {error}.") from None
    for change in overrides or []:
        _apply(values, change)
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"`{path}` does not hold valid settings:\n" + _explain(error, model)) from None


def _apply(values: dict[str, Any], change: str) -> None:
    key, equals, text = change.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"`--set` takes section.key=value, for example train.steps=2000, but got '{change}'.")
    try:
        value = tomllib.loads(f"value = {text.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    *sections, last = key.strip().split(".")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise ConfigError(f"`--set {change}`: '{section}' is a value, not a section.")
    values[last] = value


def _explain(error: ValidationError, model: type[Section]) -> str:
    lines = []
    for problem in error.errors():
        where = [str(part) for part in problem["loc"]]
        key = ".".join(where)
        if problem["type"] == "extra_forbidden":
            lines.append(f"  '{key}' is not a known key. Known here: {', '.join(_known_keys(model, where[:-1]))}.")
        else:
            came = "" if isinstance(problem["input"], dict) else f" (it is {problem['input']!r})"
            lines.append(f"  {key + ': ' if key else ''}{problem['msg']}{came}.")
    return "\n".join(lines)


def _known_keys(model: Any, sections: list[str]) -> list[str]:
    for section in sections:
        model = model.model_fields[section].annotation
    return list(model.model_fields)
