"""What the theory asserts, as functions and as tests on measured runs. No torch."""

from eigenflow.theory.basis_drift import BasisDrift as BasisDrift
from eigenflow.theory.basis_drift import basis_drift as basis_drift
from eigenflow.theory.claims import BANDS as BANDS
from eigenflow.theory.claims import Evidence as Evidence
from eigenflow.theory.claims import claims as claims
from eigenflow.theory.claims import judge_all as judge_all
from eigenflow.theory.limits import LimitForecast as LimitForecast
from eigenflow.theory.limits import lazy_forecast as lazy_forecast
from eigenflow.theory.limits import transport_forecast as transport_forecast
from eigenflow.theory.mode_integration import ModeIntegration as ModeIntegration
from eigenflow.theory.mode_integration import integrate_modes as integrate_modes
from eigenflow.theory.mode_integration import integration_errors as integration_errors
from eigenflow.theory.observed import Observed as Observed
from eigenflow.theory.observed import observe_until as observe_until
from eigenflow.theory.spectrum import SpectrumTails as SpectrumTails
from eigenflow.theory.spectrum import spectrum_tails as spectrum_tails
from eigenflow.theory.verdicts import Claim as Claim
from eigenflow.theory.verdicts import Verdict as Verdict
