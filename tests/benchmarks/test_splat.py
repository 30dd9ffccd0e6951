"""Rendering 16,384 and 200,000 Gaussians at 512 x 512 on a CPU, and 1,000,000 at 1920 x 1080 on a GPU.

    OMP_NUM_THREADS=1 pytest tests/benchmarks/test_splat.py --benchmark-enable --benchmark-columns=min,median,rounds

On a machine that others use, --benchmark-timer=time.process_time counts only this process. Without --benchmark-enable
every case runs once on a small scene, so that it cannot rot. gsplat is compared with where it is installed; it is not
among nglib's dependencies.
"""

import ctypes
import subprocess
import sys
import types
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import pytest
import torch
from torch import Tensor

from nglib import generator
from nglib.splat import Camera, Dilated, Footprint, Gaussians, cpu, harmonics, render
from nglib.splat.composite import composite_pixels
from nglib.splat.project import project
from nglib.splat.rendering import Engine
from tests.cuda.harness import compiler

TILE = 16


def _gsplat_version() -> str | None:
    try:
        return version("gsplat")
    except PackageNotFoundError:
        return None


needs_gsplat = pytest.mark.skipif(
    _gsplat_version() != "1.5.3", reason=f"compared with gsplat 1.5.3 where it is installed; found {_gsplat_version()}"
)
needs_compiler = pytest.mark.skipif(
    compiler() is None, reason="no C++ compiler (g++ or clang++) to build the plain loop"
)


@dataclass
class Case:
    """A scene, and what the later stages see of it."""

    scene: Gaussians
    camera: Camera
    splats: Tensor
    depths: Tensor
    lists: tuple[Tensor, Tensor]
    weights: Tensor
    pairs: tuple[Tensor, Tensor] | None = None

    def parameters(self, backward: bool) -> Gaussians:
        """The scene, ready to collect gradients if they are asked for."""
        for _, tensor in self.scene:
            tensor.requires_grad_(backward).grad = None
        return self.scene


def make(n: int, width: int, height: int, device: str = "cpu") -> Case:
    """Splats a dozen pixels across at 16,384, half of that at 200,000; harmonics of degree 1."""
    g = generator(1, "cpu")
    size = -4.0 - 0.32 * torch.log(torch.tensor(n / 16_384)).item()
    scene = Gaussians(
        torch.randn(n, 3, generator=g) * 0.5,
        torch.randn(n, 3, generator=g) * 0.4 + size,
        torch.randn(n, 4, generator=g),
        torch.randn(n, generator=g),
        torch.randn(n, 4, 3, generator=g) * 0.5,
    )
    camera = Camera.look_at((3.0, 0.5, 1.0), width=width, height=height)
    splats, depths = table(scene, camera)
    _, ids, starts = cpu.tiles(splats, depths, width, height)
    weights = torch.randn(height, width, 3, generator=g).to(device)
    lists = torch.from_numpy(ids), torch.from_numpy(starts)
    return Case(scene.to(device), camera.to(device), splats, depths, lists, weights)


def table(scene: Gaussians, camera: Camera) -> tuple[Tensor, Tensor]:
    """Splats as 13 numbers each and their depths, by torch operations that carry gradient."""
    means2d, cov2d, depths, visible = project(scene.means, scene.quats, scene.scales, camera)
    footprint = Dilated()(cov2d, torch.where(visible, scene.opacities, 0.0))
    colours = harmonics.colours(scene.sh, scene.means - camera.center)
    columns = [means2d, footprint.shape, footprint.peak[:, None], colours, depths[:, None], footprint.reach]
    return torch.cat(columns, 1), depths.detach()


@pytest.fixture(params=[16_384, 200_000])
def case(request, benchmark) -> Case:
    benchmark.group = f"{request.param} Gaussians, {request.node.originalname.split('_')[1]}"
    return make(300, 48, 48) if benchmark.disabled else make(request.param, 512, 512)


