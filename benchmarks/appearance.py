"""Albedo and fine detail against renders of the open head whose own are known.

    PYTHONPATH=tools python benchmarks/appearance.py             # some ten minutes
    PYTHONPATH=tools python benchmarks/appearance.py --heads 1   # two minutes

Albedo: heads painted by chance, each under ten lights. Errors are of sRGB values in seen skin, as
peak signal to noise, raw and after one gain per colour, because a photo does not tell how light
skin is from how strong light is. The same head's albedos under any two lights are compared
likewise. The texture as it is in the photo is the plain twin.

Detail: heads with lines 0.2 to 1 mm deep, with pores, or with freckles only. Normals are compared
in the photo, pixel by pixel, with those of the head without relief; the fitted coarse form stands
for both, so that what is measured is the relief.
"""

import argparse
from collections import defaultdict
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import torch
from landmark_study.looks import TexelMap, make_skin, make_texel_map
from landmark_study.scenes import random_light, random_scene
from machine import write
from torch import Tensor
from torch.nn.functional import normalize

import face3d
from face3d.core import Camera, HeadMesh
from face3d.pipeline import Head, load_head
from face3d.render import (
    Maps,
    SphericalHarmonics,
    interpolate,
    linear_from_srgb,
    matte,
    rasterize,
    render,
    sample_texture,
    srgb_from_linear,
    vertex_normals,
)
from face3d.render.detail import normals_of_relief, slopes, texture_axes

SIZE, TEXTURE = 512, 1024
LIGHTS = 10
SEEN = 0.6
ROUGH_DEG, SMOOTH_DEG = 2.0, 0.3
"""Pixels whose true normal is bent by more count as lines, by less as smooth skin."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A head that stands still before lights that change."""

    mesh: HeadMesh
    camera: Camera
    skin: Tensor  # (3, s, s) sRGB


def subject(seed: int, texels: TexelMap, *, yaw_deg: float = 12.0) -> Subject:
    """A random head at rest."""
    rng, model = np.random.default_rng(seed), load_head("open")
    scene = random_scene(rng, model, yaw_deg=yaw_deg)
    params = replace(scene.params, expression=torch.zeros(52), eyes=torch.zeros(2, 3))
    params = replace(params, shape=0.7 * params.shape)
    mesh = model.mesh(params, frame="world")
    return Subject(mesh=mesh, camera=scene.camera, skin=torch.tensor(make_skin(rng, texels)))


