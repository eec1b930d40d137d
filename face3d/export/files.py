"""Reading and writing whole files with messages that a user can act on."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from face3d.core import AssetError, InputError, atomic_path


def require_suffix(path: Path, suffix: str) -> None:
    """Raise unless the name of ``path`` ends in ``suffix``, in either case.

    Raises:
        InputError: With the name that came and the suffix that is needed.
    """
    if path.suffix.lower() != suffix:
        raise InputError(f"{path} does not end in {suffix}; give a file name that does.")


def write_file(path: Path, data: bytes) -> None:
    """Create or replace a file in one step; a failure leaves the old one as it was.

    Raises:
        InputError: The folder cannot be written to, or the disk is full.
    """
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_files(files: Mapping[Path, bytes]) -> None:
    """Create or replace files that belong together; all are written before the first appears.

    Raises:
        InputError: The folder cannot be written to, or the disk is full; nothing has changed.
    """
    with ExitStack() as stack:
        # Contexts end in reverse, so the first file, which names the others, appears last.
        for path, data in files.items():
            stack.enter_context(atomic_path(path)).write_bytes(data)


def read_file(path: Path) -> bytes:
    """All bytes of a file.

    Raises:
        AssetError: There is no such file, or it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise AssetError(
            f"Cannot read {path} ({error.strerror}); check the name and the permissions."
        ) from error
