"""Pictures by matplotlib, drawn into given axes from arrays, numbers and names. No results are computed here.

Each function draws into the `ax` that it is given and returns it; the caller makes, sizes, shows and saves the figure.
A result's own `.plot()` unpacks itself into one of them.
"""

from eigenflow.plots.axes import axes_or_new as axes_or_new
from eigenflow.plots.card import CardFan as CardFan
from eigenflow.plots.card import share_card as share_card
from eigenflow.plots.card import write_card as write_card
from eigenflow.plots.claims import JudgedRow as JudgedRow
from eigenflow.plots.claims import plot_claims as plot_claims
from eigenflow.plots.claims import plot_estimates as plot_estimates
from eigenflow.plots.course import plot_eigenvalues as plot_eigenvalues
from eigenflow.plots.course import plot_lazy_rich as plot_lazy_rich
from eigenflow.plots.course import plot_rest_forecasts as plot_rest_forecasts
from eigenflow.plots.double_descent import plot_risk_curves as plot_risk_curves
from eigenflow.plots.double_descent import plot_risk_map as plot_risk_map
from eigenflow.plots.file import picture_bytes as picture_bytes
from eigenflow.plots.file import picture_text as picture_text
from eigenflow.plots.file import write_picture as write_picture
from eigenflow.plots.forecast import bounds_text as bounds_text
from eigenflow.plots.forecast import plot_curves as plot_curves
from eigenflow.plots.forecast import plot_forecast as plot_forecast
from eigenflow.plots.forecast import plot_profile as plot_profile
from eigenflow.plots.forecast import plot_residuals as plot_residuals
from eigenflow.plots.forecast import plot_schedules as plot_schedules
from eigenflow.plots.measured import plot_drift_strength as plot_drift_strength
from eigenflow.plots.measured import plot_learning_times as plot_learning_times
from eigenflow.plots.measured import plot_run_losses as plot_run_losses
from eigenflow.plots.measured import plot_shell_energies as plot_shell_energies
from eigenflow.plots.measured import plot_spectrum as plot_spectrum
from eigenflow.plots.outlook import plot_outlook as plot_outlook
from eigenflow.plots.outlook import plot_rates_ahead as plot_rates_ahead
from eigenflow.plots.paper import PAPER_DPI as PAPER_DPI
from eigenflow.plots.paper import PAPER_WIDTHS as PAPER_WIDTHS
from eigenflow.plots.paper import paper_style as paper_style
from eigenflow.plots.paper import screen_style as screen_style
from eigenflow.plots.phase import PhaseArrays as PhaseArrays
from eigenflow.plots.phase import plot_phase_diagram as plot_phase_diagram
from eigenflow.plots.phase import plot_phase_diagrams as plot_phase_diagrams
from eigenflow.plots.scaling import plot_allocation as plot_allocation
from eigenflow.plots.scaling import plot_designed_schedule as plot_designed_schedule
from eigenflow.plots.scaling import plot_plan as plot_plan
from eigenflow.plots.scaling import plot_runs as plot_runs
from eigenflow.plots.scaling import plot_scaling_residuals as plot_scaling_residuals
from eigenflow.plots.transport import plot_budget as plot_budget
from eigenflow.plots.transport import plot_density as plot_density
from eigenflow.plots.transport import plot_slope as plot_slope
from eigenflow.plots.transport import plot_total as plot_total
