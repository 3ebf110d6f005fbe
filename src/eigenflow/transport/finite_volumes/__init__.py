"""Densities on cells of which only the masses are known: reconstruction, matrices, their exponentials."""
