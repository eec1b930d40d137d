"""Published regressors by name, from the checkpoints that users have."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import nn

from face3d.core.errors import AssetError, InputError
from face3d.regress.checkpoint import load_exactly, read_checkpoint, tensors_under
from face3d.regress.deca import CODE, Deca, Emoca
from face3d.regress.mica import Mica
from face3d.regress.smirk import SmirkEncoder, SmirkGenerator
from face3d.regress.spectre import Spectre
from face3d.regress.teaser import TeaserEncoder, TeaserGenerator

Published = Literal["deca", "emoca", "smirk", "teaser", "spectre", "mica"]

LAST_LAYER = "E_expression.layers.2.weight"


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """Where a checkpoint keeps the parts of a network."""

    build: Callable[[Mapping[str, Any]], nn.Module]
    parts: dict[str, str]  # of the network, and the beginnings of their keys in the file
    ignored: tuple[str, ...] = ()  # beginnings of keys within parts


def _emoca(state: Mapping[str, Any]) -> Emoca:
    """As wide as the checkpoint's expression code is."""
    for prefix in ("deca.", "state_dict.deca."):
        last = tensors_under(state, prefix).get(LAST_LAYER)
        if last is not None:
            return Emoca(last.shape[0])
    return Emoca(CODE["exp"])


_DECA = {"E_flame": "E_flame.", "E_detail": "E_detail.", "D_detail": "D_detail."}
LAYOUTS: dict[str, _Layout] = {
    "deca": _Layout(build=lambda _: Deca(), parts=_DECA),
    "emoca": _Layout(
        build=_emoca,
        parts={
            name: f"deca.{name}." for name in ("E_flame", "E_detail", "D_detail", "E_expression")
        },
    ),
    "smirk": _Layout(build=lambda _: SmirkEncoder(), parts={"": "smirk_encoder."}),
    "teaser": _Layout(build=lambda _: TeaserEncoder(), parts={"": "teaser_encoder."}),
    "spectre": _Layout(
        build=lambda _: Spectre(),
        parts={"E_flame": "E_flame.", "E_expression": "E_expression."},
    ),
    "mica": _Layout(
        build=lambda _: Mica(),
        parts={"arcface": "arcface.", "regressor": "flameModel.regressor."},
    ),
}
"""MICA's file also holds FLAME's own arrays (flameModel.generator), which stay unread: the head
comes from the user's FLAME file."""

GENERATORS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "smirk": (SmirkGenerator, "smirk_generator."),
    "teaser": (TeaserGenerator, "teaser_generator."),
}


def load_published(name: Published, checkpoint: Path) -> nn.Module:
    """A published network with its weights, ready for use.

    Args:
        name: Of the system.
        checkpoint: As its authors publish it.

    Raises:
        InputError: There is no such file, or the name is unknown.
        AssetError: The file is damaged, would run code, or is of another system; the message
            lists the keys.
    """
    if name not in LAYOUTS:
        raise InputError(f"There is no regressor {name!r}; there are {', '.join(LAYOUTS)}.")
    layout = LAYOUTS[name]
    state = _unwrapped(read_checkpoint(checkpoint))
    found = {part: tensors_under(state, prefix) for part, prefix in layout.parts.items()}
    empty = [layout.parts[part] for part, tensors in found.items() if not tensors]
    if empty:
        raise AssetError(
            f"{checkpoint} is no checkpoint of {name}: it has no keys that begin with "
            f"{', '.join(empty)}; its keys begin with {', '.join(_beginnings(state))}."
        )
    net = layout.build(state)
    for part, tensors in found.items():
        whole = net.get_submodule(part) if part else net
        load_exactly(whole, tensors, f"{checkpoint} ({name} {part})".replace(" )", ")"))
    return net.eval().requires_grad_(False)


def load_generator(name: Literal["smirk", "teaser"], checkpoint: Path) -> nn.Module:
    """The network of SMIRK or TEASER that draws a face, with its weights.

    Raises:
        InputError: There is no such file.
        AssetError: As of ``load_published``; or the file has no generator.
    """
    build, prefix = GENERATORS[name]
    tensors = tensors_under(_unwrapped(read_checkpoint(checkpoint)), prefix)
    if not tensors:
        raise AssetError(f"{checkpoint} holds no generator: no keys begin with {prefix}.")
    net = build()
    load_exactly(net, tensors, f"{checkpoint} ({name}'s generator)")
    return net.eval().requires_grad_(False)


def _unwrapped(state: dict[str, Any]) -> dict[str, Any]:
    """Without what training loops wrap around states, and without "module." of parallel ones."""
    inner = state.get("state_dict")
    if isinstance(inner, Mapping):
        state = dict(inner)
    if state and all(str(key).startswith("module.") for key in state):
        state = {str(key).removeprefix("module."): value for key, value in state.items()}
    return state


def _beginnings(state: Mapping[str, Any]) -> list[str]:
    return sorted({str(key).split(".")[0] + "." for key in state})[:8]
