"""Readers of checkpoints, one a format. None of them ever runs what a file says: tensors and plain values only."""
