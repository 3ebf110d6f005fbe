"""Where each estimate lies if its claim holds: fixed before any run is judged, the same for every run, printed.

docs/theory.md says which of them were chosen after looking at the shipped experiments.
"""

__all__ = ["BANDS", "Band"]

Band = tuple[float | None, float | None]

BANDS: dict[str, Band] = {
    "C1.identity": (None, 1e-10),  # rounding, with room for networks that are not smooth
    "C1.flow": (None, 0.1),
    "C2.eigenvalues": (None, 0.05),
    "C2.coefficients": (None, 0.05),
    "C2.isolated": (0.9, None),
    "C3.closes": (None, 1e-12),
    "C3.remainder": (None, 0.05),
    "C4.form": (0.5, None),
    "C4.sign": (0.0, None),
    "C8.moving": (0.0, None),
    "C8.still": (-0.1, 0.1),
}
