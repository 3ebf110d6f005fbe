"""Exponents of spectra and losses: source, capacity, and the loss exponents that follow from them. No torch."""

from eigenflow.theory.exponents.predicted import PowerStatus as PowerStatus
from eigenflow.theory.exponents.predicted import PredictedExponents as PredictedExponents
from eigenflow.theory.exponents.predicted import predict_exponents as predict_exponents
from eigenflow.theory.exponents.ranges import ExponentRange as ExponentRange
from eigenflow.theory.exponents.resources import ResourceExponents as ResourceExponents
from eigenflow.theory.exponents.resources import ResourceRanges as ResourceRanges
from eigenflow.theory.exponents.resources import resource_exponents as resource_exponents
from eigenflow.theory.exponents.resources import resource_ranges as resource_ranges
