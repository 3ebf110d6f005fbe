"""From a log to one answer: how will this run end, how sure is that, and what else could be done.

logged rates -> shapes -> recognise -> rest (the schedule ahead) -> fit -> ends, targets, endings, checks -> result
"""

from eigenflow.forecast.outlook.logs import forecast_logs as forecast_logs
from eigenflow.forecast.outlook.logs import read_logs as read_logs
from eigenflow.forecast.outlook.result import LogForecast as LogForecast
