"""Parameter files: equal values back, our own error for anything else."""

import io
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from face3d.core import AssetError, Camera, Face3dError, HeadParams, InputError
from face3d.export import SavedParams, read_params, write_params

SHAPES = {"shape": (10,), "expression": (52,), "neck": (3,), "jaw": (3,), "eyes": (2, 3)}


def make_saved(batch: tuple[int, ...] = (), dtype: torch.dtype = torch.float32) -> SavedParams:
    random = torch.Generator().manual_seed(4)

    def draw(*size: int) -> torch.Tensor:
        return torch.randn((*batch, *size), generator=random, dtype=dtype)

    world = torch.eye(4, dtype=dtype).expand(*batch, 4, 4)
    params = HeadParams(**{k: draw(*v) for k, v in SHAPES.items()}, world_from_head=world)
    camera = Camera(
        **{name: draw() for name in ("fx", "fy", "cx", "cy")},
        width=640,
        height=480,
        camera_from_world=world.clone(),
    )
    arrays = {
        "landmarks-px": np.arange(6, dtype=np.float32).reshape(2, 3).T,
        "mask": np.array([True, False]),
        "names": np.array(["jawOpen", "é"]),
        "count": np.array(3),
        "big_endian": np.arange(3, dtype=">i4"),
        "none": np.zeros((0, 3)),
    }
    return SavedParams(head="open", params=params, camera=camera, arrays=arrays)


@pytest.mark.parametrize("batch", [(), (1,), (2, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_round_trip(tmp_path, batch, dtype):
    saved = make_saved(batch, dtype)
    write_params(tmp_path / "a.npz", saved)
    read = read_params(tmp_path / "a.npz")
    assert read.head == "open"
    for name in (*SHAPES, "world_from_head"):
        torch.testing.assert_close(
            getattr(read.params, name), getattr(saved.params, name), rtol=0, atol=0
        )
    assert (read.camera.width, read.camera.height) == (640, 480)
    for name in ("fx", "fy", "cx", "cy", "camera_from_world"):
        torch.testing.assert_close(
            getattr(read.camera, name), getattr(saved.camera, name), rtol=0, atol=0
        )
    assert read.arrays.keys() == saved.arrays.keys()
    for name, values in saved.arrays.items():
        np.testing.assert_array_equal(read.arrays[name], values)
        assert read.arrays[name].flags.writeable


def test_without_camera_and_with_an_empty_code(tmp_path):
    saved = replace(make_saved(), camera=None, arrays={})
    saved = replace(saved, params=replace(saved.params, expression=torch.zeros(0)))
    write_params(tmp_path / "a.npz", saved)
    read = read_params(tmp_path / "a.npz")
    assert read.camera is None
    assert read.params.expression.shape == (0,)


def test_numpy_opens_it(tmp_path):
    saved = make_saved()
    write_params(tmp_path / "a.npz", saved)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as archive:
        np.testing.assert_array_equal(archive["params.shape"], saved.params.shape.numpy())
        np.testing.assert_array_equal(archive["arrays.names"], saved.arrays["names"])


def test_tensors_that_need_gradients_are_written(tmp_path):
    saved = make_saved()
    params = replace(saved.params, shape=saved.params.shape.requires_grad_())
    write_params(tmp_path / "a.npz", replace(saved, params=params))
    assert not read_params(tmp_path / "a.npz").params.shape.requires_grad


def test_same_input_same_bytes(tmp_path):
    for name in ("a.npz", "b.npz"):
        write_params(tmp_path / name, make_saved())
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"object": np.array([{}])}, "cannot be stored"),
        ({"a/b": np.zeros(2)}, "a name of letters"),
        ({"": np.zeros(2)}, "a name of letters"),
        ({"when": np.array(["2020-01-01"], dtype="datetime64[D]")}, "cannot be stored"),
    ],
)
def test_arrays_that_cannot_be_stored(tmp_path, arrays, message):
    with pytest.raises(InputError, match=message):
        write_params(tmp_path / "a.npz", replace(make_saved(), arrays=arrays))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"shape": torch.full((10,), torch.nan)}, "NaN"),
        ({"neck": torch.zeros(2)}, "last axes"),
        ({"eyes": torch.zeros(3)}, "last axes"),
        ({"jaw": torch.zeros(5, 3)}, "leading axes"),
        ({"jaw": torch.zeros(3, dtype=torch.bfloat16)}, "float32"),
    ],
)
def test_bad_params(tmp_path, bad, fields, message):
    saved = make_saved()
    with pytest.raises(InputError, match=message):
        write_params(tmp_path / "a.npz", replace(saved, params=bad(saved.params, **fields)))


