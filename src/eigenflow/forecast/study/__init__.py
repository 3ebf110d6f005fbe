"""Curves with the laws fitted to them, and what is needed for forecasts with intervals; as an object and as a file."""
