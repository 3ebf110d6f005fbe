"""What an architecture of the zoo is, and how all of them are found."""

import random
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

__all__ = [
    "FAMILIES",
    "Architecture",
    "Inputs",
    "add",
    "architectures",
    "get",
    "keep_random_states",
    "quiet",
    "select",
]

Inputs = Tensor | tuple[Tensor, ...] | Mapping[str, Tensor]

# Modules of `zoo.families`; each adds its architectures when it is imported.
FAMILIES = (
    "activations",
    "dense",
    "convolution",
    "resampling",
    "norms",
    "batch_norms",
    "embeddings",
    "recurrent",
    "attention",
    "causal_lms",
    "encoders",
    "speech_and_vision",
    "physics",
    "dynamics",
    "routing",
    "algebra",
    "indexing",
    "functions",
    "sharing",
    "wrapped",
    "interfaces",
    "layers",
    "traps",
    "parameters",
    "more_language_models",
    "more_vision",
    "distributed",
    "custom_operations",
    "broken",
)

_ALL: dict[str, "Architecture"] = {}


@dataclass(frozen=True)
class Architecture:
    """A small network as people have it.

    Attributes:
        name: Unique.
        family: Module of `zoo.families`.
        build: Returns the model, in float32 as people have it, and inputs with the sample axis first.
        losses: Those that make sense.
        output: What a probe is told about where the outputs are; None: nothing, the obvious one is meant.
        class_axis: Where the classes lie, for the reference.
        options: More arguments of the probe.
        dtype: In which the probe evaluates.
        tolerance: Relative to the largest value.
        refusal: Why this one may be refused, or "" if it may not.
        is_training: The model stays in train mode.
        ignored: How many of the labels are -100.
    """

    name: str
    family: str
    build: Callable[[], tuple[nn.Module, Inputs]]
    losses: tuple[str, ...] = ("mse", "cross_entropy")
    output: Any = None
    class_axis: int = -1
    options: Mapping[str, Any] | None = None
    dtype: torch.dtype = torch.float64
    tolerance: float = 1e-7
    refusal: str = ""
    is_training: bool = False
    ignored: int = 0

    def make(self, seed: int = 0) -> tuple[nn.Module, Inputs]:
        """A new model and its inputs: the same ones whenever it is called, and no trace in the random state."""
        with quiet(), keep_random_states():
            torch.manual_seed(1000 + seed)
            model, inputs = self.build()
            return model if self.is_training else model.eval(), inputs


def add(name: str, build: Callable[[], tuple[nn.Module, Inputs]], *, family: str, **options: Any) -> None:
    """Add an architecture to the zoo."""
    if name in _ALL:
        raise ValueError(f"two architectures are called {name!r}")
    _ALL[name] = Architecture(name=name, family=family.rsplit(".", 1)[-1], build=build, **options)


def architectures(family: str | None = None) -> list[Architecture]:
    """All architectures, or those of one family, in the order in which they were written down."""
    for name in FAMILIES:
        import_module(f"zoo.families.{name}")
    if family is not None and family not in FAMILIES:
        raise ValueError(f"no family {family!r}; there are {', '.join(FAMILIES)}")
    return [a for a in _ALL.values() if family in (None, a.family)]


def get(name: str) -> Architecture:
    """One architecture by name."""
    architectures()
    return _ALL[name]


def select(outputs: Any, output: Any) -> Tensor:
    """Take the outputs that the loss sees out of what a model returns."""
    if callable(output):
        return output(outputs)
    if output is not None:
        return outputs[output]
    if isinstance(outputs, Tensor):
        return outputs
    if isinstance(outputs, Mapping):
        for key in ("logits", "last_hidden_state"):
            if key in outputs:
                return outputs[key]
        return next(value for value in outputs.values() if isinstance(value, Tensor))
    return outputs[0]


@contextmanager
def keep_random_states() -> Iterator[None]:
    """Nothing that is drawn or seeded inside is seen outside, in torch, numpy and python."""
    legacy, python = np.random.get_state(), random.getstate()  # noqa: NPY002
    try:
        with torch.random.fork_rng():
            yield
    finally:
        np.random.set_state(legacy)  # noqa: NPY002
        random.setstate(python)


@contextmanager
def quiet() -> Iterator[None]:
    """Other libraries warn of what is meant here: old weight_norm, nested tensors, checkpoints."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
