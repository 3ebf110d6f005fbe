"""Effective training time: a clock for each mode, the common one, and whether it varies regularly."""
