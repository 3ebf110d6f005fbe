"""Which updates an optimizer made while a batch was trained on, with which rates, and from which loss."""

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

__all__ = ["Made", "Updates"]

# Losses that are kept of a module that never lets its optimizer be seen.
MOST_LOSSES = 256


class Made(NamedTuple):
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
    loss: float
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
        # Gone back from first in this micro-batch, and how often that was done.
        self._first_loss: Tensor | None = None
        self._backward = 0
        self._losses: list[Tensor] = []  # of micro-batches since the last update
        # Gone back from since the last update of any optimizer, where the module makes its updates itself.
        self._went_back: deque[Tensor] = deque(maxlen=MOST_LOSSES)
        self._samples, self._asked, self._made = 0, 0, 0
        self._rates: list[list[float]] = []
        self._scale: float | None = None
        # Gone back from before the first update since the last call, for modules that make their updates themselves.
        self._own_losses: Iterable[Tensor] = ()
        self._is_manual = False

    def goes_back_from(self, loss: Tensor, *, is_manual: bool) -> None:
        """A backward pass begins.

        Args:
            loss: From which; a scaler may have scaled it.
            is_manual: Whether the module makes its updates itself.
        """
        self._backward += 1
        if self._backward > 1 and not is_manual:
            return
        scaler = self.scaler if self.scaler is not None and self.scaler.is_enabled() else None
        # The graph is gone when the micro-batch is over, so that one loss of it needs no detaching.
        if is_manual or scaler is not None:
            loss = loss.detach()
        if scaler is not None:
            loss = loss / scaler.get_scale()
        if self._backward == 1:
            self._first_loss = loss
        if is_manual:
            self._went_back.append(loss)

    def is_asked_for(self, optimizer: Any) -> None:
        """Gradients of an optimizer are there; it makes its update unless a scaler leaves it out."""
        losses: Iterable[Tensor] = ()
        if self._went_back:
            losses, self._went_back = self._went_back, deque(maxlen=MOST_LOSSES)
        if optimizer is not self.optimizer and getattr(optimizer, "optimizer", None) is not self.optimizer:
            return
        self._asked += 1
        self._own_losses = self._own_losses or losses
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
        # Asking an abstract class takes ten times as long.
        is_mapping = type(outputs) is dict or isinstance(outputs, Mapping)
        loss = outputs.get("loss") if is_mapping else outputs
        # An optimizer that evaluates several times, as L-BFGS, returns the last loss; the first is that before it.
        if accumulation is not None and self._backward > 1:
            loss = self._first_loss
        self._first_loss, self._backward = None, 0
        if isinstance(loss, Tensor) and loss.numel() == 1:
            loss = loss.detach() if loss.requires_grad else loss
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
        mean = rates[0] if len(rates) == 1 else [sum(one) / len(rates) for one in zip(*rates, strict=True)]
        found = Made(max(self._asked, self._made), loss, mean, self._samples, made == 0)
        self._losses, self._rates, self._own_losses, self._scale = [], [], (), None
        self._went_back.clear()
        self._samples = self._asked = self._made = 0
        return found

    def stop(self) -> None:
        """Watch no longer."""
        for handle in self._handles:
            handle.remove()

    def _loss_before(self) -> float:
        if self._is_manual and (losses := self._own_losses or self._went_back):
            return float(_stacked(losses).sum())
        if not self._losses:
            return float("nan")
        return float(self._losses[0].item() if len(self._losses) == 1 else _stacked(self._losses).mean())

    def _before(self, optimizer: Any, *args: Any) -> None:
        self._rates.append(self._current_rates())

    def _after(self, optimizer: Any, *args: Any) -> None:
        self._made += 1

    def _current_rates(self) -> list[float]:
        return [float(group["lr"]) for group in self.optimizer.param_groups]


def _stacked(losses: Iterable[Tensor]) -> Tensor:
    return torch.stack([loss.double().reshape(()) for loss in losses])
