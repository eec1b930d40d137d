"""Reading the checkpoints of published systems: no code is run, and every key is accounted for."""

from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from face3d.core.errors import AssetError, InputError
from face3d.regress.numpy_pickles import STAND_INS, with_arrays

HARMLESS = ("omegaconf.", "yacs.", "pytorch_lightning.", "lightning.", "pathlib.", "typing.")
"""Modules whose objects training loops leave in checkpoints; they are read as empty shells."""

LISTED = 12
"""Keys that a message names."""


class _Shell:
    """Stands in for an object that is not wanted; whatever is done to it is forgotten."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass


@contextmanager
def _shells(path: Path) -> Generator[None]:
    """Let torch read harmless objects as shells."""
    names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    bad = [name for name in names if name not in STAND_INS and not name.startswith(HARMLESS)]
    if bad:
        raise AssetError(
            f"{path} would run code when it is read ({', '.join(bad[:LISTED])}); a checkpoint "
            "holds only numbers, so do not trust this one."
        )
    allowed = [
        (STAND_INS.get(name, type(name.rpartition(".")[2], (_Shell,), {})), name) for name in names
    ]
    with torch.serialization.safe_globals(cast("list[Any]", allowed)):
        yield


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What a file of torch holds, without running any of it.

    Args:
        path: Written by ``torch.save``.

    Raises:
        InputError: There is no such file.
        AssetError: It is damaged, no checkpoint, or would run code.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist; give the path of a checkpoint.")
    try:
        with _shells(path):
            found = with_arrays(torch.load(path, map_location="cpu", weights_only=True))
    except AssetError:
        raise
    except Exception as error:
        # The reader of a damaged archive raises whatever it stumbles over.
        raise AssetError(
            f"{path} is no readable checkpoint ({_first_line(error)}); download it again."
        ) from error
    if not isinstance(found, Mapping):
        raise AssetError(f"{path} holds a {type(found).__name__} and no state of a network.")
    return dict(cast("Mapping[str, Any]", found))


def tensors_under(state: Mapping[str, Any], prefix: str) -> dict[str, Tensor]:
    """The tensors whose keys begin so, without it; a nested dict counts as "name."."""
    out: dict[str, Tensor] = {}
    for key, value in _flat(state):
        if key.startswith(prefix) and isinstance(value, Tensor):
            out[key.removeprefix(prefix)] = value
    return out


def _flat(state: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in state.items():
        if isinstance(value, Mapping):
            yield from _flat(cast("Mapping[str, Any]", value), f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def load_exactly(
    net: nn.Module, state: Mapping[str, Tensor], what: str, *, ignored: tuple[str, ...] = ()
) -> None:
    """Fill a network with tensors, each of which must have its place.

    Args:
        net: The network.
        state: Tensors by the network's own keys.
        what: The file and part, for messages.
        ignored: Beginnings of keys that the network does without.

    Raises:
        AssetError: Keys are missing, left over or of another shape; it lists them.
    """
    wanted = net.state_dict()
    given = {k: v for k, v in state.items() if not k.startswith(ignored)} if ignored else state
    missing = [k for k in wanted if k not in given and not k.endswith("num_batches_tracked")]
    extra = [k for k in given if k not in wanted]
    wrong = [
        f"{k} {tuple(given[k].shape)} instead of {tuple(v.shape)}"
        for k, v in wanted.items()
        if k in given and given[k].shape != v.shape
    ]
    problems = [
        f"{name}: {', '.join(keys[:LISTED])}{_more(len(keys))}"
        for name, keys in (("missing", missing), ("not known", extra), ("wrong shape", wrong))
        if keys
    ]
    if problems:
        raise AssetError(f"{what} does not fit the network; {'; '.join(problems)}.")
    net.load_state_dict(dict(given), strict=False)


def _more(count: int) -> str:
    return f" and {count - LISTED} more" if count > LISTED else ""


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return text[0][:120] if text else type(error).__name__
