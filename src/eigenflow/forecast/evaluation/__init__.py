"""How good forecasts were on what they had not seen: ways to hide it, backtests, scores, and the choice of a law."""
