"""Tables of finished runs: laws of the final loss in size, data and compute, and what to train next."""
