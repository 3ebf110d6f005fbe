"""How sure a forecast is: noise, parameters, other laws, own backtests, calibrated on curves that nobody had seen."""
