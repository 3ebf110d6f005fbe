"""What every other package may use: errors, statuses, logarithmic grids. No torch."""
