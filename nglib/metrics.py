"""What is measured: errors of a graph, errors of an image. All are batched over leading dimensions.

A graph on d nodes is a matrix ``(..., d, d)`` of booleans or weights; entry (i, j) is the edge i -> j, absent if zero.
"""

from jaxtyping import Bool, Float, Int
from torch import Tensor


def shd(estimate: Tensor, truth: Tensor) -> Int[Tensor, "*b"]:
    """Structural Hamming distance: the pairs of nodes whose connection differs.

    Extra, missing and reversed edges count one each (Tsamardinos et al. 2006, restricted to DAGs).

    Raises:
        ValueError: a graph is not square or has an edge from a node to itself, or the two have different sizes.
    """
    wrong = _edges(estimate, "estimate") != _edges(truth, "truth", like=estimate)
    return (wrong | wrong.mT).sum((-2, -1)) // 2


def tpr(estimate: Tensor, truth: Tensor) -> Float[Tensor, "*b"]:
    """True positive rate: the share of the true edges that are found in the right direction; nan if there are none.

    Raises:
        ValueError: see :func:`shd`.
    """
    found, real = _edges(estimate, "estimate"), _edges(truth, "truth", like=estimate)
    return (found & real).sum((-2, -1)) / real.sum((-2, -1))


def fdr(estimate: Tensor, truth: Tensor) -> Float[Tensor, "*b"]:
    """False discovery rate: the share of the edges found that are false, reversed ones included; 0 if none is found.

    Raises:
        ValueError: see :func:`shd`.
    """
    found, real = _edges(estimate, "estimate"), _edges(truth, "truth", like=estimate)
    return (found & ~real).sum((-2, -1)) / found.sum((-2, -1)).clamp(min=1)


def psnr(estimate: Float[Tensor, "*b c h w"], truth: Float[Tensor, "*b c h w"]) -> Float[Tensor, "*b"]:
    """Peak signal-to-noise ratio in dB of images in [0, 1]: -10 log10 of the mean squared error.

    The estimate may leave [0, 1], as a noisy image does; clip it first where the comparison asks for that.

    Raises:
        ValueError: shapes differ, or ``truth`` leaves [0, 1].
    """
    _images(estimate, truth)
    return -10 * (estimate - truth).square().mean((-3, -2, -1)).log10()


def ssim(estimate: Float[Tensor, "*b c h w"], truth: Float[Tensor, "*b c h w"]) -> Float[Tensor, "*b"]:
    """Structural similarity of images in [0, 1] with a Gaussian window of 11 pixels (Wang et al. 2004).

    Raises:
        ValueError: shapes differ, ``truth`` leaves [0, 1], or a side is shorter than the window.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    _images(estimate, truth)
    if min(truth.shape[-2:]) < 11:
        raise ValueError(f"truth has shape {tuple(truth.shape)}; expected sides of at least 11 pixels")
    batch = (-1, *truth.shape[-3:])
    _, everywhere = structural_similarity_index_measure(
        estimate.reshape(batch), truth.reshape(batch), data_range=1.0, return_full_image=True
    )
    inside = everywhere[..., 5:-5, 5:-5]  # where the window lies in the image, as in the paper
    return inside.mean((-3, -2, -1)).reshape(truth.shape[:-3])


def _edges(graph: Tensor, name: str, like: Tensor | None = None) -> Bool[Tensor, "*b d d"]:
    if graph.ndim < 2 or graph.shape[-1] != graph.shape[-2]:
        raise ValueError(f"{name} has shape {tuple(graph.shape)}; expected (..., d, d)")
    if like is not None and graph.shape[-1] != like.shape[-1]:
        raise ValueError(f"{name} has shape {tuple(graph.shape)}; expected d = {like.shape[-1]}, as in estimate")
    edges = graph != 0
    if bool(edges.diagonal(dim1=-2, dim2=-1).any()):
        raise ValueError(f"{name} has an edge from a node to itself; expected zeros on the diagonal")
    return edges


def _images(estimate: Tensor, truth: Tensor) -> None:
    if estimate.shape != truth.shape or truth.ndim < 3:
        shapes = f"{tuple(estimate.shape)} and {tuple(truth.shape)}"
        raise ValueError(f"estimate and truth have shapes {shapes}; expected the same, (..., c, h, w)")
    low, high = float(truth.min()), float(truth.max())
    if not (low >= 0 and high <= 1):
        raise ValueError(f"truth runs from {low:g} to {high:g}; expected values in [0, 1]")
