"""Plain SGD on a linear model whose modes are its samples, with the noise of its batches, and with more."""

import numpy as np

from eigenflow.core.grid import log_steps
from eigenflow.theory.controls.measuring import ControlRun, Instant, measure, resting_modes
from eigenflow.theory.controls.systems import STEP

__all__ = ["minibatches", "noisier_minibatches"]

STEPS = 20_000  # updates


def minibatches(modes: int, times: int, seed: int) -> ControlRun:
    """Plain SGD on a linear model: a mode is a sample, and each update sees a tenth of them."""
    return _sampled(modes, times, seed, noise=1.0)


def noisier_minibatches(modes: int, times: int, seed: int) -> ControlRun:
    """The same with twice the noise that its batches have: another process than it says."""
    return _sampled(modes, times, seed, noise=2.0)


def _sampled(modes: int, times: int, seed: int, noise: float) -> ControlRun:
    rng = np.random.default_rng([seed, modes, times])
    # A flat spectrum, in which the noise of one batch is that of many samples.
    lam, batch = np.arange(1.0, modes + 1.0) ** -0.3, max(2, modes // 10)
    length = STEP * batch / modes  # a sample's own step is as long as elsewhere
    steps = log_steps(STEPS, count=times)
    error, states, updates = rng.normal(size=modes), {}, {}
    wanted = set(steps.tolist()) | set((steps + 1).tolist())
    for step in range(int(steps[-1]) + 2):
        if step in wanted:
            states[step] = error
        chosen = np.zeros(modes)
        chosen[rng.choice(modes, batch, replace=False)] = modes / batch
        drawn = 1.0 + noise * (chosen - 1.0)
        error = error * (1.0 - length * lam * drawn)
        if step in wanted:
            updates[step] = error

    def at(time: float) -> Instant:
        return resting_modes(lam, np.zeros(modes), states[round(time / length)])

    def update(instant: Instant, time: float, step_size: float) -> np.ndarray:
        return updates[round(time / length)]

    data = measure(at, steps * length, length, update=update)
    return ControlRun(data, "minibatches", batch_size=batch)
