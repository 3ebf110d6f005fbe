"""Rates that a scheduler will give, held against those that it gives when it is stepped."""

import warnings

import pytest
import torch
from torch.optim import lr_scheduler as torch_schedulers

from eigenflow.integrations.planned_rates import planned_rates

TOTAL = 40
KINDS = {
    "constant": lambda o: torch_schedulers.LambdaLR(o, lambda step: 1.0),
    "warm-up": lambda o: torch_schedulers.LambdaLR(o, lambda step: min(1.0, (step + 1) / 10)),
    "cosine": lambda o: torch_schedulers.CosineAnnealingLR(o, TOTAL),
    "restarts": lambda o: torch_schedulers.CosineAnnealingWarmRestarts(o, 10),
    "steps": lambda o: torch_schedulers.MultiStepLR(o, [10, 25]),
    "one cycle": lambda o: torch_schedulers.OneCycleLR(o, max_lr=0.3, total_steps=TOTAL),
    "exponential": lambda o: torch_schedulers.ExponentialLR(o, 0.9),
    "one after another": lambda o: torch_schedulers.SequentialLR(
        o,
        [torch_schedulers.LinearLR(o, 0.1, total_iters=5), torch_schedulers.CosineAnnealingLR(o, TOTAL - 5)],
        milestones=[5],
    ),
    "chained": lambda o: torch_schedulers.ChainedScheduler(
        [torch_schedulers.ConstantLR(o, 0.5, total_iters=4), torch_schedulers.ExponentialLR(o, 0.95)]
    ),
}


def made(kind):
    parameter = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.AdamW([{"params": [parameter], "lr": 0.1}])
    return optimizer, KINDS[kind](optimizer), parameter


@pytest.mark.parametrize("kind", KINDS)
def test_rates_are_those_that_come(kind):
    optimizer, scheduler, parameter = made(kind)
    planned = planned_rates(scheduler, TOTAL)
    came = []
    for _ in range(TOTAL):
        parameter.grad = torch.ones(2)
        optimizer.step()
        came.append(optimizer.param_groups[0]["lr"])
        with warnings.catch_warnings():
            # SequentialLR calls its parts with a step, which PyTorch itself has deprecated.
            warnings.filterwarnings("ignore", "The epoch parameter in `scheduler.step", UserWarning)
            scheduler.step()
    assert planned == pytest.approx(came, rel=1e-12)


def test_asking_changes_nothing():
    optimizer, scheduler, _ = made("one cycle")
    before = (scheduler.state_dict(), [dict(group) for group in optimizer.param_groups], optimizer.state_dict())
    planned_rates(scheduler, TOTAL)
    after = (scheduler.state_dict(), [dict(group) for group in optimizer.param_groups], optimizer.state_dict())
    assert str(before) == str(after)


def test_a_scheduler_that_looks_at_the_loss_has_no_plan():
    optimizer, _, _ = made("constant")
    assert planned_rates(torch_schedulers.ReduceLROnPlateau(optimizer), TOTAL) is None
    assert planned_rates(None, TOTAL) is None
    assert planned_rates(made("cosine")[1], None) is None


def test_one_that_fails_has_no_plan():
    def failing(step):
        if step > 3:
            raise ZeroDivisionError
        return 1.0

    optimizer, _, _ = made("constant")
    assert planned_rates(torch_schedulers.LambdaLR(optimizer, failing), TOTAL) is None
