"""A plain training loop whose every random choice follows from the seed and the step."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from eigenflow.lab.config import TrainConfig
from eigenflow.tangent import loss_factor

__all__ = ["Trainer", "Update"]


@dataclass(frozen=True)
class Update:
    """One update: its number, and the batch loss that it was computed from."""

    step: int
    loss: float
    batch_size: int


class Trainer:
    """Trains a model on fixed samples.

    Batches are a function of (seed, step) alone, so training can go on from any saved state.

    Args:
        model: Trained in place.
        inputs: All training inputs.
        targets: Their targets, in the shape of the outputs; for cross-entropy class labels, one a sample or position.
        config: Optimizer, loss, batches, seed.
        groups: Parameters with rates of their own, as of `parameter_groups`; None: all have the config's rate.
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: Tensor,
        targets: Tensor,
        config: TrainConfig,
        groups: list[dict[str, Any]] | None = None,
    ):
        self.model, self.inputs, self.targets, self.config = model, inputs, targets, config
        self.batch_size = config.batch_size or len(inputs)
        self.has_labels = config.loss == "cross_entropy"
        self.factor = 1.0 if self.has_labels else loss_factor(config.loss, self.batch_size, targets[0].numel())
        rate, decay, parameters = config.learning_rate, config.weight_decay, groups or model.parameters()
        if config.optimizer == "adam":
            self.optimizer: torch.optim.Optimizer = torch.optim.Adam(parameters, lr=rate, weight_decay=decay)
        elif config.optimizer == "adamw":
            self.optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=decay)
        else:
            self.optimizer = torch.optim.SGD(parameters, lr=rate, momentum=config.momentum, weight_decay=decay)

    @property
    def rates(self) -> dict[str, float]:
        """Learning rates by parameter group, the run's clock first."""
        return {str(group.get("name", index)): group["lr"] for index, group in enumerate(self.optimizer.param_groups)}

    def updates(self, start: int = 0) -> Iterator[Update]:
        """Make the updates from number `start` on, yielding after each."""
        for step in range(start, self.config.steps):
            rows = self.batch(step)
            self.optimizer.zero_grad()
            loss = self.loss(self.model(self.inputs[rows]), self.targets[rows])
            loss.backward()
            self.optimizer.step()
            yield Update(step, float(loss.detach()), self.batch_size)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The trained loss of one batch."""
        if self.has_labels:
            return functional.cross_entropy(outputs.flatten(0, -2), targets.flatten())
        return 0.5 * self.factor * ((outputs - targets) ** 2).sum()

    def batch(self, step: int) -> slice | Tensor:
        """Samples of one update: all of them, or the next part of the epoch's permutation."""
        if self.batch_size == len(self.inputs):
            return slice(None)
        per_epoch = len(self.inputs) // self.batch_size
        epoch, position = divmod(step, per_epoch)
        generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + epoch)
        order = torch.randperm(len(self.inputs), generator=generator)
        return order[position * self.batch_size : (position + 1) * self.batch_size]

    def state(self) -> dict[str, Tensor]:
        """Everything needed to go on, as tensors by flat name."""
        state = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        for index, slots in self.optimizer.state_dict()["state"].items():
            for name, value in slots.items():
                if value is not None:
                    state[f"optimizer.{index}.{name}"] = torch.as_tensor(value)
        return state

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Go back to what `state` returned."""
        prefix = "model."
        self.model.load_state_dict({k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)})
        slots: dict[int, dict[str, Tensor]] = {}
        for key, value in state.items():
            if key.startswith("optimizer."):
                _, index, name = key.split(".", 2)
                slots.setdefault(int(index), {})[name] = value.clone()
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": slots, "param_groups": groups})
