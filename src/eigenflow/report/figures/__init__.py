"""The figures of a run's report, for plotly.js: finished results drawn. Nothing is computed here."""