def test_bad_camera_and_suffix(tmp_path):
    saved = make_saved()
    with pytest.raises(InputError, match="width"):
        write_params(tmp_path / "a.npz", replace(saved, camera=replace(saved.camera, width=0)))
    with pytest.raises(InputError, match=r"\.npz"):
        write_params(tmp_path / "a.pt", saved)


@pytest.fixture(scope="module")
def content(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("npz") / "a.npz"
    write_params(path, make_saved())
    return path.read_bytes()


def _read(path: Path, content: bytes) -> SavedParams:
    path.write_bytes(content)
    return read_params(path)


def test_cut_off_file(tmp_path, content):
    for size in range(0, len(content), 97):
        with pytest.raises(AssetError):
            _read(tmp_path / "a.npz", content[:size])


def test_random_bytes_flipped(tmp_path, content):
    rng = np.random.default_rng(17)
    for _ in range(300):
        damaged = bytearray(content)
        for place in rng.integers(0, len(content), rng.integers(1, 5)):
            damaged[place] = rng.integers(256)
        try:
            _read(tmp_path / "a.npz", bytes(damaged))
        except Face3dError:
            continue


def _repacked(content: bytes, name: str, data: bytes | None, **options) -> bytes:
    """The same archive with one member replaced or, with None, left out."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(stream, "w") as new:
        for info in old.infolist():
            if info.filename != name:
                new.writestr(info.filename, old.read(info), **options)
            elif data is not None:
                new.writestr(name, data, **options)
    return stream.getvalue()


def _npy(array: np.ndarray, **options) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


def _huge_header(shape: str) -> bytes:
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({shape}), }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header


DAMAGES = {
    "other format": ("format.npy", _npy(np.array("another-program-9"))),
    "no format": ("format.npy", None),
    "no head": ("head.npy", None),
    "head of numbers": ("head.npy", _npy(np.zeros(2))),
    "no neck": ("params.neck.npy", None),
    "NaN neck": ("params.neck.npy", _npy(np.full(3, np.nan))),
    "whole neck": ("params.neck.npy", _npy(np.zeros(3, dtype=np.int64))),
    "wide neck": ("params.neck.npy", _npy(np.zeros(4))),
    "long double": ("params.neck.npy", _npy(np.zeros(3, dtype=np.longdouble))),
    "batch of necks": ("params.neck.npy", _npy(np.zeros((2, 3)))),
    "no width": ("camera.size.npy", None),
    "negative width": ("camera.size.npy", _npy(np.array([-1, 2]))),
    "pickle": ("params.neck.npy", _npy(np.array([{}]), allow_pickle=True)),
    "asks for memory": ("params.neck.npy", _huge_header("4000000000, 4000000000,")),
    "not an array": ("params.neck.npy", b"hello"),
    "empty": ("params.neck.npy", b""),
    "cut header": ("params.neck.npy", _npy(np.zeros(3))[:40]),
    "cut data": ("params.neck.npy", _npy(np.zeros(3))[:-1]),
    "no such type": ("params.neck.npy", _npy(np.zeros(3)).replace(b"<f8", b"<f7")),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_damaged_member(tmp_path, content, case):
    with pytest.raises(AssetError):
        _read(tmp_path / "a.npz", _repacked(content, *DAMAGES[case]))


def test_repacking_alone_is_no_damage(tmp_path, content):
    assert _read(tmp_path / "a.npz", _repacked(content, "none", None)).head == "open"


def test_compressed_members_are_refused(tmp_path, content):
    packed = _repacked(content, "none", None, compress_type=zipfile.ZIP_DEFLATED)
    with pytest.raises(AssetError, match="compressed"):
        _read(tmp_path / "a.npz", packed)


def test_other_files(tmp_path):
    with pytest.raises(AssetError, match="check the name"):
        read_params(tmp_path / "missing.npz")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(AssetError, match="not a parameter file"):
        read_params(tmp_path / "other.npz")
    with pytest.raises(AssetError, match="not an NPZ file"):
        _read(tmp_path / "a.npz", b"hello")
