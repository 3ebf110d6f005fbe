"""A probe from a file of tensors or from what a function returns."""

import inspect
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from eigenflow.core.errors import ArgumentError, FileError
from eigenflow.integrations.checkpoints.factories import called, function_named
from eigenflow.integrations.checkpoints.formats.torch_files import read_torch
from eigenflow.integrations.checkpoints.formats.weights import UnreadableError
from eigenflow.integrations.distributed import sharded_probe
from eigenflow.integrations.language import evaluating, language_probe, probe_arguments
from eigenflow.tangent import Probe, ShardedProbe

__all__ = ["ProbeSource", "make_probe", "read_probe"]

HELD_OUT = "holdout_"
ALLOWED = (
    "It must hold `inputs` and `targets`, or what the model's forward takes by name together with `labels` (a batch), "
    "each also with holdout_ before its name"
)


@dataclass(frozen=True)
class ProbeSource:
    """What a probe is made of, before there is a model.

    Attributes:
        values: What the file or the function gives: names to tensors, a pair, or a probe.
        told: Where it is from.
    """

    values: Any
    told: str


def read_probe(source: Any, model: nn.Module | None = None) -> ProbeSource:
    """Read what a probe is made of.

    Args:
        source: A file (`.safetensors`, `.npz`, `.pt`), `module:function`, or the values themselves: a mapping, a pair
            of inputs and targets, a probe, a function of nothing or of the model.
        model: Handed to a function that takes it.

    Raises:
        ArgumentError, FileError: If it cannot be read, with what is allowed.
    """
    if isinstance(source, str | Path):
        text = str(source)
        if Path(text).is_file():
            return ProbeSource(_file(Path(text)), f"file '{text}'")
        if ":" not in text or text.endswith((".pt", ".npz", ".safetensors")):
            raise FileError(f"`probe` is '{text}', which does not exist. Give a file, or module:function.")
        return ProbeSource(_from(function_named(text, "probe"), model), f"function '{text}'")
    if callable(source) and not isinstance(source, Probe):
        return ProbeSource(_from(source, model), f"function {getattr(source, '__name__', 'probe')}")
    return ProbeSource(source, type(source).__name__)


def _from(function: Callable[..., Any], model: nn.Module | None) -> Any:
    needed = [
        one
        for one in inspect.signature(function).parameters.values()
        if one.default is one.empty and one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)
    ]
    return called(function, "probe", *([model] if needed and model is not None else []))


def _file(path: Path) -> dict[str, Any]:
    """Names and tensors of a file; nothing of it is run."""
    try:
        if path.suffix.lower() == ".safetensors":
            from safetensors.torch import load_file

            return dict(load_file(path))
        if path.suffix.lower() == ".npz":
            with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                return {name: torch.from_numpy(file[name]) for name in file.files}
        weights = read_torch(path)
    except UnreadableError as error:
        raise ArgumentError(f"`probe` is '{path}', but {error}. {ALLOWED}.") from None
    except (OSError, ValueError, TypeError, pickle.UnpicklingError) as error:
        raise ArgumentError(f"`probe` is '{path}', which cannot be read ({error}). {ALLOWED}.") from None
    except Exception as error:  # safetensors' own error derives from Exception alone
        raise ArgumentError(f"`probe` is '{path}', which is damaged ({error}). {ALLOWED}.") from None
    return dict(weights.content) if weights.content else dict(weights.tensors)


