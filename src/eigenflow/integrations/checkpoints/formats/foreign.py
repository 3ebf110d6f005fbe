"""What a file is that is no checkpoint of PyTorch, told by its first bytes."""

import zipfile
from pathlib import Path

from eigenflow.integrations.checkpoints.formats.weights import UnreadableError

__all__ = ["is_whole_zip", "refuse_foreign"]

# The first bytes, and what to say.
SIGNS: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "it is a pointer of Git LFS, not the file: run `git lfs pull`"),
    (b"<!DOCTYPE", "it is a web page, as of a download that failed"),
    (b"<html", "it is a web page, as of a download that failed"),
    (b"\x89HDF\r\n", "it is an HDF5 file (Keras); load it in PyTorch, and save the state_dict"),
    (b"GGUF", "it is a GGUF file with quantised weights; use the checkpoint that it was made from"),
    (b"\x1f\x8b", "it is compressed by gzip: unpack it first"),
    (b"BZh", "it is compressed by bzip2: unpack it first"),
    (b"\xfd7zXZ", "it is compressed by xz: unpack it first"),
    (b"\x28\xb5\x2f\xfd", "it is compressed by zstd: unpack it first"),
    (b"\x93NUMPY", "it is one NumPy array; save all parameters as safetensors"),
    (b"PAR1", "it is a Parquet table"),
)
# The header of llm.c's own format begins with this number.
LLMC = (20240326).to_bytes(4, "little")
TAR_SIGN, TAR_OFFSET = b"ustar", 257
HEAD = 512


def refuse_foreign(path: Path) -> None:
    """Say what a file is instead.

    Raises:
        UnreadableError: If it is empty, another kind of file, or a folder or cannot be opened.
    """
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError as error:
        raise UnreadableError(f"it cannot be opened ({error.strerror or error})") from None
    if not head:
        raise UnreadableError("it is empty (0 bytes)")
    if not any(head):
        raise UnreadableError("it begins with zeros, as a file whose writing was cut off")
    for sign, words in SIGNS:
        if head.startswith(sign):
            raise UnreadableError(words)
    if head.startswith(LLMC):
        raise UnreadableError("it is llm.c's own format; convert it with llm.c/dev/eval/export_hf.py")
    if head[TAR_OFFSET : TAR_OFFSET + len(TAR_SIGN)] == TAR_SIGN:
        raise UnreadableError("it is a tar archive (NeMo, or PyTorch before 0.4): unpack it first")


def is_whole_zip(path: Path) -> bool:
    """Whether a file that begins as a zip archive has its directory, which is written last."""
    try:
        return zipfile.is_zipfile(path)
    except zipfile.BadZipFile:  # raised for some directories that are damaged
        return False
