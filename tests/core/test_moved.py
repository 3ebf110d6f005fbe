"""Public names that have moved: each works where it was, and says once where it is."""

import subprocess
import sys
import warnings
from importlib import import_module
from types import ModuleType

import pytest

from eigenflow.core.moved import GOES_IN

pytestmark = [pytest.mark.filterwarnings("ignore:`eigenflow"), pytest.mark.long]
MEASURING = {"eigenflow", "linalg", "tangent", "trajectory", "lab"}

# Old name, and where it is. Written down here and not taken from the table under test.
MOVED_NAMES = {
    "eigenflow.transport.Closure": "eigenflow.closure.law.Closure",
    "eigenflow.transport.fit_closure": "eigenflow.closure.law.fit_closure",
    "eigenflow.closure.fit_law": "eigenflow.closure.joint.fit_drift_law",
    "eigenflow.forecast.PowerLawForecast": "eigenflow.theory.forecasts.power_law.PowerLawForecast",
    "eigenflow.forecast.RestForecast": "eigenflow.theory.forecasts.rest_of_run.RestForecast",
    "eigenflow.forecast.fit_with_intervals": "eigenflow.forecast.study.study.fit_law",
    "eigenflow.forecast.forecast_rest": "eigenflow.theory.forecasts.rest_of_run.forecast_rest",
    "eigenflow.forecast.power_law_forecast": "eigenflow.theory.forecasts.power_law.power_law_forecast",
}
MOVED_MODULES = {
    "eigenflow.transport.closure": "eigenflow.closure",
    "eigenflow.forecast.scaling": "eigenflow.scaling",
    "eigenflow.forecast.scaling.allocation": "eigenflow.scaling.allocation",
    "eigenflow.forecast.scaling.fit": "eigenflow.scaling.fit",
    "eigenflow.forecast.scaling.prediction": "eigenflow.scaling.prediction",
    "eigenflow.forecast.scaling.table": "eigenflow.scaling.table",
    "eigenflow.forecast.selection": "eigenflow.forecast.evaluation.selection",
    "eigenflow.report.claims_picture": "eigenflow.plots.claims",
}

# Every name on the face of a package before rooms were moved.
OLD_FACES = {
    "eigenflow": """
        GeneralLoss ModeTracker PowerDrift Probe Recorder Schedule TransportProblem claims design_schedule
        fit_closure fit_law fit_study limits log_steps open_run read_curves shell_budget sketched solve
    """,
    "eigenflow.cli": """
        main
    """,
    "eigenflow.cli.forecast": """
        forecast_app
    """,
    "eigenflow.forecast": """
        Blocks Curve CurveSet Fit FitStatus Forecast Origin PowerLawForecast RestForecast Schedule Study
        fit_study fit_with_intervals forecast_rest load_study power_law_forecast profiles read_curves read_fit
        read_schedules save_study worth_of_runs write_fit
    """,
    "eigenflow.forecast.design": """
        DesignStatus DesignedSchedule FinalLoss LawFinalLoss Rival TransportFinalLoss design_schedule
        fit_final_loss
    """,
    "eigenflow.forecast.laws": """
        History LAWS Law Parameter TransportLaw law_named
    """,
    "eigenflow.forecast.reading": """
        read_curves read_schedules
    """,
    "eigenflow.lab": """
        ExperimentConfig ExperimentCost estimate_cost lazy_rich_variations load_config run_experiment
        shipped_configs
    """,
    "eigenflow.lab.exact": """
        ScalarHeadModel ScalarHeadNet ScalarHeadPath
    """,
    "eigenflow.linalg": """
        AbstractRowSpace CertifiedPairs Crossing EigenPairs Estimate FrobeniusProducts ModeIdentity ModeTracker
        RowSpace ShellEstimate SolveStats SolveStatus SpectralDensity SpectralMeasure SymmetricOperator
        TrackedPairs block_eigenpairs certify_dense cluster_labels dense_eigenpairs frobenius_products lanczos
        match_modes matrix_product resolve_clusters shell_masses spectral_density spectral_measures
        turn_clusters
    """,
    "eigenflow.report": """
        Analysis analyse write_report
    """,
    "eigenflow.shells": """
        IntegratedBalance ShellBudget ShellTail integrated_balance shell_budget
    """,
    "eigenflow.store": """
        Gap RecordGapWarning Run RunFolderWarning RunWriter SCHEMA_VERSION Status Variable accept_run
        claim_folder open_run
    """,
    "eigenflow.tangent": """
        AbstractLoss CachedJacobian CrossEntropyLoss GeneralLoss HoldoutPoint HoldoutStep KernelChange
        KernelMotion LazyHoldout Probe SketchedLoss Snapshot SquaredLoss TangentPoint holdout_step
        inverse_preconditioner kernel_change kernel_motion lazy_holdout loss_factor make_loss sketched
    """,
    "eigenflow.theory": """
        BANDS BasisDrift Claim Evidence LimitForecast ModeIntegration Observed SpectrumTails Verdict basis_drift
        claims integrate_modes integration_errors judge_all lazy_forecast observe_until spectrum_tails
        transport_forecast
    """,
    "eigenflow.theory.claims": """
        BANDS Evidence
    """,
    "eigenflow.theory.self_similarity": """
        AmplitudeGrowth COORDINATES Collapse Coordinate Frontier PowerInTime amplitude_growth collapse
        dissipation_law dissipation_rate fit_power frontiers shell_collapse
    """,
    "eigenflow.trajectory": """
        OneStep Recorder TailSettings TrackedStep gradient_identity measure_step measure_tracked_step
    """,
    "eigenflow.transport": """
        Budget CallableDrift CellMasses Characteristics Closure Duhamel ExactJump GivenSource KernelSource
        Ladder Lines LogNormalKernel March Phase PointMasses PowerDrift RecoverStatus Recovered SelfSimilar
        Sensitivities SgdNoise SolveStatus StateSource Strang TabulatedDrift TransportProblem TransportSolution
        classify fit_closure phase_diagram recover sensitivities solve solve_batch
    """,
    "eigenflow.transport.closure": """
        Closure ClosureResidual Dispersion DriftLaw FormComparison ForwardTest HeldOut MIN_MODES NonlocalSource
        Velocities VelocityIntervals balance_velocities closure_residual compare_forms fit_closure fit_law
        forward_test mode_intervals nonlocal_source rank_velocities residual_order seed_intervals
        shell_velocities time_intervals velocity_dispersion
    """,
    "eigenflow.transport.inverse": """
        RecoverStatus Recovered recover
    """,
    "eigenflow.transport.selfsimilar": """
        Phase PhaseDiagram PowerLaw Regime SelfSimilar classify lasting_share phase_diagram plateau_loss
    """,
    "eigenflow.transport.sources": """
        GivenSource KernelSource LogNormalKernel SgdNoise StateSource
    """,
}
FACES = [face for face in OLD_FACES if face.split(".")[:2][-1] not in MEASURING]


