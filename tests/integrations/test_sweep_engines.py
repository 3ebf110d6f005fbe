"""Sweeps on Ray and by submitit, with the programs themselves: nodes and jobs die, and every run is made once."""

import os
import threading
import time
from pathlib import Path

import pytest

from eigenflow.core.errors import ConfigError
from eigenflow.lab.sweep import make_sweep
from eigenflow.lab.sweep.config import EngineConfig, Resources
from eigenflow.lab.sweep.engines import Lost, make_engine
from eigenflow.store import open_run
from lab.sweep.calls import crash
from lab.sweep.small import attempts, prepare

# Of ray 2.60, which warns of what a version to come will do, and leaves sockets to its own processes.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Tip. In future versions of Ray:FutureWarning"),
]
STORE = 100 * 2**20
TESTS = str(Path(__file__).parents[1])


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    """What jobs call is imported by programs of their own."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([TESTS, *filter(None, [os.environ.get("PYTHONPATH")])]))


@pytest.fixture
def ray(monkeypatch, tmp_path_factory):
    """Ray on this machine's loopback, with nothing sent anywhere; what was started is ended."""
    for name, value in {
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    ray = pytest.importorskip("ray")
    from ray._private import services

    # A driver that joins a cluster at 127.0.0.1 would look for it at the machine's address of the network.
    monkeypatch.setattr(services, "get_node_ip_address", lambda *_: "127.0.0.1")
    yield ray
    ray.shutdown()


@pytest.fixture
def cluster(ray):
    """Two nodes: the head, where the driver is, and another one."""
    from ray.cluster_utils import Cluster

    common = {"num_cpus": 1, "object_store_memory": STORE, "node_ip_address": "127.0.0.1"}
    made = Cluster(initialize_head=True, head_node_args={**common, "include_dashboard": False})
    other = made.add_node(**common)
    ray.init(made.address, log_to_driver=False, logging_level="error", _node_ip_address="127.0.0.1")
    yield made, other
    ray.shutdown()
    made.shutdown()


def names(width):
    return [f"model.width={width}", *(f"model.width={width},repeat={n}" for n in range(1, 12))]


def test_a_node_that_dies_in_the_middle_loses_no_run_and_makes_none_twice(tmp_path, cluster):
    """Twelve runs on two nodes of one core; one node is killed while both have a run in hand."""
    made, other = cluster
    work = prepare(tmp_path, "sweep.grid.model.width=[8]", "sweep.repeats=12", "train.steps=150",
                   "sweep.engine.name=ray")  # fmt: skip
    folder, killed = work.folder.path, threading.Event()

    def kill():
        until = time.monotonic() + 400
        while time.monotonic() < until:
            active = [path.stem for path in (folder / "leases").glob("*.json")]
            # Both are in the middle of their updates: the first measurement is made, the last one is not.
            if len(active) == 2 and all(
                (folder / "runs" / name / "checkpoint.safetensors").exists() for name in active
            ):
                made.remove_node(other, allow_graceful=False)
                killed.set()
                return
            time.sleep(0.02)

    thread = threading.Thread(target=kill)
    thread.start()
    with pytest.warns(UserWarning, match="taken over from process"):
        found = make_sweep(work)
    thread.join()
    assert killed.is_set() and found.done == 12 and not found.failed

    assert sorted(path.name for path in (folder / "runs").iterdir()) == sorted(names(8))
    logs = attempts(folder)
    assert sorted(logs) == sorted(names(8))
    runs = {name: open_run(folder / "runs" / name) for name in logs}
    assert {run.status for run in runs.values()} == {"complete"}
    assert {len(run.losses) for run in runs.values()} == {150}
    for name, events in logs.items():
        ends = [event for event in events if event["event"] == "end"]
        assert len(ends) == 1, name  # completed once
    twice = [name for name, events in logs.items() if sum(event["event"] == "begin" for event in events) > 1]
    assert len(twice) == 1  # that of the node which died, and no other
    assert [event["event"] for event in logs[twice[0]]] == ["begin", "begin", "end"]
    assert not list((folder / "leases").glob("*.json")) and not (folder / "aside").exists()


def test_ray_is_started_on_this_machine_where_there_is_none(tmp_path, ray):
    work = prepare(tmp_path, "sweep.engine.name=ray", "sweep.engine.jobs=2")
    told = []
    found = make_sweep(work, started=told.append)
    assert found.done == 2 and not found.failed and "1 node, 2 cores" in told[0]
    assert not ray.is_initialized()


@pytest.mark.rejects
def test_what_ray_cannot_do_is_said(ray):
    """A run whose process dies each time is told as lost; and what no node could ever take is refused at once."""
    config = EngineConfig.model_validate({"name": "ray", "jobs": 1, "retries": 1})
    with make_engine(config, Resources.model_validate({}), "") as engine:
        found = dict(engine.map(crash, [0, 1]))
        assert isinstance(found[0], Lost) and "WorkerCrashed" in found[0].why and found[1] == 1
        with pytest.raises(ConfigError, match=r"asks for 64 cores.* none of the 1 nodes has as much"):
            make_engine(config, Resources.model_validate({"cpus": 64}), "")


def test_submitit_makes_the_runs_as_jobs_of_this_machine(tmp_path):
    pytest.importorskip("submitit")
    work = prepare(tmp_path, "sweep.engine.name=submitit", "sweep.engine.cluster=local", "sweep.engine.jobs=2")
    told = []
    found = make_sweep(work, started=told.append)
    assert found.done == 2 and not found.failed and told == ["submitit on local, 2 at once"]
    jobs = {event["process"] for events in attempts(tmp_path / "sweep").values() for event in events}
    assert len(jobs) == 2 and os.getpid() not in jobs


def test_a_job_that_dies_is_submitted_again_and_then_told_as_lost(tmp_path):
    pytest.importorskip("submitit")
    config = EngineConfig.model_validate({"name": "submitit", "cluster": "local", "jobs": 2, "retries": 1})
    with make_engine(config, Resources.model_validate({}), str(tmp_path / "logs")) as engine:
        found = dict(engine.map(crash, [0, 1, 2]))
    assert isinstance(found[0], Lost) and {1: found[1], 2: found[2]} == {1: 1, 2: 2}
    submitted = list((tmp_path / "logs").glob("*_submitted.pkl"))
    assert len(submitted) == 4  # three, and the first once more


def test_a_job_that_is_put_back_calls_the_same_once_more():
    """What submitit calls before a job's time is over."""
    pytest.importorskip("submitit")
    from eigenflow.lab.sweep.engines.submitit import Requeued

    again = Requeued(crash).checkpoint(3)
    assert again.function(*again.args, **again.kwargs) == 3


@pytest.mark.rejects
def test_a_parameter_that_submitit_does_not_know_is_named(tmp_path):
    pytest.importorskip("submitit")
    config = EngineConfig.model_validate(
        {"name": "submitit", "cluster": "local", "parameters": {"slurm_partitoin": "gpu"}}
    )
    with pytest.raises(ConfigError, match=r"`sweep.engine.parameters` is not known to submitit: .*partitoin"):
        make_engine(config, Resources.model_validate({}), str(tmp_path))


@pytest.mark.filterwarnings("ignore::UserWarning:ray")
def test_fits_go_to_ray_where_joblib_is_told_so(ray):
    joblib = pytest.importorskip("joblib")
    from ray.util.joblib import register_ray

    from eigenflow.core.parallel import map_calls

    register_ray()
    ray.init("local", num_cpus=2, include_dashboard=False, object_store_memory=STORE, log_to_driver=False,
             _node_ip_address="127.0.0.1")  # fmt: skip
    with joblib.parallel_config("ray", n_jobs=2):
        found = map_calls(lambda number: (number**2, os.getpid()), range(6))
    assert [square for square, _ in found] == [number**2 for number in range(6)]
    assert os.getpid() not in {process for _, process in found}
