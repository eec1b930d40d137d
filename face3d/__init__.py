"""Photos, video and speech to animatable, metric 3D heads."""

from importlib import import_module
from typing import TYPE_CHECKING

from face3d.core.version import __version__ as __version__

if TYPE_CHECKING:
    from face3d.pipeline import Head as Head
    from face3d.pipeline import KnownSizes as KnownSizes
    from face3d.pipeline import Shot as Shot
    from face3d.pipeline import convert as convert
    from face3d.pipeline import film as film
    from face3d.pipeline import load as load
    from face3d.pipeline import load_head as load_head
    from face3d.pipeline import load_regressor as load_regressor
    from face3d.pipeline import read_depth as read_depth
    from face3d.pipeline import reconstruct as reconstruct
    from face3d.pipeline import reconstruct_all as reconstruct_all
    from face3d.pipeline import regress_pictures as regress_pictures

_PUBLIC = (
    "Head", "KnownSizes", "Shot", "convert", "film", "load", "load_head", "load_regressor",
    "read_depth", "reconstruct", "reconstruct_all", "regress_pictures",
)  # fmt: skip


def __getattr__(name: str) -> object:
    """Load the pipeline when it is first asked for: it takes a second or two."""
    if name in _PUBLIC:
        return getattr(import_module("face3d.pipeline"), name)
    raise AttributeError(f"module 'face3d' has no attribute {name!r}")


def __dir__() -> list[str]:
    """What there is, for completion, without loading it."""
    return sorted([*globals(), *_PUBLIC])