def photo(who: Subject, light: Tensor, displacement: Tensor | None = None) -> np.ndarray:
    """A picture of 8 bits."""
    maps = Maps(color=linear_from_srgb(who.skin), displacement=displacement)
    rgba = render(
        who.mesh,
        who.camera,
        texture=maps,
        light=SphericalHarmonics(coefficients=light),
        linear=True,
        materials=matte(who.mesh.topology),
        background=(0.35, 0.36, 0.38),
        supersample=2,
    )
    rgb = rgba[:3]
    # Exposed for the face.
    rgb = 0.45 * rgb / rgb[:, SIZE // 3 : 2 * SIZE // 3, SIZE // 3 : 2 * SIZE // 3].quantile(0.9)
    return (srgb_from_linear(rgb.clamp(0, 1)).permute(1, 2, 0) * 255 + 0.5).byte().numpy()


def psnr(found: Tensor, true: Tensor, *, gain: bool) -> float:
    """Of sRGB values (3, n); with ``gain`` after one factor of linear light per colour."""
    if gain:
        a, b = linear_from_srgb(found), linear_from_srgb(true)
        factor = (a * b).sum(1) / a.square().sum(1)
        found = srgb_from_linear((a * factor[:, None]).clamp(0, 1))
    return float(-10 * torch.log10((found - true).square().mean()))


def albedo_rows(heads: int, texels: TexelMap) -> dict[str, list[float]]:
    """Every figure of every picture."""
    rows: dict[str, list[float]] = defaultdict(list)
    for seed in range(heads):
        who, found = subject(500 + seed, texels), []
        mask = torch.tensor(texels.masks["skin"] * texels.masks["face"]) > 0.5
        mask &= torch.tensor(texels.masks["lips"] + texels.masks["eyelids"]) < 0.5
        for k in range(LIGHTS):
            light = random_light(np.random.default_rng(1000 * seed + k)).float()
            head = face3d.reconstruct(photo(who, light), texture=TEXTURE)
            seen = mask & (head.confidence > SEEN)
            found.append((head.albedo, head.texture, seen))
            for name, values in (("albedo", head.albedo), ("photo", head.texture)):
                for gain in (False, True):
                    value = psnr(values[:, seen], who.skin[:, seen], gain=gain)
                    rows[f"{name}{' with gain' if gain else ''}"].append(value)
        for (a, pa, sa), (b, pb, sb) in combinations(found, 2):
            both = sa & sb
            if int(both.sum()) > 1000:
                rows["two lights"].append(psnr(a[:, both], b[:, both], gain=False))
                rows["two lights with gain"].append(psnr(a[:, both], b[:, both], gain=True))
                rows["two lights, photo with gain"].append(
                    psnr(pa[:, both], pb[:, both], gain=True)
                )
    return rows


def relief(kind: str, seed: int, texels: TexelMap) -> Tensor:
    """A displacement map (1, s, s), metres."""
    rng, data = np.random.default_rng(seed), load_head("open").data
    x, y, z = np.moveaxis(texels.position, -1, 0)
    out = np.zeros_like(x)
    if kind == "lines":
        brow = data.v_template[data.regions["brows"]][:, 1].max()
        for k in range(4):
            line = brow + 0.010 + 0.009 * k + 0.0015 * np.sin(x * rng.uniform(80, 160) + k)
            out -= _valley(rng, y - line) * (np.abs(x) < 0.038)
        nose = data.v_template[data.regions["nose"]][:, 1].min()
        eye = data.v_template[data.regions["eyelids"]][:, 1].mean()
        for side in (-1, 1):
            down = np.clip((nose + 0.012 - y) / 0.05, 0, 1)
            fold = x - side * (0.019 + 0.014 * down)
            out -= _valley(rng, fold) * ((y < nose + 0.012) & (y > nose - 0.035))
            for k in (-1, 0, 1):
                foot = y - eye - 0.006 * k - 0.3 * k * (np.abs(x) - 0.05)
                out -= 0.6 * _valley(rng, foot) * ((side * x > 0.047) & (side * x < 0.060))
        out *= z > 0.03
    elif kind == "pores":
        small = torch.tensor(rng.standard_normal((1, 1, TEXTURE // 3, TEXTURE // 3)))
        field = torch.nn.functional.interpolate(small, size=out.shape, mode="bicubic")[0, 0].numpy()
        out -= 0.00012 * np.clip(field - 0.5, 0, None)
    inside = texels.masks["skin"] * texels.masks["face"] * (1 - texels.masks["lips"])
    return torch.tensor(out * inside).float()[None]


def _valley(rng: np.random.Generator, across: np.ndarray) -> np.ndarray:
    depth, width = rng.uniform(0.0002, 0.001), rng.uniform(0.0007, 0.0016)
    return depth * np.exp(-((across / width) ** 2))


def normals(who: Subject | Head, displacement: Tensor) -> tuple[Tensor, Tensor]:
    """Normals of a head with a relief, in its photo (h, w, 3), and which pixels it has."""
    mesh, seen = who.mesh, rasterize(who.mesh, who.camera)
    covered = seen.face_index >= 0
    faces = torch.as_tensor(mesh.topology.faces)
    uv_faces = torch.as_tensor(mesh.topology.uv_faces)
    flat = normalize(interpolate(seen, vertex_normals(mesh.vertices, faces), faces), dim=-1)
    axes = interpolate(seen, texture_axes(mesh), uv_faces)[covered]
    uv = interpolate(seen, torch.as_tensor(mesh.topology.uv).float(), uv_faces)[covered]
    slope = sample_texture(slopes(displacement), uv)
    bent = flat.clone()
    bent[covered] = normals_of_relief(flat[covered], axes, slope)
    return bent, covered


def true_bend(who: Subject, displacement: Tensor) -> tuple[Tensor, Tensor]:
    """By how much the true relief bends normals in the photo, as a vector, and where it is."""
    bent, covered = normals(who, displacement)
    flat, _ = normals(who, torch.zeros_like(displacement))
    return bent - flat, covered


def degrees(difference: Tensor) -> Tensor:
    """Angles between unit vectors that differ by this."""
    return torch.rad2deg(2 * torch.asin((difference.norm(dim=-1) / 2).clamp(max=1)))


def detail_rows(heads: int, texels: TexelMap) -> dict[str, dict[str, list[float]]]:
    """Mean angles, degrees, by kind of relief."""
    rows: dict[str, dict[str, list[float]]] = {}
    for kind in ("lines", "pores", "freckles only"):
        row: dict[str, list[float]] = defaultdict(list)
        for seed in range(heads):
            who = subject(700 + seed, texels)
            light = random_light(np.random.default_rng(7000 + seed)).float()
            truth = relief(kind, seed, texels)
            head = face3d.reconstruct(photo(who, light, truth), texture=TEXTURE, detail=True)
            wanted, covered = true_bend(who, truth)
            got, own = normals(head, head.displacement)
            flat, _ = normals(head, torch.zeros_like(head.displacement))
            both = covered & own & _skin_pixels(who, texels)
            rough, smooth = degrees(wanted) > ROUGH_DEG, degrees(wanted) < SMOOTH_DEG
            for name, where in (("lines", rough & both), ("smooth", smooth & both)):
                if int(where.sum()) > 200:
                    row[f"{name} without"].append(float(degrees(wanted)[where].mean()))
                    row[f"{name} with"].append(float(degrees(got - flat - wanted)[where].mean()))
        rows[kind] = row
    return rows


def _skin_pixels(who: Subject, texels: TexelMap) -> Tensor:
    seen = rasterize(who.mesh, who.camera)
    covered = seen.face_index >= 0
    topology = who.mesh.topology
    place = torch.as_tensor(topology.uv).float(), torch.as_tensor(topology.uv_faces)
    uv = interpolate(seen, *place)
    mask = torch.tensor(texels.masks["skin"] * texels.masks["face"])[None].float()
    out = torch.zeros(covered.shape, dtype=torch.bool)
    out[covered] = sample_texture(mask, uv[covered])[:, 0] > 0.8
    return out


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--only", choices=("albedo", "detail"))
    options = parser.parse_args()
    texels = make_texel_map(load_head("open").data, TEXTURE)
    results: dict[str, object] = {"heads": options.heads}
    if options.only != "detail":
        rows = albedo_rows(options.heads, texels)
        print("Albedo in seen skin, dB (median, least):")
        for name, values in rows.items():
            print(f"  {name:30s} {np.median(values):5.1f} {min(values):5.1f}")
        results["albedo_db"] = {k: [float(np.median(v)), min(v)] for k, v in rows.items()}
    if options.only != "albedo":
        print("Normals, mean error in degrees without and with detail:")
        detail: dict[str, dict[str, float]] = {}
        for kind, row in detail_rows(options.heads, texels).items():
            detail[kind] = {name: float(np.mean(values)) for name, values in row.items()}
            for part in ("lines", "smooth"):
                if f"{part} with" in row:
                    a, b = detail[kind][f"{part} without"], detail[kind][f"{part} with"]
                    change = f"{100 * (b / a - 1):+.0f}%" if part == "lines" else ""
                    print(f"  {kind:14s} {part:7s} {a:6.2f} {b:6.2f}  {change}")
        results["detail_deg"] = detail
    if options.only is None:
        write("appearance", results)


if __name__ == "__main__":
    main()
