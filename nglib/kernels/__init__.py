"""CUDA C kernels: the ``.cu`` files beside this one, compiled when first used and launched on torch tensors.

A kernel is declared ``extern "C" __global__ void name(...)``; its signature in the text is what :func:`bind` holds the
arguments to, on a GPU and in the harness under ``tests/cuda``, which runs the same text on a CPU.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
import torch
from torch import Tensor

#: What stands in a kernel's signature, the dtype of a tensor passed for a pointer to it, and the type of a number.
TYPES: dict[str, tuple[torch.dtype, type[np.generic]]] = {
    "float": (torch.float32, np.float32),
    "double": (torch.float64, np.float64),
    "int": (torch.int32, np.int32),
    "long long": (torch.int64, np.int64),
    "short": (torch.int16, np.int16),
    "unsigned char": (torch.uint8, np.uint8),
    "bool": (torch.bool, np.bool_),
}
OPTIONS = ("-std=c++17", "--use_fast_math")

_KERNEL = re.compile(r'extern\s+"C"\s+__global__\s+void\s+(?:__launch_bounds__\([^)]*\)\s*)?(\w+)\s*\(([^)]*)\)')


@dataclass(frozen=True)
class Parameter:
    """One parameter of a kernel: its name, its C type, whether it is a pointer, and to what the kernel only reads."""

    name: str
    type: str
    pointer: bool
    const: bool


@dataclass(frozen=True)
class Kernel:
    """A kernel of the module ``module`` (file ``<module>.cu``)."""

    module: str
    name: str
    parameters: tuple[Parameter, ...]


@cache
def names() -> tuple[str, ...]:
    """The modules there are: one for each ``.cu`` file."""
    files = resources.files(__name__).iterdir()
    return tuple(sorted(f.name.removesuffix(".cu") for f in files if f.name.endswith(".cu")))


@cache
def source(name: str) -> str:
    """The text of module ``name``.

    Raises:
        ValueError: there is no such module.
    """
    if name not in names():
        raise ValueError(f"name={name!r} is no kernel module; expected one of {', '.join(names())}")
    return resources.files(__name__).joinpath(f"{name}.cu").read_text("utf-8")


def signatures(module: str, text: str) -> dict[str, Kernel]:
    """The kernels that ``text`` declares, by name.

    Raises:
        ValueError: a parameter has a type that is not in :data:`TYPES`.
    """
    text = re.sub(r"//[^\n]*|/\*.*?\*/", "", text, flags=re.DOTALL)
    kernels = {}
    for name, declared in _KERNEL.findall(text):
        parameters = tuple(_parameter(name, p) for p in declared.split(",") if p.strip())
        kernels[name] = Kernel(module, name, parameters)
    return kernels


def _parameter(kernel: str, declared: str) -> Parameter:
    words = re.sub(r"\bconst\b|\b__restrict__\b", " ", declared.replace("*", " * ")).split()
    pointer = "*" in words
    kind = " ".join(w for w in words[:-1] if w != "*")
    if kind not in TYPES:
        raise ValueError(f"kernel {kernel!r} declares {declared.strip()!r}; expected a type among {', '.join(TYPES)}")
    return Parameter(words[-1], kind, pointer, bool(re.search(r"\bconst\b", declared)))


@cache
def load(name: str) -> dict[str, Kernel]:
    """The kernels of module ``name``, ready for :func:`launch`; they are compiled at their first launch.

    Raises:
        ValueError: there is no such module.
    """
    return signatures(name, source(name))


def bind(kernel: Kernel, args: Sequence[Tensor | float | int | bool], device: str) -> list[np.generic]:
    """The arguments as the raw values a launch passes: an address for a tensor, a sized number for a number.

    Raises:
        ValueError: the number of arguments is wrong, or a tensor's device, dtype or layout is not what the kernel
            reads, or a number stands where a tensor belongs or the other way round.
    """
    if len(args) != len(kernel.parameters):
        expected = ", ".join(p.name for p in kernel.parameters)
        raise ValueError(f"kernel {kernel.name!r} got {len(args)} arguments; expected {expected}")
    where: torch.device | None = None
    values: list[np.generic] = []
    for parameter, arg in zip(kernel.parameters, args, strict=True):
        label = f"{parameter.name} of kernel {kernel.name!r}"
        dtype, number = TYPES[parameter.type]
        if isinstance(arg, Tensor) != parameter.pointer:
            wanted = f"a tensor of {dtype}" if parameter.pointer else "a number"
            raise ValueError(f"{label} is {type(arg).__name__}; expected {wanted}")
        if not isinstance(arg, Tensor):
            values.append(number(arg))
            continue
        where = where or arg.device
        if arg.device.type != device or arg.device != where:
            raise ValueError(f"{label} is on {arg.device}; expected {where if where.type == device else device}")
        if arg.dtype != dtype:
            raise ValueError(f"{label} is {arg.dtype}; expected {dtype}")
        if not arg.is_contiguous():
            raise ValueError(f"{label} has strides {arg.stride()} for shape {tuple(arg.shape)}; expected it contiguous")
        values.append(np.uint64(arg.data_ptr()))
    return values


def launch(
    kernel: Kernel,
    grid: tuple[int, ...],
    block: tuple[int, ...],
    *args: Tensor | float | int | bool,
    shared: int = 0,
) -> None:
    """Run ``kernel`` on torch's current stream, on the tensors' own memory. An empty grid runs nothing.

    Args:
        kernel: from :func:`load`.
        grid, block: number of blocks, and of threads in a block, along x, y, z.
        args: one for each parameter of the kernel; a contiguous CUDA tensor for a pointer.
        shared: bytes of dynamic shared memory.

    Raises:
        ValueError: see :func:`bind`.
    """
    values = bind(kernel, args, "cuda")
    if 0 in grid:
        return
    tensors = [a for a in args if isinstance(a, Tensor)]
    if not tensors:
        raise ValueError(f"kernel {kernel.name!r} got no tensor; expected one at least, which says where it runs")
    import cupy

    index = tensors[0].get_device()
    stream = torch.cuda.current_stream(index)
    with cupy.cuda.Device(index), cupy.cuda.Stream.from_external(stream):
        _compiled(kernel, index)(grid, block, tuple(values), shared_mem=shared)
    for tensor in tensors:
        # The caller may drop its tensors at once; their memory stays theirs until this stream has passed the launch.
        tensor.record_stream(stream)


@cache
def _compiled(kernel: Kernel, device: int) -> Any:
    import cupy

    return cupy.RawModule(code=source(kernel.module), options=OPTIONS).get_function(kernel.name)
