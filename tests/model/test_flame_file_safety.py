"""Hostile FLAME files: whatever a pickle tries, it is refused and nothing runs."""

import copyreg
import io
import pickle
import struct
from pathlib import Path

import pytest

from face3d.core.errors import AssetError
from face3d.model import flame_file
from face3d.model.flame_file import read_flame


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def stack_global(module: str, name: str) -> bytes:
    return text(module) + text(name) + b"\x93"


def calls(module: str, name: str, argument: str, *, protocol: int) -> bytes:
    """A pickle that calls module.name(argument)."""
    if protocol < 4:
        return b"\x80\x02" + f"c{module}\n{name}\n".encode() + text(argument) + b"\x85R."
    return b"\x80\x04" + stack_global(module, name) + text(argument) + b"\x85R."


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "mkdir"),
        ("posix", "mkdir"),
        ("nt", "mkdir"),
        ("builtins", "eval"),
        ("__builtin__", "eval"),
        ("__builtin__", "execfile"),
        ("subprocess", "check_call"),
        ("numpy", "savetxt"),
        ("numpy", "ndarray.tofile"),
        ("numpy", "core.multiarray._reconstruct"),
        ("numpy", "core.multiarray.fromfile"),
        ("numpy.core.multiarray", "fromfile"),
        ("numpy.core.multiarray", "_reconstruct.__globals__"),
        ("numpy.core.numeric", "_frombuffer"),
        ("numpy.f2py", "compile"),
        ("scipy.sparse", "load_npz"),
        ("chumpy", "ch.Ch"),
        ("copyreg", "__newobj__"),
        ("copyreg", "_reconstructor.__globals__"),
        ("_codecs", "encode.__self__"),
        ("_codecs", "lookup"),
        ("builtins", "object.__subclasses__"),
        ("builtins", "getattr"),
        ("functools", "partial"),
        ("face3d.model.flame_file", "_Record"),
    ],
)
def test_every_other_global_is_named_and_refused(tmp_path: Path, module, name, protocol):
    marker, file = tmp_path / "ran", tmp_path / "evil.pkl"
    file.write_bytes(calls(module, name, str(marker), protocol=protocol))
    with pytest.raises(AssetError, match="read safely") as caught:
        read_flame(file)
    assert f"{module}.{name}" in str(caught.value)
    assert not marker.exists()


def test_the_attack_would_work_on_an_open_unpickler(tmp_path: Path):
    for protocol in (2, 4):
        marker = tmp_path / f"ran {protocol}"
        pickle.loads(calls("os", "mkdir", str(marker), protocol=protocol))
        assert marker.is_dir()


