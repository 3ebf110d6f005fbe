"""Training runs of which states are recorded, and the processes that record them and are killed."""

import os
import signal
import sys

import torch
from torch import nn

import eigenflow as ef
import eigenflow.core.writing
from eigenflow.store import checksums, folder, writer
from eigenflow.trajectory import StateRecorder
from problems import samples, tanh_net

RATE = 0.1
SCHEDULE = (0, 3, 7, 8, 15)


def make(seed=0, count=6, **options):
    """A network, its samples and a probe of them, with a holdout set."""
    model, (inputs, targets) = tanh_net(seed), samples(seed, count=count)
    return model, (inputs, targets), ef.Probe(model, inputs, targets, holdout=samples(seed + 50, count=3), **options)


def descend(model, train, start, stop, loss=nn.functional.mse_loss):
    """Full-batch gradient descent; yields the step and the loss before the update."""
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    for step in range(start, stop):
        optimizer.zero_grad()
        value = loss(model(train[0]), train[1])
        value.backward()
        optimizer.step()
        yield step, float(value.detach())


def states(model, train, schedule=SCHEDULE, loss=nn.functional.mse_loss):
    """Take the model through the states of a schedule."""
    done = 0
    for step in schedule:
        for _ in descend(model, train, done, step, loss):
            pass
        done = step
        yield step


def record_states(path, schedule=SCHEDULE, *, made=None, has_time=True, **options):
    """The states of a training run, recorded."""
    model, train, probe = made or make()
    with StateRecorder(path, probe, **options) as recorder:
        for step in states(model, train, schedule):
            recorder.record(step, time=RATE * step if has_time else None, loss=1.0 / (1 + step))
    return ef.open_run(path)


def die_at(number):
    """Let this process be killed in the middle of its n-th write of a file."""
    counted = 0
    whole = eigenflow.core.writing.write_whole

    def write(*arguments, **options):
        nonlocal counted
        counted += 1
        if counted == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return whole(*arguments, **options)

    for module in (writer, folder, checksums, eigenflow.core.writing):
        if hasattr(module, "write_whole"):
            module.write_whole = write


if __name__ == "__main__":
    torch.set_num_threads(1)
    die_at(int(sys.argv[2]))
    record_states(sys.argv[1])
