"""The harness itself: what it runs is CUDA, and what it must catch it catches."""

import pytest
import torch

from nglib import kernels
from tests.cuda import harness

# Sums each block's 64 numbers in shared memory; every warp votes, shuffles and adds once more by an atomic.
BLOCK_SUM = """
extern "C" __global__ void block_sum(const float* x, float* total, int* positive, float scale, int n) {
    extern __shared__ float partial[];
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    float mine = i < n ? x[i] * scale : 0.0f;
    partial[threadIdx.x] = mine;
    for (int half = blockDim.x / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) partial[threadIdx.x] += partial[threadIdx.x + half];
    }
    if (threadIdx.x == 0) total[blockIdx.x] = partial[0];
    unsigned votes = __ballot_sync(0xffffffffu, mine > 0.0f);
    float sum = mine;
    for (int bit = 16; bit > 0; bit /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, bit);
    if (threadIdx.x % 32 == 0) {
        atomicAdd(positive, __popc(votes));
        atomicAdd(&total[gridDim.x], sum);
    }
}
"""


def block_sum(text: str, check: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    kernel = kernels.signatures("test", text)["block_sum"]
    x = torch.linspace(-1.0, 2.0, 150)
    total, positive = torch.zeros(4), torch.zeros(1, dtype=torch.int32)
    harness.launch(kernel, (3,), (64,), x, total, positive, 2.0, len(x), shared=4 * 64, check=check, text=text)
    return x, total, positive


@pytest.mark.parametrize("check", harness.SANITIZERS)
def test_shared_memory_warps_and_atomics(check):
    x, total, positive = block_sum(BLOCK_SUM, check)
    expected = torch.stack([2 * part.sum() for part in (*x.split(64), x)])
    assert torch.allclose(total, expected, atol=1e-4)
    assert positive.item() == (x > 0).sum()


def test_a_missing_barrier_is_reported():
    planted = BLOCK_SUM.replace("__syncthreads();", "")
    assert planted != BLOCK_SUM
    with pytest.raises(harness.KernelError, match="data race"):
        block_sum(planted, "races")


def test_a_write_out_of_bounds_is_reported():
    planted = BLOCK_SUM.replace("total[gridDim.x]", "total[gridDim.x + 1]")
    with pytest.raises(harness.KernelError, match="heap-buffer-overflow"):
        block_sum(planted, "memory")


def test_threads_at_different_barriers_are_reported():
    text = 'extern "C" __global__ void stuck(float* x) { if (threadIdx.x) __syncthreads(); else __syncwarp(); }'
    with pytest.raises(harness.KernelError, match="different barriers"):
        harness.launch(kernels.signatures("test", text)["stuck"], (1,), (64,), torch.zeros(1), text=text)


def test_what_nvrtc_refuses_is_reported():
    with pytest.raises(harness.KernelError, match="undefined"):
        harness.nvrtc('extern "C" __global__ void f(float* x) { x[0] = missing; }', "sm_75")
