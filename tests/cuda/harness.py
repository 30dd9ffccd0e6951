"""Runs and compiles CUDA kernels without a GPU. See README.md beside this file."""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from nglib import kernels
from nglib.kernels import Kernel

HERE = Path(__file__).parent
ARCHITECTURES = ("sm_75", "sm_90")
SANITIZERS = {
    "memory": ("-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"),
    "races": ("-fsanitize=thread", "-DNG_THREADS"),
}
QUIET = os.environ | {"ASAN_OPTIONS": "detect_leaks=0"}
_DYNAMIC_SHARED = re.compile(r"extern\s+__shared__\s+([\w ]+?)\s+(\w+)\s*\[\s*\]\s*;")


class KernelError(Exception):
    """A kernel that read or wrote out of bounds, raced, or stopped; the message is the sanitizer's report."""


def nvrtc(text: str, architecture: str) -> bytes:
    """The machine code NVRTC makes of a kernel's text, with the options the library uses.

    Raises:
        KernelError: it does not compile; the message is the compiler's.
    """
    from cupy.cuda import nvrtc as api

    program = api.createProgram(text, "kernel.cu", (), ())
    try:
        api.compileProgram(program, (*kernels.OPTIONS, f"--gpu-architecture={architecture}"))
        return api.getCUBIN(program)
    except api.NVRTCError:
        raise KernelError(api.getProgramLog(program)) from None
    finally:
        api.destroyProgram(program)


def launch(
    kernel: Kernel,
    grid: tuple[int, ...],
    block: tuple[int, ...],
    *args: Tensor | float | int | bool,
    shared: int = 0,
    check: str = "memory",
    text: str | None = None,
) -> None:
    """What ``nglib.kernels.launch`` does, on CPU tensors.

    Args:
        check: ``memory`` (fibers, Address- and UndefinedBehaviorSanitizer) or ``races`` (threads; ThreadSanitizer).
        text: the kernel's source, if not that of its module.

    Raises:
        KernelError: the sanitizer reported something, or the kernel's threads wait at different barriers.
    """
    values = kernels.bind(kernel, args, "cpu")
    if 0 in grid:
        return
    program = _build(kernel.module, kernels.source(kernel.module) if text is None else text, check)
    written = [a for a, p in zip(args, kernel.parameters, strict=True) if isinstance(a, Tensor) and not p.const]
    with tempfile.TemporaryDirectory() as folder:
        data, result = Path(folder, "in"), Path(folder, "out")
        with data.open("wb") as f:
            sizes = (*_three(grid), *_three(block))
            f.write(np.array(sizes, np.uint32).tobytes() + np.uint64(shared).tobytes())
            for arg, value in zip(args, values, strict=True):
                if isinstance(arg, Tensor):
                    raw = arg.detach().numpy().tobytes()
                    f.write(np.uint64(len(raw)).tobytes() + raw)
                else:
                    f.write(value.tobytes())
        # Without setarch the sanitizers of some compilers fail on kernels that randomise addresses widely.
        command = [*(("setarch", "-R") if shutil.which("setarch") else ()), program, kernel.name, data, result]
        done = subprocess.run(command, capture_output=True, text=True, env=QUIET)
        if done.returncode:
            raise KernelError(f"{kernel.name}: exit status {done.returncode}\n{done.stderr}")
        raw = result.read_bytes()
    offset = 0
    for tensor in written:
        count = tensor.numel()
        piece = np.frombuffer(raw, tensor.detach().numpy().dtype, count, offset)
        offset += piece.nbytes
        tensor.detach().copy_(torch.from_numpy(piece.copy()).reshape(tensor.shape))


def _three(size: tuple[int, ...]) -> tuple[int, ...]:
    return (*size, 1, 1)[:3]


def compiler() -> str | None:
    """The C++ compiler there is: ``$CXX``, g++ or clang++."""
    return next((c for c in (os.environ.get("CXX"), "g++", "clang++") if c and shutil.which(c)), None)


def _build(module: str, text: str, check: str) -> Path:
    """The program that runs any kernel of ``text``: ``<program> <kernel> <file of arguments> <file of results>``."""
    cxx = compiler()
    if cxx is None:
        pytest.skip("no C++ compiler (g++ or clang++) to run kernels on the CPU")
    program = "\n".join(
        (
            f'#include "{HERE / "cuda_on_cpu.h"}"',
            _DYNAMIC_SHARED.sub(r"\1* \2 = reinterpret_cast<\1*>(ng::dynamic_shared.get());", text),
            *(_entry(k) for k in kernels.signatures(module, text).values()),
            "int main(int, char** argument) {",
            *(
                f'    if (!std::strcmp(argument[1], "{name}")) run_{name}(argument[2], argument[3]);'
                for name in kernels.signatures(module, text)
            ),
            "}",
        )
    )
    options = ("-std=c++20", "-O1", "-g", "-ffp-contract=off", "-pthread", "-Wno-unknown-pragmas", *SANITIZERS[check])
    stamp = hashlib.sha256(repr((cxx, options, program, (HERE / "cuda_on_cpu.h").read_text())).encode()).hexdigest()
    target = HERE / "_build" / f"{module}-{check}-{stamp[:16]}"
    if not target.exists():
        target.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            source, built = Path(folder, "kernel.cpp"), Path(folder, "kernel")
            source.write_text(program)
            done = subprocess.run([cxx, *options, source, "-o", built], capture_output=True, text=True)
            if done.returncode:
                raise KernelError(f"{module}.cu does not compile for the CPU:\n{done.stderr}")
            built.replace(target)
    return target


def _entry(kernel: Kernel) -> str:
    """The C++ function that reads a kernel's arguments, launches it, and writes what it wrote."""
    names = [f"a{i}" for i in range(len(kernel.parameters))]
    reads = [
        f"    auto {n} = arguments.tensor<{p.type}>({'false' if p.const else 'true'});"
        if p.pointer
        else f"    auto {n} = arguments.number<{p.type}>();"
        for n, p in zip(names, kernel.parameters, strict=True)
    ]
    return "\n".join(
        (
            f"void run_{kernel.name}(const char* given, const char* written) {{",
            '    ng::Arguments arguments{std::fopen(given, "rb")};',
            "    auto grid = arguments.number<dim3>(), block = arguments.number<dim3>();",
            "    auto shared = arguments.number<uint64_t>();",
            *reads,
            f"    ng::launch(grid, block, shared, [&] {{ {kernel.name}({', '.join(names)}); }});",
            "    arguments.write(written);",
            "}",
        )
    )
