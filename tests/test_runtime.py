import subprocess
import sys

import pytest
import torch

import nglib
from nglib import runtime


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NG_DEVICE", "NG_PRESET", "NG_EXPLORE"):
        monkeypatch.delenv(name, raising=False)


def test_importing_nglib_loads_nothing_heavy() -> None:
    code = "import torch, sys; before = set(sys.modules); import nglib; print(*sorted(set(sys.modules) - before))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["nglib"]


@pytest.mark.parametrize(
    ("module", "unloaded"),
    [
        ("runtime", ["matplotlib", "IPython", "tqdm"]),
        ("chapters", ["matplotlib", "IPython", "pybtex"]),
        ("claims", ["matplotlib", "IPython", "tabulate"]),
        ("plot", ["IPython", "ipywidgets", "PIL.WebPImagePlugin", "tabulate"]),
        ("interact", ["IPython", "ipywidgets"]),
        ("gaussian", ["matplotlib", "scipy", "numba"]),
        ("metrics", ["torchmetrics", "skimage", "torchvision"]),
        ("data", ["sklearn", "skimage", "mlxtend", "pooch"]),
        ("train", ["IPython", "matplotlib"]),
        ("kernels", ["numba", "cupy", "matplotlib"]),
    ],
)
def test_a_module_loads_what_it_needs(module: str, unloaded: list[str]) -> None:
    # What torch loads by itself does not count.
    code = f"import torch, sys; before = set(sys.modules); import nglib.{module}; print(*(set(sys.modules) - before))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(run.stdout.split()) & set(unloaded)


def test_every_name_resolves() -> None:
    for name in nglib.__all__:
        assert getattr(nglib, name) is not None
    assert dir(nglib) == nglib.__all__
    with pytest.raises(AttributeError, match="'nglib' has no attribute 'nothing'"):
        _ = nglib.nothing


def test_preset_and_pick(monkeypatch: pytest.MonkeyPatch) -> None:
    assert runtime.pick(laptop=1, full=2) == 1
    monkeypatch.setenv("NG_PRESET", "full")
    assert runtime.preset() == "full"
    assert runtime.pick(laptop=1, full=2) == 2
    monkeypatch.setenv("NG_PRESET", "huge")
    with pytest.raises(ValueError, match="NG_PRESET='huge'; expected one of laptop, full"):
        runtime.pick(laptop=1, full=2)


def test_device(monkeypatch: pytest.MonkeyPatch) -> None:
    assert runtime.device() == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("NG_PRESET", "full")
    assert runtime.device() == torch.device("cpu")
    monkeypatch.setenv("NG_DEVICE", "cuda")
    with pytest.raises(ValueError, match="torch finds no CUDA device"):
        runtime.device()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert runtime.device() == torch.device("cuda")
    monkeypatch.delenv("NG_DEVICE")
    assert runtime.device() == torch.device("cuda")
    monkeypatch.delenv("NG_PRESET")
    assert runtime.device() == torch.device("cpu"), "a laptop run is the same with a GPU and without"
    monkeypatch.setenv("NG_DEVICE", "abacus")
    with pytest.raises(ValueError, match="NG_DEVICE='abacus'"):
        runtime.device()


def test_generator() -> None:
    draws = [torch.rand(3, generator=runtime.generator(seed, "cpu")) for seed in (1, 1, 2)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not runtime.recording()
    monkeypatch.setenv("NG_EXPLORE", "frames")
    assert runtime.recording()
    monkeypatch.setenv("NG_EXPLORE", "film")
    with pytest.raises(ValueError, match="NG_EXPLORE='film'"):
        runtime.recording()


def test_progress_shows_only_where_somebody_watches(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert list(runtime.progress(range(3), "counting")) == [0, 1, 2]
    assert runtime.progress([], "counting").disable
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert not runtime.progress([], "counting").disable
    monkeypatch.setenv("NG_EXPLORE", "frames")
    assert runtime.progress([], "counting").disable
    assert capsys.readouterr() == ("", "")
