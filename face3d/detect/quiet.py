"""Keeping the chatter of MediaPipe's C++ code off the terminal."""

import os
import re
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager

_CHATTER = re.compile(rb"(INFO: |WARNING: (All log messages|Logging) before |[IW]\d{4,8} )")


@contextmanager
def quiet_stderr() -> Generator[None]:
    """Drop the informational lines that C++ code writes while the body runs.

    That code writes to file descriptor 2 itself and offers no switch, so the descriptor is
    redirected for the time of the body, for all threads. Everything but the known chatter is
    passed on afterwards, also when the body raises.
    """
    try:
        saved = os.dup(2)
    except OSError:  # a service may run without a standard error stream
        yield
        return
    with tempfile.TemporaryFile() as captured:
        sys.stderr.flush()
        os.dup2(captured.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            captured.seek(0)
            for line in captured:
                if not _CHATTER.match(line):
                    os.write(2, line)
