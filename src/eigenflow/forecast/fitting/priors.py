"""What many runs have taught about the parameters of the transport law, as a Gaussian in internal units.

`priors.json` is made by `benchmarks/learn_priors.py` and says from which runs. A prior is learned hierarchically: the
parameters of a family of runs (one model, one data set, one peak rate) are draws from a common Gaussian.
"""

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from jaxtyping import Float

from eigenflow.core.errors import ArgumentError
from eigenflow.forecast.fitting.covariates import Covariates

__all__ = ["Prior", "conflict_with_prior", "learned_prior", "priors_for"]

# A run that goes on has up to so many times the final losses of its kind.
LIKE = 4.0


@dataclass(frozen=True)
class Prior:
    """A Gaussian over the parameters of one law (the first, L_inf, is left free).

    Attributes:
        name: As in the file.
        law: The law that it is for.
        parameters: Names.
        mean: In internal units (`theta`).
        covariance: Between families of runs.
        slopes: Mean and standard deviation of slopes, by "parameter | size" or "parameter | rate".
        provenance: Which runs it was learned from.
        losses: Lowest and highest final loss of these runs, for a prior of one task; None: for every loss.
    """

    name: str
    law: str
    parameters: tuple[str, ...]
    mean: Float[np.ndarray, " parameter"]
    covariance: Float[np.ndarray, "parameter parameter"]
    slopes: dict[str, tuple[float, float]]
    provenance: str
    losses: tuple[float, float] | None = None

    @property
    def is_wide(self) -> bool:
        """Whether it is the one that leaves most to the curves."""
        return self.name == "wide"

    def serves(self, loss: float) -> bool:
        """Whether a lowest loss so far may belong to a run like those that the prior was learned from."""
        return self.losses is None or self.losses[0] / LIKE <= loss <= self.losses[1] * LIKE

    @property
    def rate_slopes(self) -> tuple[str, ...]:
        """Parameters that move with the peak rate."""
        return tuple(name.split(" | ")[0] for name in self.slopes if name.endswith("| rate"))

    def for_fit(self, covariates: Covariates) -> tuple[Float[np.ndarray, " all"], Float[np.ndarray, "all all"]]:
        """Give mean and precision over all parameters of a fit; precision 0 where the prior says nothing."""
        names = covariates.names
        mean, precision = np.zeros(len(names)), np.zeros((len(names), len(names)))
        at = [names.index(name) for name in self.parameters]
        mean[at] = self.mean
        precision[np.ix_(at, at)] = np.linalg.inv(self.covariance)
        for k, name in enumerate(names):
            if name in self.slopes:
                mean[k], precision[k, k] = self.slopes[name][0], self.slopes[name][1] ** -2
        return mean, precision

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return {
            "law": self.law,
            "parameters": list(self.parameters),
            "mean": self.mean.tolist(),
            "covariance": self.covariance.tolist(),
            "slopes": {name: list(value) for name, value in self.slopes.items()},
            "provenance": self.provenance,
            "losses": None if self.losses is None else list(self.losses),
        }

    @classmethod
    def from_dict(cls, name: str, form: dict[str, Any]) -> "Prior":
        """Make a prior again from `to_dict`."""
        return cls(
            name,
            form["law"],
            tuple(form["parameters"]),
            np.array(form["mean"]),
            np.array(form["covariance"]),
            {key: (float(value[0]), float(value[1])) for key, value in form["slopes"].items()},
            form["provenance"],
            None if form.get("losses") is None else (float(form["losses"][0]), float(form["losses"][1])),
        )


@cache
def _shipped() -> dict[str, Prior]:
    form = json.loads(files("eigenflow.forecast.fitting").joinpath("priors.json").read_text(encoding="utf-8"))
    return {name: Prior.from_dict(name, entry) for name, entry in form["priors"].items()}


def priors_for(law: str) -> tuple[Prior, ...]:
    """Give the shipped priors of a law; none for most."""
    return tuple(prior for prior in _shipped().values() if prior.law == law)


def learned_prior(name: str) -> Prior:
    """Give a shipped prior.

    Raises:
        ArgumentError: If there is none of this name.
    """
    if name not in _shipped():
        raise ArgumentError(f"Unknown prior {name!r}. Available: {', '.join(repr(n) for n in _shipped())}.")
    return _shipped()[name]


def conflict_with_prior(
    mean: Float[np.ndarray, " all"],
    precision: Float[np.ndarray, "all all"],
    theta: Float[np.ndarray, " all"],
    covariance: Float[np.ndarray, "all all"],
) -> float:
    """How far a fit lies from its prior, over what the prior expects: 1 (at least) where they agree.

    If the curves come from the prior, the squared distance of the optimum from the prior's centre, in the prior's
    metric P, has the mean trace(1 - C P), the number of parameters that the data determine. More than that says that
    the prior is for other curves.

    Args:
        mean: Centre of the prior.
        precision: P; 0 where it says nothing.
        theta: The optimum.
        covariance: C, of the fit.
    """
    distance = theta - mean
    expected = float(np.trace(precision @ (np.linalg.pinv(precision) - covariance)))
    return max(1.0, float(distance @ precision @ distance) / max(expected, 1.0))
