"""Codes of published regressors to surfaces in their crops, on any head, differentiable."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from face3d.core.errors import AssetError
from face3d.core.rotations import matrix_from_axis_angle
from face3d.core.types import Camera, HeadMesh
from face3d.fit.albedo_basis import albedo_basis
from face3d.model.data import HeadData
from face3d.model.flame_file import EYELIDS
from face3d.model.head import HeadModel
from face3d.render import interpolate, rasterize, sh_basis, srgb_from_linear, vertex_normals

FAR = 400.0
"""Distance of the camera in sizes of the crop: near enough to a weak perspective (0.2%)."""

LEAK = 0.05
"""Slope of weights outside their bounds, so that they find back."""

LEAST_SCALE = 0.3

FACING = 0.15
"""Least cosine to the camera's axis of skin that is compared."""

TEXTURE = 50
"""Numbers of a texture code, as of DECA's."""

CLAY = 0.4


@dataclass(frozen=True, kw_only=True)
class PosedHeads:
    """Heads as their codes say, before the camera of their crops."""

    mesh: HeadMesh  # in the camera's frame
    camera: Camera
    landmarks: Float[Tensor, "b landmark 2"]  # -1 to 1 across the crop
    facing: Float[Tensor, "b landmark"]  # cosine between the skin there and the camera's axis
    expression: Float[Tensor, "b expression"]  # as the head takes it


@dataclass(frozen=True, kw_only=True)
class DrawnHeads:
    """Pictures of heads with colours."""

    rgb: Float[Tensor, "b 3 s s"]  # sRGB in [0, 1]
    skin: Bool[Tensor, "b s s"]  # where skin faces the camera


