"""How forecasts of a recorded run are called and drawn."""

from eigenflow.report.figures.canvas import ACCENT, WARM

__all__ = ["METHODS", "method_name"]

# Names, colours and dashes of the forecasts: readable in print without colour too.
METHODS = {
    "lazy": ("lazy (v = 0)", ACCENT, "solid", "rgba(0,114,178,0.18)"),
    "transport": ("transport (b = 1)", WARM, "dash", "rgba(213,94,0,0.18)"),
    "power_law": ("power law in t", "#009E73", "dashdot", "rgba(0,158,115,0.18)"),
}


def method_name(method: str) -> str:
    """A forecast method's name for people."""
    return METHODS[method][0] if method in METHODS else method
