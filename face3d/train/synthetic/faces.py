"""Pictures of people who do not exist, with everything that is known about them."""

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from face3d.core.camera import project
from face3d.core.threads import one_thread
from face3d.core.transforms import transform_points
from face3d.core.types import Fragments, HeadMesh, Topology
from face3d.model.head import HeadModel
from face3d.render import (
    MipTexture,
    Shadows,
    glossy,
    interpolate,
    lifelike,
    mipmapped,
    open_sky,
    rasterize,
    render,
    sh_basis,
    srgb_from_linear,
    vertex_normals,
)
from face3d.render.occlusion import reached_by
from face3d.train.synthetic.hair import make_scalp, random_hair, random_hat
from face3d.train.synthetic.noise import NoiseBank
from face3d.train.synthetic.photo import random_backdrop, take_photo
from face3d.train.synthetic.pieces import LENS, Piece, joined
from face3d.train.synthetic.scene import Scene, landmark_points, random_scene
from face3d.train.synthetic.skin import Look, make_texel_map, random_look
from face3d.train.synthetic.worn import (
    random_body,
    random_glasses,
    random_hand,
    random_thing,
)

BACKGROUND, SKIN, EYES, MOUTH = 0, 1, 2, 3
"""Kinds of pixels in ``SyntheticFace.kinds``; those of pieces follow."""


@dataclass(frozen=True, kw_only=True)
class SyntheticFace:
    """A picture and its truth."""

    rgb: UInt8[np.ndarray, "s s 3"]
    scene: Scene
    landmarks: Float[np.ndarray, "478 2"]  # px
    visible: Float[np.ndarray, "478"]  # 0 hidden, 1 seen
    kinds: UInt8[np.ndarray, "s s"]


