"""The published laws by name, as baselines: one instance of each."""

from eigenflow.forecast.laws.functional import FunctionalLaw
from eigenflow.forecast.laws.momentum import MomentumLaw
from eigenflow.forecast.laws.multi_power import MultiPowerLaw
from eigenflow.forecast.laws.power import PowerInSteps, PowerInTime
from eigenflow.forecast.laws.separable import AbstractSeparableLaw

__all__ = ["PUBLISHED_LAWS"]

PUBLISHED_LAWS: dict[str, AbstractSeparableLaw] = {
    law.name: law for law in (PowerInSteps(), PowerInTime(), MomentumLaw(), MultiPowerLaw(), FunctionalLaw())
}
