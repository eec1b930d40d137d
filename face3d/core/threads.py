"""How many threads small work takes."""

from collections.abc import Generator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Generator[None]:
    """Run the body's torch operations on one thread.

    Arrays of a few hundred rows are done before a second thread has woken up, and next to other
    thread pools (numba's, mediapipe's) torch's waiting threads make it tens of times slower.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
