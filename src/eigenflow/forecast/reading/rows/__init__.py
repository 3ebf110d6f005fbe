"""The rows of a table to runs: one or several, their steps, and which rows are points of their curves."""