def python(code):
    return subprocess.run([sys.executable, "-W", "always", "-c", code], capture_output=True, text=True, timeout=120)


def found(path):
    home, _, name = path.rpartition(".")
    return getattr(import_module(home), name)


@pytest.mark.parametrize("face", FACES)
def test_every_old_name_is_there(face):
    for name in OLD_FACES[face].split():
        value = found(f"{face}.{name}")
        assert not isinstance(value, ModuleType) or f"{face}.{name}" == "eigenflow.theory.claims"


@pytest.mark.measure
@pytest.mark.parametrize("face", [face for face in OLD_FACES if face not in FACES])
def test_every_old_name_of_the_measuring_side_is_there(face):
    for name in OLD_FACES[face].split():
        assert not isinstance(found(f"{face}.{name}"), ModuleType)


@pytest.mark.parametrize(("old", "new"), MOVED_NAMES.items())
def test_an_old_name_is_the_object_of_the_new_place(old, new):
    assert found(old) is found(new)


@pytest.mark.parametrize(("old", "new"), MOVED_MODULES.items())
def test_an_old_path_is_the_module_of_the_new_one(old, new):
    """The same module, and not a second copy whose classes would be others."""
    assert import_module(old) is import_module(new)


def test_names_warn_once_and_say_where_to_and_until_when():
    """In a fresh process; `from` a package and by attribute. The line that is named is the user's."""
    code = "\n".join(
        f"from {home} import {name}\nimport {home}\n{home}.{name}"
        for home, _, name in (old.rpartition(".") for old in MOVED_NAMES)
    )
    told = [line for line in python(code).stderr.splitlines() if "FutureWarning" in line]
    assert len(told) == len(MOVED_NAMES) and all(line.startswith("<string>:") for line in told)
    for old, line in zip(MOVED_NAMES, told, strict=True):
        assert f"`{old}` is now `eigenflow." in line and f"goes in version {GOES_IN}" in line


def test_paths_warn_once_and_say_where_to():
    roots = [old for old in MOVED_MODULES if not old.startswith("eigenflow.forecast.scaling.")]
    done = python("\n".join(f"import {old}\nimport {old}" for old in MOVED_MODULES))
    assert done.returncode == 0, done.stderr
    told = [line for line in done.stderr.splitlines() if "FutureWarning" in line]
    assert len(told) == len(roots) and all(line.startswith("<string>:") for line in told)
    for old, line in zip(roots, told, strict=True):
        assert f"`{old}` is now `{MOVED_MODULES[old]}`" in line


def test_the_package_of_claims_can_be_called_as_the_function_was(monkeypatch):
    claims = import_module("eigenflow.theory.claims")
    monkeypatch.setattr(claims, "claims", lambda *arguments, **options: (arguments, options))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert claims("a run", seed=1) == (("a run",), {"seed": 1}) == claims("a run", seed=1)
    assert len(told) <= 1


def test_new_names_do_not_warn_and_unknown_ones_are_refused():
    code = "from eigenflow.transport import solve\nfrom eigenflow.closure import fit_closure\nimport eigenflow.scaling"
    assert python(code).stderr == ""
    with pytest.raises(AttributeError, match="has no attribute 'nonesuch'"):
        found("eigenflow.transport.nonesuch")
    with pytest.raises(ImportError):
        import_module("eigenflow.transport.nonesuch")


def test_the_day_on_which_they_go_has_not_come():
    """Whoever makes that version removes the table, the calls to it and this file."""
    import eigenflow

    version = tuple(int(part) for part in eigenflow.__version__.split(".")[:2])
    assert version < tuple(int(part) for part in GOES_IN.split("."))
