"""What scaling tables have in common, learned from eight public sets: priors, scatter, and misfit under extrapolation.

The numbers are made by `benchmarks/learn_scaling_priors.py` from the sets named in `PROVENANCE`. They hold for
language models with losses in nats per token. Two of them say something about the theory: gamma is near 1/2 in
every clean set, that is, size and data combine as two rather sharp frontiers and not as the sum of two errors.
"""

from dataclasses import dataclass

from eigenflow.scaling.laws import ALPHA, BETA, D0, GAMMA, E, F, P, Q, R

__all__ = ["LEARNED", "PROVENANCE", "ScalingPriors"]

PROVENANCE = (
    "chinchilla_points, porian_isoflop, isoflop_llama3_marin, openlm_overtrain, misfitting_checkpoints, "
    "steplaw_lr_batch, gemstones, data_repetition (the lower parts of compute)"
)


@dataclass(frozen=True)
class ScalingPriors:
    """Normal priors of parameters, and the three scales of a predictive interval.

    Attributes:
        normal: For an index of `laws.NAMES`, mean and standard deviation. ln_E is relative to the logarithm of the
            smallest fitted loss, ln_D0 to the mean of ln D.
        excess: A run's scatter and misfit grow as 1 + x / excess, x = ln(loss / best loss at its compute).
        drift: Relative misfit of the law for a factor e beyond the fitted sizes, tokens or compute.
        quantile: Half width of the 90 % interval in predictive standard deviations.
    """

    normal: dict[int, tuple[float, float]]
    excess: float
    drift: float
    quantile: float


LEARNED = ScalingPriors(
    normal={
        E: (-0.327, 0.200),
        ALPHA: (-1.145, 0.329),
        BETA: (-0.853, 0.472),
        GAMMA: (-0.528, 0.420),
        D0: (-3.633, 1.528),
        # One set has repeats, so these are not learned: wide, about Muennighoff's R = 15.
        R: (2.7, 1.0),
        F: (-6.0, 3.0),
        P: (1.0, 0.5),
        Q: (1.0, 0.5),
    },
    excess=0.05,
    drift=0.0,
    quantile=3.35,
)