class CodedHead(nn.Module):
    """A head that codes move, turn and colour.

    The codes are those of ``face3d.regress.flame_guess.flame_codes``. On FLAME they mean what the
    published systems mean by them; on another head the networks learn what they mean there. Codes
    longer than the head has components are cut, shorter ones leave the rest at zero.

    Args:
        model: The head.
        crop_px: Side of the crops.

    Raises:
        AssetError: The head has no MediaPipe landmarks.
    """

    def __init__(self, model: HeadModel, crop_px: int) -> None:
        super().__init__()
        data = model.data
        if "mediapipe478" not in data.embeddings:
            raise AssetError(
                f"{data.name} has no MediaPipe landmarks; put mediapipe_landmark_embedding.npz "
                "next to its file."
            )
        self.model, self.crop_px = model, crop_px
        embedding = data.embeddings["mediapipe478"]
        self.numbers = tuple(int(k) for k in embedding.indices)
        basis = albedo_basis(data)
        per_colour = TEXTURE // 3
        for name, value in {
            "faces": torch.as_tensor(data.faces),
            "corners": torch.as_tensor(data.faces[embedding.face_index]),
            "weights": torch.as_tensor(embedding.barycentric).float(),
            "albedo_modes": basis.modes[:, :per_colour],
            "skin": basis.skin,
        }.items():
            self.register_buffer(name, value.contiguous(), persistent=False)
        self.bounded = "jawOpen" in data.expression_names
        self.blinks = _blinks(data)

    faces: Tensor
    corners: Tensor
    weights: Tensor
    albedo_modes: Tensor
    skin: Tensor

    def weights_of(
        self, expression: Float[Tensor, "b code"], eyelids: Float[Tensor, "b 2"] | None = None
    ) -> Float[Tensor, "b expression"]:
        """Expression as the head takes it: as many weights as it has, ARKit's within bounds.

        Args:
            expression: Of any length.
            eyelids: How far the left and the right lid close, where a system says that beside its
                expression. A head without ARKit's blinks or FLAME's eyelids has no use for it.
        """
        count = self.model.expression_count
        out = expression.new_zeros(len(expression), count)
        cut = expression[:, :count]
        out[:, : cut.shape[1]] = cut
        if eyelids is not None and self.blinks:
            added = torch.zeros_like(out)
            added[:, list(self.blinks)] = eyelids
            out = out + added
        if self.bounded:
            inside = out.clamp(0, 1)
            out = inside + LEAK * (out - inside)
        return out

    def rest(self, shape: Float[Tensor, "b code"]) -> Float[Tensor, "b vertex 3"]:
        """The face at rest, metres."""
        cut = shape[:, : self.model.identity_count]
        return self.model(cut, cut.new_zeros(len(cut), self.model.expression_count))

    def forward(self, codes: dict[str, Float[Tensor, "b _"]]) -> PosedHeads:
        """Heads before the camera of their crops.

        In the crop a point (x, y) of the turned head is at s (x + tx), -s (y + ty) from -1 to 1.

        Args:
            codes: ``shape``, ``expression``, ``jaw``, ``head``, ``cam`` and, if there are any,
                ``eyelids``.
        """
        shape = codes["shape"][:, : self.model.identity_count]
        expression = self.weights_of(codes["expression"], codes.get("eyelids"))
        own = self.model(shape, expression, None, codes["jaw"], frame="root")
        root = self.model.joints(shape)[:, :1]
        turn = matrix_from_axis_angle(codes["head"])
        x, y, z = ((own - root) @ turn.mT + root).unbind(-1)
        s, tx, ty = codes["cam"].clone().unbind(-1)
        # Too small ones find back.
        s = s.clamp(min=LEAST_SCALE) + LEAK * (s - s.clamp(min=LEAST_SCALE)).tanh()
        # As far away as makes this size of it: depth is then measured in the head's metres.
        away = (FAR / s)[:, None]
        seen = torch.stack([x + tx[:, None], -(y + ty[:, None]), away - z], dim=-1)
        half = self.crop_px / 2
        focal = torch.full_like(s, half * FAR)
        camera = Camera(
            fx=focal, fy=focal, cx=torch.full_like(s, half), cy=torch.full_like(s, half),
            width=self.crop_px, height=self.crop_px,
            camera_from_world=torch.eye(4, device=s.device).expand(len(s), 4, 4),
        )  # fmt: skip
        triangle = seen[:, self.corners]
        points = (triangle * self.weights[..., None]).sum(2)
        a, b, c = triangle.unbind(2)
        normal = normalize(torch.linalg.cross(b - a, c - a), dim=-1)
        return PosedHeads(
            mesh=HeadMesh(vertices=seen, frame="world", topology=self.model.data.topology),
            camera=camera,
            landmarks=points[..., :2] * s[:, None, None],
            facing=-normal[..., 2],
            expression=expression,
        )

    def albedo(self, texture: Float[Tensor, "b code"]) -> Float[Tensor, "b vertex 3"]:
        """Linear colours of the skin: smooth fields over it, about a medium grey.

        It stands in for a published texture space, whose licence lets nobody ship it.
        """
        modes = self.albedo_modes.shape[1]
        weights = texture[:, : 3 * modes].unflatten(1, (modes, 3))
        return CLAY * (0.3 * (self.albedo_modes @ weights)).exp()

    def draw(
        self,
        posed: PosedHeads,
        texture: Float[Tensor, "b code"],
        light: Float[Tensor, "b 9 3"],
        normals: Float[Tensor, "b vertex 3"] | None = None,
    ) -> DrawnHeads:
        """Lambertian pictures (Ramamoorthi & Hanrahan, 2001).

        Args:
            posed: The heads.
            texture: Codes of ``albedo``.
            light: Coefficients of ``face3d.render.sh_basis`` over even light of one.
            normals: Other ones than the surface's, in the camera's frame: those of fine detail.
        """
        fragments = rasterize(posed.mesh, posed.camera)
        vertices = posed.mesh.vertices
        if normals is None:
            normals = vertex_normals(vertices, self.faces)
        skin = self.skin[:, None].expand(*vertices.shape[:2], 1)
        values = torch.cat([normals, self.albedo(texture), skin], dim=-1)
        drawn = interpolate(fragments, values, self.faces)
        normal = normalize(drawn[..., :3], dim=-1)
        even = torch.zeros_like(light)
        even[:, 0] = 1 / sh_basis(normal.new_tensor([0.0, 0.0, -1.0]))[0]
        irradiance = sh_basis(normal) @ (even + light)[:, None]
        linear = drawn[..., 3:6] * irradiance.clamp(min=0.02)
        seen = (fragments.face_index >= 0) & (drawn[..., 6] > 0.98) & (normal[..., 2] < -FACING)
        return DrawnHeads(rgb=srgb_from_linear(linear).movedim(-1, 1), skin=seen)


def _blinks(data: HeadData) -> tuple[int, int] | None:
    names = list(data.expression_names)
    for pair in (("eyeBlinkLeft", "eyeBlinkRight"), EYELIDS):
        if pair[0] in names:
            return names.index(pair[0]), names.index(pair[1])
    return None
