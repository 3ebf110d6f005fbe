"""Learning rates of single parameters, so that the width of a network changes one thing.

In maximal update every unit, and what the network says, moves by an amount that does not depend on the width. With r =
width / base width, and W the weight in use:

    parameter                      SGD: rate at W    Adam: step of W    initial variance of W
    first layer, embedding         r                 1                  1 / fan-in
    biases, gains of layer norms   r                 1                  0, 1
    hidden                         1                 1 / r              1 / fan-in
    output                         1 / r             1 / r              1 / (fan-in r)
    bias of the output             1                 1                  0

At r = 1 it is the standard parametrisation. Attention scores are divided by the size of a head instead of its root.
Decoupled weight decay shrinks all weights alike, whatever their rates. An mlp under SGD needs no rates of its own:
factors in front of its weights do the same (`parametrised`), with the base width 1.

Source: [@yang2022tensor], table 3; as in their program the decay of a group grows as its rate falls.
"""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from eigenflow.lab.config import ExperimentConfig
from eigenflow.lab.models import Centred
from eigenflow.lab.parametrised import Parametrised

__all__ = ["parameter_groups"]

Layer = nn.Linear | nn.Conv2d


@dataclass(frozen=True)
class _Place:
    """A parameter's group, and the factor that stands before it in the network."""

    group: str
    factor: float


def parameter_groups(model: nn.Module, config: ExperimentConfig) -> list[dict[str, Any]]:
    """Parameters as an optimizer takes them, each group with its name, rate and decay.

    Args:
        model: As of `build_model`.
        config: What it was built by, with optimizer, rate and decay.

    Returns:
        One group where all have one rate. Otherwise the first has the rate that the configuration says, which is the
        clock of the run.
    """
    rate, decay, width = config.train.learning_rate, config.train.weight_decay, config.model.width
    is_adam = config.train.optimizer != "sgd"
    if config.model.parametrisation != "maximal_update" or (config.model.name == "mlp" and not is_adam):
        return [{"name": "0", "params": list(model.parameters()), "lr": rate, "weight_decay": decay}]
    ratio = width / config.model.base_width
    targets = {"input": 1.0, "hidden": 1.0 / ratio, "output": 1.0 / ratio, "fixed": 1.0}
    if not is_adam:
        targets = {"input": ratio, "hidden": 1.0, "output": 1.0 / ratio, "fixed": 1.0}
    groups: dict[tuple[str, float], dict[str, Any]] = {}
    for parameter, place in _places(model).items():
        # Adam's step knows no scale of the gradient, so a factor counts once; in SGD it counts twice.
        own = targets[place.group] / (place.factor if is_adam else place.factor**2)
        name = place.group if place.factor == 1.0 else f"{place.group}_{place.factor:.6g}"
        made = {"name": name, "params": [], "lr": rate * own, "weight_decay": decay / own}
        groups.setdefault((place.group, place.factor), made)["params"].append(parameter)
    return sorted(groups.values(), key=lambda group: group["lr"] != rate)


def _places(model: nn.Module) -> dict[Tensor, _Place]:
    network = model.network if isinstance(model, Centred) else model
    layers = [module for module in network.modules() if isinstance(module, Layer)]
    has_embedding = any(isinstance(module, nn.Embedding) for module in network.modules())
    found: dict[Tensor, _Place] = {p: _Place("input", 1.0) for p in network.parameters()}
    for place, layer in enumerate(layers):
        outer, inner = (layer.outer, layer.inner) if isinstance(layer, Parametrised) else (1.0, 1.0)
        is_last, is_first = place == len(layers) - 1, place == 0 and not has_embedding
        found[layer.weight] = _Place("output" if is_last else "input" if is_first else "hidden", inner * outer)
        if layer.bias is not None:
            found[layer.bias] = _Place("fixed" if is_last else "input", outer)
    return found