def per_tile_torch(case: Case, backward: bool) -> Tensor:
    """The image, by a loop over tiles whose splats are composited by torch; gradients tile by tile to bound memory."""
    scene = case.parameters(backward)
    with torch.set_grad_enabled(backward):
        splats, depths = table(scene, case.camera)
    _, ids, starts = cpu.tiles(splats, depths, case.camera.width, case.camera.height)
    chosen = torch.from_numpy(ids).long()
    leaf = splats.detach()[chosen].requires_grad_(backward)
    image = torch.zeros(case.camera.height, case.camera.width, 3)
    across = -(-case.camera.width // TILE)
    pieces = leaf.split([int(b - a) for a, b in zip(starts, starts[1:], strict=False)])
    gradients = []
    for tile, piece in enumerate(pieces):
        x0, y0 = tile % across * TILE, tile // across * TILE
        rows, columns = slice(y0, y0 + TILE), slice(x0, x0 + TILE)
        height, width = image[rows, columns].shape[:2]
        y, x = torch.meshgrid(torch.arange(height) + y0 + 0.5, torch.arange(width) + x0 + 0.5, indexing="ij")
        part = piece.detach().requires_grad_(backward)
        with torch.set_grad_enabled(backward):
            footprint = Footprint("gaussian", part[:, 2:6], part[:, 6], part[:, 11:13])
            out, _ = composite_pixels(torch.stack([x, y], -1).view(-1, 2), part[:, :2], footprint, part[:, 7:10])
        image[rows, columns] = out.detach().view(height, width, 3)
        if backward:
            loss = (out.view(height, width, 3) * case.weights[rows, columns]).sum()
            gradients.append(torch.autograd.grad(loss, part)[0] if len(part) else part)
    if backward:
        splats.backward(torch.zeros_like(splats).index_add_(0, chosen, torch.cat(gradients)))
    return image


def whole(case: Case, engine: Engine | None, backward: bool) -> Tensor:
    """The image by nglib.splat."""
    scene = case.parameters(backward)
    with torch.set_grad_enabled(backward):
        image = render(scene, case.camera, engine=engine).image
        if backward:
            (image * case.weights).sum().backward()
    return image


def as_in_gsplat(case: Case, backward: bool) -> Tensor:
    """gsplat's torch reference: projection, harmonics and accumulate(). The pairs of splat and pixel that its CUDA code
    would list are handed to it; two functions of nerfacc that it calls, which need CUDA, are written in torch."""
    from gsplat.cuda import _torch_impl as reference

    scene = case.parameters(backward)
    pose = torch.eye(4)
    pose[:3, :3], pose[:3, 3] = case.camera.rotation, case.camera.translation
    (fx, fy), (cx, cy) = case.camera.focal, case.camera.principal
    K = torch.tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    width, height = case.camera.width, case.camera.height
    with torch.set_grad_enabled(backward):
        covars, _ = reference._quat_scale_to_covar_preci(scene.quats, scene.scales, True, False)
        _, means2d, _, conics, _ = reference._fully_fused_projection(
            scene.means, covars, pose[None], K[None], width, height
        )
        directions = scene.means - case.camera.center
        colours = (reference._spherical_harmonics(1, directions, scene.sh) + 0.5).clamp_min(0.0)
        splat_ids, pixel_ids = case.pairs
        image, _ = reference.accumulate(
            means2d, conics, scene.opacities[None], colours[None], splat_ids, pixel_ids, torch.zeros_like(pixel_ids),
            width, height,
        )  # fmt: skip
        if backward:
            (image[0] * case.weights).sum().backward()
    return image[0]


@pytest.fixture
def gsplat(case, monkeypatch) -> Case:
    """The case with its pairs listed."""
    nerfacc = types.ModuleType("nerfacc")
    nerfacc.render_weight_from_alpha = _render_weight_from_alpha  # type: ignore[attr-defined]
    nerfacc.accumulate_along_rays = _accumulate_along_rays  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "nerfacc", nerfacc)
    case.pairs = _pairs(case)
    return case


def _render_weight_from_alpha(alphas: Tensor, ray_indices: Tensor, n_rays: int) -> tuple[Tensor, Tensor]:
    logs = torch.log1p(-alphas)
    before = logs.cumsum(0) - logs
    counts = torch.bincount(ray_indices, minlength=n_rays)
    first = (counts.cumsum(0) - counts)[ray_indices]
    through = (before - before[first]).exp()
    return alphas * through, through


def _accumulate_along_rays(weights: Tensor, values: Tensor | None, ray_indices: Tensor, n_rays: int) -> Tensor:
    source = weights[:, None] if values is None else weights[:, None] * values
    return torch.zeros(n_rays, source.shape[1]).index_add(0, ray_indices, source)


