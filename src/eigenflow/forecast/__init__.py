"""Forecasts of loss curves, and how good they were. No torch.

What reads a measured run (`forecast_rest`) loads its store when it is first used: forecasts from logs do not need it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from eigenflow.forecast.curves import Curve as Curve
from eigenflow.forecast.curves import CurveSet as CurveSet
from eigenflow.forecast.curves import Origin as Origin
from eigenflow.forecast.fit import Fit as Fit
from eigenflow.forecast.fit import FitStatus as FitStatus
from eigenflow.forecast.fit import Forecast as Forecast
from eigenflow.forecast.identification import profiles as profiles
from eigenflow.forecast.identification import worth_of_runs as worth_of_runs
from eigenflow.forecast.reading import read_curves as read_curves
from eigenflow.forecast.reading import read_schedules as read_schedules
from eigenflow.forecast.schedules import Blocks as Blocks
from eigenflow.forecast.schedules import Schedule as Schedule
from eigenflow.forecast.study import Study as Study
from eigenflow.forecast.study import fit_study as fit_study
from eigenflow.forecast.study import fit_with_intervals as fit_with_intervals
from eigenflow.forecast.study_file import load_study as load_study
from eigenflow.forecast.study_file import read_fit as read_fit
from eigenflow.forecast.study_file import save_study as save_study
from eigenflow.forecast.study_file import write_fit as write_fit

if TYPE_CHECKING:
    from eigenflow.forecast.power_law import PowerLawForecast as PowerLawForecast
    from eigenflow.forecast.power_law import power_law_forecast as power_law_forecast
    from eigenflow.forecast.rest_of_run import RestForecast as RestForecast
    from eigenflow.forecast.rest_of_run import forecast_rest as forecast_rest

# Inside the package the bare fit serves (`fitting.fit_law`); who forecasts needs intervals that hold.
fit_law = fit_with_intervals

_LATE = {
    "PowerLawForecast": "power_law",
    "power_law_forecast": "power_law",
    "RestForecast": "rest_of_run",
    "forecast_rest": "rest_of_run",
}


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module 'eigenflow.forecast' has no attribute {name!r}.")
    value = getattr(import_module(f"eigenflow.forecast.{_LATE[name]}"), name)
    globals()[name] = value
    return value
