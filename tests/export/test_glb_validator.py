"""The Khronos validator's opinion of the files: no errors and no warnings."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from face3d.export import write_glb

TOOLS = Path(__file__).parents[2] / "tools"


def _missing() -> str | None:
    if shutil.which("node") is None:
        return "node is not installed"
    if not (TOOLS / "node_modules" / "gltf-validator").is_dir():
        return "gltf-validator is not installed (npm install --prefix tools)"
    return None


pytestmark = pytest.mark.skipif(_missing() is not None, reason=_missing() or "")


def validate(*paths: Path) -> tuple[int, str]:
    command = ["node", TOOLS / "validate_glb.mjs", *paths]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_files_are_valid(tmp_path, character, arkit_character, animation, tools):
    bare = replace(character, morph_names=(), morph_deltas=None, morph_weights=None)
    placed = replace(character, world_from_head=tools.rigid([0.2, 1.0, 0.0], [0.0, 1.5, 0.1]))
    glass = replace(character.materials[0], opacity=0.2, double_sided=True)
    files = {
        "take": (character, {"animation": animation}),
        "arkit": (arkit_character, {"animation": tools.make_animation(arkit_character)}),
        "dense": (placed, {"sparse_targets": False, "normal_targets": False}),
        "bare": (bare, {}),
        "glass": (replace(character, materials=(glass, character.materials[1])), {}),
    }
    paths = [tmp_path / f"{name}.glb" for name in files]
    for path, (head, options) in zip(paths, files.values()):
        write_glb(path, head, **options)
    code, output = validate(*paths)
    assert code == 0, output
    assert output.count("0 errors, 0 warnings") == len(files)
    # The only remark: texture coordinates of a material that has no picture yet.
    remarks = [line for line in output.splitlines() if line.startswith("  ")]
    assert all("UNUSED_OBJECT" in line and "TEXCOORD_0" in line for line in remarks), output


def test_the_validator_bites(tmp_path, character):
    path = tmp_path / "head.glb"
    write_glb(path, character)
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"componentType":5121', b'"componentType":5125'))
    code, output = validate(path)
    assert code == 1
    assert "ACCESSOR" in output
    assert validate(tmp_path / "missing.glb")[0] == 1