class Runs:
    """Makes a folder when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return Path.mkdir, (self.marker,)


def test_calls_hidden_in_entries_run_nothing(tmp_path: Path):
    marker, file = tmp_path / "ran", tmp_path / "evil.pkl"
    for protocol in (0, 2, 3, 4):
        file.write_bytes(pickle.dumps({"f": 1, "more": [Runs(marker)]}, protocol=protocol))
        with pytest.raises(AssetError, match="refers to"):
            read_flame(file)
        assert not marker.exists()


CH, RECONSTRUCT = b"cchumpy.ch\nCh\n", b"cnumpy.core.multiarray\n_reconstruct\n"
NDARRAY, DTYPE = b"cnumpy\nndarray\n", b"cnumpy\ndtype\n"
ENCODE, MAKE = b"c_codecs\nencode\n", b"ccopy_reg\n_reconstructor\n"


def entry(value: bytes) -> bytes:
    """A pickle of a dictionary whose v_template is ``value``."""
    return b"\x80\x02}" + text("v_template") + value + b"s."


def array(shape: bytes, dtype: str, raw: bytes) -> bytes:
    element = DTYPE + text(dtype) + b"K\0K\1\x87R(K\3" + text("<") + b"NNNJ\xff\xff\xff\xffJ"
    element += b"\xff\xff\xff\xffK\0tb"
    return (
        RECONSTRUCT
        + NDARRAY
        + b"K\0\x85"
        + text("b")
        + b"\x87R(K\1"
        + shape
        + element
        + (b"\x89" + raw + b"tb")
    )


EIGHT = b"U\x08" + b"\0" * 8
ODD = {
    "allowed function on odd arguments": RECONSTRUCT + text("os") + b"]}\x87R",
    "allowed function on an allowed function": RECONSTRUCT + RECONSTRUCT + b"\x85R",
    "array of a stranger": RECONSTRUCT + CH + b"K\0\x85" + text("b") + b"\x87R",
    "array without state": RECONSTRUCT + NDARRAY + b"K\0\x85" + text("b") + b"\x87R",
    "array with a state of another form": RECONSTRUCT + b")R}b",
    "array of objects": array(b"K\1\x85", "O8", b"]N."[:-1] + b"a"),
    "array of a made-up type": array(b"K\1\x85", "f8,O", EIGHT),
    "array of text": array(b"K\1\x85", "S8", EIGHT),
    "array of more than its bytes": array(b"J\0\0\0\x7f\x85", "f8", EIGHT),
    "array of negative size": array(b"J\xff\xff\xff\xff\x85", "f8", EIGHT),
    "array of sizes that are no numbers": array(text("ab"), "f8", EIGHT),
    "array of characters beyond latin1": array(b"K\1\x85", "f8", b"X\3\0\0\0\xe2\x82\xac"),
    "array without bytes": array(b"K\1\x85", "f8", b"N"),
    "bytes by another codec": array(b"K\1\x85", "f8", ENCODE + text("00") + text("hex") + b"\x86R"),
    "class as a value": CH,
    "chumpy without state": CH + b")\x81",
    "chumpy without a value": CH + b")\x81}b",
    "chumpy of itself": CH + b")\x81q\1}" + text("x") + b"h\1sb",
    "chumpy of a list": CH + b")\x81}" + text("x") + b"]sb",
    "chumpy with attributes": CH + b")\x81N}" + text("__class__") + DTYPE + b"s\x86b",
    "made by copyreg of nothing": MAKE + b")R",
    "made by copyreg of a function": MAKE + RECONSTRUCT + b"c__builtin__\nobject\nN\x87R",
    "made by copyreg of text": MAKE + text("os") + b"c__builtin__\nobject\nN\x87R",
    "number": b"K\1",
    "list": b"]",
    "sparse without state": b"cscipy.sparse.csc\ncsc_matrix\n)\x81",
    "sparse of huge shape": b"cscipy.sparse.csc\ncsc_matrix\n)\x81}"
    + (text("_shape") + b"J\0\0\0\x7fJ\0\0\0\x7f\x86sb"),
}


@pytest.mark.parametrize("value", ODD.values(), ids=ODD.keys())
def test_allowed_names_in_odd_uses_are_refused(tmp_path: Path, value):
    file = tmp_path / "odd.pkl"
    file.write_bytes(entry(value))
    with pytest.raises(AssetError, match="the key 'v_template' holds no readable array"):
        read_flame(file)


REFUSED = {
    "state for a class": entry(CH + b"}" + text("kind") + text("array") + b"sb"),
    "attributes for a class": entry(CH + b"N}" + text("kind") + text("array") + b"s\x86b"),
    "state for a function": entry(RECONSTRUCT + b"N}" + text("__call__") + b"Ns\x86b"),
    "state for a dictionary": b"\x80\x02}}b.",
    "append to a record": entry(CH + b")\x81K\1a"),
    "item of a record": entry(CH + b")\x81" + text("a") + b"Ns"),
    "method by name": b"\x80\x04" + stack_global("chumpy.ch", "Ch.__new__") + b".",
    "name that is no text": b"\x80\x04K\1K\2\x93.",
    "old instance": b"(S'/tmp'\nios\nlistdir\n.",
    "old object": b"(" + CH + b"o.",
    "keyword arguments": entry(CH + b")}\x92"),
    "persistent id": b"P1\n.",
    "binary persistent id": b"K\1Q.",
    "out-of-band buffer": b"\x80\x05\x97.",
    "empty stack": b"\x80\x02R.",
    "unhashable key": b"\x80\x02}]Ns.",
    "memo far away": b"\x80\x02}r\xff\xff\xff\x7f.",
    "memo in words": b"(dp2147483647\n.",
    "unknown memo": b"\x80\x02h\7.",
    "text longer than the file": b"\x80\x02T\xff\xff\xff\x7fabc.",
    "text longer than memory": b"\x80\x04\x8d" + struct.pack("<Q", 1 << 60) + b"abc.",
    "frame longer than memory": b"\x80\x04\x95" + struct.pack("<Q", 1 << 60) + b"N.",
    "text of negative length": b"\x80\x02T\xff\xff\xff\xffabc.",
    "number of too many digits": b"I" + b"9" * 10_000 + b"\n.",
    "too many opcodes": b"\x80\x02" + b"N" * 20_000 + b".",
    "key nested too deeply": b"\x80\x02}N" + b"\x85" * 20_000 + b"Ns.",
}


@pytest.mark.parametrize("raw", REFUSED.values(), ids=REFUSED.keys())
def test_tricks_of_the_format_are_refused(tmp_path: Path, raw):
    file = tmp_path / "trick.pkl"
    file.write_bytes(raw)
    with pytest.raises(AssetError, match="read safely"):
        read_flame(file)
    assert flame_file._RECORD_OF_KIND["chumpy"].kind == "chumpy"


def test_a_key_nested_as_deeply_as_allowed_does_no_harm(tmp_path: Path):
    file = tmp_path / "deep.pkl"
    file.write_bytes(b"\x80\x02}N" + b"\x85" * 9_900 + b"Ns.")
    with pytest.raises(AssetError, match="dictionary of names"):
        read_flame(file)


def test_extension_codes_are_refused_even_when_the_process_knows_them(tmp_path: Path, monkeypatch):
    # The C unpickler takes a cached extension without asking find_class.
    marker, file = tmp_path / "ran", tmp_path / "evil.pkl"
    raw = b"\x80\x02\x82\xf0" + text(str(marker)) + b"\x85R."
    monkeypatch.setitem(copyreg._extension_cache, 0xF0, lambda path: Path(path).mkdir())
    flame_file._Unpickler(io.BytesIO(raw)).load()
    assert marker.is_dir()
    marker.rmdir()
    file.write_bytes(raw)
    with pytest.raises(AssetError, match="opcode EXT1"):
        read_flame(file)
    assert not marker.exists()


@pytest.mark.parametrize("opener", [b"}", b"(d"])
def test_keys_that_would_take_for_ever_to_hash_are_refused(tmp_path: Path, opener):
    # Each step makes a tuple of twice the tuple before it; hashing the last one takes 2^60 steps.
    path = tmp_path / "generic_model.pkl"
    path.write_bytes(b"\x80\x02" + opener + b")" + b"2\x86" * 60 + b"Ns.")
    with pytest.raises(AssetError, match="unfold"):
        read_flame(path)
    shared = b"".join(b"q" + bytes([k]) + b"h" + bytes([k]) + b"\x86" for k in range(60))
    path.write_bytes(b"\x80\x02" + opener + b")" + shared + b"Ns.")
    with pytest.raises(AssetError, match="unfold"):
        read_flame(path)
    path.write_bytes(b"\x80\x04\x8f(" + b")" + b"2\x86" * 60 + b"\x90.")
    with pytest.raises(AssetError, match="unfold"):
        read_flame(path)
