"""The figures of a run's report, by plotly: finished results drawn. Nothing is computed here."""
