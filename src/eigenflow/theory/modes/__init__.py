"""Mode by mode: the leading modes, the equations that carry them, the turning basis, the tail of the spectrum."""
