"""The files that commands write: one option to replace what exists, one check of all of them before any work."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated

import typer

from eigenflow.core.errors import ArgumentError, EigenflowError, FileError
from eigenflow.core.writing import check_free

__all__ = ["Force", "check_outputs", "check_own_file"]

Force = Annotated[
    bool, typer.Option("--force", help="Replace files that exist; a file that is read is never replaced.")
]

PICTURES = (".png", ".svg", ".pdf", ".jpg", ".jpeg", ".webp", ".eps")


def check_outputs(
    outputs: Mapping[str, Path | None], *, inputs: Iterable[str | Path | None] = (), replace: bool = False
) -> None:
    """Refuse, before any work, files that cannot or must not be written.

    Args:
        outputs: Files to be made by the option that names them; None for those that are not asked for.
        inputs: Files and folders that are read. Nothing that is in such a folder is replaced.
        replace: Whether `--force` was given.

    Raises:
        ArgumentError: If a file is read too, exists and is not to be replaced, is asked for twice, lies in no folder,
            or is a picture of no known kind.
        FileError: If the system says that it cannot be written there.
    """
    read = [Path(one) for one in inputs if one is not None]
    taken: dict[Path, str] = {}
    for option, path in outputs.items():
        if path is None:
            continue
        if option == "--picture" and path.suffix.lower() not in PICTURES:
            raise ArgumentError(f"`--picture` must end in one of {', '.join(PICTURES)}, but is '{path}'.")
        if option == "--card" and path.suffix.lower() != ".png":
            raise ArgumentError(f"`--card` must end in .png, but is '{path}'. It is a picture of 1200 x 630 pixels.")
        check_free(path, option=option, replace=replace, inputs=read)
        _refuse_inside(path, option, read)
        # The name itself may be a link, which is replaced and not followed.
        place = path.parent.resolve() / path.name
        if place in taken:
            raise ArgumentError(f"`{option}` and `{taken[place]}` must be two files, but both are '{path}'.")
        taken[place] = option


def check_own_file(path: Path) -> None:
    """Refuse, before any work, a run folder that cannot hold its own summary or report; these are always replaced.

    Raises:
        FileError: With the way out, `--out`.
    """
    try:
        check_free(path, option="RUN", replace=True)
    except EigenflowError as error:
        raise FileError(f"{error} Or write to another place with --out FILE.") from None


def _refuse_inside(path: Path, option: str, read: Iterable[Path]) -> None:
    if not path.exists():
        return
    for folder in read:
        if folder.is_dir() and path.resolve().is_relative_to(folder.resolve()):
            raise ArgumentError(
                f"`{option}` is '{path}', which exists in the folder '{folder}' that is read: it may be an input, and "
                f"would be lost. Give a path outside of it."
            )
