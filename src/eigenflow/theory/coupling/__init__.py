"""Coupling between shells: how far it reaches, whether it is the same everywhere, and what batches add."""
