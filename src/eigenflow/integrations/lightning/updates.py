"""Which updates an optimizer made while a batch was trained on, with which rates, and from which loss."""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["Made", "Updates"]

# Losses that are kept of a module that never lets its optimizer be seen.
MOST_LOSSES = 256


@dataclass(frozen=True)
class Made:
    """What happened to the network since the last call.

    Attributes:
        updates: How many, those that were left out included.
        loss: Of the network before the first of them: the mean over its micro-batches or, where the module makes its
            updates itself, the sum of what gradients were taken of.
        rates: Of every parameter group: the mean over the updates, so that their sum is what it was.
        samples: Of the micro-batches.
        was_skipped: Whether none was made, as a scaler found gradients that are not finite.
    """

    updates: int
    loss: Tensor | float
    rates: list[float]
    samples: int
    was_skipped: bool


class Updates:
    """Watches one optimizer among those of a trainer.

    Args:
        optimizer: That moves the network.
        scaler: Of gradients in half precision, or None.
    """

    def __init__(self, optimizer: Any, scaler: Any):
        self.optimizer, self.scaler = optimizer, scaler
        self._handles = []
        self._is_seen = isinstance(optimizer, torch.optim.Optimizer)
        if self._is_seen:
            self._handles = [
                optimizer.register_step_pre_hook(self._before),
                optimizer.register_step_post_hook(self._after),
            ]
        # A fused optimizer is called by the scaler in any case, and leaves the update out itself.
        self._skips_itself = scaler is not None and getattr(optimizer, "_step_supports_amp_scaling", False)
        self._batch_losses: list[Tensor] = []  # gone back from in this micro-batch
        self._losses: list[Tensor] = []  # of micro-batches since the last update
        # Gone back from since the last update of any optimizer, where the module makes its updates itself.
        self._went_back: deque[Tensor] = deque(maxlen=MOST_LOSSES)
        self._samples, self._asked, self._made = 0, 0, 0
        self._rates: list[list[float]] = []
        self._scale: float | None = None
        self._own_loss: Tensor | None = None
        self._is_manual = False

    def begin_batch(self) -> None:
        """A micro-batch begins."""
        self._batch_losses.clear()

    def goes_back_from(self, loss: Tensor) -> None:
        """A backward pass begins, from a loss that a scaler may have scaled."""
        loss = loss.detach()
        if self.scaler is not None and self.scaler.is_enabled():
            loss = loss / self.scaler.get_scale()
        self._batch_losses.append(loss)
        self._went_back.append(loss)

    def is_asked_for(self, optimizer: Any) -> None:
        """Gradients of an optimizer are there; it makes its update unless a scaler leaves it out."""
        losses, self._went_back = self._went_back, deque(maxlen=MOST_LOSSES)
        if optimizer is not self.optimizer and getattr(optimizer, "optimizer", None) is not self.optimizer:
            return
        self._asked += 1
        if self._own_loss is None and losses:
            self._own_loss = _stacked(losses).sum()
        if self._skips_itself:
            self._scale = self.scaler.get_scale()
        if not self._is_seen:
            self._before(optimizer)

    def end_batch(self, outputs: Any, samples: int, accumulation: int | None) -> None:
        """A micro-batch is over.

        Args:
            outputs: Of the training step, as Lightning gives them.
            samples: Of the micro-batch.
            accumulation: By how many its loss was divided; None: the module makes its updates itself.
        """
        self._samples += samples
        self._is_manual = accumulation is None
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        # An optimizer that evaluates several times, as L-BFGS, returns the last loss; the first is that before it.
        if accumulation is not None and len(self._batch_losses) > 1:
            loss = self._batch_losses[0]
        if isinstance(loss, Tensor) and loss.numel() == 1:
            loss = loss.detach()
            self._losses.append(loss * accumulation if accumulation and accumulation > 1 else loss)

    def taken(self) -> Made | None:
        """What was done since the last call; None if nothing."""
        if not self._asked and not self._made:
            return None
        made = self._made if self._is_seen else self._asked
        if self._scale is not None and self.scaler.get_scale() < self._scale:
            made = 0
        loss = self._loss_before()
        rates = self._rates or [self._current_rates()]
        mean = [sum(one) / len(rates) for one in zip(*rates, strict=True)]
        found = Made(max(self._asked, self._made), loss, mean, self._samples, made == 0)
        self._losses, self._rates, self._own_loss, self._scale = [], [], None, None
        self._went_back.clear()
        self._samples = self._asked = self._made = 0
        return found

    def stop(self) -> None:
        """Watch no longer."""
        for handle in self._handles:
            handle.remove()

    def _loss_before(self) -> Tensor | float:
        if self._is_manual and self._own_loss is None and self._went_back:
            return _stacked(self._went_back).sum()
        if self._is_manual and self._own_loss is not None:
            return self._own_loss
        if not self._losses:
            return float("nan")
        return self._losses[0] if len(self._losses) == 1 else _stacked(self._losses).mean()

    def _before(self, optimizer: Any, *args: Any) -> None:
        self._rates.append(self._current_rates())

    def _after(self, optimizer: Any, *args: Any) -> None:
        self._made += 1

    def _current_rates(self) -> list[float]:
        return [float(group["lr"]) for group in self.optimizer.param_groups]


def _stacked(losses: Iterable[Tensor]) -> Tensor:
    return torch.stack([loss.double().reshape(()) for loss in losses])
