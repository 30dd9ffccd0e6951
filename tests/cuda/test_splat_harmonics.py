"""Kernels harmonics_forward and harmonics_backward against the twin."""

import pytest

from nglib.splat import cuda
from tests.splat_scenes import assert_colours_agree


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_colours_and_their_gradient(on, degree):
    assert_colours_agree(cuda, degree, on)
