"""Forecasts of loss curves, and how good they were. No theory, no torch.

    reading -> curves -> fitting (a law, its parameters, how well they are known) -> study (fits with intervals)

`schedules` are learning rates, `laws` what a loss may do, `intervals` how sure a forecast is, `evaluation` how good it
was on what it had not seen, `design` which schedule ends lowest.
"""

from eigenflow.core.moved import keep_old_names as _keep_old_names
from eigenflow.forecast.curves import Curve as Curve
from eigenflow.forecast.curves import CurveSet as CurveSet
from eigenflow.forecast.curves import Origin as Origin
from eigenflow.forecast.design import DesignedSchedule as DesignedSchedule
from eigenflow.forecast.design import DesignStatus as DesignStatus
from eigenflow.forecast.design import Rival as Rival
from eigenflow.forecast.design import design_schedule as design_schedule
from eigenflow.forecast.design import fit_final_loss as fit_final_loss
from eigenflow.forecast.evaluation.backtests import Backtest as Backtest
from eigenflow.forecast.evaluation.backtests import backtest as backtest
from eigenflow.forecast.evaluation.backtests import pooled_fitter as pooled_fitter
from eigenflow.forecast.evaluation.protocols import LeaveOneSchedule as LeaveOneSchedule
from eigenflow.forecast.evaluation.protocols import LeaveOneSize as LeaveOneSize
from eigenflow.forecast.evaluation.protocols import RestOfRun as RestOfRun
from eigenflow.forecast.evaluation.scores import ForecastScore as ForecastScore
from eigenflow.forecast.evaluation.scores import interval_score as interval_score
from eigenflow.forecast.evaluation.scores import score_forecast as score_forecast
from eigenflow.forecast.evaluation.selection import Recommendation as Recommendation
from eigenflow.forecast.evaluation.selection import recommend as recommend
from eigenflow.forecast.evaluation.selection import stack_weights as stack_weights
from eigenflow.forecast.fitting.fit import Fit as Fit
from eigenflow.forecast.fitting.fit import FitStatus as FitStatus
from eigenflow.forecast.fitting.fit import Forecast as Forecast
from eigenflow.forecast.fitting.identification import CandidateRun as CandidateRun
from eigenflow.forecast.fitting.identification import Profile as Profile
from eigenflow.forecast.fitting.identification import profiles as profiles
from eigenflow.forecast.fitting.identification import worth_of_runs as worth_of_runs
from eigenflow.forecast.fitting.search import fit_parameters as fit_parameters
from eigenflow.forecast.intervals.noise import NoiseFloor as NoiseFloor
from eigenflow.forecast.intervals.noise import noise_floor as noise_floor
from eigenflow.forecast.laws.learning_curves import LearningCurveFit as LearningCurveFit
from eigenflow.forecast.laws.learning_curves import fit_learning_curve as fit_learning_curve
from eigenflow.forecast.laws.registry import LAWS as LAWS
from eigenflow.forecast.outlook import LogForecast as LogForecast
from eigenflow.forecast.outlook import forecast_logs as forecast_logs
from eigenflow.forecast.reading import read_curves as read_curves
from eigenflow.forecast.reading import read_schedules as read_schedules
from eigenflow.forecast.schedules.schedule import Blocks as Blocks
from eigenflow.forecast.schedules.schedule import Schedule as Schedule
from eigenflow.forecast.study.file import load_study as load_study
from eigenflow.forecast.study.file import read_fit as read_fit
from eigenflow.forecast.study.file import save_study as save_study
from eigenflow.forecast.study.file import write_fit as write_fit
from eigenflow.forecast.study.scores import CurveForecastScore as CurveForecastScore
from eigenflow.forecast.study.scores import StudyScores as StudyScores
from eigenflow.forecast.study.scores import score_study as score_study
from eigenflow.forecast.study.study import Study as Study
from eigenflow.forecast.study.study import fit_law as fit_law
from eigenflow.forecast.study.study import fit_study as fit_study

_keep_old_names(__name__)
