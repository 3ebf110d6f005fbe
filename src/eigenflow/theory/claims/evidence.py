"""What the claims are judged by, and what the report draws: a run, its shells, and every estimate, each made once."""

from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import xarray as xr

from eigenflow.closure import (
    Closure,
    ClosureResidual,
    Dispersion,
    DriftLaw,
    FormComparison,
    ForwardTest,
    NonlocalSource,
    Velocities,
    closure_residual,
    compare_forms,
    fit_closure,
    fit_drift_law,
    forward_test,
    nonlocal_source,
    rank_velocities,
    run_velocities,
    velocity_dispersion,
)
from eigenflow.closure.of_run import has_minibatches, needs_ranks
from eigenflow.core.errors import ArgumentError
from eigenflow.shells import (
    IntegratedBalance,
    ShellBudget,
    ShellEnergies,
    integrated_balance,
    shell_budget,
    shell_energies,
)
from eigenflow.store import Run
from eigenflow.store.reading import select_dims
from eigenflow.store.schema import STATES
from eigenflow.theory.budget_terms import BudgetTerms, budget_terms
from eigenflow.theory.claims.states import thinned_places, used_states
from eigenflow.theory.coupling.batch_noise import BatchNoise, batch_noise
from eigenflow.theory.coupling.kato import KatoRatio, kato_ratio
from eigenflow.theory.coupling.locality import Locality, transfer_locality
from eigenflow.theory.coupling.log_shift import LogShift, log_shift
from eigenflow.theory.coupling.turning import Turning, shell_turning
from eigenflow.theory.effective_time.clocks import Clocks, error_clocks, loss_clock, operator_clocks
from eigenflow.theory.effective_time.regular_variation import RegularVariation, regular_variation
from eigenflow.theory.estimate import Estimate
from eigenflow.theory.exponents.late_form import LateForm, late_form
from eigenflow.theory.exponents.loss_exponent import LossExponent, loss_exponents
from eigenflow.theory.exponents.regularity import ROUNDING, Regularity, dissipated_exponent, regularity
from eigenflow.theory.exponents.roughness import Roughness, roughness
from eigenflow.theory.lazy_rich import LazyRich, LossPredictions, lazy_rich, predict_from_start
from eigenflow.theory.modes.basis import BasisDrift, basis_drift
from eigenflow.theory.modes.heavy_tail import SpectrumTails, spectrum_tails
from eigenflow.theory.modes.integration import ModeIntegration, integrate_modes
from eigenflow.theory.modes.single_updates import SingleUpdates, single_updates
from eigenflow.theory.self_similarity import (
    AmplitudeGrowth,
    Collapse,
    Coordinate,
    Frontier,
    PowerInTime,
    amplitude_growth,
    attenuation_collapse,
    dissipation_law,
    frontiers,
    shell_collapse,
)

__all__ = ["WIDTHS", "Evidence"]

WIDTHS = (2, 4, 8)  # shells a decade at which the closure's residual is looked at
SOURCE_WIDTHS = (1, 2, 4, 8, 16)  # and the source
FEW_IN_SHELL = 4
# Leading modes for a second look at the mode equations, to tell how the error depends on their number.
FEW_MODES = 16
# Share of the modes that learn which have dissipated less than their energy's e-fold, while the frontier is resolved.
WAITING = 0.25


