"""Checkpoints that people kept, measured: which files are checkpoints and of which step, their tensors, a record."""
