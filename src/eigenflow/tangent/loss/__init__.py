"""Losses as the operator needs them: the error e, and a root of the loss's curvature."""