@dataclass(frozen=True)
class Evidence:
    """A measured run as every claim sees it.

    Every estimate is made when it is first asked for, and kept; one that the run does not allow raises the same
    EigenflowError each time. Claims, report and comparison take them from here, so that none is made twice.

    Attributes:
        run: As from `open_run`.
        seed: Of every bootstrap.
        knows_rates: Whether rows that seldom support true controls of the run's size are undecided; False to measure
            those very rates.
        kept: Of a record of states, the measurements that are used; None for all between which time passes.
    """

    run: Run
    seed: int = 0
    knows_rates: bool = True
    kept: tuple[int, ...] | None = None

    def rng(self) -> np.random.Generator:
        """A fresh generator, so that no claim depends on which others were tested before it."""
        return np.random.default_rng(self.seed)

    # What the run is.

    @cached_property
    def data(self) -> xr.Dataset:
        """The measurements, in memory: all of a record of updates; of states, those that are used."""
        data = self.run.measurements
        return used_states(data, self.kept) if self.is_of_states and self.run.measured_steps else data

    @property
    def is_of_states(self) -> bool:
        """Whether the run is a record of states without updates."""
        return self.run.kind == STATES

    @cached_property
    def thinned(self) -> tuple["Evidence", ...]:
        """Of a record of states: the same with every second one left out, in both ways that keep the first and last.

        What an estimate loses by that tells what the spacing of the states does to it.
        """
        ways = thinned_places(self.run.measurements, self.data)
        return tuple(replace(self, kept=tuple(way.tolist())) for way in ways)

    @cached_property
    def has_minibatches(self) -> bool:
        """Whether updates saw fewer samples than the probe holds, so that one alone says little of the drift."""
        return has_minibatches(self.run)

    @cached_property
    def why_no_updates(self) -> str | None:
        """Why the measured changes are not those of single updates, in words; None if they are, as far as is known."""
        return self.run.why_no_updates

    @cached_property
    def has_clock(self) -> bool:
        """Whether times are known: not if states far apart were recorded as neighbours, or learning rates were not."""
        return self.why_no_clock is None

    @cached_property
    def why_no_clock(self) -> str | None:
        """Why times are not known, in words."""
        return self.run.why_no_clock

    @property
    def _needs_ranks(self) -> bool:
        return needs_ranks(self.run)

    # Shells and closure.

    @Estimate
    def budget(self) -> ShellBudget:
        """The shells with all that updates did to them, 4 a decade; EigenflowError for a record of states."""
        return shell_budget(self.run)

    @Estimate
    def shells(self) -> ShellBudget | ShellEnergies:
        """The shells, 4 a decade: the budget, or of states what there is without one."""
        return shell_energies(self.run).at(self.data["step"].values) if self.is_of_states else self.budget

    @Estimate
    def terms(self) -> BudgetTerms:
        """How large each term of the budget is."""
        return budget_terms(self.budget)

    @Estimate
    def balance(self) -> IntegratedBalance:
        """The budget between measured times."""
        return integrated_balance(self.budget)

    @Estimate
    def velocities(self) -> Velocities:
        """Of eigenvalues along measured updates; of ranks between measurements where those are minibatches' or none."""
        if self.is_of_states and self.has_clock:
            return rank_velocities(select_dims(self.data, {"mode"}), self.shells.edges)
        return run_velocities(self.run, self.shells)

    @Estimate
    def closure(self) -> Closure:
        """The drift law; raises ArgumentError where the run does not allow one."""
        return fit_closure(self.velocities, seed=self.seed)

    @Estimate
    def forms(self) -> FormComparison:
        """The power form against others on later times."""
        return compare_forms(self.velocities, seed=self.seed)

    @Estimate
    def forward(self) -> ForwardTest:
        """Forecasts from several cuts; of energy velocities, or of ranks where updates are minibatches'."""
        return forward_test(self.data, self.budget, velocities=self.velocities if self._needs_ranks else None)

    @Estimate
    def dispersion(self) -> Dispersion:
        """How far modes of one eigenvalue differ in their velocity."""
        return velocity_dispersion(self.run.modes, self.budget.edges, seed=self.seed)

    @Estimate
    def sources(self) -> dict[int, NonlocalSource]:
        """S, the energy that jumps over shells, by the number of shells a decade; as narrow as modes fill them."""
        found = {}
        for width in SOURCE_WIDTHS:
            with suppress(ArgumentError):  # no window of updates that exchange energy at this width
                if width <= self.finest_width:
                    found[width] = nonlocal_source(self.at_width(width), seed=self.seed)
        return found

    @Estimate
    def source(self) -> NonlocalSource:
        """The same at 4 shells a decade."""
        found = self.sources
        return found[4] if 4 in found else nonlocal_source(self.budget, seed=self.seed)

    @cached_property
    def _budgets(self) -> dict[int, ShellBudget]:
        return {4: self.budget}

    def at_width(self, shells_per_decade: int) -> ShellBudget:
        """The shells at another width."""
        made = self._budgets
        if shells_per_decade not in made:
            made[shells_per_decade] = shell_budget(self.run, shells_per_decade=shells_per_decade)
        return made[shells_per_decade]

    @cached_property
    def finest_width(self) -> int:
        """Most shells a decade at which populated shells hold a few modes, the median."""
        for width in sorted(SOURCE_WIDTHS, reverse=True):
            counts = self.at_width(width).mode_count.values[:, 1:-1]
            if np.median(counts[counts > 0]) >= FEW_IN_SHELL:
                return width
        return min(SOURCE_WIDTHS)

    @cached_property
    def modes(self) -> int:
        """Modes that learn and are stored one by one."""
        if "eigenvalue" not in self.data:
            return 0
        first = self.data["eigenvalue"].values[0]
        return int((first > ROUNDING * first.max()).sum())

    @Estimate
    def free_law(self) -> DriftLaw:
        """The drift law with a strength of its own at every time."""
        return fit_drift_law(self.velocities, "free", draws=0)

    @Estimate
    def residuals(self) -> dict[int, ClosureResidual]:
        """What the free law leaves of the flux, by the number of shells a decade."""
        drift, modes = self.free_law.drift(0.0), self.run.modes
        modes = modes if "eigenvalue" in modes and "coefficient" in modes else None
        found = {}
        for width in WIDTHS:
            found[width] = closure_residual(self.at_width(width), drift, modes=modes, seed=self.seed)
        return found

    # Single modes.

    @Estimate
    def tails(self) -> SpectrumTails:
        """The upper tail of the spectrum over training."""
        return spectrum_tails(self.data, seed=self.seed)

    @Estimate
    def basis(self) -> BasisDrift:
        """How far the eigenbasis has turned."""
        return basis_drift(self.data)

    @Estimate
    def single_updates(self) -> SingleUpdates:
        """Mode equations against what single updates do."""
        return single_updates(self.data)

    @Estimate
    def integrations(self) -> tuple[ModeIntegration, ModeIntegration, ModeIntegration]:
        """Mode equations between measured times: with all modes, with a few, and with a few at twice the spacing."""
        whole = integrate_modes(self.data)
        few, sparse = (integrate_modes(self.data, modes=min(FEW_MODES, whole.modes), stride=s) for s in (1, 2))
        return whole, few, sparse

    # Coupling between shells.

    @Estimate
    def locality(self) -> Locality:
        """How far updates carry energy."""
        return transfer_locality(self.budget)

    @cached_property
    def exchanges(self) -> bool:
        """Whether any update exchanged energy between shells beyond rounding."""
        try:
            return self.locality is not None
        except ArgumentError:
            return False

    @Estimate
    def kato(self) -> KatoRatio:
        """How fast the operator's motion turns shells into one another."""
        return kato_ratio(self.data)

    @Estimate
    def turning(self) -> Turning:
        """What left each shell between measurements."""
        return shell_turning(self.data)

    @Estimate
    def shift(self) -> LogShift:
        """Whether shells pass on energy by one law."""
        return log_shift(self.budget, seed=self.seed)

    @Estimate
    def noise(self) -> BatchNoise:
        """The energy that batches add; raises ArgumentError for full batches."""
        return batch_noise(self.run)

    # Self-similarity.

    @cached_property
    def resolved_from(self) -> float:
        """Time from which the frontier lies inside the spectrum: the largest shell's eigenvalue times t reaches 1."""
        budget = self.shells
        largest = np.where(budget.energy.values > 0, budget.mean_eigenvalue.values, 0.0).max(1)
        late = np.flatnonzero(largest * budget.time.values >= 1.0)
        return float(budget.time.values[late[0]]) if len(late) else np.inf

    @cached_property
    def resolved_until(self) -> float:
        """Time until which the frontier lies inside the spectrum: a quarter of the modes that learn wait for it."""
        data = self.data
        if data.sizes["step"] < 2:
            return np.inf
        spent = dissipated_exponent(data)
        learns = data["eigenvalue"].values[0] > ROUNDING * data["eigenvalue"].values[0].max()
        waiting = (spent[:, learns] <= 1.0).mean(1)
        late = np.flatnonzero(waiting >= WAITING)
        return float(data["time"].values[late[-1]])

    @Estimate
    def frontiers(self) -> dict[Coordinate, Frontier]:
        """The frontier of learned modes in its coordinates."""
        found = frontiers(self.data, seed=self.seed)
        return {name: one.until(self.resolved_until) for name, one in found.items()}

    @Estimate
    def collapse(self) -> Collapse:
        """Spectra of all times at which the frontier is resolved, on one curve."""
        ends = {"start": self.resolved_from, "end": self.resolved_until}
        return shell_collapse(self.shells, data=self._whole_modes, **ends, seed=self.seed)

    @Estimate
    def amplitude(self) -> AmplitudeGrowth:
        """What stands at the frontier; asks for a frontier in the coordinate "eigenvalue"."""
        return amplitude_growth(self.data, self.frontiers["eigenvalue"], seed=self.seed)

    @Estimate
    def dissipation(self) -> PowerInTime:
        """Dissipation as a power of time, while the frontier is resolved."""
        ends = {"start": self.resolved_from, "end": self.resolved_until}
        return dissipation_law(self.budget, data=self._whole_modes, **ends, seed=self.seed)

    @property
    def _whole_modes(self) -> xr.Dataset | None:
        """All measurements, if every mode was stored one by one."""
        return None if "cut" in self.data else self.data

    # Exponents, clocks, limits.

    @Estimate
    def roughness(self) -> Roughness:
        """Whether the first error has finite regularity."""
        return roughness(self.data)

    @Estimate
    def late_form(self) -> LateForm:
        """Whether late velocities are one power."""
        return late_form(self.velocities, seed=self.seed)

    @Estimate
    def attenuation(self) -> Collapse:
        """What is left of the first energies, on one curve, while the frontier is resolved."""
        return attenuation_collapse(self.data, start=self.resolved_from, end=self.resolved_until, seed=self.seed)

    @Estimate
    def regularity(self) -> Regularity:
        """Exponents of what is not yet learned, in the eigenbasis of M(t)."""
        return regularity(self.data)

    @Estimate
    def fixed_regularity(self) -> Regularity:
        """The same in the eigenbasis of the first measurement."""
        return regularity(self.data, "fixed")

    @Estimate
    def loss_exponents(self) -> list[LossExponent]:
        """The loss exponent in time, by window."""
        return loss_exponents(self.data)

    @Estimate
    def operator_clocks(self) -> Clocks:
        """Effective times of single modes, from the eigenvalues."""
        return operator_clocks(self.data)

    @Estimate
    def error_clocks(self) -> Clocks:
        """Effective times of shells, from the error in the first eigenbasis; ArgumentError where it is not known."""
        return error_clocks(self.data)

    @Estimate
    def clocks(self) -> Clocks:
        """Those of the error where they are known, else the operator's."""
        try:
            return self.error_clocks
        except ArgumentError:
            return self.operator_clocks

    @Estimate
    def loss_clock(self) -> np.ndarray:
        """The common time from the whole energy alone."""
        return loss_clock(self.data)[1]

    @cached_property
    def clocked(self) -> slice:
        """The times from which on the common time of `clocks` is positive."""
        bad = np.flatnonzero(self.clocks.common <= 0)
        return slice(int(bad[-1]) + 1 if len(bad) else 0, None)

    @Estimate
    def variation(self) -> RegularVariation:
        """The index of the common time of `clocks`; ArgumentError where it is positive at fewer than 8 times."""
        clocks, kept = self.clocks, self.clocked
        return regular_variation(clocks.times[kept], clocks.common[kept], unit=1.0 / float(clocks.rates[0]))

    @Estimate
    def predictions(self) -> LossPredictions:
        """The loss of the whole run from its first measurement, in both limits."""
        return predict_from_start(self.data, clocks=self.operator_clocks)

    @Estimate
    def place(self) -> LazyRich:
        """Where the run lies between lazy and rich; ArgumentError where it does not say."""
        return lazy_rich(self.data, self.shells)
