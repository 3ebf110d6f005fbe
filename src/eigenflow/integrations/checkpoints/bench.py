"""A model and its probe, made once a process, into which one checkpoint after another is put and measured."""

import copy
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any
from uuid import uuid4

import torch
from torch import Tensor, nn

from eigenflow.core.errors import ArgumentError, ProcessLostError
from eigenflow.integrations.checkpoints.factories import function_named, model_from
from eigenflow.integrations.checkpoints.folder import Found
from eigenflow.integrations.checkpoints.formats.weights import UnreadableError
from eigenflow.integrations.checkpoints.hugging_face import (
    add_adapter,
    has_adapter,
    is_hugging_face,
    load_adapter,
    load_renamed,
    model_of_folder,
)
from eigenflow.integrations.checkpoints.loading import load_weights
from eigenflow.integrations.checkpoints.probe_files import make_probe, read_probe
from eigenflow.integrations.checkpoints.reading import open_weights
from eigenflow.tangent import Probe
from eigenflow.trajectory import StateMeasurement, measure_state
from eigenflow.trajectory.troubles import words_of

__all__ = ["Bench", "Outcome", "Recipe", "bench_for"]


@dataclass(frozen=True)
class Recipe:
    """How every process makes its model and probe.

    Attributes:
        model: `module:factory`, a function, a module, or None: from the folder.
        folder: A folder with `config.json`, if `model` is None.
        adapter: A folder with the adapter that the model needs, or None.
        probe: As for `read_probe`.
        loss: As for `make_probe`.
        output: Likewise.
        entry: Which part of every checkpoint to take.
        dtype: Of the probe.
        memory_budget: Of the probe.
        spread: Whether the probe's samples are shared out over the processes of the group.
        key: Tells one recipe from another in a process that keeps its bench.
    """

    model: str | Callable[[], nn.Module] | nn.Module | None
    folder: Path
    adapter: Path | None
    probe: Any
    loss: Any
    output: Any
    entry: str | None
    dtype: torch.dtype
    memory_budget: int | None
    spread: bool = False
    key: str = field(default_factory=lambda: uuid4().hex)


@dataclass(frozen=True)
class Outcome:
    """What became of one checkpoint.

    Attributes:
        measurement: Or None.
        reason: Why there is none.
        notes: On how it was read.
        wall_s: Seconds for reading and measuring.
        base: Checksum of what the factory alone gives, under an adapter.
        weights: Checksum of the state that was measured.
    """

    measurement: StateMeasurement | None
    reason: str
    notes: tuple[str, ...]
    wall_s: float
    base: str = ""
    weights: str = ""


class Bench:
    """A model and its probe.

    Args:
        recipe: How they are made.
    """

    def __init__(self, recipe: Recipe):
        self.recipe = recipe
        own = read_probe(recipe.probe) if isinstance(recipe.probe, Probe) else None
        model = own.values.network.model if own is not None else _model(recipe)
        if recipe.adapter is not None:
            model = add_adapter(model, recipe.adapter)
        self.model = model
        self.base = "" if recipe.adapter is None else _checksum(_frozen(model))
        was_training = any(module.training for module in model.modules())
        source = own or read_probe(recipe.probe, model)
        self.probe, self.notes = make_probe(
            source,
            model,
            loss=recipe.loss,
            output=recipe.output,
            dtype=recipe.dtype,
            memory_budget=recipe.memory_budget,
            spread=recipe.spread,
        )
        self.told = source.told
        if isinstance(source.values, Probe):
            self.model = self.probe.network.model
        elif was_training:
            self.notes += ("the model is measured in eval mode",)

    def load(self, found: Found) -> tuple[str, ...]:
        """Put a checkpoint into the model.

        Raises:
            UnreadableError: With the reason.
        """
        weights = open_weights(found)
        if found.kind == "adapter":
            if not has_adapter(self.model):
                raise UnreadableError("it is an adapter, and other checkpoints of the run are not")
            return load_adapter(self.model, weights)
        model = self.model
        try:
            return load_weights(model, weights, self.recipe.entry)
        except UnreadableError as error:
            if not (found.path.is_dir() and found.kind != "distributed" and is_hugging_face(model)):
                raise
            try:
                return load_renamed(model, found.path)
            except UnreadableError:
                raise error from None

    def measure(self, found: Found, settings: dict[str, Any]) -> Outcome:
        """Load and measure one checkpoint; what cannot be is told."""
        begin = perf_counter()
        try:
            notes = self.probe.processes.each(lambda: self.load(found))
            measurement = measure_state(self.probe, **settings)
        except ProcessLostError:  # nothing can be measured without it
            raise
        except Exception as error:  # one bad checkpoint does not end the work on all others
            reason = str(error) if isinstance(error, UnreadableError) else words_of(error)
            return Outcome(None, reason, (), perf_counter() - begin, self.base)
        return Outcome(measurement, "", notes, perf_counter() - begin, self.base, self.checksum())

    def checksum(self) -> str:
        """Of the model's state, whatever types it is held in."""
        return _checksum(self.model.state_dict())


def _model(recipe: Recipe) -> nn.Module:
    if recipe.model is None:
        return model_of_folder(recipe.folder)
    if isinstance(recipe.model, nn.Module):
        return copy.deepcopy(recipe.model)
    if isinstance(recipe.model, str):
        return model_from(function_named(recipe.model, "model"))
    if callable(recipe.model):
        return model_from(recipe.model)
    raise ArgumentError(
        f"`model` must be module:factory, a function that returns a module, or a module, but is "
        f"{type(recipe.model).__name__}."
    )


def _frozen(model: nn.Module) -> dict[str, Tensor]:
    """What no adapter's checkpoint holds: it has to be the same whenever the factory is called."""
    return {name: parameter for name, parameter in model.named_parameters() if not parameter.requires_grad}


def _checksum(tensors: Mapping[str, Any]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        if isinstance(tensor, Tensor):
            wide = tensor.detach().cpu().to(torch.float64 if tensor.is_floating_point() else tensor.dtype)
            digest.update(name.encode() + wide.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:32]


_KEPT: dict[str, Bench] = {}


def bench_for(recipe: Recipe) -> Bench:
    """The bench of this process; made at the first call, and one at a time is kept."""
    if recipe.key not in _KEPT:
        _KEPT.clear()
        _KEPT[recipe.key] = Bench(recipe)
    return _KEPT[recipe.key]


def measure_in_worker(recipe: Recipe, found: Found, settings: dict[str, Any]) -> Outcome:
    """What another process does for one checkpoint, on one thread."""
    torch.set_num_threads(1)
    return bench_for(recipe).measure(found, settings)
