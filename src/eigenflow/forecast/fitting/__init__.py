"""A law fitted to curves: cost, search, prior, the fit, and what the curves say of each parameter."""
