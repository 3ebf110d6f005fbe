"""Effective training time: a clock for each mode, the common one, and whether it varies regularly."""

from eigenflow.theory.effective_time.index import EffectiveTimeIndex as EffectiveTimeIndex
from eigenflow.theory.effective_time.series import EffectiveTime as EffectiveTime
from eigenflow.theory.effective_time.series import RangeStatus as RangeStatus
from eigenflow.theory.effective_time.series import effective_time_of_eigenvalues as effective_time_of_eigenvalues
from eigenflow.theory.effective_time.series import effective_time_of_energies as effective_time_of_energies
from eigenflow.theory.effective_time.series import effective_time_of_losses as effective_time_of_losses
