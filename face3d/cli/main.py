"""The command line: typed options to the pipeline, and its errors to exit codes."""

import sys
import time
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from face3d.assets import list_assets
from face3d.cli.evaluate import evaluate
from face3d.cli.progress import shown_progress
from face3d.cli.regress import regress
from face3d.cli.train import landmarks, onnx, regressor, synthesize
from face3d.core.errors import Face3dError, InputError, MissingDependencyError
from face3d.core.version import __version__

if TYPE_CHECKING:
    from face3d.pipeline import Head

ERROR_EXIT = 2


def reconstruct(
    photos: tyro.conf.Positional[tuple[Path, ...]],
    /,
    *,
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
    face: str = "largest",
    head: str = "open",
    pose: Literal["neutral", "photo"] = "neutral",
    texture: int = 1024,
    fast: bool = False,
    detail: bool = False,
    maps: Path | None = None,
    subdivide: int = 0,
    preview: Path | None = None,
    pd_mm: float | None = None,
    card: tuple[float, float, float, float, float] | None = None,
    depth: Path | None = None,
    focal_px: float | None = None,
    regressor: Literal[
        "none", "own", "deca", "emoca", "smirk", "teaser", "spectre", "mica"
    ] = "none",
    checkpoint: Path | None = None,
) -> None:
    """Reconstruct an animatable head from one photo, or from several of one person.

    Args:
        photos: The pictures.
        output: File to write: .glb, .obj, .ply, .npz (parameters), .exr (displacement) or .png
            (preview). With several faces their numbers, from 0 by size, are put before the ending.
        face: largest, all, or a number counting from 0 by size.
        head: Name or file of the head model.
        pose: How the head is saved, at rest or as in the (first) photo.
        texture: Texels on a side of the texture, a power of two.
        fast: Fit landmarks only, not form, light and albedo to the colours of the skin.
        detail: Also find wrinkles, folds and pores; they go into normal maps and --maps.
        maps: Also write every texture into this folder: with the photo's light, albedo,
            confidence, and of --detail a normal map and a displacement map (EXR, metres).
        subdivide: Make every face four, this many times; with --detail vertices follow wrinkles.
            OBJ and PLY only.
        preview: Also write a preview PNG: photo, overlay, front and side.
        pd_mm: The person's pupillary distance, if it is known.
        card: Two places in the (first) photo at the depth of the eyes and how far apart they are:
            x y x y in px, and mm. A bank card is 85.6 mm wide.
        depth: Depth map of the (first) photo, a 16-bit PNG in mm.
        focal_px: Focal length of the (first) photo, for the depth map.
        regressor: A network that gives the head in one pass: own starts the fit; mica's identity
            is kept; heads of the others are taken as they are. All but own need --checkpoint and
            --head flame2020.
        checkpoint: The regressor's weights, as its authors publish them.
    """
    from face3d import pipeline

    if not photos:
        raise InputError("No photo was given; name one, or several of one person.")
    for photo in photos:
        pipeline.require_output(output, photo=photo)
    if preview == output:
        raise InputError(f"--output and --preview are both {output}; give two names.")
    if preview is not None:
        for photo in photos:
            pipeline.require_output(preview, photo=photo, suffixes=(".png",))
    pipeline.require_texture_size(texture)
    if output.suffix.lower() == ".exr" and (fast or not detail):
        raise InputError("An .exr holds displacement; add --detail, and leave out --fast.")
    if subdivide and output.suffix.lower() not in (".obj", ".ply"):
        raise InputError("--subdivide is for .obj and .ply files.")
    known = pipeline.KnownSizes(
        mm={} if pd_mm is None else {"pupillary_distance": pd_mm},
        points=None if card is None else ((card[0], card[1]), (card[2], card[3]), card[4]),
        depth_m=None if depth is None else pipeline.read_depth(depth),
        focal_px=focal_px,
    )
    if face == "all":
        if any(given is not None for given in (pd_mm, card, depth, focal_px)):
            raise InputError("Known sizes are one person's; choose a --face.")
        if len(photos) > 1:
            raise InputError("--face all takes one photo; several show one person.")
        if regressor != "none":
            raise InputError("--regressor is for one face; choose a --face.")
    elif face != "largest" and not (face.isascii() and face.isdecimal()):
        raise InputError(f"--face is {face!r}; use largest, all or a number from 0.")
    network = None
    if regressor != "none":
        network = pipeline.load_regressor(regressor, checkpoint)
    elif checkpoint is not None:
        raise InputError("--checkpoint is a regressor's; say which with --regressor.")
    with shown_progress() as progress:
        if face == "all":
            heads = pipeline.reconstruct_all(
                next(iter(photos)), head=head, texture=texture, fast=fast, detail=detail,
                progress=progress,
            )  # fmt: skip
        else:
            which = "largest" if face == "largest" else int(face)
            heads = [
                pipeline.reconstruct(
                    list(photos), face=which, head=head, texture=texture, fast=fast,
                    detail=detail, known=known, regressor=network, progress=progress,
                )
            ]  # fmt: skip
        for number, one in enumerate(heads):
            progress("textures and files")
            one.save(_numbered(output, number, len(heads)), pose=pose, subdivide=subdivide)
            if maps is not None:
                one.save_maps(maps if len(heads) == 1 else maps / str(number), pose=pose)
            if preview is not None:
                one.save(_numbered(preview, number, len(heads)))
    for stranger in heads[0].strangers:
        print(f"face3d: {stranger} looks like somebody else than the rest.", file=sys.stderr)
    for number, one in enumerate(heads):
        print(
            f"{_numbered(output, number, len(heads))}: landmark error "
            f"{one.landmark_error_px:.1f} px ({one.landmark_error_percent:.2f}% of the face)"
        )
        print(_size_line(one))
        for note in one.scale.notes:
            print(f"face3d: {note}", file=sys.stderr)
        if detail and one.detail_refused is not None:
            print(f"face3d: no detail: {one.detail_refused}", file=sys.stderr)


