"""The machine and versions that stand beside every benchmark's numbers."""

import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def describe(*packages: str) -> dict[str, Any]:
    """Processor, system, and the versions of the packages measured; None for what is not installed."""
    return {
        "processor": _processor(),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "threads": _threads(),
        **{name: _version(name) for name in ("torch", "numpy", *packages)},
    }


def write(name: str, rows: list[dict[str, Any]], *packages: str, **more: Any) -> Path:
    """Write one benchmark's rows as JSON, with anything else worth keeping under its own key."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"machine": describe(*packages), "rows": rows, **more}, indent=2) + "\n")
    return path


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    names = (
        [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        if (info.exists())
        else []
    )
    return names[0] if names else platform.processor() or platform.machine()


def _threads() -> int:
    if _version("torch") is None:
        return int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))
    import torch

    return torch.get_num_threads()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
