"""Random ReLU features: what their trained readout does on test samples, measured and expected.

Features are h_j(x) = sqrt(2) relu(w_j' z) with w_j ~ N(0, I) and z = (x, 1) / sqrt(inputs + 1); their mean kernel is
the arc-cosine one, κ1 of equations/known_cases.md#ntk-spectra. The readout starts at zero and follows the flow of half
the mean square over samples, solved in the eigenbasis of M = H H' / (n k); at its end a ridge may stand beside that
loss. Two numbers a point: the excess risk with the labels that were drawn, and its expectation over the noise of labels
for these samples and features. Neither contains an approximation.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

__all__ = ["ReadoutRisk", "arc_cosine_kernel", "random_features", "readout_risk"]

# Below this share of the largest eigenvalue a direction is rounding: without ridge it is never learned.
ROUNDING = 1e-12


@dataclass(frozen=True)
class ReadoutRisk:
    """Errors of one draw, over times and then over ridges at the end of training.

    Attributes:
        excess: Mean over test samples of (prediction - target)^2, summed over outputs; labels as drawn.
        expected: Its mean over the noise of labels, samples and features given.
        train: Mean square of prediction minus label on the training samples.
        resolved: At the times, share of the modes that can be learned, as many as features or samples, with
            2 lambda t > 1.
    """

    excess: Float[np.ndarray, " point"]
    expected: Float[np.ndarray, " point"]
    train: Float[np.ndarray, " point"]
    resolved: Float[np.ndarray, " time"]


def random_features(
    inputs: Float[np.ndarray, "sample input"], weights: Float[np.ndarray, "augmented feature"]
) -> Float[np.ndarray, "sample feature"]:
    """Features of samples; `weights` has a row more than there are inputs, for the constant."""
    return np.sqrt(2.0) * np.maximum(_augmented(inputs) @ weights, 0.0)


def arc_cosine_kernel(
    inputs: Float[np.ndarray, "sample input"], others: Float[np.ndarray, "other input"]
) -> Float[np.ndarray, "sample other"]:
    """Mean of h(x) h(x') over features: |z| |z'| (sin a + (pi - a) cos a) / pi, a the angle."""
    first, second = _augmented(inputs), _augmented(others)
    sizes = np.linalg.norm(first, axis=1)[:, None] * np.linalg.norm(second, axis=1)
    cosine = np.clip(first @ second.T / sizes, -1.0, 1.0)
    angle = np.arccos(cosine)
    return sizes * (np.sqrt(1.0 - cosine**2) + (np.pi - angle) * cosine) / np.pi


def readout_risk(
    features: Float[np.ndarray, "sample feature"],
    test_features: Float[np.ndarray, "tested feature"],
    labels: Float[np.ndarray, "sample output"],
    target: Float[np.ndarray, "sample output"],
    test_target: Float[np.ndarray, "tested output"],
    *,
    noise: float,
    times: Float[np.ndarray, " time"],
    ridge: Float[np.ndarray, " ridge"],
) -> ReadoutRisk:
    """Give the errors of a trained readout at the times, and then at the end of training with each ridge.

    Args:
        features: H on the training samples.
        test_features: H on the test samples.
        labels: What is trained on.
        target: The mean of labels on the training samples, noise left out.
        test_target: The same on the test samples.
        noise: Variance of the labels about it, summed over outputs and alike for all samples.
        times: Of the flow.
        ridge: Beside half the mean square over samples; 0 is the end of the flow.
    """
    count, tested = len(features), len(test_features)
    scale = 1.0 / (count * features.shape[1])
    values, vectors = np.linalg.eigh(scale * features @ features.T)
    values = np.where(values > ROUNDING * max(values[-1], 1e-300), values, 0.0)
    # Row u: what mode u says of the test samples, a unit of amplitude in it. Scaled so that gains below are shares.
    reach = scale * test_features @ (features.T @ vectors)
    gains = np.concatenate([_flow_gains(values, times), _ridge_gains(values, ridge)])
    overlap, onto = reach.T @ reach / tested, reach.T @ test_target / tested
    energy = float((test_target**2).sum() / tested)

    def excess(amplitudes: np.ndarray) -> np.ndarray:
        learned = gains[:, :, None] * amplitudes
        squares = np.einsum("tuc,uv,tvc->t", learned, overlap, learned, optimize=True)
        return np.maximum(squares - 2.0 * np.einsum("tuc,uc->t", learned, onto) + energy, 0.0)

    drawn = vectors.T @ labels
    left = (1.0 - gains * values)[:, :, None] * drawn
    return ReadoutRisk(
        excess=excess(drawn),
        expected=excess(vectors.T @ target) + noise * (gains**2 @ np.diag(overlap)),
        train=(left**2).sum((1, 2)) / count,
        resolved=(2.0 * np.outer(times, values) > 1.0).sum(axis=1) / min(features.shape),
    )


def _augmented(inputs: Float[np.ndarray, "sample input"]) -> Float[np.ndarray, "sample augmented"]:
    constant = np.ones((len(inputs), 1))
    return np.concatenate([inputs, constant], axis=1) / np.sqrt(inputs.shape[1] + 1.0)


def _flow_gains(values: Float[np.ndarray, " mode"], times: Float[np.ndarray, " time"]) -> np.ndarray:
    """(1 - e^(-lambda t)) / lambda, t itself where lambda is zero."""
    known = values > 0.0
    inner = -np.expm1(-np.outer(times, values)) / np.where(known, values, 1.0)
    return np.where(known, inner, 0.0)


def _ridge_gains(values: Float[np.ndarray, " mode"], ridge: Float[np.ndarray, " ridge"]) -> np.ndarray:
    """1 / (lambda + ridge); what is never learned gains nothing."""
    known = values > 0.0
    return np.where(known, 1.0 / np.where(known, values + ridge[:, None], 1.0), 0.0)