def _size_line(head: "Head") -> str:
    """Such as "Size: PD 63.1 mm (sd 2.0; from iris, population)"."""
    sources = ", ".join(head.scale.used)
    pupils = head.measurements.values.get("pupillary_distance")
    if pupils is None:
        factor, deviation = head.scale.metres_per_unit, head.scale.sd
        return f"Size: {factor:.3f} of the fit's (sd {deviation:.3f}; from {sources})"
    return f"Size: PD {pupils.mm:.1f} mm (sd {pupils.sd_mm:.1f}; from {sources})"


def _numbered(path: Path, number: int, count: int) -> Path:
    return path if count == 1 else path.with_name(f"{path.stem}-{number}{path.suffix}")


def render(
    head: tyro.conf.Positional[Path],
    /,
    *,
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
    motion: Literal["auto", "turntable", "take", "still"] = "auto",
    size: str = "720",
    fps: str = "30",
    seconds: float = 6.0,
    yaw: float = 0.0,
    background: str = "auto",
    clay: bool = False,
    shading: float = 0.35,
    supersample: int = 2,
    renderer: Literal["face3d", "pyrender"] = "face3d",
) -> None:
    """Draw a head: a film, a picture, or numbered pictures.

    Args:
        head: The file: .npz, .glb, .obj, .ply or .stl.
        output: File or folder to write: .mp4, .png, or a folder for numbered PNGs.
        motion: turntable goes once around, take plays the file's animation, still does neither;
            auto is the take if there is one.
        size: Pixels, 720 or 1280x720.
        fps: Pictures per second; 30000/1001 and the like too.
        seconds: Length of a turntable.
        yaw: Where the camera starts, degrees; positive shows the subject's left side.
        background: none (PNG only), a colour such as #eeeeee, or auto: none for PNG, grey for MP4.
        clay: Leave the texture out.
        shading: 0 shows the texture as it is, 1 as the studio lights it.
        supersample: Samples per pixel along each axis.
        renderer: face3d, or pyrender for comparison.
    """
    from face3d import pipeline

    width, height = _size(size)
    shot = pipeline.Shot(
        motion=motion,
        width=width,
        height=height,
        fps=_rate(fps),
        seconds=seconds,
        yaw_deg=yaw,
        background=None if background in ("auto", "none") else _colour(background),
        clay=clay,
        shading=shading,
        supersample=supersample,
        renderer=renderer,
    )
    if background == "none" and output.suffix.lower() == ".mp4":
        raise InputError("An MP4 cannot be transparent; write a folder of PNGs instead.")
    print(pipeline.film(head, output, shot, progress=True))


def convert(
    source: tyro.conf.Positional[Path],
    /,
    *,
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
    head: str = "flame2020",
    fps: float = 25.0,
) -> None:
    """Turn parameter files of trackers and regressors into a head that moves.

    Args:
        source: What face3d regress has written; VHAP's or SMIRK's .npz, metrical-tracker's or
            Pixel3DMM's .frame files, DECA's .mat, EMOCA's or MICA's .npy; a folder of them is a
            take.
        output: File to write: .glb, .npz (parameters) or .obj (the first picture).
        head: Name or file of the FLAME model that the parameters belong to.
        fps: Pictures per second of the take.
    """
    from face3d import pipeline

    print(pipeline.convert(source, output, head=head, fps=fps))


