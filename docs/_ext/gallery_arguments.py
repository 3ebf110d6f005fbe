"""Arguments with which the gallery runs its scripts."""

import tempfile
from pathlib import Path
from typing import Any


def arguments(config: Any, script: dict[str, Any]) -> list[str]:
    """A run is recorded outside of the repository; the other scripts take nothing."""
    return [str(Path(tempfile.mkdtemp()) / "run")] if "record" in Path(script["src_file"]).name else []
