import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nglib.splat import Gaussians, ply
from tests.splat_scenes import scene


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 50), st.integers(0, 3), st.integers(0, 1000))
def test_the_round_trip_is_exact(tmp_path_factory, n, degree, seed):
    path = tmp_path_factory.mktemp("ply") / "scene.ply"
    some = scene(n, seed=seed, degree=degree)
    ply.save(some, path)
    again = ply.load(path)
    assert all(torch.equal(a, b) for (_, a), (_, b) in zip(some, again, strict=True))
    data = path.read_bytes()
    ply.save(again, path)
    assert path.read_bytes() == data


@pytest.fixture
def path(tmp_path):
    ply.save(scene(5, degree=1), tmp_path / "scene.ply")
    return tmp_path / "scene.ply"


def test_the_layout_is_that_of_3dgs(path):
    header, _, body = path.read_bytes().partition(b"end_header\n")
    names = [line.split()[2] for line in header.decode().splitlines() if line.startswith("property float")]
    assert names == (
        ["x", "y", "z", "nx", "ny", "nz"]
        + [f"f_dc_{i}" for i in range(3)]
        + [f"f_rest_{i}" for i in range(9)]
        + ["opacity"]
        + [f"scale_{i}" for i in range(3)]
        + [f"rot_{i}" for i in range(4)]
    )
    rows = np.frombuffer(body, "<f4").reshape(5, 26)
    some = scene(5, degree=1)
    # All coefficients of red stand before those of green.
    assert np.array_equal(rows[:, 9:12], some.sh[:, 1:, 0].numpy())
    assert np.array_equal(rows[:, 12:15], some.sh[:, 1:, 1].numpy())
    assert np.array_equal(rows[:, 22:], some.quats.numpy())


def test_properties_a_scene_does_not_need_are_passed_over(path):
    header, _, body = path.read_bytes().partition(b"end_header\n")
    rows = np.frombuffer(body, "<f4").reshape(5, 26)
    wider = np.zeros(5, np.dtype([("tag", "u1"), ("rest", "<f4", 26)]))
    wider["rest"] = rows
    declared = header.replace(b"property float x\n", b"property uchar tag\nproperty float x\n")
    path.write_bytes(b"ply\r\n" + b"comment made elsewhere\n" + declared[4:] + b"end_header\n" + wider.tobytes())
    again = ply.load(path)
    assert torch.equal(again.means, scene(5, degree=1).means) and torch.equal(again.sh, scene(5, degree=1).sh)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: b"", "does not start with 'ply'"),
        (lambda d: b"PK\x03\x04" + d, "does not start with 'ply'"),
        (lambda d: d[:200], "no end_header"),
        (lambda d: d[:-1], "bytes after its header; expected 520 for 5 vertices"),
        (lambda d: d + b"\0", "521 bytes after its header"),
        (lambda d: d.replace(b"vertex 5", b"vertex 6"), "expected 624 for 6 vertices"),
        (lambda d: d.replace(b"vertex 5", b"vertex -5"), "'-5' vertices"),
        (lambda d: d.replace(b"binary_little_endian", b"ascii"), "format ascii 1.0"),
        (lambda d: d.replace(b"element vertex", b"element face"), "does not begin with the element 'vertex'"),
        (lambda d: d.replace(b"float scale_1", b"float scale_9"), "no property scale_1"),
        (lambda d: d.replace(b"float f_rest_8", b"float other"), "8 properties f_rest"),
        (lambda d: d.replace(b"float rot_3", b"list uchar int rot_3"), "'property list uchar int rot_3'"),
        (lambda d: d.replace(b"float rot_3", b"float rot_2"), "declares a property twice"),
        (lambda d: d[:-4] + np.float32("nan").tobytes(), "not finite"),
    ],
)
def test_a_damaged_or_foreign_file_is_refused(path, damage, message):
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=message):
        ply.load(path)


def test_what_is_not_finite_is_not_written(tmp_path):
    some = scene(3)
    some.means[1, 1] = torch.inf
    with pytest.raises(ValueError, match="means of gaussians"):
        ply.save(some, tmp_path / "scene.ply")
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_the_old_file(path, monkeypatch):
    before = path.read_bytes()
    monkeypatch.setattr("pathlib.Path.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        ply.save(scene(9), path)
    assert path.read_bytes() == before and len(list(path.parent.iterdir())) == 1


def test_double_precision_is_rounded(tmp_path):
    some = scene(4).to(dtype=torch.float64)
    ply.save(Gaussians(**{name: tensor + 1e-12 for name, tensor in some}), tmp_path / "scene.ply")
    assert torch.allclose(ply.load(tmp_path / "scene.ply").means.double(), some.means, atol=1e-6)
