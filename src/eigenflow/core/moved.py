"""Public names that have moved: they work where they were, and warn, until the version that the warning names.

A line here for each, and `keep_old_names(__name__)` at the end of the package that it left. Targets are texts, so that
nothing is imported before it is asked for, and no package comes to depend on one above it.
"""

import sys
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any
from warnings import warn

__all__ = ["CALLED", "GOES_IN", "MODULES", "NAMES", "keep_old_calls", "keep_old_modules", "keep_old_names"]

GOES_IN = "0.3"

NAMES = {
    "eigenflow.closure": {"fit_law": "eigenflow.closure.fit_drift_law"},
    "eigenflow.forecast": {
        "PowerLawForecast": "eigenflow.theory.forecasts.power_law.PowerLawForecast",
        "RestForecast": "eigenflow.theory.forecasts.rest_of_run.RestForecast",
        "fit_with_intervals": "eigenflow.forecast.fit_law",
        "forecast_rest": "eigenflow.theory.forecasts.rest_of_run.forecast_rest",
        "power_law_forecast": "eigenflow.theory.forecasts.power_law.power_law_forecast",
    },
    "eigenflow.transport": {
        "Closure": "eigenflow.closure.Closure",
        "fit_closure": "eigenflow.closure.fit_closure",
    },
}
"""By package: the old name, and where it is now."""

MODULES = {
    "eigenflow.forecast.scaling": "eigenflow.scaling",
    "eigenflow.forecast.selection": "eigenflow.forecast.evaluation.selection",
    "eigenflow.report.claims_picture": "eigenflow.plots.claims",
    "eigenflow.transport.closure": "eigenflow.closure",
}
"""Modules and packages by their old path; what lies in a package moved with it."""

CALLED = {"eigenflow.theory.claims": "eigenflow.theory.claims.claims"}
"""Packages that have the name of a function which stood beside them, and the function."""


def keep_old_names(package: str) -> None:
    """Let a package answer to names that have left it. Each warns once, and is the very object of its new place."""
    moved = NAMES[package]

    def old_name(name: str) -> Any:
        if name not in moved:
            raise AttributeError(f"module {package!r} has no attribute {name!r}", name=name, obj=sys.modules[package])
        home, _, new = moved[name].rpartition(".")
        _tell(f"{package}.{name}", moved[name], stacklevel=3)
        value = getattr(import_module(home), new)
        vars(sys.modules[package])[name] = value
        return value

    # Set from here: with a `__getattr__` of its own, type checkers would take any name of that package for real.
    vars(sys.modules[package])["__getattr__"] = old_name


def keep_old_calls(package: str) -> None:
    """Let a package be called in place of the function that had its name. Warns at the first call."""
    sys.modules[package].__class__ = _Called


def keep_old_modules() -> None:
    """Let old paths of modules be imported. Each warns once, and is the very module of its new path."""
    if not any(isinstance(finder, _OldPaths) for finder in sys.meta_path):
        # In front: Python's own finder would load a second copy of what lies in a moved package.
        sys.meta_path.insert(0, _OldPaths())


class _Called(ModuleType):
    def __call__(self, *arguments: Any, **options: Any) -> Any:
        home, _, name = CALLED[self.__name__].rpartition(".")
        if not vars(self).get("_has_told"):
            self._has_told = True
            _tell(f"{self.__name__}(...)", f"{CALLED[self.__name__]}(...)", stacklevel=3)
        return getattr(import_module(home), name)(*arguments, **options)


class _OldPaths(MetaPathFinder):
    def find_spec(self, fullname: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        if not fullname.startswith("eigenflow."):
            return None
        for old, new in MODULES.items():
            if fullname == old or fullname.startswith(f"{old}."):
                return ModuleSpec(fullname, _Alias(new + fullname.removeprefix(old)))
        return None


class _Alias(Loader):
    def __init__(self, new: str) -> None:
        self._new = new

    def exec_module(self, module: ModuleType) -> None:
        """Put the module of the new path where the import system then looks for the old one's."""
        old = module.__name__
        if old in MODULES:
            _tell(old, self._new, stacklevel=3)
        sys.modules[old] = import_module(self._new)


def _tell(old: str, new: str, stacklevel: int) -> None:
    warn(
        f"`{old}` is now `{new}`; the old name goes in version {GOES_IN}. Change it where it is imported.",
        FutureWarning,
        stacklevel=stacklevel,
    )
