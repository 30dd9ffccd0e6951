"""Scenes in the PLY files of 3D Gaussian splatting, which public viewers open.

One ``vertex`` a Gaussian, binary little-endian float32: x y z, nx ny nz (zero), f_dc_* and f_rest_* (spherical
harmonics, all of red, then green, then blue), opacity (before the sigmoid), scale_* (logarithms), rot_* (w, x, y, z).
"""

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nglib.splat.gaussians import Gaussians

_TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "<i2", "int16": "<i2", "ushort": "<u2",
    "uint16": "<u2", "int": "<i4", "int32": "<i4", "uint": "<u4", "uint32": "<u4", "float": "<f4", "float32": "<f4",
    "double": "<f8", "float64": "<f8",
}  # fmt: skip
_REQUIRED = (
    ["x", "y", "z", "opacity"]
    + [f"{name}_{i}" for name in ("f_dc", "scale") for i in range(3)]
    + [f"rot_{i}" for i in range(4)]
)
_HEADER_LIMIT = 1 << 16


def save(gaussians: Gaussians, path: str | Path) -> None:
    """Write a scene to ``path``, all at once: a reader never sees half of it. What is not float32 is rounded to it.

    Raises:
        ValueError: a parameter is not finite.
    """
    n, rest = len(gaussians), 3 * (gaussians.sh.shape[1] - 1)
    columns = {name: tensor.detach().to("cpu", torch.float32).numpy() for name, tensor in gaussians}
    for name, values in columns.items():
        if not np.isfinite(values).all():
            raise ValueError(f"{name} of gaussians has a value that is not finite; expected none")
    names = ["x", "y", "z", "nx", "ny", "nz", *(f"f_dc_{i}" for i in range(3)), *(f"f_rest_{i}" for i in range(rest))]
    names += ["opacity", *(f"scale_{i}" for i in range(3)), *(f"rot_{i}" for i in range(4))]
    table = np.concatenate(
        [
            columns["means"],
            np.zeros((n, 3), np.float32),
            columns["sh"][:, 0],
            columns["sh"][:, 1:].transpose(0, 2, 1).reshape(n, rest),
            columns["logits"][:, None],
            columns["log_scales"],
            columns["quats"],
        ],
        axis=1,
    ).astype("<f4")
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {n}"]
    header += [f"property float {name}" for name in names] + ["end_header", ""]
    target = Path(path)
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=target.name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write("\n".join(header).encode() + table.tobytes())
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink()
        raise


def load(path: str | Path) -> Gaussians:
    """Read a scene that :func:`save` or another 3DGS program wrote. Properties that are not a scene's are passed over.

    Raises:
        ValueError: the file is not a PLY file, or in a form that 3DGS does not write, or lacks a property, or its
            length is not what its header says, or a value is not finite.
    """
    data = Path(path).read_bytes()
    layout, count, start, closed = _header(data, path)
    missing = [name for name in _REQUIRED if name not in layout.names]  # type: ignore[operator]
    if missing:
        raise ValueError(f"{path} has no property {', '.join(missing)}; expected a 3DGS scene")
    rest = sum(name.startswith("f_rest_") for name in layout.names)  # type: ignore[union-attr]
    if rest not in (0, 9, 24, 45):
        raise ValueError(f"{path} has {rest} properties f_rest_*; expected 0, 9, 24 or 45 (degree 0 to 3)")
    size, expected = len(data) - start, count * layout.itemsize
    if size < expected or (closed and size > expected):
        raise ValueError(f"{path} has {size} bytes after its header; expected {expected} for {count} vertices")
    table = np.frombuffer(data, layout, count, start)

    def columns(*names: str) -> torch.Tensor:
        values = np.stack([table[name].astype(np.float32) for name in names], -1)
        if not np.isfinite(values).all():
            raise ValueError(f"{path} has a value of {', '.join(names)} that is not finite; it is damaged")
        return torch.from_numpy(values)

    sh = columns(*(f"f_dc_{i}" for i in range(3)))[:, None]
    if rest:
        higher = columns(*(f"f_rest_{i}" for i in range(rest))).view(count, 3, rest // 3)
        sh = torch.cat([sh, higher.transpose(1, 2)], 1)
    return Gaussians(
        columns("x", "y", "z"),
        columns(*(f"scale_{i}" for i in range(3))),
        columns(*(f"rot_{i}" for i in range(4))),
        columns("opacity")[:, 0],
        sh,
    )


def _header(data: bytes, path: str | Path) -> tuple[np.dtype[Any], int, int, bool]:
    """Layout of a vertex, their number, where they start, and whether nothing follows them."""
    if not data.startswith((b"ply\n", b"ply\r\n")):
        raise ValueError(f"{path} does not start with 'ply'; expected a PLY file")
    end = data.find(b"end_header", 0, _HEADER_LIMIT)
    newline = data.find(b"\n", end) if end >= 0 else -1
    if newline < 0:
        raise ValueError(f"{path} has no end_header; it is damaged")
    lines = [line.split() for line in data[:end].decode("ascii", "replace").splitlines()[1:]]
    lines = [words for words in lines if words and words[0] not in ("comment", "obj_info")]
    if not lines or lines[0] != ["format", "binary_little_endian", "1.0"]:
        got = " ".join(lines[0]) if lines else "nothing"
        raise ValueError(f"{path} has {got!r} for its format; expected 'format binary_little_endian 1.0'")
    elements = [i for i, words in enumerate(lines) if words[0] == "element"]
    if not elements or len(lines[elements[0]]) != 3 or lines[elements[0]][1] != "vertex":
        raise ValueError(f"{path} does not begin with the element 'vertex'; expected a 3DGS scene")
    first, after = elements[0], elements[1] if len(elements) > 1 else len(lines)
    if not lines[first][2].isdigit():
        raise ValueError(f"{path} has {lines[first][2]!r} vertices; expected a number")
    fields = []
    for words in lines[first + 1 : after]:
        if len(words) != 3 or words[0] != "property" or words[1] not in _TYPES:
            raise ValueError(f"{path} has {' '.join(words)!r} in its header; expected 'property <type> <name>'")
        fields.append((words[2], _TYPES[words[1]]))
    try:
        layout = np.dtype(fields)
    except ValueError as error:
        raise ValueError(f"{path} declares a property twice: {error}") from None
    return layout, int(lines[first][2]), newline + 1, len(elements) == 1