def make_probe(
    source: ProbeSource,
    model: nn.Module,
    *,
    loss: Any = None,
    output: Any = None,
    dtype: torch.dtype = torch.float64,
    memory_budget: int | None = None,
    spread: bool = False,
) -> tuple[Probe | ShardedProbe, tuple[str, ...]]:
    """Make the probe of a model; returns it with notes on what was taken.

    The model is put into eval mode, and into a type in which neither it nor the samples lose a digit.

    Args:
        source: From `read_probe`.
        model: What is measured.
        loss: As for `Probe`; None: that of the model itself for a batch with labels, "cross_entropy" for whole numbers
            as targets, else "mse".
        output: As for `Probe`.
        dtype: As for `Probe`.
        memory_budget: As for `Probe`.
        spread: Whether its samples are shared out over the processes of the group.

    Raises:
        ArgumentError, ModelError: As `Probe`; or if the source holds something else.
    """
    model.eval()
    values, options = source.values, {"dtype": dtype, "memory_budget": memory_budget}
    if isinstance(values, Probe):
        if spread:
            raise ArgumentError(
                f"`probe` ({source.told}) is a Probe, whose samples are in one process. On several processes, give its "
                f"inputs and targets."
            )
        return values, ()
    if isinstance(values, tuple | list) and len(values) in (2, 4):
        names = ("inputs", "targets", "holdout_inputs", "holdout_targets")
        values = dict(zip(names, values, strict=False))
    if not isinstance(values, Mapping):
        raise ArgumentError(f"`probe` ({source.told}) is a {type(values).__name__}. {ALLOWED}.")
    values = {str(name): value for name, value in values.items()}
    if (dtype_of_model := _widest(values, model)) is not None:
        model.to(dtype_of_model)
    values = _on_device(values, model, dtype_of_model)
    held = {k.removeprefix(HELD_OUT): v for k, v in values.items() if k.startswith(HELD_OUT)}
    values = {k: v for k, v in values.items() if not k.startswith(HELD_OUT)}
    if "inputs" in values and "targets" in values:
        inputs, targets = _pair(values, source.told)
        holdout = _pair(held, source.told) if held else None
    elif any("label" in name or name == "start_positions" for name in values) and loss is None:
        return _language_probe(model, values, held or None, options, spread=spread), ("loss: the model's own",)
    elif "labels" in values:
        inputs, targets = _batch(values)
        holdout = _batch(held) if held else None
    else:
        raise ArgumentError(f"`probe` ({source.told}) holds {_listed(values)}. {ALLOWED}.")
    chosen = loss if loss is not None else _usual_loss(targets)
    notes = () if loss is not None else (f"loss: {chosen}, as targets are {targets.dtype}",)
    make = sharded_probe if spread else Probe
    return make(model, inputs, targets, chosen, holdout, output=output, **options), notes


def _language_probe(
    model: nn.Module,
    batch: Mapping[str, Any],
    holdout: Mapping[str, Any] | None,
    options: dict[str, Any],
    *,
    spread: bool,
) -> Probe | ShardedProbe:
    if not spread:
        return language_probe(model, batch, holdout=holdout, **options)
    told = probe_arguments(model, batch, holdout=holdout, dtype=options["dtype"])
    with evaluating(model):
        return sharded_probe(model, **told, memory_budget=options["memory_budget"])


def _pair(values: Mapping[str, Any], told: str) -> tuple[Any, Tensor]:
    others = [name for name in values if name not in ("inputs", "targets")]
    if others or "inputs" not in values or "targets" not in values:
        raise ArgumentError(f"`probe` ({told}) holds {_listed(values)}. {ALLOWED}.")
    return values["inputs"], values["targets"]


def _batch(values: Mapping[str, Any]) -> tuple[dict[str, Any], Tensor]:
    if "labels" not in values:
        raise ArgumentError(f"`probe` has holdout_ entries {_listed(values)}, but no holdout_labels.")
    return {name: value for name, value in values.items() if name != "labels"}, values["labels"]


def _usual_loss(targets: Any) -> str:
    return "mse" if isinstance(targets, Tensor) and targets.is_floating_point() else "cross_entropy"


def _widest(values: Any, model: nn.Module) -> torch.dtype | None:
    """The type in which a model and what it is given lose no digit; at least float32."""
    own = [p.dtype for p in (*model.parameters(), *model.buffers()) if p.is_floating_point()]
    if not own:
        return None
    given = [leaf.dtype for leaf in tree_leaves(values) if isinstance(leaf, Tensor) and leaf.is_floating_point()]
    return reduce(torch.promote_types, [*own, *given], torch.float32)


def _on_device(values: Any, model: nn.Module, dtype: torch.dtype | None) -> Any:
    """Tensors on the model's device; floating-point ones in a type."""
    device = next((p.device for p in model.parameters()), torch.device("cpu"))

    def moved(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        return leaf.to(device, dtype if leaf.is_floating_point() and dtype is not None else leaf.dtype)

    return tree_map(moved, values)


def _listed(names: Mapping[str, Any]) -> str:
    return ", ".join(f"'{name}'" for name in list(names)[:8]) or "nothing"
