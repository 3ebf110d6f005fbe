"""What measuring checkpoints will do: what is found, the model and the probe, and what it costs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from eigenflow.core.checks import check_kind, check_whole
from eigenflow.core.errors import ArgumentError
from eigenflow.integrations.checkpoints.bench import Bench, Recipe
from eigenflow.integrations.checkpoints.listing import Listing, list_checkpoints
from eigenflow.integrations.checkpoints.result import CheckpointCost, CheckpointPlan
from eigenflow.tangent import Probe, ShardedProbe, measurement_cost
from eigenflow.tangent.choice import LEAST_PRODUCTS, PRODUCTS_A_MODE
from eigenflow.trajectory import TailSettings
from eigenflow.trajectory.methods import make_method

__all__ = ["Work", "plan_checkpoints", "plan_of", "prepare"]


@dataclass(frozen=True)
class Work:
    """What is to be done.

    Attributes:
        listing: Checkpoints and their steps.
        bench: The model and the probe of this process.
        recipe: How others make theirs.
        config: What the record says about itself.
        modes: Largest modes to store.
        method: As for `StateRecorder`.
        tolerance: Likewise.
    """

    listing: Listing
    bench: Bench
    recipe: Recipe
    config: dict[str, Any]
    modes: int
    method: Any
    tolerance: float

    @property
    def has_times(self) -> bool:
        """Whether the sum of learning rates is known for every checkpoint."""
        listed = self.listing.checkpoints
        return bool(listed) and all(one.time is not None for one in listed)


def plan_checkpoints(
    checkpoints: str | Path | Sequence[str | Path],
    model: str | Callable[[], nn.Module] | nn.Module | None,
    probe: Any,
    *,
    modes: int | None = 64,
    method: str = "auto",
    loss: Any = None,
    output: Any = None,
    entry: str | None = None,
    updates_per_epoch: int | None = None,
    log: str | Path | None = None,
    dtype: torch.dtype = torch.float64,
    memory_budget: int | None = None,
) -> CheckpointPlan:
    """Say what `measure_checkpoints` would do with the same arguments, and what it would cost.

    Args:
        checkpoints: This and all others as for `measure_checkpoints`.
        model: Likewise.
        probe: Likewise.
        modes: Likewise.
        method: Likewise.
        loss: Likewise.
        output: Likewise.
        entry: Likewise.
        updates_per_epoch: Likewise.
        log: Likewise.
        dtype: Likewise.
        memory_budget: Likewise.

    Raises:
        ArgumentError, FileError, ModelError: As `measure_checkpoints`.
    """
    recipe = {"loss": loss, "output": output, "entry": entry, "dtype": dtype, "memory_budget": memory_budget}
    steps = {"updates_per_epoch": updates_per_epoch, "log": log}
    work = prepare(checkpoints, model, probe, recipe, modes=modes, method=method, **steps)
    return plan_of(work)


def prepare(
    checkpoints: Any,
    model: Any,
    probe: Any,
    recipe: dict[str, Any],
    *,
    modes: int | None,
    method: Any,
    updates_per_epoch: int | None,
    log: str | Path | None,
    tolerance: float = 1e-5,
) -> Work:
    """Look for checkpoints, and make the model and the probe; arguments as for `measure_checkpoints`.

    Raises:
        ArgumentError, FileError, ModelError: Likewise.
    """
    check_kind("entry", recipe["entry"], (str, type(None)), "the name of a part of the checkpoints, such as 'ema'")
    if isinstance(probe, Probe) and model is not None:
        raise ArgumentError("`model` must be None with a Probe, which has its own.")
    if updates_per_epoch is not None:
        check_whole("updates_per_epoch", updates_per_epoch, 1)
    listing = list_checkpoints(checkpoints, updates_per_epoch, log)
    found = [one.found for one in listing.checkpoints]
    if not found:
        raise ArgumentError(f"`checkpoints` holds none that can be read. {_why_none(listing)}")
    folder = next((one.path for one in found if (one.path / "config.json").is_file()), _first_folder(checkpoints))
    adapter = next((one.path for one in found if one.kind == "adapter"), None)
    made = Recipe(model, folder, adapter, probe, **recipe)
    bench = Bench(made)
    size = bench.probe.size
    config = {
        "name": f"checkpoints of {_first_folder(checkpoints).name or 'a run'}",
        "model": {"name": model if isinstance(model, str) else type(bench.model).__name__},
        "probe": bench.told,
        "entry": recipe["entry"],
        "unit": listing.unit,
        "clock": listing.clock,
        "base": bench.base,
    }
    return Work(listing, bench, made, config, size if modes is None else min(modes, size), method, tolerance)


def _first_folder(checkpoints: Any) -> Path:
    first = Path(str(checkpoints if isinstance(checkpoints, str | Path) else next(iter(checkpoints), ".")))
    return first if first.is_dir() else first.parent


def _why_none(listing: Listing) -> str:
    if not listing.left_out:
        return "No file looks like one: .safetensors, .pt, .pth, .ckpt, .bin, or a folder with .metadata."
    path, _, reason = listing.left_out[0]
    more = len(listing.left_out) - 1
    return f"'{path.name}': {reason}.{f' And {more} more.' if more else ''}"


def plan_of(work: Work) -> CheckpointPlan:
    """What will be done, and what it costs."""
    probe, count = work.bench.probe, len(work.listing.checkpoints)
    here = probe.local if isinstance(probe, ShardedProbe) else probe
    method, products = "dense", None
    if make_method(work.method, probe, work.modes).name != "dense":
        tail = TailSettings()  # Krylov spaces of the error and of random vectors, below the modes
        method, products = (
            "products",
            tail.steps * (1 + tail.probes) + max(LEAST_PRODUCTS, PRODUCTS_A_MODE * work.modes),
        )
    one = measurement_cost(here, work.modes, method, drift=False, products=products)
    cost = CheckpointCost(
        checkpoints=count,
        seconds=count * one.seconds,
        flops=count * one.flops,
        peak_bytes=one.peak_bytes,
        read_bytes=sum(listed.bytes for listed in work.listing.checkpoints),
        rows=probe.size,
        parameters=sum(p.numel() for p in probe.network.parameters().values()),
    )
    return CheckpointPlan(work.listing, cost, probe, work.listing.notes + work.bench.notes)
