"""Measured surfaces of known truth for the rows about peaks of the test risk.

Risks over the width of networks, at several numbers of samples: random features by the exact formula, with a seed's
scatter on top that neighbouring widths share in part. The prediction that is judged is told the same formula (true), or
one whose peaks lie elsewhere, are lower, or are missing (false).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from eigenflow.theory.double_descent.measured.comparison import DoubleDescentComparison, NetworksRow
from eigenflow.theory.double_descent.measured.judging import peak_rows
from eigenflow.theory.double_descent.measured.peaks_over_seeds import compare_curves
from eigenflow.theory.double_descent.random_features import random_features_risk
from eigenflow.theory.task_spectrum import TaskSpectrum
from eigenflow.theory.verdicts import Claim

__all__ = ["PEAK_CONTROLS", "PeakControl"]

WIDTHS = np.array([6.0, 9.0, 13.0, 19.0, 28.0, 42.0, 63.0, 95.0, 140.0, 210.0, 320.0])
SAMPLES = (25.0, 35.0, 50.0, 70.0, 100.0)
RIDGE = 0.02
SCATTER = 0.12  # of ln(risk) between seeds, as digits with small networks have it;
OWN = 0.25  # and the part of it that neighbouring widths do not share

Curve = Callable[[TaskSpectrum, float], Float[np.ndarray, " width"]]


def _risk(task: TaskSpectrum, samples: float, *, factor: float = 1.0, ridge: float = RIDGE) -> np.ndarray:
    """The formula's risk over widths, each counted `factor` times."""
    return random_features_risk(task, samples, WIDTHS * factor, ridge).risk.values


@dataclass(frozen=True)
class PeakControl:
    """A surface of known truth.

    Attributes:
        name: In words.
        predicted: What the prediction says, from task and number of samples.
        true: Rows that hold.
        false: Rows that do not.
    """

    name: str
    predicted: Curve
    true: frozenset[str]
    false: frozenset[str] = frozenset()

    def judge(self, seeds: int, seed: int) -> dict[str, Claim]:
        """Measure and judge one draw of it.

        Args:
            seeds: Curves that are averaged.
            seed: Of the draw.
        """
        rng = np.random.default_rng(seed)
        task = TaskSpectrum.power_law(
            float(rng.uniform(1.2, 1.6)), float(rng.uniform(1.5, 2.2)), modes=1500, noise=float(rng.uniform(0.3, 0.6))
        )
        rows = [self._row(task, samples, seeds, rng) for samples in SAMPLES]
        return {row.claim: row for row in peak_rows(DoubleDescentComparison(rows))}

    def _row(self, task: TaskSpectrum, samples: float, seeds: int, rng: np.random.Generator) -> NetworksRow:
        truth, predicted = np.log(_risk(task, samples)), np.log(self.predicted(task, samples))
        shared = rng.normal(size=(seeds, 1)) * SCATTER
        own, other = (rng.normal(size=(seeds, len(WIDTHS))) * OWN * SCATTER for _ in range(2))
        measured = np.exp(truth + shared + own)
        drift = np.exp(predicted + shared + other)
        risks = {"measured": measured, "lazy": drift, "drift": drift, "full": measured}
        moves = compare_curves("width", WIDTHS, risks, rng)
        return NetworksRow("width", {"samples": samples}, threshold=samples, fits=None, moves=moves)


ALL = frozenset({"C6.peaks", "C6.peak_place", "C6.peak_height"})
PEAK_CONTROLS = (
    PeakControl("the same formula", _risk, ALL),
    PeakControl(
        "peaks at half the width",
        lambda task, samples: _risk(task, samples, factor=2.0),
        frozenset({"C6.peaks"}),
        frozenset({"C6.peak_place"}),
    ),
    PeakControl(
        "peaks two thirds as high",
        lambda task, samples: _risk(task, samples) / 1.5,
        frozenset({"C6.peaks", "C6.peak_place"}),
        frozenset({"C6.peak_height"}),
    ),
    PeakControl(
        "no peaks",
        lambda task, samples: _risk(task, samples, ridge=samples),
        frozenset(),
        frozenset({"C6.peaks"}),
    ),
)
