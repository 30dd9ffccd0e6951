"""The two places where a comparison runs a kernel: on the CPU through the harness, and on a GPU if there is one."""

from collections.abc import Iterator
from functools import partial

import pytest
import torch

from nglib import kernels
from tests.cuda import harness


@pytest.fixture(params=["harness", "gpu"])
def on(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    """The device on which a comparison puts its tensors before it calls the code that launches kernels."""
    if request.param == "gpu":
        if not torch.cuda.is_available():
            pytest.skip("torch finds no CUDA device; the same comparison runs in the harness")
        yield torch.device("cuda")
    else:
        monkeypatch.setattr(kernels, "launch", harness.launch)
        yield torch.device("cpu")


@pytest.fixture
def races(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has every launch run under ThreadSanitizer."""
    monkeypatch.setattr(kernels, "launch", partial(harness.launch, check="races"))
