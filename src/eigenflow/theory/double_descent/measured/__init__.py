"""Measured risks: what moved their peaks, the theory beside them, and rows of claims."""
