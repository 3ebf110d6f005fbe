"""Logs of training runs to curves with schedules."""

from eigenflow.forecast.reading.rates.schedule_tables import read_schedules as read_schedules
from eigenflow.forecast.reading.read import read_curves as read_curves
