"""Writing files so that a reader never meets half of one."""

import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from face3d.core.errors import InputError


@lru_cache(maxsize=1)
def _umask() -> int:
    """The process's file mask; it can only be read by changing it for a moment."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


@contextmanager
def atomic_path(target: Path) -> Generator[Path]:
    """Yield a temporary path next to ``target`` and rename it over ``target`` on success.

    The temporary file keeps the suffix of ``target``, because many writers choose the format by
    it, and is removed when the body raises, so a failed write leaves nothing behind.

    Args:
        target: The file to create or replace. Its folder is created when it is missing.

    Raises:
        InputError: The folder cannot be created or written to, ``target`` is a folder, or the
            body meets an error of the file system, such as a full disk.
    """
    if target.is_dir():
        raise InputError(f"{target} is a folder; give the name of a file to write.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=".face3d-", suffix=target.suffix)
    except OSError as error:
        raise InputError(
            f"Cannot write to the folder {target.parent} ({error.strerror}); "
            "choose an output folder that you may write to."
        ) from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes private files; a result should have the permissions of any other file.
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(target)
    except OSError as error:
        raise InputError(
            f"Cannot write {target} ({error.strerror or error}); "
            "make room or choose another folder."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
