"""Every error that eigenflow raises on purpose.

Each class also derives from the built-in that Python users would catch. A message names the
argument as the user typed it, what is allowed, what came, and the next step.
"""

__all__ = [
    "ArgumentError",
    "ConfigError",
    "ConvergenceError",
    "EigenflowError",
    "FileError",
    "LimitError",
    "ModelError",
    "NonFiniteError",
    "ProcessLostError",
    "RunFolderError",
    "ShapeError",
]


class EigenflowError(Exception):
    """Base of all errors raised by eigenflow on purpose."""


class ArgumentError(EigenflowError, ValueError):
    """An argument has a value that is not allowed."""


class ShapeError(ArgumentError):
    """An array has the wrong shape."""


class NonFiniteError(ArgumentError):
    """An input, a loss or a result is NaN or infinite."""


class ModelError(EigenflowError, ValueError):
    """The network cannot be measured as it is (random layers, no parameters, ...)."""


class ConfigError(EigenflowError, ValueError):
    """An experiment file is missing, cannot be read, or has a wrong or unknown key."""


class ConvergenceError(EigenflowError, RuntimeError):
    """A computation ended before the accuracy that was asked for, and the caller asked not to go on so."""


class RunFolderError(EigenflowError, RuntimeError):
    """A run folder exists already, is in use, is missing, or cannot be understood."""


class ProcessLostError(EigenflowError, RuntimeError):
    """Another process of a group has ended, hangs or left, so that work which needs all of them cannot go on."""


class FileError(EigenflowError, OSError):
    """A file cannot be read or written: a full or read-only disk, a missing permission, a folder in the way."""


class LimitError(ArgumentError):
    """An input asks for more memory or work than `eigenflow.core.limits` allows; the message says how to raise it."""
