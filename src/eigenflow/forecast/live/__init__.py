"""A forecast of the rest of a run while it trains, and alarms, from its losses alone."""

from eigenflow.forecast.live.alarms import KINDS as KINDS
from eigenflow.forecast.live.alarms import Alarm as Alarm
from eigenflow.forecast.live.band import RestForecast as RestForecast
from eigenflow.forecast.live.live import LiveForecast as LiveForecast
from eigenflow.forecast.live.result import LiveState as LiveState
