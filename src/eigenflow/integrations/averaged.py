"""Averaged weights (EMA, SWA) as a second network: their states recorded beside the run, at the same steps.

An average is not trained, so there are no updates to measure: the record is one of states (`StateRecorder`). It is made
of a twin of the trained model into which the average is loaded, because averages are often frozen or wrapped.
"""

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from eigenflow.core.errors import ModelError
from eigenflow.tangent import Probe
from eigenflow.trajectory import StateRecorder

__all__ = ["Averaged", "AveragedStates"]

# A module that holds the average, as of torch.optim.swa_utils, or a function that gives it by the model's names.
Averaged = nn.Module | Callable[[], Mapping[str, Tensor]]
WRAPPERS = ("module.", "_orig_mod.")


class AveragedStates:
    """Records the averaged weights of a model.

    Args:
        path: Folder of the record.
        average: Where the average is.
        model: The trained model, without wrappers.
        make_probe: Makes the probe on a model like it.
        modes: As for `StateRecorder`.

    Raises:
        ModelError: If the average lacks a trainable parameter of the model.
    """

    def __init__(
        self,
        path: Path,
        average: Averaged,
        model: nn.Module,
        make_probe: Callable[[nn.Module], Probe],
        *,
        modes: int | None,
    ):
        self.average = average
        self.twin = copy.deepcopy(model)
        self._trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
        self._refresh()
        probe = make_probe(self.twin)
        modes = None if modes is None else min(modes, probe.size)
        self.recorder = StateRecorder(path, probe, modes=modes, resume=True, config={"weights": "averaged"})

    def record(self, completed: int, *, time: float) -> None:
        """Record the average as it is after so many updates; one that is in the record already stays.

        Args:
            completed: Updates of the trained model.
            time: Sum of learning rates until then.
        """
        if self.recorder.steps and completed <= self.recorder.steps[-1]:
            return
        self._refresh()
        self.recorder.record(completed, time=time)

    def close(self, status: Any = "complete") -> None:
        """End the record."""
        self.recorder.close(status)

    @torch.no_grad()
    def _refresh(self) -> None:
        given = self.average.state_dict() if isinstance(self.average, nn.Module) else self.average()
        held = {_plain(name): tensor for name, tensor in given.items()}
        own = self.twin.state_dict()
        missing = sorted(name for name in self._trainable if name not in held)
        if missing:
            raise ModelError(
                f"`ema` must hold all trainable parameters of the model, but lacks {missing[:4]} ({len(missing)} in "
                f"all); it holds {sorted(held)[:4]}. Pass the averaged module, or a function that gives its tensors by "
                f"the model's names."
            )
        for name, tensor in own.items():
            if name in held:
                tensor.copy_(held[name])


def _plain(name: str) -> str:
    for wrapper in WRAPPERS:
        name = name.removeprefix(wrapper)
    return name
