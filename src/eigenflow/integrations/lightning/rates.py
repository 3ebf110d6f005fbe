"""The learning rates that a run of Lightning will have, as far as its schedulers tell."""

from typing import Any

from eigenflow.integrations.planned_rates import planned_rates

__all__ = ["planned_by_lightning"]


def planned_by_lightning(trainer: Any, optimizer: Any, total_steps: int | None) -> list[float] | None:
    """The first parameter group's rate of every update of an optimizer.

    Args:
        trainer: In training.
        optimizer: Of its optimizers.
        total_steps: Updates in all.

    Returns:
        Rates, one for each update; None where Lightning does not step one scheduler alone, once an update or once in
        so many whole epochs.
    """
    mine = [one for one in trainer.lr_scheduler_configs if getattr(one.scheduler, "optimizer", None) is optimizer]
    if len(mine) != 1 or total_steps is None or not trainer.lightning_module.automatic_optimization:
        return None
    each = _updates_of_a_rate(trainer, mine[0], total_steps)
    if each is None:
        return None
    rates = planned_rates(mine[0].scheduler, -(-total_steps // each))
    return None if rates is None else [rate for rate in rates for _ in range(each)][:total_steps]


def _updates_of_a_rate(trainer: Any, config: Any, total_steps: int) -> int | None:
    """Updates until the scheduler is stepped, the same throughout."""
    if config.interval == "step":
        return 1 if config.frequency == 1 else None
    epochs = trainer.max_epochs or 0
    return None if epochs <= 0 or total_steps % epochs else total_steps // epochs * config.frequency