class SyntheticFaces:
    """Makes pictures; the same seed and number always give the same one.

    Args:
        model: A head with regions, texture coordinates, ARKit's expressions and MediaPipe's
            landmarks, as the open head.
        size: Side of the pictures, px.
        texture: Side of the textures, a power of two.
        seed: Of the whole set.
    """

    def __init__(
        self, model: HeadModel, *, size: int = 224, texture: int = 256, seed: int = 0
    ) -> None:
        self.model, self.size, self.seed = model, size, seed
        data = model.data
        self._texels = make_texel_map(data, texture)
        self._bank = NoiseBank(max(texture, size), seed=seed)
        self._texel_bank = self._bank if size <= texture else NoiseBank(texture, seed=seed)
        self._scalp = make_scalp(data)
        self._regions = data.regions
        faces = data.faces
        part = np.full(len(data.v_template), SKIN)
        part[data.regions["eyes"]] = EYES
        for name in ("teeth", "gums", "tongue", "mouth_interior"):
            part[data.regions[name]] = MOUTH
        self._face_kind = part[faces].max(1)
        self._template = 1000 * data.v_template

    @cached_property
    def _sky(self) -> Float[Tensor, "vertex"]:
        """How much of the light from everywhere reaches the mean head."""
        data = self.model.data
        mean = HeadMesh(vertices=self.model.template, frame="head", topology=data.topology)
        return open_sky(mesh=mean, directions=64)

    def __getitem__(self, number: int) -> SyntheticFace:
        """Draw one."""
        rng = np.random.default_rng([self.seed, number])
        # On one thread sums are always done in the same order.
        with one_thread(), torch.no_grad():
            return self._draw(rng)

    def _draw(self, rng: np.random.Generator) -> SyntheticFace:
        scene = random_scene(rng, self.model, size=self.size)
        look = random_look(rng, self._texels, self._texel_bank)
        p = scene.params
        still = scene.vertices
        placed = transform_points(p.world_from_head, still)
        mesh = HeadMesh(vertices=placed, frame="world", topology=self.model.data.topology)
        fragments = rasterize(mesh, scene.camera)
        behind = random_backdrop(rng, self._bank, self.size)
        head = self._head(rng, scene, look, mesh, behind)
        pieces = self._pieces(rng, look, 1000 * still.numpy())
        linear, kinds, depth = self._over(rng, scene, head, fragments, pieces)
        skin = kinds == SKIN
        level = float(np.percentile(linear[skin].mean(-1), 65)) if skin.any() else 0.3
        exposure = float(np.exp(rng.normal(np.log(0.30), 0.4))) / max(level, 1e-3)
        exposure = exposure * (max(float(look.skin.mean()), 0.1) / 0.35) ** 0.6
        rgb = take_photo(rng, linear, exposure, self._bank)
        points = landmark_points(self.model, mesh.vertices)
        seen = project(scene.camera, points).numpy()
        return SyntheticFace(
            rgb=rgb, scene=scene, landmarks=seen[:, :2].astype(np.float32),
            visible=self._visible(seen, depth), kinds=kinds.astype(np.uint8),
        )  # fmt: skip

    def _head(
        self, rng: np.random.Generator, scene: Scene, look: Look, mesh: HeadMesh,
        behind: Float[np.ndarray, "s s 3"],
    ) -> Float[np.ndarray, "s s 3"]:  # fmt: skip
        """The bare head before its background, linear."""
        texture: MipTexture = mipmapped(torch.as_tensor(look.texture))
        topology = mesh.topology
        kinds = (glossy if rng.random() < 0.5 else lifelike)(topology)
        wet = kinds.roughness < 0.3
        dull = float(rng.random()) if rng.random() < 0.3 else 0.0
        rougher = torch.where(
            wet,
            kinds.roughness * float(rng.uniform(0.35, 0.8)),
            kinds.roughness + (1 - kinds.roughness) * dull,
        )
        kinds = type(kinds)(roughness=rougher, wrap=kinds.wrap)
        ambient = 1 - float(rng.uniform(0.3, 1.0)) * (1 - self._sky)
        if scene.shaded and scene.singles:
            ways = torch.stack([light.towards for light in scene.singles])
            width = float(rng.uniform(0.02, 0.3))
            shadows = Shadows(
                ambient=ambient, single=reached_by(mesh, ways, size_rad=width, directions=3)
            )
        else:
            ones = torch.ones(len(scene.singles), len(ambient))
            shadows = Shadows(ambient=ambient, single=ones)
        backdrop = srgb_from_linear(torch.as_tensor(behind)).permute(2, 0, 1)
        drawn = render(
            mesh, scene.camera, texture=texture, light=[scene.ambient, *scene.singles],
            background=backdrop, materials=kinds,
            shadows=shadows, linear=True,
        )  # fmt: skip
        return drawn[:3].permute(1, 2, 0).numpy()

    def _pieces(
        self, rng: np.random.Generator, look: Look, shaped: Float[np.ndarray, "v 3"]
    ) -> list[Piece]:
        """What is worn, in the head's frame (mm)."""
        r = self._regions
        pieces = random_body(rng, shaped[r["neck"]])
        cover = rng.random()
        if cover < 0.1:
            pieces += random_hat(rng, self._scalp, shaped)
        if cover > 0.06 and rng.random() < (0.55 if look.hair_on_skin else 0.8):
            pieces.append(random_hair(rng, self._scalp, shaped, look.hair))
        eyes = np.stack([shaped[r[f"{side}_eye"]].mean(0) for side in ("left", "right")])
        if rng.random() < 0.17:
            nose = shaped[r["nose"]]
            bridge = nose[np.abs(nose[:, 1] - eyes[:, 1].mean() + 6).argmin()]
            high = nose[np.abs(nose[:, 1] - bridge[1]) < 6]
            bridge = np.array([0, bridge[1], high[:, 2].max()])
            ears = []
            for side in ("left", "right"):
                ear = shaped[r[f"{side}_ear"]]
                ears.append(ear[ear[:, 1] > ear[:, 1].max() - 12].mean(0))
            pieces += random_glasses(rng, eyes, bridge, np.stack(ears))
        if rng.random() < 0.07:
            pieces += random_hand(rng, shaped[r["face"]], look.skin)
        if rng.random() < 0.07:
            pieces += random_thing(rng, shaped[r["face"]])
        return pieces

    def _over(
        self, rng: np.random.Generator, scene: Scene, head: Float[np.ndarray, "s s 3"],
        fragments: Fragments, pieces: list[Piece],
    ) -> tuple[Float[np.ndarray, "s s 3"], np.ndarray, Float[np.ndarray, "s s"]]:  # fmt: skip
        """Pieces laid over the head where they are nearer; kinds and depths of pixels."""
        one, strands, kind = joined(pieces)
        placed = transform_points(
            scene.params.world_from_head, torch.as_tensor(one.vertices / 1000).float()
        )
        faces = torch.as_tensor(one.faces)
        mesh = HeadMesh(vertices=placed, frame="world", topology=Topology(faces=one.faces))
        found = rasterize(mesh, scene.camera, cull_back=False)
        normal = vertex_normals(placed, faces)
        towards = -torch.nn.functional.normalize(placed, dim=-1)
        normal = normal * torch.sign((normal * towards).sum(-1, keepdim=True) + 1e-6)
        light = (sh_basis(normal) @ scene.irradiance).clamp(min=0.02)
        each = np.column_stack(
            [one.rgb, light.numpy(), one.solid, one.thread, strands, kind]
        ).astype(np.float32)
        values = interpolate(found, torch.as_tensor(each), faces).numpy()
        bare = fragments.depth_m.numpy()
        depth = found.depth_m.numpy()
        near = (found.face_index.numpy() >= 0) & (depth < bare + 0.001)
        index = fragments.face_index.numpy()
        kinds = np.where(index >= 0, self._face_kind[np.clip(index, 0, None)], BACKGROUND)
        out = head
        rows, columns = np.nonzero(near)
        if not len(rows):
            return out, kinds, bare
        v = values[rows, columns]
        size = self._bank.size
        strand = self._bank.strands(rng)
        at = np.floor(v[:, 7:9] % 1 * size).astype(int) % size
        thread = strand[at[:, 1], at[:, 0]]
        share = v[:, 9]
        alpha = np.clip(np.where(share > 0, (v[:, 6] + 0.5 * thread) * 3, v[:, 6]), 0, 1)
        colour = v[:, :3] * v[:, 3:6] * (1 + 0.35 * share * thread).clip(0.2)[:, None]
        shadow = np.zeros(near.shape, np.float32)
        shadow[rows, columns] = alpha * (v[:, 10] != LENS)
        # Light that comes from the front is also kept from what is just beside.
        soft = cv2.GaussianBlur(shadow, (0, 0), self.size / 60)
        out = out * (1 - float(rng.uniform(0, 0.6)) * soft * (shadow == 0))[..., None]
        a = alpha[:, None]
        out[rows, columns] = out[rows, columns] * (1 - a) + colour * a
        hides = alpha > 0.5
        kinds[rows[hides], columns[hides]] = np.round(v[hides, 10]).astype(int)
        front = bare.copy()
        front[rows[hides], columns[hides]] = depth[rows[hides], columns[hides]]
        return out, kinds, front

    def _visible(
        self, seen: Float[np.ndarray, "landmark 3"], depth: Float[np.ndarray, "s s"]
    ) -> Float[np.ndarray, "landmark"]:
        """Which landmarks nothing hides; those outside the picture count as hidden."""
        place = np.floor(seen[:, :2]).astype(int)
        inside = ((place >= 0) & (place < self.size)).all(1)
        x, y = np.clip(place, 1, self.size - 2).T
        # Beside a silhouette the nearest pixel may show what is behind.
        around = np.stack([depth[y + dy, x + dx] for dy in (-1, 0, 1) for dx in (-1, 0, 1)])
        front = np.where(np.isfinite(around), around, -np.inf).max(0)
        return (inside & (seen[:, 2] < front + 0.004)).astype(np.float32)
