"""Where heads and calibrations lie, what licence they have, and whether they are undamaged."""

import hashlib
import os
import shutil
import tomllib
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path

from face3d.core.errors import AssetError, InputError
from face3d.core.files import atomic_path


@dataclass(frozen=True, kw_only=True)
class Asset:
    """One entry of the manifest."""

    name: str
    file: str  # the file's name where it is installed
    licence: str
    origin: str
    how: str  # how it is made, or how a user gets it
    sha256: str = ""  # empty where any file of the right form is accepted


@dataclass(frozen=True, kw_only=True)
class AssetStatus:
    """An asset and what lies on this machine."""

    asset: Asset
    path: Path | None  # None: not installed
    size_bytes: int
    sha256: str
    intact: bool  # the hash is the manifest's, or the manifest has none


def bundled_folder() -> Path:
    """The folder of the assets that ship with face3d."""
    return Path(str(resources.files("flame_assets")))


def user_folder() -> Path:
    """The folder for assets that a user adds: $FACE3D_ASSETS, else under the home folder."""
    chosen = os.environ.get("FACE3D_ASSETS")
    return Path(chosen).expanduser() if chosen else Path.home() / ".local/share/face3d"


@lru_cache(maxsize=1)
def manifest() -> dict[str, Asset]:
    """Every asset that face3d knows, by name.

    Raises:
        AssetError: The installation lacks its manifest.
    """
    path = bundled_folder() / "manifest.toml"
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise AssetError(f"{path} is missing or damaged; reinstall face3d.") from error
    return {name: Asset(name=name, **entry) for name, entry in table.items()}


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, as hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _installed(asset: Asset) -> Path | None:
    for folder in (user_folder(), bundled_folder()):
        if (folder / asset.file).is_file():
            return folder / asset.file
    return None


def find_asset(name: str) -> Path:
    """The verified file of an asset.

    Raises:
        AssetError: The name is unknown, the file is not installed, or its hash is wrong.
    """
    known = manifest()
    if name not in known:
        raise AssetError(f"There is no asset {name!r}; known are {', '.join(known)}.")
    asset = known[name]
    path = _installed(asset)
    if path is None:
        raise AssetError(f"The asset {name!r} is not installed: {asset.how}")
    stamp = path.stat()
    if asset.sha256 and _hash_once(path, stamp.st_mtime_ns, stamp.st_size) != asset.sha256:
        cure = "reinstall face3d" if path.parent == bundled_folder() else "remove or replace it"
        raise AssetError(f"{path} is damaged or of another version; {cure}.")
    return path


@lru_cache(maxsize=32)
def _hash_once(path: Path, mtime_ns: int, size: int) -> str:
    """The hash of a file that has not changed since; time and size are part of the key."""
    del mtime_ns, size
    return file_sha256(path)


def list_assets() -> list[AssetStatus]:
    """Every known asset with what lies on this machine."""
    rows = []
    for asset in manifest().values():
        path = _installed(asset)
        found = file_sha256(path) if path else ""
        rows.append(
            AssetStatus(
                asset=asset,
                path=path,
                size_bytes=path.stat().st_size if path else 0,
                sha256=found,
                intact=path is not None and asset.sha256 in ("", found),
            )
        )
    return rows


def add_asset(name: str, source: Path) -> Path:
    """Copy a user's file to where face3d finds it.

    The caller checks that the file is what it claims to be; a hash in the manifest is checked here.

    Args:
        name: The asset's name in the manifest.
        source: The user's file.

    Returns:
        Where it now lies.

    Raises:
        AssetError: The name is unknown or the hash is wrong.
        InputError: The file cannot be read or copied.
    """
    known = manifest()
    if name not in known:
        raise AssetError(f"There is no asset {name!r}; known are {', '.join(known)}.")
    if not source.is_file():
        raise InputError(f"{source} is not a file; give the head file that you downloaded.")
    asset = known[name]
    if asset.sha256 and file_sha256(source) != asset.sha256:
        raise AssetError(f"{source} is not the expected {name} file (its hash differs).")
    target = user_folder() / asset.file
    if target.exists() and target.samefile(source):
        return target
    with atomic_path(target) as temporary:
        shutil.copyfile(source, temporary)
    return target
