"""What holds for every file in nglib/kernels: it compiles for old and new GPUs and has a comparison with its twin."""

from pathlib import Path

import pytest

from nglib import kernels
from tests.cuda import harness


@pytest.mark.parametrize("architecture", harness.ARCHITECTURES)
@pytest.mark.parametrize("name", kernels.names())
def test_nvrtc_compiles(name, architecture):
    assert kernels.load(name), f"{name}.cu declares no kernel"
    assert len(harness.nvrtc(kernels.source(name), architecture)) > 0


@pytest.mark.parametrize("name", kernels.names())
def test_has_a_comparison(name):
    text = (Path(__file__).parent / f"test_{name}.py").read_text()
    missing = [kernel for kernel in kernels.load(name) if kernel not in text]
    assert not missing, f"tests/cuda/test_{name}.py compares nothing with {', '.join(missing)}"
