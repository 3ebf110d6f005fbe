"""`eigenflow forecast`: loss curves, from logs to forecasts. No command of the group needs PyTorch."""

from eigenflow.cli.forecast.group import forecast_app as forecast_app
