"""Numbers, intervals and bands as text."""

__all__ = ["band_text", "interval_text", "number", "power_of_ten"]

_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(value: float | None, digits: int = 3) -> str:
    """A number with few digits, powers of ten raised: `5.59 × 10⁻¹⁶`; a dash for None."""
    if value is None:
        return "–"
    mantissa, _, exponent = f"{value:.{digits}g}".partition("e")
    mantissa = mantissa.replace("-", "−")
    return f"{mantissa} × 10{str(int(exponent)).translate(_RAISED)}" if exponent else mantissa


def power_of_ten(exponent: int) -> str:
    """Ten to an integer: `10⁻¹⁶`. Letters of a size, where `<sup>` in a figure would make ones too small to read."""
    return f"10{str(int(exponent)).translate(_RAISED)}"


def interval_text(interval: tuple[float, float] | None) -> str:
    """An interval as `[low, high]`, or a dash."""
    return "–" if interval is None else f"[{number(interval[0])}, {number(interval[1])}]"


def band_text(band: tuple[float | None, float | None]) -> str:
    """A band, open ends left out."""
    low, high = band
    if low is None and high is None:
        return "–"
    if low is None:
        return f"≤ {number(high)}"
    return f"≥ {number(low)}" if high is None else f"{number(low)} to {number(high)}"