def _size(text: str) -> tuple[int, int]:
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(part.isascii() and part.isdecimal() for part in parts):
        raise InputError(f"--size is {text!r}; give pixels such as 720 or 1280x720.")
    return int(parts[0]), int(parts[-1])


def _rate(text: str) -> Fraction:
    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError) as error:
        raise InputError(f"--fps is {text!r}; give a rate such as 30 or 30000/1001.") from error


def _colour(text: str) -> tuple[float, float, float]:
    digits = text.removeprefix("#")
    if len(digits) != 6 or any(d not in "0123456789abcdefABCDEF" for d in digits):
        raise InputError(f"--background is {text!r}; give auto, none or a colour like #eeeeee.")
    red, green, blue = (int(digits[k : k + 2], 16) / 255 for k in (0, 2, 4))
    return red, green, blue


def demo(*, output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("demo")) -> None:
    """Run the main job on a portrait that comes with scikit-image (NASA, public domain).

    Args:
        output: Folder for astronaut.glb and astronaut-preview.png.
    """
    try:
        from skimage import data
    except ImportError as error:
        raise MissingDependencyError(
            "The demo photo comes with scikit-image; install it: pip install scikit-image."
        ) from error
    from face3d import pipeline

    start = time.perf_counter()
    head = pipeline.reconstruct(data.astronaut())
    paths = [head.save(output / "astronaut.glb"), head.save(output / "astronaut-preview.png")]
    print(f"Reconstructed in {time.perf_counter() - start:.1f} s:")
    for path in paths:
        print(f"  {path.resolve()}")


def assets_list() -> None:
    """List every asset with licence, size, hash and where it was found."""
    for row in list_assets():
        state = "missing" if row.path is None else "ok" if row.intact else "DAMAGED"
        if row.path is not None and not row.asset.sha256:
            state = "installed, not verified"
        print(f"{row.asset.name}  [{row.asset.licence}]  {state}")
        if row.path is not None:
            print(f"  {row.path}  {row.size_bytes / 1e6:.2f} MB  sha256 {row.sha256}")
        print(f"  {row.asset.origin} {row.asset.how}")


def assets_add(file: tyro.conf.Positional[Path], /) -> None:
    """Check a head file (FLAME, GNM Head) that you downloaded, and install it.

    Args:
        file: The file, named as it was published.
    """
    from face3d import pipeline

    asset, path = pipeline.install_head(file)
    print(f"{asset.name} installed as {path}")


def _train() -> None:
    """Make synthetic faces and train networks: synthesize, regressor, landmarks, onnx."""


def _run(arguments: Sequence[str]) -> None:
    if list(arguments) == ["--version"]:
        print(f"face3d {__version__}")
        return
    commands = {
        "reconstruct": reconstruct,
        "regress": regress,
        "render": render,
        "convert": convert,
        "evaluate": evaluate,
        "demo": demo,
    }
    if list(arguments[:1]) == ["assets"]:
        # "face3d assets" alone lists; a default sub-command needs this small detour.
        rest = list(arguments[1:]) or ["list"]
        tyro.extras.subcommand_cli_from_dict(
            {"list": assets_list, "add": assets_add}, prog="face3d assets", args=rest
        )
        return
    if list(arguments[:1]) == ["train"]:
        tyro.extras.subcommand_cli_from_dict(
            {
                "synthesize": synthesize, "regressor": regressor, "landmarks": landmarks,
                "onnx": onnx,
            },
            prog="face3d train", args=list(arguments[1:]),
        )  # fmt: skip
        return
    table = {**commands, "assets": assets_list, "train": _train}
    tyro.extras.subcommand_cli_from_dict(table, prog="face3d", args=list(arguments))


def main() -> None:
    """Entry point: errors a user can act on become one sentence and exit code 2."""
    try:
        _run(sys.argv[1:])
    except Face3dError as error:
        print(f"face3d: {error}", file=sys.stderr)
        sys.exit(ERROR_EXIT)
    except OSError as error:
        # What no check foresaw, such as a name that is too long.
        where = f" ({error.filename})"[:120] if error.filename else ""
        print(f"face3d: {error.strerror or error}{where}; choose another file.", file=sys.stderr)
        sys.exit(ERROR_EXIT)
    except KeyboardInterrupt:
        print("face3d: stopped.", file=sys.stderr)
        sys.exit(130)
