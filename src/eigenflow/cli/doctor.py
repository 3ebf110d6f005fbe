"""`eigenflow doctor`: what is installed here, and what would be slow."""

import os
import platform
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

import eigenflow
from eigenflow.cli.console import out, print_json
from eigenflow.core.extras import remedy
from eigenflow.core.memory import physical_bytes

__all__ = ["doctor", "examine"]

NEEDED = ("numpy", "scipy", "pandas", "xarray", "zarr", "pydantic", "plotly", "matplotlib")
MEASURING = ("torch", "safetensors")
WHAT_FOR = {"lab": "`eigenflow run`", "logs": "Parquet and TensorBoard logs", "export": "`eigenflow export` to netCDF"}
OPTIONAL = {"scikit-learn": "lab", "pyarrow": "logs", "tensorboard": "logs", "h5netcdf": "export"}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Show versions and devices, what is missing, and what would be slow on this machine.

    Example: `eigenflow doctor`
    """
    findings = examine()
    if as_json:
        print_json(findings)
    else:
        table = Table(title=f"eigenflow {findings['eigenflow']}", title_justify="left", show_header=False)
        for name, value in findings["versions"].items():
            table.add_row(name, value or "[yellow]not installed[/]")
        for name, value in findings["machine"].items():
            table.add_row(name, escape(str(value)))
        out.print(table)
        for advice in findings["advice"]:
            out.print(f"- {advice}", markup=False, soft_wrap=True)
        out.print("Ready." if findings["is_ready"] else "Not ready to measure; see above.", markup=False)
    if not findings["is_ready"]:
        sys.exit(1)


def examine() -> dict[str, Any]:
    """Collect versions, machine facts and advice."""
    versions = {"python": sys.version.split()[0], **{name: _version(name) for name in (*NEEDED, *MEASURING, *OPTIONAL)}}
    advice = []
    missing = [name for name in NEEDED + MEASURING if versions[name] is None]
    if missing:
        advice.append(f"Missing: {', '.join(missing)}. {remedy('torch')}")
    advice += [
        f"{name} is not installed; what needs it: {WHAT_FOR[extra]}. pip install 'eigenflow[{extra}]'"
        for name, extra in OPTIONAL.items()
        if versions[name] is None
    ]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory = physical_bytes()
    machine: dict[str, Any] = {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": cores,
        "memory_gib": round(memory / 2**30, 1),
        "free_disk_gib": round(shutil.disk_usage(".").free / 2**30, 1),
    }
    if versions["torch"] is not None:
        machine.update(_torch_facts())
        if machine["torch_threads"] > cores:
            advice.append(
                f"PyTorch uses {machine['torch_threads']} threads on {cores} cores; set OMP_NUM_THREADS={cores}."
            )
    largest = int((memory / 3 / 6 / 8) ** 0.5)
    advice.append(
        f"A dense measurement of n = samples * outputs rows takes about n^3 / 10^9 seconds a core and 48 n^2 bytes: "
        f"n = 1,000 is a second, n = 5,000 minutes, and {largest:,} fills a third of this memory."
    )
    return {
        "eigenflow": eigenflow.__version__,
        "versions": versions,
        "machine": machine,
        "advice": advice,
        "is_ready": not missing,
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _torch_facts() -> dict[str, Any]:
    import torch

    devices = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {"torch_threads": torch.get_num_threads(), "accelerators": ", ".join(devices) or "none"}
