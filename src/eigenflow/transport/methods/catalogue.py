"""The methods in the order in which "auto" asks them, and which one takes a problem.

A new method derives from `AbstractMethod` in a module of its own, and stands in the catalogue below.
"""

from eigenflow.core.errors import ArgumentError
from eigenflow.transport.methods.exact import ExactJump
from eigenflow.transport.methods.integrating_factor import IntegratingFactor
from eigenflow.transport.methods.ladder import Ladder
from eigenflow.transport.methods.lines import Lines
from eigenflow.transport.methods.march import March
from eigenflow.transport.methods.method import AbstractMethod
from eigenflow.transport.problem import TransportProblem

__all__ = ["CATALOGUE", "choose"]

_KINDS: tuple[type[AbstractMethod], ...] = (ExactJump, March, Ladder, IntegratingFactor, Lines)
CATALOGUE = {kind.name: kind for kind in _KINDS}


def choose(problem: TransportProblem, method: str | AbstractMethod) -> tuple[AbstractMethod, str]:
    """Give the method, and the reason for it.

    Raises:
        ArgumentError: If there is no such method, or it does not take this problem.
    """
    if isinstance(method, AbstractMethod):
        chosen = method
    elif not isinstance(method, str):
        raise ArgumentError(
            f"`method` must be a name or a method, but is a {type(method).__name__}. Available: {_names()}."
        )
    elif method == "auto":
        return _automatic(problem)
    elif method in CATALOGUE:
        chosen = CATALOGUE[method]()
    else:
        raise ArgumentError(f"Unknown method {method!r}. Available: {_names()}, or a method such as `ExactJump()`.")
    refusal = chosen.refuses(problem)
    if refusal:
        raise ArgumentError(
            f"`method` {chosen.name!r} does not solve this problem: {refusal} 'auto' chooses one that does."
        )
    return chosen, "as asked"


def _automatic(problem: TransportProblem) -> tuple[AbstractMethod, str]:
    for kind in CATALOGUE.values():
        method = kind()
        reason = None if method.refuses(problem) else method.recommends(problem)
        if reason:
            return method, reason
    raise ArgumentError("`problem` is refused by every method. Give its source a `matrix`, a `step` or a `forcing`.")


def _names() -> str:
    return ", ".join(repr(name) for name in ("auto", *CATALOGUE))
