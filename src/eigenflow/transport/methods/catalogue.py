"""Which method solves which problem, and why."""

from eigenflow.core.errors import ArgumentError
from eigenflow.transport.initial import PointMasses
from eigenflow.transport.methods.duhamel import Duhamel
from eigenflow.transport.methods.exact import ExactJump
from eigenflow.transport.methods.ladder import Ladder
from eigenflow.transport.methods.lines import Lines
from eigenflow.transport.methods.march import March
from eigenflow.transport.methods.strang import Strang
from eigenflow.transport.motion.drift import PowerDrift
from eigenflow.transport.problem import TransportProblem
from eigenflow.transport.sources import GivenSource, StateSource

__all__ = ["Method", "choose"]

Method = ExactJump | Duhamel | March | Ladder | Strang | Lines
_NAMES = {"exact": ExactJump, "march": March, "ladder": Ladder, "positive": Strang, "lines": Lines}


def choose(problem: TransportProblem, method: str | Method) -> tuple[str, Method, str]:
    """Give a method's name, the method, and the reason for it.

    Raises:
        ArgumentError: If there is no such method, or it does not take this problem.
    """
    if isinstance(method, str) and method == "auto":
        name, reason = _automatic(problem)
        chosen: Method = _NAMES[name]()
    elif isinstance(method, str):
        if method not in _NAMES:
            names = ", ".join(repr(name) for name in ("auto", *_NAMES))
            raise ArgumentError(f"Unknown method {method!r}. Available: {names}, or a method such as `ExactJump()`.")
        name, chosen, reason = method, _NAMES[method](), "as asked"
    elif isinstance(method, Method):
        chosen, reason = method, "as asked"
        name = "exact" if isinstance(method, Duhamel) else next(n for n, c in _NAMES.items() if isinstance(method, c))
    else:
        raise ArgumentError(
            f"`method` must be a name or a method, but is a {type(method).__name__}. "
            f"Available: 'auto', {', '.join(repr(name) for name in _NAMES)}."
        )
    refusal = _refusal(problem, name)
    if refusal:
        raise ArgumentError(f"`method` {name!r} does not solve this problem: {refusal} 'auto' chooses one that does.")
    if name == "exact" and problem.source is not None and isinstance(chosen, ExactJump):
        chosen = Duhamel(chosen)
    return name, chosen, reason


def _automatic(problem: TransportProblem) -> tuple[str, str]:
    drift, source = problem.drift, problem.source
    if isinstance(source, StateSource):
        return "lines", "the source is a function of the state, which only the method of lines takes"
    if not isinstance(drift, PowerDrift):
        if source is None:
            return "march", "the drift is no power law: cells are remapped along numerically followed paths"
        return "lines", "the drift is no power law and there is a source, which only the method of lines takes"
    if source is None:
        return "exact", "no source: every output time is one exact jump along the characteristics from t = 0"
    if isinstance(source, GivenSource):
        return "exact", "the source is given: what it has added is integrated back along the characteristics"
    if isinstance(problem.initial, PointMasses):
        return "positive", "point masses are too rough for a method of high order; splitting keeps them positive"
    if drift.is_constant:
        return "ladder", "drift and source are linear and do not depend on time: one exponential has no error in time"
    return "lines", "the drift depends on time and the source on the state; 'positive' would keep masses >= 0"


def _refusal(problem: TransportProblem, name: str) -> str:
    drift, source = problem.drift, problem.source
    if name == "lines":
        return ""
    if name == "march":
        return "" if source is None else "it has a source."
    if not isinstance(drift, PowerDrift):
        return "its drift is no `PowerDrift`."
    if name == "exact":
        is_known = source is None or isinstance(source, GivenSource)
        return "" if is_known else "its source depends on the state."
    if source is None:
        return "it has no source, and 'exact' is exact and never negative."
    if name == "positive":
        return "its source is any function of the state." if isinstance(source, StateSource) else ""
    if isinstance(source, GivenSource | StateSource):
        return "it takes linear sources only, `SgdNoise` and `KernelSource`."
    return "" if drift.is_constant else "its drift depends on time."
