"""What the theory asserts, as functions and as tests on measured runs. No torch."""

from eigenflow.theory.claims import BANDS as BANDS
from eigenflow.theory.claims import CLAIMS as CLAIMS
from eigenflow.theory.claims import Claims as Claims
from eigenflow.theory.claims import Evidence as Evidence
from eigenflow.theory.claims import judge_all as judge_all
from eigenflow.theory.forecasts.limits import LimitForecast as LimitForecast
from eigenflow.theory.forecasts.limits import lazy_forecast as lazy_forecast
from eigenflow.theory.forecasts.limits import transport_forecast as transport_forecast
from eigenflow.theory.forecasts.observed import Observed as Observed
from eigenflow.theory.forecasts.observed import observe_until as observe_until
from eigenflow.theory.modes.basis import BasisDrift as BasisDrift
from eigenflow.theory.modes.basis import basis_drift as basis_drift
from eigenflow.theory.modes.heavy_tail import SpectrumTails as SpectrumTails
from eigenflow.theory.modes.heavy_tail import spectrum_tails as spectrum_tails
from eigenflow.theory.modes.integration import ModeIntegration as ModeIntegration
from eigenflow.theory.modes.integration import integrate_modes as integrate_modes
from eigenflow.theory.modes.integration import integration_errors as integration_errors
from eigenflow.theory.modes.learning_times import LearningTimes as LearningTimes
from eigenflow.theory.modes.learning_times import learning_times as learning_times
from eigenflow.theory.over_runs import regularity_gives_power as regularity_gives_power
from eigenflow.theory.task_spectrum import TaskSpectrum as TaskSpectrum
from eigenflow.theory.verdicts import Claim as Claim
from eigenflow.theory.verdicts import Verdict as Verdict
