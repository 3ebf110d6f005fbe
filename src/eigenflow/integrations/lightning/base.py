"""Lightning's own `Callback`: of `lightning.pytorch` or `pytorch_lightning`, whichever was imported before."""

import importlib
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

__all__ = ["Callback"]

if TYPE_CHECKING:
    from lightning.pytorch import Callback
else:
    # Both packages bring a Callback, and importing them takes seconds: that of who imports this is taken.
    names = ("lightning.pytorch", "pytorch_lightning")
    found = [name for name in names if name in sys.modules]
    for name in (*found, *names):
        with suppress(ModuleNotFoundError):
            Callback = importlib.import_module(name).Callback
            break
    else:
        raise ModuleNotFoundError(
            "The callback needs lightning. Install it with: pip install -c constraints.txt 'eigenflow[lightning]'.",
            name="lightning",
        )
