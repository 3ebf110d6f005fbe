"""Measure, model and forecast how learning flows through the spectrum of a network.

    probe set + network -> Probe -> Recorder -> run folder -> shells -> closure -> theory -> report

Names are imported when they are first used, so that `import eigenflow` is fast and needs no
PyTorch; only what measures a network (`Probe`, `Recorder`) does.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from eigenflow.core.extras import EXTRAS, remedy
from eigenflow.core.moved import keep_old_modules as _keep_old_modules

__version__ = "0.1.0"

if TYPE_CHECKING:
    from eigenflow.closure import fit_closure as fit_closure
    from eigenflow.core.grid import log_steps as log_steps
    from eigenflow.core.limits import limits as limits
    from eigenflow.forecast import Schedule as Schedule
    from eigenflow.forecast import fit_law as fit_law
    from eigenflow.forecast import fit_study as fit_study
    from eigenflow.forecast import forecast_logs as forecast_logs
    from eigenflow.forecast import read_curves as read_curves
    from eigenflow.forecast.design import design_schedule as design_schedule
    from eigenflow.linalg import ModeTracker as ModeTracker
    from eigenflow.shells import shell_budget as shell_budget
    from eigenflow.store import open_run as open_run
    from eigenflow.tangent import GeneralLoss as GeneralLoss
    from eigenflow.tangent import Probe as Probe
    from eigenflow.tangent import lazy_prediction as lazy_prediction
    from eigenflow.tangent import sketched as sketched
    from eigenflow.theory.claims import claims as claims
    from eigenflow.trajectory import Recorder as Recorder
    from eigenflow.transport import PowerDrift as PowerDrift
    from eigenflow.transport import TransportProblem as TransportProblem
    from eigenflow.transport import solve as solve

_HOMES = {
    "GeneralLoss": "eigenflow.tangent",
    "ModeTracker": "eigenflow.linalg",
    "PowerDrift": "eigenflow.transport",
    "Probe": "eigenflow.tangent",
    "Recorder": "eigenflow.trajectory",
    "Schedule": "eigenflow.forecast",
    "TransportProblem": "eigenflow.transport",
    "claims": "eigenflow.theory.claims",
    "design_schedule": "eigenflow.forecast.design",
    "fit_closure": "eigenflow.closure",
    "fit_law": "eigenflow.forecast",
    "fit_study": "eigenflow.forecast",
    "forecast_logs": "eigenflow.forecast",
    "lazy_prediction": "eigenflow.tangent",
    "limits": "eigenflow.core.limits",
    "log_steps": "eigenflow.core.grid",
    "open_run": "eigenflow.store",
    "read_curves": "eigenflow.forecast",
    "shell_budget": "eigenflow.shells",
    "sketched": "eigenflow.tangent",
    "solve": "eigenflow.transport",
}

__all__ = [
    "GeneralLoss",
    "ModeTracker",
    "PowerDrift",
    "Probe",
    "Recorder",
    "Schedule",
    "TransportProblem",
    "__version__",
    "claims",
    "design_schedule",
    "fit_closure",
    "fit_law",
    "fit_study",
    "forecast_logs",
    "lazy_prediction",
    "limits",
    "log_steps",
    "open_run",
    "read_curves",
    "shell_budget",
    "sketched",
    "solve",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'eigenflow' has no attribute {name!r}. It has: {', '.join(__all__)}.")
    try:
        value = getattr(import_module(_HOMES[name]), name)
    except ModuleNotFoundError as error:
        if error.name in EXTRAS:
            raise ModuleNotFoundError(
                f"`eigenflow.{name}` measures networks and needs {error.name}, which is not installed. "
                f"{remedy(error.name)}",
                name=error.name,
            ) from None
        raise
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__


_keep_old_modules()
