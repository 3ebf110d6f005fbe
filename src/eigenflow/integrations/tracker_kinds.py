"""How each tracker is spoken to, and how it is known: by its methods, never by importing it."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

__all__ = ["KINDS", "PREFIX", "MlflowClient", "Tracker", "program_of"]

# Every name of a metric begins with it.
PREFIX = "eigenflow/"


@runtime_checkable
class Tracker(Protocol):
    """Where numbers of a run go."""

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Note numbers by name, at a step."""
        ...

    def close(self) -> None:
        """Flush; what the user opened stays open."""
        ...


class _TensorBoard:
    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        if hasattr(self._writer, "flush"):
            self._writer.flush()


class _WandB:
    """A row is merged into the one that the user's code is writing: steps given by it are never overtaken.

    W&B drops rows whose step is behind its counter, so a step of ours would silence users who count epochs. The own
    step is a metric, against which ours are drawn.
    """

    STEP = PREFIX + "step"

    def __init__(self, run: Any) -> None:
        self._given = run
        self._is_defined = False
        self._open: tuple[int, int] | None = None  # W&B's counter, and our step, of a row that is not committed

    @property
    def _run(self) -> Any:
        run = self._given.run if _is_module(self._given) else self._given
        if run is None:
            raise RuntimeError("wandb has no run; call wandb.init() first")
        return run

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        run = self._run
        if not self._is_defined and hasattr(run, "define_metric"):
            run.define_metric(self.STEP, hidden=True)
            run.define_metric(PREFIX + "*", step_metric=self.STEP)
            self._is_defined = True
        if self._open is not None and self._open[0] == run.step:  # nobody else has written since: keep it
            run.log({self.STEP: self._open[1]}, commit=True)
        run.log({**metrics, self.STEP: step}, commit=False)
        self._open = run.step, step

    def artifact(self, path: str, name: str) -> None:
        self._run.log_artifact(path, name=name, type="report")

    def close(self) -> None:
        if self._open is not None and self._open[0] == self._run.step:
            self._run.log({self.STEP: self._open[1]}, commit=True)
        self._open = None


class _LogMetrics:
    """`log_metrics(metrics, step=...)`: MLflow's module, Lightning's loggers, Comet, Neptune Scale."""

    def __init__(self, target: Any) -> None:
        self._target = target

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        self._target.log_metrics(dict(metrics), step=step)

    def artifact(self, path: str, name: str) -> None:
        target = self._target
        if hasattr(target, "log_asset"):  # Comet
            target.log_asset(path, file_name=name)
        elif hasattr(target, "assign_files"):  # Neptune Scale
            target.assign_files({PREFIX + name: path})
        elif _is_module(target) and hasattr(target, "log_artifact"):  # MLflow
            target.log_artifact(path, artifact_path=PREFIX.rstrip("/"))
        else:
            _lightning_artifact(target, path, name)

    def close(self) -> None:
        if hasattr(self._target, "save"):  # Lightning's loggers write when they are told
            self._target.save()


class MlflowClient:
    """MLflow's client, for one run.

    Args:
        client: An `MlflowClient`.
        run_id: The run.
    """

    def __init__(self, client: Any, run_id: str) -> None:
        self._client, self._run_id = client, run_id

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        for name, value in metrics.items():
            self._client.log_metric(self._run_id, name, value, step=step)

    def artifact(self, path: str, name: str) -> None:
        self._client.log_artifact(self._run_id, path, artifact_path=PREFIX.rstrip("/"))

    def close(self) -> None:
        pass


class _Log:
    """`log(metrics, step=...)`: accelerate, Trackio, SwanLab, torchtitan, and whatever follows the protocol."""

    def __init__(self, target: Any) -> None:
        self._target = target

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        self._target.log(dict(metrics), step=step)

    def close(self) -> None:
        pass


class _Aim:
    def __init__(self, run: Any) -> None:
        self._run = run

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        for name, value in metrics.items():
            self._run.track(value, name=name, step=step)

    def close(self) -> None:
        pass


class _ClearML:
    def __init__(self, target: Any) -> None:
        self._task = target if hasattr(target, "get_logger") else None
        self._logger = target if self._task is None else target.get_logger()

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        for name, value in metrics.items():
            title, series = name.split("/", 1)
            self._logger.report_scalar(title=title, series=series, value=value, iteration=step)

    def artifact(self, path: str, name: str) -> None:
        if self._task is None:
            raise RuntimeError("a ClearML logger keeps no files; give its task")
        self._task.upload_artifact(name, artifact_object=path)

    def close(self) -> None:
        self._logger.flush()


class _Neptune:
    def __init__(self, run: Any) -> None:
        self._run = run

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        for name, value in metrics.items():
            self._run[name].append(value, step=step)

    def artifact(self, path: str, name: str) -> None:
        self._run[PREFIX + name].upload(path)

    def close(self) -> None:
        pass


class _Function:
    def __init__(self, function: Callable[[Mapping[str, float], int], Any]) -> None:
        self._function = function

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        self._function(metrics, step)

    def close(self) -> None:
        pass


def program_of(target: Any) -> str:
    """The program that an object is from."""
    name = target.__name__ if _is_module(target) else type(target).__module__
    return str(name).split(".")[0]


def _is_module(target: Any) -> bool:
    return type(target).__name__ == "module"


def _has(*names: str) -> Callable[[Any], bool]:
    return lambda target: all(callable(getattr(target, name, None)) for name in names)


def _takes(function: Callable[..., Any], *, by_name: bool) -> bool:
    """Whether it can be called with metrics and a step; `logging` and `math` have a `log` too."""
    if isinstance(function, type):
        return False
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # written in C, as `math.log`
        return not by_name
    try:
        signature.bind({}, step=1) if by_name else signature.bind({}, 1)
    except TypeError:
        return False
    return True


def _is_processor(target: Any) -> bool:
    """A torchtitan `MetricsProcessor`: its own `log` takes other things, its logger's takes metrics."""
    return _has("should_log")(target) and _has("log")(getattr(target, "logger", None))


def _lightning_artifact(logger: Any, path: str, name: str) -> None:
    inner: Any = getattr(logger, "experiment", None)
    if inner is None or not hasattr(inner, "log_artifact"):
        raise RuntimeError(f"{type(logger).__name__} keeps no files")
    if hasattr(inner, "define_metric"):
        inner.log_artifact(path, name=name, type="report")
    else:
        inner.log_artifact(logger.run_id, path, artifact_path=PREFIX.rstrip("/"))


# Asked in this order; a class is no tracker, it was not made yet.
KINDS: tuple[tuple[str, Callable[[Any], bool], Callable[[Any], Tracker]], ...] = (
    ("TensorBoard", _has("add_scalar"), _TensorBoard),
    ("W&B", lambda target: _has("log", "define_metric")(target) and program_of(target) != "trackio", _WandB),
    ("torchtitan", _is_processor, lambda target: _Log(target.logger)),
    ("", _has("log_metrics"), _LogMetrics),
    (
        "ClearML",
        lambda target: _has("report_scalar")(target) or _has("get_logger", "upload_artifact")(target),
        _ClearML,
    ),
    ("Aim", _has("track"), _Aim),
    ("", lambda target: _has("log")(target) and _takes(target.log, by_name=True), _Log),
    ("Neptune", lambda target: _has("__getitem__", "stop")(target), _Neptune),
    ("a function", lambda target: callable(target) and _takes(target, by_name=False), _Function),
)
