"""Records, conventions and small mathematics that every other package shares."""

from face3d.core.camera import camera_points_from_pixels as camera_points_from_pixels
from face3d.core.camera import focal_px_from_equivalent_mm as focal_px_from_equivalent_mm
from face3d.core.camera import project as project
from face3d.core.curves import ARKIT_52 as ARKIT_52
from face3d.core.errors import AssetError as AssetError
from face3d.core.errors import DetectionError as DetectionError
from face3d.core.errors import Face3dError as Face3dError
from face3d.core.errors import InputError as InputError
from face3d.core.errors import MissingDependencyError as MissingDependencyError
from face3d.core.files import atomic_path as atomic_path
from face3d.core.types import Camera as Camera
from face3d.core.types import Crop as Crop
from face3d.core.types import Detection as Detection
from face3d.core.types import FitResult as FitResult
from face3d.core.types import Fragments as Fragments
from face3d.core.types import Frame as Frame
from face3d.core.types import HeadMesh as HeadMesh
from face3d.core.types import HeadParams as HeadParams
from face3d.core.types import MeshSequence as MeshSequence
from face3d.core.types import Topology as Topology
