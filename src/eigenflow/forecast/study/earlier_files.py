"""Files of fits that earlier versions wrote, brought to today's form: what they lack is added as it was then."""

from typing import Any

from eigenflow.forecast.intervals.error_scale import COMPONENTS

__all__ = ["with_every_component", "with_size_exponent"]

# Until version 0.1 the exponent of the size was no parameter of a fit, and had this value.
EARLIER_SIZE_EXPONENT = 0.35
EARLIER_COMPONENTS = 6


def with_size_exponent(form: dict[str, Any]) -> dict[str, Any]:
    """A fit with slopes in the size and without its exponent gets the one of then, as if it were known.

    Forms that are damaged stay as they are, for whoever checks them.
    """
    theta, slopes = form.get("theta"), form["slopes"]
    names = form.get("parameters")
    has_size = any(isinstance(slope, tuple) and slope[1:] == ("size",) for slope in slopes)
    if not has_size or not isinstance(theta, list) or not isinstance(names, list) or len(names) != len(theta):
        return form
    if any(isinstance(row, dict) and str(row.get("name", "")).startswith("nu ") for row in names):
        return form
    covariance, curves = form.get("covariance"), form.get("curves")
    if not isinstance(covariance, list) or not isinstance(curves, list):
        return form
    return {
        **form,
        "theta": [*theta, EARLIER_SIZE_EXPONENT],
        "covariance": [*(_longer(row) for row in covariance), [0.0] * (len(theta) + 1)],
        "prior_sd": [*form.get("prior_sd", []), None],
        "curves": [
            {**curve, "jacobian": [_longer(row) for row in curve.get("jacobian", [])]}
            if isinstance(curve, dict)
            else curve
            for curve in curves
        ],
    }


def with_every_component(form: dict[str, Any]) -> dict[str, Any]:
    """A backtest whose variances lack the parts that came later gets zeros for them."""
    spread = form.get("spread")
    if not isinstance(spread, list) or not all(isinstance(row, list) for row in spread):
        return form
    more = [0.0] * (len(COMPONENTS) - EARLIER_COMPONENTS)
    return {**form, "spread": [[*row, *more] if len(row) == EARLIER_COMPONENTS else row for row in spread]}


def _longer(row: Any) -> Any:
    return [*row, 0.0] if isinstance(row, list) else row
