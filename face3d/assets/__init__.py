"""Finding, verifying and describing data files; never building a model."""

from face3d.assets.store import Asset as Asset
from face3d.assets.store import AssetStatus as AssetStatus
from face3d.assets.store import add_asset as add_asset
from face3d.assets.store import file_sha256 as file_sha256
from face3d.assets.store import find_asset as find_asset
from face3d.assets.store import list_assets as list_assets
from face3d.assets.store import manifest as manifest
