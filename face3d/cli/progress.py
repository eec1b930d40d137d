"""What the program is doing, for people at a terminal."""

from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.console import Console


@contextmanager
def shown_progress() -> Generator[Callable[[str], None]]:
    """A line on the error stream that says what is done, gone when it is; none in pipes."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda doing: None
        return
    with console.status("starting") as status:
        yield status.update
