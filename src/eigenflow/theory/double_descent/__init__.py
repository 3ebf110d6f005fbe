"""Test risk over samples, size, ridge and time, from the spectrum of a task; its peaks, and what transport does to them."""
