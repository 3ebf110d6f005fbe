"""Exponents of spectra and losses: source, capacity, and the loss exponents that follow from them. No torch."""

from eigenflow.theory.exponents.curves import predicted_loss as predicted_loss
from eigenflow.theory.exponents.finite_width import WidthCurve as WidthCurve
from eigenflow.theory.exponents.finite_width import width_limit as width_limit
from eigenflow.theory.exponents.finite_width import width_risk as width_risk
from eigenflow.theory.exponents.kernel_flow import FlowLaw as FlowLaw
from eigenflow.theory.exponents.kernel_flow import flow_law as flow_law
from eigenflow.theory.exponents.kernel_flow import flow_risk as flow_risk
from eigenflow.theory.exponents.phases import ComputePhase as ComputePhase
from eigenflow.theory.exponents.phases import LossPart as LossPart
from eigenflow.theory.exponents.phases import balanced_exponents as balanced_exponents
from eigenflow.theory.exponents.phases import capacity_and_source as capacity_and_source
from eigenflow.theory.exponents.phases import compute_phase as compute_phase
from eigenflow.theory.exponents.phases import loss_parts as loss_parts
from eigenflow.theory.exponents.phases import plane_point as plane_point
from eigenflow.theory.exponents.predicted import PowerStatus as PowerStatus
from eigenflow.theory.exponents.predicted import PredictedExponents as PredictedExponents
from eigenflow.theory.exponents.predicted import predict_exponents as predict_exponents
from eigenflow.theory.exponents.ranges import ExponentRange as ExponentRange
from eigenflow.theory.exponents.resources import ResourceExponents as ResourceExponents
from eigenflow.theory.exponents.resources import ResourceRanges as ResourceRanges
from eigenflow.theory.exponents.resources import resource_exponents as resource_exponents
from eigenflow.theory.exponents.resources import resource_ranges as resource_ranges
from eigenflow.theory.exponents.stochastic import SgdCurve as SgdCurve
from eigenflow.theory.exponents.stochastic import largest_stable_rate as largest_stable_rate
from eigenflow.theory.exponents.stochastic import sgd_floor as sgd_floor
from eigenflow.theory.exponents.stochastic import sgd_risk as sgd_risk
