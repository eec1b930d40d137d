"""Writing files so that a reader never meets half of one."""

import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from face3d.core.errors import InputError


@contextmanager
def atomic_path(target: Path) -> Generator[Path]:
    """Yield a temporary path next to ``target`` and rename it over ``target`` on success.

    The temporary file keeps the suffix of ``target``, because many writers choose the format by
    it, and is removed when the body raises, so a failed write leaves nothing behind.

    Args:
        target: The file to create or replace. Its folder is created when it is missing.

    Raises:
        InputError: The folder cannot be created or written to, or ``target`` is a folder.
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
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
