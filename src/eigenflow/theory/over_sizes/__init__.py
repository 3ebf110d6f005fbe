"""Scaling laws over finished runs of many sizes: fitted exponents, beside those that a spectrum predicts."""

from eigenflow.theory.over_sizes.compute import compute_frontier as compute_frontier
from eigenflow.theory.over_sizes.judging import curve_row as curve_row
from eigenflow.theory.over_sizes.judging import exponent_row as exponent_row
from eigenflow.theory.over_sizes.judging import finite_exponent_row as finite_exponent_row
from eigenflow.theory.over_sizes.learning_curve import MeasuredTask as MeasuredTask
from eigenflow.theory.over_sizes.learning_curve import measured_task as measured_task
from eigenflow.theory.over_sizes.size_law import FitStatus as FitStatus
from eigenflow.theory.over_sizes.size_law import SizeLaw as SizeLaw
from eigenflow.theory.over_sizes.size_law import fit_size_law as fit_size_law
from eigenflow.theory.over_sizes.sweep import SizeSweep as SizeSweep
from eigenflow.theory.over_sizes.sweep import read_sweep as read_sweep
from eigenflow.theory.over_sizes.sweep import sweep_of_runs as sweep_of_runs
