"""Variations of an experiment that move it between lazy and feature-learning training, all else kept equal."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from eigenflow.core.errors import ArgumentError
from eigenflow.lab.config import ExperimentConfig
from eigenflow.lab.models import build_model
from eigenflow.lab.tasks import load_task

__all__ = ["lazy_rich_variations", "with_equal_stability"]


def lazy_rich_variations(
    base: ExperimentConfig,
    *,
    output_scales: Sequence[float] = (),
    widths: Sequence[int] = (),
    depths: Sequence[int] = (),
    learning_rates: Sequence[float] = (),
    residual: bool = False,
) -> dict[str, ExperimentConfig]:
    """Make experiments that differ from a base in one thing that the theory says moves the lazy-rich coordinate.

    Output scale, width, depth and shortcuts change the size of the operator. There the learning rate is changed with
    it (`with_equal_stability`), so that all runs pass the same number of relaxation times of their fastest mode in
    the same number of steps. Where the learning rate itself is varied, the number of steps is changed instead.

    Args:
        base: Kept under its name, and varied.
        output_scales: Factors alpha on the outputs, of networks whose untouched outputs are subtracted (large: lazy).
            The base is centred only if its own config says so.
        widths: Hidden widths, or channels (large: lazy).
        depths: Hidden layers (large: rich).
        learning_rates: Learning rates at the base's total time.
        residual: Also the base with shortcuts around its hidden layers.

    Returns:
        Configurations by name, the base first.

    Raises:
        ArgumentError: If a learning rate leaves fewer than 2 steps, or a varied configuration is not allowed.
    """
    found = {base.name: base}
    for name, section, changes in _changes(base, output_scales, widths, depths, learning_rates, residual):
        changed = _changed(base, name, section, changes)
        found[name] = changed if section == "train" else with_equal_stability(changed, base)
    return found


def _changes(
    base: ExperimentConfig,
    output_scales: Sequence[float],
    widths: Sequence[int],
    depths: Sequence[int],
    learning_rates: Sequence[float],
    residual: bool,
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for scale in output_scales:
        yield f"{base.name}-scale-{scale:g}", "model", {"output_scale": scale, "centred": True}
    for width in widths:
        yield f"{base.name}-width-{width}", "model", {"width": width}
    for depth in depths:
        yield f"{base.name}-depth-{depth}", "model", {"depth": depth}
    for rate in learning_rates:
        if not rate > 0:
            raise ArgumentError(f"`learning_rates` must be positive, but hold {rate}.")
        steps = round(base.train.steps * base.train.learning_rate / rate)
        yield f"{base.name}-rate-{rate:g}", "train", {"learning_rate": rate, "steps": steps}
    if residual:
        yield f"{base.name}-residual", "model", {"residual": True}


def with_equal_stability(config: ExperimentConfig, base: ExperimentConfig) -> ExperimentConfig:
    """Scale the learning rate so that learning rate x largest eigenvalue of the untouched operator is the base's.

    For the output scale alpha this is Chizat's learning rate ~ 1 / alpha^2.
    """
    ratio = _largest_eigenvalue(base) / _largest_eigenvalue(config)
    train = config.train.model_copy(update={"learning_rate": base.train.learning_rate * ratio})
    return config.model_copy(update={"train": train})


def _largest_eigenvalue(config: ExperimentConfig) -> float:
    task = load_task(config.task)
    model = build_model(*task.sizes, config.model)
    point = task.probe(model, config.train.loss, holdout=False).at()
    return float(torch.linalg.eigvalsh(point.dense())[-1])


def _changed(base: ExperimentConfig, name: str, section: str, changes: dict[str, Any]) -> ExperimentConfig:
    values = base.model_dump()
    values["name"] = name
    values[section] |= changes
    try:
        return ExperimentConfig.model_validate(values)
    except ValueError as error:
        raise ArgumentError(f"Variation '{name}' is not an experiment: {error}") from None
