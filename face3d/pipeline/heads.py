"""Heads by name or by file."""

from functools import lru_cache
from pathlib import Path

from face3d.assets import Asset, add_asset, find_asset, list_assets
from face3d.core.errors import AssetError, InputError
from face3d.model import HeadData, HeadModel, read_flame, read_gnm, read_ict, read_open_head

OPEN_HEAD = "open"


def read_head(path: Path) -> HeadData:
    """Read a head file of any known form, by its name's ending and its contents.

    Args:
        path: ``.npz`` (the open head's layout, or GNM Head), ``.pkl`` (FLAME), or a folder with
            ICT-FaceKit's files.

    Raises:
        AssetError: The file is missing, damaged or of no known form.
    """
    if path.is_dir():
        return read_ict(path)
    if not path.is_file():
        raise AssetError(f"The head file {path} does not exist; check the path.")
    if path.suffix == ".pkl":
        return read_flame(path)
    if path.suffix == ".npz":
        try:
            return read_open_head(path)
        except AssetError as first:
            try:
                return read_gnm(path)
            except AssetError:
                raise first from None
    raise AssetError(f"{path} is not a head file; heads are .npz, .pkl or an ICT-FaceKit folder.")


@lru_cache(maxsize=4)
def load_head(name: str = OPEN_HEAD) -> HeadModel:
    """A head model by asset name ("open", "flame2020", ...) or by path.

    Raises:
        AssetError: There is no such head, or its file is damaged.
    """
    if name in {row.asset.name for row in list_assets()} and name != "landmark_noise":
        data = (
            read_open_head(find_asset(name)) if name == OPEN_HEAD else read_head(find_asset(name))
        )
    elif Path(name).suffix or Path(name).exists():
        data = read_head(Path(name))
    else:
        heads = [r.asset.name for r in list_assets() if r.asset.name != "landmark_noise"]
        raise AssetError(f"There is no head {name!r}; use a path or one of {', '.join(heads)}.")
    return HeadModel(data)


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
    read_head(path)
    for row in list_assets():
        if row.asset.file.lower() == path.name.lower() and not row.asset.sha256:
            return row.asset, add_asset(row.asset.name, path)
    names = [row.asset.file for row in list_assets() if not row.asset.sha256]
    raise AssetError(
        f"{path.name} reads as a head, but its name tells not which one; "
        f"name it as it was published: {', '.join(names)}."
    )
