"""The machine and versions that stand beside every benchmark's numbers."""

import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def describe(*packages: str) -> dict[str, Any]:
    """Processor, system, and the versions of the packages measured."""
    import torch

    return {
        "processor": platform.processor() or platform.machine(),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
        **{name: version(name) for name in ("torch", "numpy", *packages)},
    }


def write(name: str, rows: list[dict[str, Any]], *packages: str) -> Path:
    """Write one benchmark's rows as JSON."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"machine": describe(*packages), "rows": rows}, indent=2) + "\n")
    return path
