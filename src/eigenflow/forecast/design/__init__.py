"""Schedules designed to end at the smallest predicted loss."""

from eigenflow.forecast.design.final_loss import FinalLoss as FinalLoss
from eigenflow.forecast.design.final_loss import LawFinalLoss as LawFinalLoss
from eigenflow.forecast.design.final_loss import TransportFinalLoss as TransportFinalLoss
from eigenflow.forecast.design.from_fit import fit_final_loss as fit_final_loss
from eigenflow.forecast.design.optimise import DesignedSchedule as DesignedSchedule
from eigenflow.forecast.design.optimise import DesignStatus as DesignStatus
from eigenflow.forecast.design.optimise import Rival as Rival
from eigenflow.forecast.design.optimise import design_schedule as design_schedule
