"""Laws by the name that a user types."""

from eigenflow.core.errors import ArgumentError
from eigenflow.forecast.laws.broken_power import BrokenPowerLaw
from eigenflow.forecast.laws.protocol import Law
from eigenflow.forecast.laws.published import PUBLISHED_LAWS
from eigenflow.forecast.laws.transport import TransportLaw

__all__ = ["LAWS", "law_named"]

LAWS: dict[str, Law] = {"transport": TransportLaw(), **PUBLISHED_LAWS, "broken_power": BrokenPowerLaw()}


def law_named(name: str) -> Law:
    """Give a law.

    Raises:
        ArgumentError: If there is none of this name.
    """
    if not isinstance(name, str) or name not in LAWS:
        raise ArgumentError(f"Unknown law {name!r}. Available: {', '.join(repr(n) for n in LAWS)}.")
    return LAWS[name]
