"""Heads by name or by file."""

from functools import lru_cache
from pathlib import Path

from face3d.assets import Asset, add_asset, find_asset, manifest
from face3d.core.errors import AssetError, InputError
from face3d.model import HeadData, HeadModel, read_flame, read_gnm, read_ict, read_open_head

OPEN_HEAD = "open"

OTHER_ASSETS = ("landmark_noise", "relief_net", "surface_net", "own_regressor")
"""Assets that are no heads."""


def read_head(path: Path) -> HeadData:
    """Read a head file of any known form, by its name's ending and its contents.

    Args:
        path: ``.npz`` (the open head's layout, or GNM Head), ``.pkl`` (FLAME; its landmark
            embedding is taken from ``mediapipe_landmark_embedding.npz`` next to it, its eyelids
            from ``l_eyelid.npy`` and ``r_eyelid.npy``), or a folder
            with ICT-FaceKit's files.

    Raises:
        AssetError: The file is missing, damaged or of no known form.
    """
    if path.is_dir():
        return read_ict(path)
    if not path.is_file():
        raise AssetError(f"The head file {path} does not exist; check the path.")
    if path.suffix.lower() == ".pkl":
        beside = path.with_name("mediapipe_landmark_embedding.npz")
        lids = (path.with_name("l_eyelid.npy"), path.with_name("r_eyelid.npy"))
        return read_flame(
            path,
            landmark_embedding=beside if beside.is_file() else None,
            eyelids=lids if all(lid.is_file() for lid in lids) else None,
        )
    if path.suffix.lower() == ".npz":
        try:
            return read_open_head(path)
        except AssetError as first:
            try:
                return read_gnm(path)
            except AssetError:
                raise first from None
    raise AssetError(f"{path} is not a head file; heads are .npz, .pkl or an ICT-FaceKit folder.")


def load_head(name: str = OPEN_HEAD) -> HeadModel:
    """A head model by asset name ("open", "flame2020", ...) or by path.

    The model is shared by all who ask for it; make a copy.deepcopy before changing it.

    Raises:
        AssetError: There is no such head, or its file is damaged.
    """
    path = head_path(name)
    stamp = path.stat().st_mtime_ns if path.exists() else 0
    return _load(path.resolve(), stamp, name == OPEN_HEAD)


def head_path(name: str) -> Path:
    """The file of a head by asset name or by path.

    Raises:
        AssetError: There is no such head.
    """
    heads = [known for known in manifest() if known not in OTHER_ASSETS]
    if name in heads:
        return find_asset(name)
    if name and (Path(name).suffix or Path(name).exists()):
        return Path(name)
    raise AssetError(f"There is no head {name!r}; use a path or one of {', '.join(heads)}.")


@lru_cache(maxsize=4)
def _load(path: Path, mtime_ns: int, is_open: bool) -> HeadModel:
    """A head whose file has not changed since; its time is part of the key."""
    del mtime_ns
    return HeadModel(read_open_head(path) if is_open else read_head(path))


_READERS = {"gnm": read_gnm}
"""Readers of the assets that have one of their own; the others are told by their endings."""


def install_head(path: Path) -> tuple[Asset, Path]:
    """Check a user's head file by reading it, and keep a copy where face3d finds it.

    Returns:
        The asset it was recognised as, and where it now lies.

    Raises:
        AssetError: The file is not a head that can be installed, or its name does not say which.
        InputError: It cannot be read.
    """
    if not path.is_file():
        raise InputError(f"{path} is not a file; give the head file that you downloaded.")
    users = [asset for asset in manifest().values() if not asset.sha256]
    for asset in users:
        if asset.file.lower() == path.name.lower():
            _READERS.get(asset.name, read_head)(path)
            return asset, add_asset(asset.name, path)
    read_head(path)
    raise AssetError(
        f"{path.name} reads as a head, but its name tells not which one; "
        f"name it as it was published: {', '.join(asset.file for asset in users)}."
    )
