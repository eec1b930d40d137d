"""What write_glb refuses, and what it leaves behind when it does."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from face3d.core import InputError, Topology
from face3d.export import GlbCharacter, write_glb


def test_same_input_same_bytes(tmp_path, character, animation):
    write_glb(tmp_path / "a.glb", character, animation=animation)
    write_glb(tmp_path / "b.glb", character, animation=animation)
    assert (tmp_path / "a.glb").read_bytes() == (tmp_path / "b.glb").read_bytes()


def test_inputs_are_left_as_they_were(tmp_path, tools):
    character = tools.make_character()
    arrays = (character.vertices, character.skinning_weights, character.morph_deltas)
    for array in arrays:
        array.setflags(write=False)
    write_glb(tmp_path / "a.glb", character)


def test_missing_folder_is_made(tmp_path, character):
    write_glb(tmp_path / "new" / "folder" / "head.glb", character)
    assert [p.name for p in (tmp_path / "new" / "folder").iterdir()] == ["head.glb"]


def test_folder_that_cannot_be_written_to(tmp_path, character):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="choose an output folder"):
        write_glb(tmp_path / "file" / "head.glb", character)
    # No one may make files in /proc, root included.
    with pytest.raises(InputError, match="choose an output folder"):
        write_glb(Path("/proc/head.glb"), character)


def test_existing_file_stays_when_writing_fails(tmp_path, character, monkeypatch):
    path = tmp_path / "head.glb"
    path.write_bytes(b"the old one")

    def full(self, data):
        self.write_text("half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError, match="No space left"):
        write_glb(path, character)
    assert path.read_bytes() == b"the old one"
    assert list(tmp_path.iterdir()) == [path]


def test_existing_file_stays_when_the_input_is_wrong(tmp_path, character):
    path = tmp_path / "head.glb"
    path.write_bytes(b"the old one")
    with pytest.raises(InputError):
        write_glb(path, replace(character, joint_names=("a", "a", "b", "c", "d")))
    assert path.read_bytes() == b"the old one"


def test_suffix_must_be_glb(tmp_path, character):
    with pytest.raises(InputError, match=r"\.glb"):
        write_glb(tmp_path / "head.gltf", character)


def _nan(array: np.ndarray) -> np.ndarray:
    return np.where(np.arange(array.size).reshape(array.shape) == 4, np.nan, array)


def _topology(topology: Topology, **changes) -> Topology:
    """A topology whose parts need not fit; see the fixture ``bad``."""
    record = object.__new__(Topology)
    empty = {"uv": None, "uv_faces": None, "regions": {}}
    for name, value in ({"faces": topology.faces} | empty | changes).items():
        object.__setattr__(record, name, value)
    return record


def _materials(c: GlbCharacter, **changes) -> dict:
    first, second = c.materials
    return {"materials": (replace(first, **changes), second)}


def _weights(c: GlbCharacter, value: float) -> dict:
    changed = c.skinning_weights.copy()
    changed[3] = value
    return {"skinning_weights": changed}


BROKEN_CHARACTERS = {
    "NaN place": (lambda c: {"vertices": _nan(c.vertices)}, "NaN or infinite"),
    "batch of heads": (lambda c: {"vertices": c.vertices[None]}, "one head"),
    "no faces": (lambda c: {"topology": _topology(c.topology, faces=c.topology.faces[:0])}, "row"),
    "face too high": (
        lambda c: {"topology": _topology(c.topology, faces=c.topology.faces + 1)},
        "same head",
    ),
    "uv alone": (lambda c: {"topology": _topology(c.topology, uv=c.topology.uv)}, "both"),
    "uv_faces short": (
        lambda c: {
            "topology": _topology(c.topology, uv=c.topology.uv, uv_faces=c.topology.uv_faces[:-1])
        },
        "one for each",
    ),
    "uv_faces high": (
        lambda c: {
            "topology": _topology(c.topology, uv=c.topology.uv[:-1], uv_faces=c.topology.uv_faces)
        },
        "same head",
    ),
    "texture without uv": (
        lambda c: {"topology": Topology(faces=c.topology.faces)},
        "give uv too",
    ),
    "face in two materials": (
        lambda c: _materials(c, faces=np.ones(len(c.topology.faces), bool)),
        "exactly one",
    ),
    "empty material": (
        lambda c: _materials(c, faces=np.zeros(len(c.topology.faces), bool)),
        "leave it out",
    ),
    "mask of another head": (lambda c: _materials(c, faces=np.ones(3, bool)), "mark every face"),
    "no materials": (lambda c: {"materials": ()}, "exactly one"),
    "material twice": (lambda c: _materials(c, name="back side"), "repeated"),
    "texture that is a GIF": (lambda c: _materials(c, texture=b"GIF89a"), "PNG"),
    "colour in bytes": (lambda c: _materials(c, base_color_srgb=(255.0, 0.0, 0.0)), "0 and 1"),
    "NaN roughness": (lambda c: _materials(c, roughness=float("nan")), "0 and 1"),
    "negative opacity": (lambda c: _materials(c, opacity=-0.1), "0 and 1"),
    "no joints": (
        lambda c: {
            "joint_names": (),
            "joint_parents": c.joint_parents[:0],
            "joint_places": c.joint_places[:0],
            "skinning_weights": c.skinning_weights[:, :0],
            "joint_rotations": None,
        },
        "between 1 and 256",
    ),
    "joint twice": (lambda c: {"joint_names": ("a", "b", "c", "d", "a")}, "repeated"),
    "child before parent": (lambda c: {"joint_parents": np.array([1, -1, 1, 1, 1])}, "earlier"),
    "joint missing": (lambda c: {"joint_places": c.joint_places[:4]}, "same head"),
    "weights of another head": (
        lambda c: {"skinning_weights": c.skinning_weights[1:]},
        "same head",
    ),
    "vertex without a joint": (lambda c: _weights(c, 0.0), "sum to one"),
    "negative weight": (lambda c: _weights(c, -1.0), "sum to one"),
    "rotation missing": (lambda c: {"joint_rotations": c.joint_rotations[:4]}, "same head"),
    "scaled head": (lambda c: {"world_from_head": np.eye(4) * [2, 2, 2, 1.0]}, "scale"),
    "mirrored head": (lambda c: {"world_from_head": np.eye(4) * [-1, 1, 1, 1.0]}, "mirroring"),
    "morph twice": (lambda c: {"morph_names": ("jawOpen",) * 6}, "repeated"),
    "morph without deltas": (lambda c: {"morph_deltas": None}, "both or none"),
    "deltas of another head": (lambda c: {"morph_deltas": c.morph_deltas[:, 1:]}, "same head"),
    "infinite delta": (lambda c: {"morph_deltas": c.morph_deltas * 1e300}, "infinite"),
    "weight missing": (lambda c: {"morph_weights": c.morph_weights[1:]}, "same head"),
}


@pytest.mark.parametrize("case", BROKEN_CHARACTERS)
def test_a_broken_character_is_refused(tmp_path, character, bad, case):
    change, message = BROKEN_CHARACTERS[case]
    broken = bad(character, **change(character))
    with pytest.raises(InputError, match=message):
        write_glb(tmp_path / "head.glb", broken)
    assert list(tmp_path.iterdir()) == []


BROKEN_ANIMATIONS = {
    "no keys": (lambda a: {"times_s": a.times_s[:0]}, "increase"),
    "negative time": (lambda a: {"times_s": a.times_s - 1}, "zero or later"),
    "time stands still": (lambda a: {"times_s": a.times_s * 0}, "increase"),
    "equal as float32": (lambda a: {"times_s": 3e5 + a.times_s / 1000}, "increase"),
    "nothing moves": (
        lambda a: {"morph_weights": None, "joint_rotations": None, "world_from_head": None},
        "no track",
    ),
    "morph missing": (lambda a: {"morph_weights": a.morph_weights[:, 1:]}, "same head"),
    "key missing": (lambda a: {"joint_rotations": a.joint_rotations[1:]}, "same head"),
    "NaN turn": (lambda a: {"joint_rotations": _nan(a.joint_rotations)}, "NaN"),
    "head grows": (
        lambda a: {"world_from_head": a.world_from_head * [[2], [2], [2], [1.0]]},
        "scale",
    ),
}


@pytest.mark.parametrize("case", BROKEN_ANIMATIONS)
def test_a_broken_animation_is_refused(tmp_path, character, animation, bad, case):
    change, message = BROKEN_ANIMATIONS[case]
    broken = bad(animation, **change(animation))
    with pytest.raises(InputError, match=message):
        write_glb(tmp_path / "head.glb", character, animation=broken)


def test_curves_for_a_head_without_morphs_are_refused(tmp_path, character, animation):
    bare = replace(character, morph_names=(), morph_deltas=None, morph_weights=None)
    with pytest.raises(InputError, match="head has none"):
        write_glb(tmp_path / "head.glb", bare, animation=animation)
