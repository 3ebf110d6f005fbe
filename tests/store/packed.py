"""Run folders as earlier versions wrote them, packed beside this file."""

import tarfile
from pathlib import Path

FOLDERS = Path(__file__).parent / "folders"


def unpack(name: str, into: Path) -> Path:
    """Unpack one of them; Pythons before 3.11.4 have no filter, and these archives are our own."""
    options = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
    with tarfile.open(FOLDERS / f"{name}.tar.xz") as archive:
        archive.extractall(into, **options)
    return into / name
