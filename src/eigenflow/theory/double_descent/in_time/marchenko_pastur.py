"""Isotropic inputs: the density of eigenvalues of their sample covariance, and risks over time as integrals of it.

p features on n samples, gamma = p / n. The eigenvalues of X'X / n lie between (1 -+ sqrt(gamma))^2 with density
sqrt((l+ - l)(l - l-)) / (2 pi gamma l), and a share 1 - 1 / gamma of them is zero if gamma > 1.

Source: [@advani2017high]; equations/double_descent.md#advani-saxe, #height-law.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from eigenflow.core.checks import check_number
from eigenflow.theory.double_descent.in_time.attenuation import Motion, attenuate, one_motion
from eigenflow.theory.double_descent.in_time.gradient_flow import moments
from eigenflow.transport import PowerDrift
from eigenflow.transport.flows.paths import panel_rule

__all__ = ["MarchenkoPastur", "advani_saxe", "isotropic_noise"]

NODES = 20
GRADED = 60  # panels that halve towards the hard edge: eigenvalues down to 4^-60 of the largest
STEEP = 45  # and towards an eigenvalue at which modes just end


@dataclass(frozen=True)
class MarchenkoPastur:
    """Nodes of the density of nonzero eigenvalues.

    Attributes:
        ratio: gamma.
        eigenvalues: l of the nodes, increasing.
        weights: Of the integral over the density; they add up to min(1, 1 / gamma).
        null: Share of zero eigenvalues.
    """

    ratio: float
    eigenvalues: Float[np.ndarray, " node"]
    weights: Float[np.ndarray, " node"]
    null: float

    @classmethod
    def of(cls, ratio: float, kink: float | None = None) -> "MarchenkoPastur":
        """Put panels on the angle in l = 1 + gamma - 2 sqrt(gamma) cos(angle), graded towards the lower edge.

        Args:
            ratio: gamma > 0.
            kink: Eigenvalue at which what will be integrated is not smooth: panels are graded towards it too.
        """
        root = np.sqrt(ratio)
        edges = np.concatenate([[0.0], np.pi * 0.5 ** np.arange(GRADED, -1.0, -1.0)])
        edges = np.concatenate([edges[:-2], np.linspace(edges[-2], edges[-1], 5)])
        if kink is not None:
            near = kink * (1.0 + np.outer([-1.0, 1.0], 0.5 ** np.arange(1.0, STEEP)).ravel())
            places = (np.append(near, kink) - (1.0 - root) ** 2) / (4.0 * root)
            edges = np.union1d(edges, 2.0 * np.arcsin(np.sqrt(places[(places > 0.0) & (places < 1.0)])))
        at, weights = panel_rule(NODES)
        half = 0.5 * np.diff(edges)[:, None]
        angle = (edges[:-1, None] + half * (1.0 + at)).ravel()
        # (1 - root)^2 + 4 root sin^2(angle / 2), free of cancellation.
        rates = (1.0 - root) ** 2 + 4.0 * root * np.sin(0.5 * angle) ** 2
        density = 2.0 * np.sin(angle) ** 2 / (np.pi * rates)
        return cls(ratio, rates, (half * weights).ravel() * density, max(0.0, 1.0 - 1.0 / ratio))


def advani_saxe(
    times: Any, load: float | int, *, snr: float | int, initial: float | int = 0.0
) -> Float[np.ndarray, " time"]:
    """Give the generalization error over time of a linear student, in units of the teacher's weights' variance.

    Gaussian inputs of N features have variance 1 / N. Time is in units of the sum of x x' over all samples:
    rates have the mean `load` and not 1.

    Args:
        times: >= 0, increasing.
        load: alpha = P / N, samples per feature, > 0.
        snr: Variance of the teacher's weights over that of the noise, > 0; infinite is no noise.
        initial: Variance of the student's first weights over that of the teacher's (INR).

    Returns:
        E_g(t) with the noise of test labels in it, accurate to 1e-12.

    Source: [@advani2017high], equations/double_descent.md#advani-saxe.
    """
    t = moments(times)
    alpha = check_number("load", load, 1e-12, 1e12)
    noise = 0.0 if snr == np.inf else 1.0 / check_number("snr", snr, 1e-300)
    start = 1.0 + check_number("initial", initial, 0.0)
    # Eigenvalues of sum_mu x x' are those of p / n = 1 / alpha times alpha.
    rule = MarchenkoPastur.of(1.0 / alpha)
    rates = alpha * rule.eigenvalues
    exponents = np.multiply.outer(t, rates)
    signal = start * (np.exp(-2.0 * exponents) @ rule.weights + rule.null)
    return signal + noise * (np.expm1(-exponents) ** 2 @ (rule.weights / rates)) + noise


def isotropic_noise(
    times: Any, ratio: float | int = 1.0, *, drift: Motion = None, clock: Callable | None = None
) -> Float[np.ndarray, " time"]:
    """Give the height of the peak over time, V(t): what noise of variance 1 adds to the isotropic risk.

    V = gamma int rho(l) (1 - exp(-Q))^2 / l dl, with Q = l t at rest.

    Args:
        times: >= 0, increasing.
        ratio: gamma = p / n > 0; 1 is the peak.
        drift: How eigenvalues move; see `finite_time_risk`.
        clock: Instead of it, the effective time of all modes.

    Returns:
        V(t), accurate to 1e-9; infinite where modes of eigenvalue 0 grow (b < 1).
    """
    t = moments(times)
    gamma = check_number("ratio", ratio, 1e-12, 1e12)
    motion = one_motion(drift, clock)
    if not isinstance(drift, PowerDrift) or drift.b == 1.0:
        return _noise_gain(MarchenkoPastur.of(gamma), t, motion)
    passed = (drift.b - 1.0) * drift.accumulated(t)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        ends = np.where(passed < 0.0, np.exp(-np.log(np.abs(passed)) / (drift.b - 1.0)), np.nan)
    # Below b = 1 even a mode at 0 grows, so at a hard edge noise is fitted without bound from the start.
    if drift.b < 1.0 and gamma == 1.0 and (drift.accumulated(t) < 0.0).any():
        return np.where(t > 0.0, np.inf, 0.0)
    rules = [MarchenkoPastur.of(gamma, float(end) if np.isfinite(end) and end > 0.0 else None) for end in ends]
    return np.array([_noise_gain(rule, t[i : i + 1], motion)[0] for i, rule in enumerate(rules)])


def _noise_gain(rule: MarchenkoPastur, times: np.ndarray, motion: Motion) -> np.ndarray:
    """V with the nodes of a rule; the energies that a state drift asks for are those of pure noise."""
    share = rule.weights * min(1.0, rule.ratio)
    kept = attenuate(motion, rule.eigenvalues, times, share, max(0.0, 1.0 - rule.ratio))
    return rule.ratio * (kept.learned**2 @ (rule.weights / rule.eigenvalues))
