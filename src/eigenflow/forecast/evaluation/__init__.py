"""How good forecasts were on what they had not seen: splits for cross-validation, backtests, scores, which law."""
