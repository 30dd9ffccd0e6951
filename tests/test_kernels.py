import pytest
import torch

from nglib import kernels

TEXT = """
// extern "C" __global__ void commented(int n) {}
extern "C" __global__ void __launch_bounds__(256) add(
    const float* __restrict__ x, long long *y, const unsigned char* flags, float scale, int n) {}
"""


def add() -> kernels.Kernel:
    return kernels.signatures("test", TEXT)["add"]


def arguments(**changes):
    plain = dict(
        x=torch.zeros(4),
        y=torch.zeros(4, dtype=torch.int64),
        flags=torch.zeros(4, dtype=torch.uint8),
        scale=0.5,
        n=4,
    )
    return list((plain | changes).values())


def test_a_signature_is_read_from_the_text():
    assert set(kernels.signatures("test", TEXT)) == {"add"}
    assert [(p.name, p.type, p.pointer, p.const) for p in add().parameters] == [
        ("x", "float", True, True),
        ("y", "long long", True, False),
        ("flags", "unsigned char", True, True),
        ("scale", "float", False, False),
        ("n", "int", False, False),
    ]


def test_bind_gives_addresses_and_sized_numbers():
    args = arguments()
    values = kernels.bind(add(), args, "cpu")
    assert values[0] == args[0].data_ptr()
    assert [v.itemsize for v in values] == [8, 8, 8, 4, 4]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": torch.zeros(4, dtype=torch.float64)}, r"x of kernel 'add' is torch.float64; expected torch.float32"),
        ({"x": torch.zeros(4, 2)[:, 0]}, "x of kernel 'add' has strides"),
        ({"y": torch.zeros(4, dtype=torch.int64, device="meta")}, "y of kernel 'add' is on meta; expected cpu"),
        ({"flags": 3}, "flags of kernel 'add' is int; expected a tensor of torch.uint8"),
        ({"scale": torch.zeros(1)}, "scale of kernel 'add' is Tensor; expected a number"),
    ],
)
def test_bind_refuses(changes, message):
    with pytest.raises(ValueError, match=message):
        kernels.bind(add(), arguments(**changes), "cpu")


def test_bind_counts_the_arguments():
    with pytest.raises(ValueError, match="got 2 arguments; expected x, y, flags, scale, n"):
        kernels.bind(add(), arguments()[:2], "cpu")


def test_launch_refuses_tensors_on_the_cpu():
    with pytest.raises(ValueError, match="x of kernel 'add' is on cpu; expected cuda"):
        kernels.launch(add(), (1,), (32,), *arguments())


def test_an_unknown_type_is_refused():
    with pytest.raises(ValueError, match="half"):
        kernels.signatures("test", 'extern "C" __global__ void f(half* x) {}')


def test_an_unknown_module_is_refused():
    with pytest.raises(ValueError, match="no kernel module"):
        kernels.load("missing")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")
def test_launch_on_a_side_stream(monkeypatch):
    text = 'extern "C" __global__ void twice(float* x, int n) { if (threadIdx.x < n) x[threadIdx.x] *= 2.0f; }'
    monkeypatch.setattr(kernels, "source", lambda name: text)
    x = torch.ones(32, device="cuda")
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        kernels.launch(kernels.signatures("test", text)["twice"], (1,), (32,), x, 32)
    torch.cuda.current_stream().wait_stream(stream)
    assert (x == 2).all()
