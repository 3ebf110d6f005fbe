"""Whether the points of a run are a loss that a law may describe, and what makes that doubtful."""
