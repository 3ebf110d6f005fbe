"""Tables of finished runs: laws of the final loss in size, data and compute, and what to train next."""

from eigenflow.scaling.allocation import Allocation as Allocation
from eigenflow.scaling.allocation import IsoFlop as IsoFlop
from eigenflow.scaling.allocation import allocate as allocate
from eigenflow.scaling.allocation import isoflop_minima as isoflop_minima
from eigenflow.scaling.backtest import TableBacktest as TableBacktest
from eigenflow.scaling.backtest import TableScore as TableScore
from eigenflow.scaling.backtest import backtest_table as backtest_table
from eigenflow.scaling.backtest import fit_named as fit_named
from eigenflow.scaling.counts import TransformerShape as TransformerShape
from eigenflow.scaling.exponents import ScalingExponents as ScalingExponents
from eigenflow.scaling.exponents import scaling_exponents as scaling_exponents
from eigenflow.scaling.fit import ScalingFit as ScalingFit
from eigenflow.scaling.fit import fit_approach3 as fit_approach3
from eigenflow.scaling.fit import fit_scaling as fit_scaling
from eigenflow.scaling.prediction import ScalingForecast as ScalingForecast
from eigenflow.scaling.prediction import predict_losses as predict_losses
from eigenflow.scaling.sweep import BestSettings as BestSettings
from eigenflow.scaling.sweep import SweepFit as SweepFit
from eigenflow.scaling.sweep import fit_sweep as fit_sweep
from eigenflow.scaling.table import ScalingTable as ScalingTable
from eigenflow.scaling.table import make_table as make_table
from eigenflow.scaling.table import read_scaling_table as read_scaling_table
