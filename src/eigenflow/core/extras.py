"""Packages that only some of eigenflow needs, and how to get one that is missing."""

__all__ = ["EXTRAS", "remedy"]

# Name of import: the extra of eigenflow that brings it.
EXTRAS = {
    "torch": "measure",
    "safetensors": "measure",
    "threadpoolctl": "measure",
    "sklearn": "lab",
    "pyarrow": "logs",
    "tensorboard": "logs",
    "transformers": "huggingface",
    "lightning": "lightning",
    "ray": "ray",
    "submitit": "slurm",
    "obstore": "cloud",
    "joblib": "lab",
    "h5netcdf": "export",
    "h5py": "export",
    "starlette": "live",
    "uvicorn": "live",
}

BRING_TORCH = ("measure", "huggingface", "lightning")


def remedy(module: str) -> str:
    """A sentence on how to install the package that holds a module of `EXTRAS`."""
    extra = EXTRAS[module]
    how = f"Install it with: pip install 'eigenflow[{extra}]'"
    if extra not in BRING_TORCH:
        return f"{how}."
    # The file is in the repository, not in the wheel, and the default build of PyTorch is one for GPUs.
    return f"{how}. In a checkout add -c constraints.txt; elsewhere install the PyTorch build that you want first."