def _pairs(case: Case) -> tuple[Tensor, Tensor]:
    """Every splat and pixel it contributes to, pixel by pixel, nearest first."""
    ids, starts = case.lists
    width, height = case.camera.width, case.camera.height
    across = -(-width // TILE)
    splat_ids, pixel_ids = [], []
    for tile in range(len(starts) - 1):
        inside = ids[starts[tile] : starts[tile + 1]].long()
        y, x = torch.meshgrid(
            torch.arange(TILE) + tile // across * TILE, torch.arange(TILE) + tile % across * TILE, indexing="ij"
        )
        x, y = (t.reshape(-1)[((x < width) & (y < height)).view(-1)] for t in (x, y))
        d = torch.stack([x, y], -1)[:, None] + 0.5 - case.splats[inside, :2]
        A, B, C = case.splats[inside, 2:5].unbind(-1)
        alpha = case.splats[inside, 6] * torch.exp(
            -0.5 * (A * d[..., 0] ** 2 + C * d[..., 1] ** 2) - B * d[..., 0] * d[..., 1]
        )
        alpha = torch.where(alpha < 1 / 255, 0.0, alpha.clamp_max(0.99))
        pixel, k = ((alpha > 0) & ((1 - alpha).cumprod(1) > 1e-4)).nonzero().unbind(-1)
        splat_ids.append(inside[k])
        pixel_ids.append((y * width + x)[pixel])
    splats, pixels = torch.cat(splat_ids), torch.cat(pixel_ids)
    order = pixels.argsort(stable=True)
    return splats[order], pixels[order]


@pytest.fixture(scope="session")
def cpp(tmp_path_factory):
    """The C++ loop, compiled with -O3 -march=native."""
    library = tmp_path_factory.mktemp("cpp") / "tile_loop.so"
    source = __file__.replace("test_splat.py", "tile_loop.cpp")
    subprocess.run([str(compiler()), "-O3", "-march=native", "-shared", "-fPIC", source, "-o", library], check=True)
    return ctypes.CDLL(str(library)).tile_loop


def test_forward_numba(case, benchmark):
    image = benchmark(whole, case, "numba", False)
    assert torch.allclose(image, per_tile_torch(case, False), atol=0.01)


def test_forward_per_tile_torch(case, benchmark):
    benchmark.pedantic(per_tile_torch, (case, False), rounds=2)


@needs_gsplat
def test_forward_gsplat_torch(gsplat, benchmark):
    image = benchmark.pedantic(as_in_gsplat, (gsplat, False), rounds=2)
    # It clamps alpha at 0.999, 3DGS at 0.99.
    assert ((image - whole(gsplat, "numba", False)).abs() < 0.05).float().mean() > 0.98


def test_backward_numba(case, benchmark):
    benchmark(whole, case, "numba", True)


def test_backward_per_tile_torch(case, benchmark):
    benchmark.pedantic(per_tile_torch, (case, True), rounds=2)
    gradient = case.scene.means.grad.clone()
    whole(case, "numba", True)
    error = (gradient - case.scene.means.grad).norm() / case.scene.means.grad.norm()
    assert error < 0.02


@needs_gsplat
def test_backward_gsplat_torch(gsplat, benchmark):
    benchmark.pedantic(as_in_gsplat, (gsplat, True), rounds=2)


def test_compositing_numba(case, benchmark):
    ids, starts = (t.numpy() for t in case.lists)
    height, width = case.weights.shape[:2]
    out, through, stop = (
        torch.empty(height, width, 4),
        torch.empty(height, width),
        torch.empty(height, width, dtype=torch.int32),
    )
    arrays = out.numpy(), through.numpy(), stop.numpy()
    benchmark(
        cpu.cpu_composite.forward, 0, len(starts) - 1, case.splats.numpy(), ids, starts, 0, width, height, *arrays
    )


@needs_compiler
def test_compositing_cpp(case, benchmark, cpp):
    ids, starts = case.lists
    height, width = case.weights.shape[:2]
    out, through = torch.empty(height, width, 4), torch.empty(height, width)
    pointers = [ctypes.c_void_p(t.data_ptr()) for t in (case.splats, ids, starts)]
    benchmark(cpp, *pointers, width, height, *(ctypes.c_void_p(t.data_ptr()) for t in (out, through)))
    expected, *_ = cpu.composite(case.splats, "gaussian", case.depths, width, height)
    assert torch.allclose(out, expected, atol=0.02)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")
@pytest.mark.parametrize("who", ["nglib", pytest.param("gsplat", marks=needs_gsplat)])
@pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])
def test_gpu(benchmark, who, backward):
    benchmark.group = f"1,000,000 Gaussians at 1920 x 1080 on a GPU, {'backward' if backward else 'forward'}"
    case = make(300, 48, 48, "cuda") if benchmark.disabled else make(1_000_000, 1920, 1080, "cuda")
    if who == "gsplat":
        from gsplat import rasterization

        pose = torch.eye(4, device="cuda")
        pose[:3, :3], pose[:3, 3] = case.camera.rotation, case.camera.translation
        (fx, fy), (cx, cy) = case.camera.focal, case.camera.principal
        K = torch.tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], device="cuda")

    def run():
        scene = case.parameters(backward)
        with torch.set_grad_enabled(backward):
            if who == "nglib":
                image = render(scene, case.camera).image
            else:
                size = case.camera.width, case.camera.height
                given = scene.means, scene.quats, scene.scales, scene.opacities, scene.sh, pose[None], K[None], *size
                image = rasterization(*given, sh_degree=1, packed=False)[0][0]
            if backward:
                (image * case.weights).sum().backward()
        torch.cuda.synchronize()

    run()
    benchmark(run)
