"""Self-similarity as measured: frontiers, data collapse, amplitude growth and the dissipation law. No torch."""

from eigenflow.theory.self_similarity.data_collapse import Collapse as Collapse
from eigenflow.theory.self_similarity.data_collapse import attenuation_collapse as attenuation_collapse
from eigenflow.theory.self_similarity.data_collapse import collapse as collapse
from eigenflow.theory.self_similarity.data_collapse import shell_collapse as shell_collapse
from eigenflow.theory.self_similarity.frontier import COORDINATES as COORDINATES
from eigenflow.theory.self_similarity.frontier import Coordinate as Coordinate
from eigenflow.theory.self_similarity.frontier import Frontier as Frontier
from eigenflow.theory.self_similarity.frontier import frontiers as frontiers
from eigenflow.theory.self_similarity.frontier_series import FrontierExponent as FrontierExponent
from eigenflow.theory.self_similarity.frontier_series import Frontiers as Frontiers
from eigenflow.theory.self_similarity.frontier_series import frontiers_of_effective_time as frontiers_of_effective_time
from eigenflow.theory.self_similarity.frontier_series import frontiers_of_modes as frontiers_of_modes
from eigenflow.theory.self_similarity.frontier_series import frontiers_of_run as frontiers_of_run
from eigenflow.theory.self_similarity.growth import AmplitudeGrowth as AmplitudeGrowth
from eigenflow.theory.self_similarity.growth import amplitude_growth as amplitude_growth
from eigenflow.theory.self_similarity.growth import dissipation_law as dissipation_law
from eigenflow.theory.self_similarity.growth import dissipation_rate as dissipation_rate
from eigenflow.theory.self_similarity.power_in_time import PowerInTime as PowerInTime
from eigenflow.theory.self_similarity.power_in_time import fit_power as fit_power
