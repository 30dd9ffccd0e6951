import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from nglib import data


@pytest.mark.parametrize("name", data.IMAGES)
def test_images(name: str) -> None:
    picture = data.image(name)
    assert picture.dtype == torch.float32
    assert picture.shape[0] in (1, 3)
    assert 0 <= picture.min() < picture.max() <= 1
    assert picture.max() > 0.5, "the range is that of codes divided by 255"


def test_image_size_is_an_area_average() -> None:
    whole = data.image("astronaut")
    assert torch.allclose(data.image("astronaut", 256), whole.unfold(1, 2, 2).unfold(2, 2, 2).mean((3, 4)), atol=1e-6)
    assert torch.equal(data.image("astronaut", (512, 512)), whole)
    # Cut from the centre, not stretched.
    assert torch.equal(data.image("astronaut", (512, 256)), whole[:, :, 128:384])
    assert data.image("coffee", (50, 40)).shape == (3, 50, 40)
    assert data.image("astronaut", 64, gray=True).shape == (1, 64, 64)


def test_gray_keeps_white_and_black() -> None:
    colour, gray = data.image("coffee"), data.image("coffee", gray=True)
    assert torch.allclose(gray[0], 0.2126 * colour[0] + 0.7152 * colour[1] + 0.0722 * colour[2], atol=1e-6)
    assert torch.equal(data.image("coins", gray=True), data.image("coins"))


@pytest.mark.parametrize("name", data.TABLES)
def test_tables(name: str) -> None:
    X, columns, y = data.table(name)
    assert X.dtype == torch.float64
    assert X.shape == (len(y), len(columns))
    assert X.isfinite().all()
    assert y.dtype == (torch.float64 if name == "diabetes" else torch.int64)


def test_digits_of_mnist() -> None:
    pixels, labels = data.mnist5000()
    assert pixels.shape == (5000, 28, 28)
    assert pixels.dtype == torch.float32
    assert (pixels.min().item(), pixels.max().item()) == (0, 1)
    assert torch.equal(labels.bincount(), torch.full((10,), 500))
    # A one is mostly ink in the middle columns, a zero has a hole there.
    ones, zeros = pixels[labels == 1].mean(0), pixels[labels == 0].mean(0)
    assert ones[14, 14] > 0.5 > zeros[14, 14]


def test_unknown_names() -> None:
    with pytest.raises(ValueError, match="'lena'.*astronaut"):
        data.image("lena")
    with pytest.raises(ValueError, match="'boston'.*iris"):
        data.table("boston")
    for size in (513, (0, 5)):
        with pytest.raises(ValueError, match="size"):
            data.image("camera", size)


COLUMNS = ["raf", "mek", "plc", "pip2", "pip3", "erk", "akt", "pka", "pkc", "p38", "jnk"]


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A file laid out like the real one behind a local address; the cache is empty."""
    rows = ["\t".join(COLUMNS)] + ["\t".join(f"{i + j / 16:.4f}" for j in range(11)) for i in range(7466)]
    content = "\n".join(rows).encode()
    (tmp_path / "sachs.txt").write_bytes(content)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=tmp_path))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}/sachs.txt"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(data, "_SACHS_URL", url)
    monkeypatch.setattr(data, "_SACHS_SHA256", hashlib.sha256(content).hexdigest())
    yield url
    server.shutdown()
    thread.join()
    server.server_close()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def test_sachs(served: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    X, columns, dag = data.sachs()
    assert list(columns) == COLUMNS
    assert X.shape == (853, 11)
    assert X[852, 10].item() == pytest.approx(852 + 10 / 16)
    assert dag.sum() == 17
    assert dag[columns.index("pka"), columns.index("raf")]
    # Acyclic: no walk of 11 edges.
    assert torch.linalg.matrix_power(dag.double(), 11).sum() == 0

    monkeypatch.setattr(data, "_SACHS_URL", served.replace("127.0.0.1", "127.0.0.2"))  # nobody answers there
    assert torch.equal(data.sachs().X, X), "the second time it comes from the cache"
    assert capfd.readouterr() == ("", "")


def test_sachs_altered(served: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "_SACHS_SHA256", "0" * 64)
    with pytest.raises(ValueError, match="SHA256"):
        data.sachs()


def test_sachs_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(data, "_SACHS_URL", "http://127.0.0.1:9/sachs.txt")
    with pytest.raises(ConnectionError, match=rf"save http://127.0.0.1:9/sachs.txt as .*{tmp_path.name}"):
        data.sachs()
