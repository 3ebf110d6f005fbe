"""Losses at late times, summed over labels that the transport package carries; used by the tests of the phases."""

import numpy as np

from eigenflow.transport import Characteristics, PowerDrift


def drift(b, c0, p, t0=1.0):
    """v = -c0 (1 + t/t0)^-p lambda^b, with its closed integral."""
    q = 1.0 - p
    if p == 0:
        return PowerDrift(c=c0, b=b)
    if q == 0:
        return PowerDrift(lambda t: c0 / (1 + t / t0), b, lambda t: c0 * t0 * np.log1p(t / t0))
    return PowerDrift(lambda t: c0 * (1 + t / t0) ** -p, b, lambda t: c0 * t0 * np.expm1(q * np.log1p(t / t0)) / q)


def loss(b, c0, p, s, time, t0=1.0, cut=True):
    """Energy left from lambda^(s-1) e^-lambda (or without the cut) at one time; what has escaped is gone.

    The trapezoid rule in ln(lambda0), or in the logit of lambda0 / (escaping label), converges
    exponentially: a step of 0.15 leaves less than 1e-10, and what lies below the lowest label 1e-9.
    """
    moving = drift(b, c0, p, t0)
    paths, accumulated = Characteristics(moving, 2.0), float(moving.accumulated(time))
    bottom = -21.0 / s - np.log1p(time) - max(0.0, -accumulated if b == 1 else 0.0)
    if b > 1 and c0 < 0:
        escaping = (-(b - 1) * accumulated) ** (-1 / (b - 1))
        x = np.arange(-21.0 / s - max(0.0, np.log(time * escaping)), 30.0, 0.15)
        labels, weight = escaping / (1 + np.exp(-x)), 0.15 / (1 + np.exp(x))
        # The last labels before the escape cannot be told from it.
        is_kept = np.isfinite(paths.forward(labels, time))
        labels, weight = labels[is_kept], weight[is_kept]
    else:
        labels = np.exp(np.arange(bottom, 4.5 if cut else 30.0, 0.15))
        weight = np.full(len(labels), 0.15)
    start = labels**s * (np.exp(-labels) if cut else 1.0)
    return float(np.sum(weight * start * paths.attenuation(labels, time)))


def slope(b, c0, p, s, time, t0=1.0):
    """-d ln L / d ln t by a central difference over 4 % of the time."""
    early, late = (loss(b, c0, p, s, time * factor, t0) for factor in (0.98, 1.02))
    return float(-np.log(late / early) / np.log(1.02 / 0.98))
