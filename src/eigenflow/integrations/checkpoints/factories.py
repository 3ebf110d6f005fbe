"""`module:factory` and `train.py:factory`: a function of the user, found and called; every failure is named."""

import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from eigenflow.core.errors import ArgumentError, ModelError

__all__ = ["called", "function_named", "model_from", "told_error"]


def function_named(spec: str, option: str) -> Callable[..., Any]:
    """Find the function that `module:function` or `file.py:function` names; the working folder can be imported from.

    Args:
        spec: As the user typed it.
        option: Name of the argument, for messages.

    Raises:
        ArgumentError: If there is no such module, file or function, or importing it fails.
    """
    place, colon, name = spec.rpartition(":")
    if not colon or not place or not name:
        raise ArgumentError(
            f"`{option}` must be module:function or train.py:function, such as train:build, but is '{spec}'."
        )
    module = _file(place, option) if place.endswith(".py") else _module(place, option)
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            names = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")][:12]
            raise ArgumentError(
                f"`{option}` is '{spec}', but {place} has no '{name}'. It has: {', '.join(names) or 'nothing to call'}."
            )
        found = getattr(found, part)
    if not callable(found):
        raise ArgumentError(f"`{option}` is '{spec}', but that is a {type(found).__name__}, not a function.")
    return found


def _module(name: str, option: str) -> Any:
    if (folder := os.getcwd()) not in sys.path:  # noqa: PTH109 - as Python itself puts it there
        sys.path.insert(0, folder)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or name
        if name == missing or name.startswith(f"{missing}."):
            raise ArgumentError(
                f"`{option}` names module '{name}', which is neither installed nor in the working folder '{folder}'. "
                f"Run from the folder of your code, or give train.py:function."
            ) from None
        raise ArgumentError(f"`{option}`: importing '{name}' needs '{missing}', which is not installed.") from error
    except Exception as error:
        raise ArgumentError(f"`{option}`: importing '{name}' fails with {told_error(error)}") from error


def _file(place: str, option: str) -> Any:
    path = Path(place).absolute()
    if not path.is_file():
        raise ArgumentError(f"`{option}` names the file '{place}', which does not exist.")
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))  # what lies beside it can be imported, as when it is run
    name = f"eigenflow_user_{path.stem}_{abs(hash(str(path))):x}"
    if name in sys.modules:
        return sys.modules[name]
    described = importlib.util.spec_from_file_location(name, path)
    assert described is not None and described.loader is not None
    module = importlib.util.module_from_spec(described)
    sys.modules[name] = module
    try:
        described.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise ArgumentError(f"`{option}`: running '{place}' fails with {told_error(error)}") from error
    return module


def called(function: Callable[..., Any], option: str, *arguments: Any) -> Any:
    """Call a user's function; an error of it becomes one that names the option.

    Raises:
        ArgumentError: If it needs other arguments, or fails.
    """
    name = getattr(function, "__name__", type(function).__name__)
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError as error:
        raise ArgumentError(f"`{option}`: {name}{inspect.signature(function)} cannot be called so: {error}.") from None
    except ValueError:  # without a signature, as functions in C
        pass
    try:
        return function(*arguments)
    except Exception as error:
        raise ArgumentError(f"`{option}`: {name}() fails with {told_error(error)}") from error


def model_from(factory: Callable[..., Any], option: str = "model") -> nn.Module:
    """Make the model.

    Raises:
        ArgumentError: If the factory fails.
        ModelError: If it makes something else.
    """
    made = called(factory, option)
    if isinstance(made, type) and issubclass(made, nn.Module):
        raise ModelError(
            f"`{option}` gives the class {made.__name__}; it must return a model, such as {made.__name__}()."
        )
    if not isinstance(made, nn.Module):
        raise ModelError(f"`{option}` must return a torch.nn.Module, but returns {type(made).__name__}.")
    return made


def told_error(error: Exception) -> str:
    """Kind and first line of an error."""
    text = str(error).strip().split("\n")[0]
    return f"{type(error).__name__}: {text}" if text else f"{type(error).__name__}."
