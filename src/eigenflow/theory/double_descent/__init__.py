"""Test risk over samples, size, ridge and time, from a spectrum; its peaks, and what transport does to them."""
