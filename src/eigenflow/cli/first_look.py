"""What a run does to the loss, shown before anything is measured."""

from typing import TYPE_CHECKING

import numpy as np

from eigenflow.cli.console import err
from eigenflow.cli.plot import print_curve

if TYPE_CHECKING:
    from eigenflow.lab import ExperimentConfig

__all__ = ["show_first_look"]

# Updates are quick and measurements are not: so long a training shows much of most runs.
SECONDS = 1.5


def show_first_look(config: "ExperimentConfig") -> None:
    """Train for a moment, carry the loss on by the modes, and show both; the run itself begins anew afterwards."""
    from eigenflow.lab import first_look

    found = first_look(config, SECONDS)
    made = len(found.losses)
    told = f"first look: {made:,} of {config.train.steps:,} updates, loss {found.losses[0]:.3g} to "
    told += f"{found.losses[-1]:.3g}"
    coming = None
    if len(found.steps) and np.isfinite(found.missed):
        off = np.exp(found.missed)
        told += f"; its modes as they are now would end at {found.carried[-1]:.2g} (from half of this they were "
        told += f"{100 * (off - 1):.2g} % off)"
        coming = found.steps, found.carried, found.carried / off, found.carried * off
    err.print(told, markup=False, highlight=False, soft_wrap=True)
    print_curve((np.arange(1, made + 1), found.losses), coming, x="completed updates", band="as far off as before")
