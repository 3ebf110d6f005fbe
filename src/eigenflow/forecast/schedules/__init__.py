"""Learning rates, one per update: the usual shapes, and any other."""
