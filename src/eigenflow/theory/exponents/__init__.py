"""Exponents of spectra and losses: source, capacity, and the loss exponent that follows from them."""
