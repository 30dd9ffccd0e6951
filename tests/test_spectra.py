import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from nglib import generator, spectra

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
SHAPES = [(14, 24), (14,), (10, 14), (10,)]  # 500 parameters


def model(W1, b1, W2, b2, x):
    return torch.tanh(x @ W1.mT + b1) @ W2.mT + b2


class Network:
    """A network of 500 parameters, trained a little on real digits, and its dense Hessian."""

    def __init__(self, device):
        X, y = load_digits(return_X_y=True)
        X, y = torch.tensor(X[:300], device=device), torch.tensor(y[:300], device=device)
        X = X - X.mean(0)
        X = X @ torch.linalg.svd(X, full_matrices=False).Vh[:24].mT / 16
        rng = generator(0, device)
        self.inputs = X
        self.params = [torch.randn(s, generator=rng, device=device, dtype=X.dtype) / s[-1] ** 0.5 for s in SHAPES]
        self.loss = lambda *p: torch.nn.functional.cross_entropy(model(*p, X), y)
        for _ in range(150):
            gradient = torch.func.grad(self.loss, argnums=(0, 1, 2, 3))(*self.params)
            self.params = [p - 0.5 * g for p, g in zip(self.params, gradient, strict=True)]
        flat = spectra.flatten(self.params)
        gradient = torch.func.grad(lambda v: self.loss(*spectra.unflatten(v, self.params)))
        self.dense = torch.func.jacrev(gradient)(flat)
        self.eigenvalues = torch.linalg.eigvalsh(self.dense)
        self.matvec = spectra.hessian(self.loss, self.params)


@pytest.fixture(scope="module", params=DEVICES)
def network(request):
    return Network(request.param)


def symmetric(seed, n):
    A = torch.randn(n, n, generator=generator(seed, "cpu"), dtype=torch.float64)
    return A + A.mT


def operator(A):
    return lambda V: V @ A


@given(st.lists(st.lists(st.integers(1, 4), max_size=3), min_size=1, max_size=4), st.integers(0, 2))
def test_unflatten_inverts_flatten(shapes, batch_dims):
    tensors = [torch.randn([*[2, 3][:batch_dims], *shape]) for shape in shapes]
    for like in (shapes, [torch.empty(shape) for shape in shapes]):
        back = spectra.unflatten(spectra.flatten(tensors, batch_dims), like)
        assert all(torch.equal(a, b) for a, b in zip(tensors, back, strict=True))


def test_hessian_products_equal_the_dense_hessian(network):
    n = len(network.dense)
    assert n == 500
    identity = torch.eye(n, dtype=torch.float64, device=network.dense.device)
    torch.testing.assert_close(network.matvec(identity), network.dense, atol=1e-12, rtol=0)
    torch.testing.assert_close(network.matvec(identity[3]), network.dense[3], atol=1e-12, rtol=0)
    chunked = spectra.hessian(network.loss, network.params, chunk=7)
    torch.testing.assert_close(chunked(identity[:20]), network.dense[:20], atol=1e-12, rtol=0)


def test_hvp_works_tensor_by_tensor_and_in_batches(network):
    rng = generator(1, network.dense.device)
    V = torch.randn(3, 500, generator=rng, dtype=torch.float64, device=network.dense.device)
    batch = spectra.hvp(network.loss, network.params, spectra.unflatten(V, network.params))
    assert [tuple(t.shape) for t in batch] == [(3, *shape) for shape in SHAPES]
    torch.testing.assert_close(spectra.flatten(batch, 1), V @ network.dense)
    one = spectra.hvp(network.loss, network.params, spectra.unflatten(V[0], network.params))
    torch.testing.assert_close(spectra.flatten(one), V[0] @ network.dense)


def test_the_hessian_operator_keeps_its_point(network):
    params = [p.clone() for p in network.params]
    matvec = spectra.hessian(network.loss, params)
    for p in params:
        p.mul_(0)
    v = torch.ones(500, dtype=torch.float64, device=network.dense.device)
    torch.testing.assert_close(matvec(v), network.dense @ v)


def test_lanczos_agrees_with_dense_eigenvalues(network):
    start = torch.randn(1, 500, generator=generator(2, network.dense.device), device=network.dense.device).double()
    full = spectra.lanczos(network.matvec, start, 500)
    overlap = full.basis[0] @ full.basis[0].mT
    torch.testing.assert_close(overlap, torch.eye(len(overlap)).to(overlap), atol=1e-12, rtol=0)
    found, exact = spectra.ritz(full).values[0], network.eigenvalues
    distance = (found[:, None] - exact).abs()
    assert max(distance.min(0).values.max(), distance.min(1).values.max()) < 1e-6 * exact.abs().max()

    short = spectra.ritz(spectra.lanczos(network.matvec, start, 100)).values[0]
    torch.testing.assert_close(short[-10:], exact[-10:], rtol=1e-6, atol=0)
    torch.testing.assert_close(short[:2], exact[:2], rtol=1e-6, atol=0)


def test_without_reorthogonalisation_the_top_eigenvalue_returns_as_a_ghost(network):
    start = torch.randn(1, 500, generator=generator(2, network.dense.device), device=network.dense.device).double()
    top = network.eigenvalues[-1]
    copies = [
        int((spectra.ritz(spectra.lanczos(network.matvec, start, 100, passes)).values[0] > 0.999 * top).sum())
        for passes in (0, 2)
    ]
    assert copies[0] > 1 and copies[1] == 1


def test_top_eigenpair_stops_at_its_tolerance(network):
    products = []

    def counting(V):
        products.append(len(V))
        return network.matvec(V)

    start = torch.ones(500, dtype=torch.float64, device=network.dense.device)
    value, vector, error = spectra.top_eigenpair(counting, start)
    exact = float(network.eigenvalues[-1])
    assert abs(value - exact) < 1e-6 * exact and error < 1e-6 * exact and len(products) < 60
    assert float((network.dense @ vector - value * vector).norm()) < 2e-6 * exact
    products.clear()
    spectra.top_eigenpair(counting, vector)
    assert len(products) <= 2


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.integers(2, 12), st.integers(1, 12))
def test_ritz_values_lie_within_their_stated_error(seed, n, steps):
    A = symmetric(seed, n)
    start = torch.randn(2, n, generator=generator(seed + 1, "cpu"), dtype=torch.float64)
    rule = spectra.ritz(spectra.lanczos(operator(A), start, steps))
    exact = torch.linalg.eigvalsh(A)
    nearest = (rule.values[..., None] - exact).abs().min(-1).values
    assert bool((nearest <= rule.error + 1e-10).all())


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.integers(2, 12), st.integers(1, 6))
def test_gauss_rules_are_exact_for_polynomials_of_degree_below_twice_their_steps(seed, n, steps):
    A = symmetric(seed, n) / math.sqrt(n)
    start = torch.randn(2, n, generator=generator(seed + 1, "cpu"), dtype=torch.float64)
    rule = spectra.ritz(spectra.lanczos(operator(A), start, steps))
    unit = start / start.norm(dim=1, keepdim=True)
    power = unit
    for degree in range(2 * steps):
        expected = (unit * power).sum(1)
        torch.testing.assert_close((rule.weights * rule.values**degree).sum(1), expected, rtol=1e-8, atol=1e-8)
        power = power @ A


def test_exhausted_runs_end_or_wait_for_the_others():
    A = torch.diag(torch.tensor([3.0, -1.0, -2.0, -5.0], dtype=torch.float64))
    start = torch.tensor([[0, 1, 1, 0], [0, 0, 1, 0]], dtype=torch.float64)
    rule = spectra.ritz(spectra.lanczos(operator(A), start, 4))
    torch.testing.assert_close(rule.values, torch.tensor([[-2.0, -1.0], [-2.0, -2.0]]).double())
    torch.testing.assert_close((rule.weights * rule.values).sum(1), torch.tensor([-1.5, -2.0]).double())
    assert spectra.lanczos(operator(torch.eye(5)), torch.ones(1, 5), 5).alpha.shape == (1, 1)


def test_trace_by_quadrature_lies_within_its_stated_error(network):
    device = network.dense.device
    exact = float(network.eigenvalues.sum())
    once = spectra.slq(network.matvec, 500, probes=20, steps=10, generator=generator(0, device), dtype=torch.float64)
    assert abs(once.trace().value - exact) <= once.trace().error

    runs, probes = 400, 6
    many = spectra.slq(operator(network.dense), 500, runs * probes, 4, generator(1, device), torch.float64)
    groups = zip(many.nodes.split(probes), many.weights.split(probes), strict=True)
    estimates = [spectra.Spectrum(nodes, weights, 500).trace() for nodes, weights in groups]
    covered = sum(abs(e.value - exact) <= e.error for e in estimates) / runs
    assert 0.9 <= covered <= 0.99
    squares = many.sum(torch.square)
    assert abs(squares.value - float((network.eigenvalues**2).sum())) <= 1.5 * squares.error


def test_density_integrates_to_one_and_one_probe_states_no_error():
    A = symmetric(0, 40)
    spectrum = spectra.slq(operator(A), 40, 3, 10, generator(0, "cpu"), torch.float64)
    x = torch.linspace(-60, 60, 4001, dtype=torch.float64)
    assert abs(float(torch.trapezoid(spectrum.density(x, 0.5), x)) - 1) < 1e-9
    assert math.isinf(spectra.slq(operator(A), 40, 1, 5, generator(0, "cpu"), torch.float64).trace().error)


def test_single_precision_is_enough_for_the_top(network):
    A = network.dense.float()
    value, _, error = spectra.top_eigenpair(operator(A), torch.ones(500, device=A.device), tol=1e-4)
    exact = float(network.eigenvalues[-1])
    assert abs(value - exact) < 2e-4 * exact and error < 1e-4 * exact


def test_tangent_features_give_the_hessian_where_residuals_vanish(network):
    outputs = model(*network.params, network.inputs)
    features = spectra.tangent_features(model, network.params, network.inputs, chunk=100)
    assert features.shape == (300, 10, 500)

    def loss(*p):
        return ((model(*p, network.inputs) - outputs) ** 2).sum() / 600

    H = spectra.hessian(loss, network.params)(torch.eye(500, dtype=torch.float64, device=outputs.device))
    A = features.flatten(0, 1)
    torch.testing.assert_close(A.mT @ A / 300, H, atol=1e-10, rtol=1e-8)
    exact = torch.linalg.eigvalsh(H)
    torch.testing.assert_close(spectra.gram_eigenvalues(features), exact.clamp(min=0), atol=1e-10, rtol=1e-8)
    few = spectra.gram_eigenvalues(features[:20])
    torch.testing.assert_close(few.sum(), (features[:20] ** 2).sum() / 20)
    assert few.shape == (200,)


def test_tangent_features_of_a_scalar_model():
    w = torch.tensor([1.0, 2.0])
    features = spectra.tangent_features(lambda w, s, x: s * (w * x).sum(), [w, torch.tensor(3.0)], torch.eye(2))
    torch.testing.assert_close(features, torch.tensor([[3.0, 0.0, 1.0], [0.0, 3.0, 2.0]]))


@settings(deadline=None, max_examples=40)
@given(st.lists(st.floats(0, 10), min_size=1, max_size=6).filter(lambda h: max(h) > 1e-3), st.floats(1, 1e4))
def test_at_the_stability_limit_the_second_moments_neither_grow_nor_decay(h, batch):
    h = torch.tensor(h, dtype=torch.float64)
    rate = spectra.sgd_stability_limit(h, batch)
    # E|w_i|² is multiplied by this matrix when inputs are Gaussian with covariance diag(h).
    growth = torch.diag((1 - rate * h) ** 2 + (rate * h) ** 2 / batch) + rate**2 / batch * torch.outer(h, h)
    assert abs(float(torch.linalg.eigvals(growth[h > 0][:, h > 0]).abs().max()) - 1) < 1e-8


def test_stability_limits_of_known_spectra():
    h = torch.tensor([1.0] + [0.05] * 99)
    assert [round(spectra.sgd_stability_limit(h, b), 4) for b in (1, 8, 1024)] == [0.3089, 1.4679, 1.9961]
    assert spectra.sgd_stability_limit(h, math.inf) == 2
    assert spectra.sgd_stability_limit(torch.ones(1), 1) == pytest.approx(2 / 3, rel=1e-12)


@pytest.mark.parametrize("ratio", [0.2, 1.0, 3.0])
def test_limit_laws_match_random_matrices(ratio):
    rng = generator(0, "cpu")
    n = 900
    A = torch.randn(n, n, generator=rng, dtype=torch.float64) * math.sqrt(0.25 / n)
    wigner = torch.linalg.eigvalsh((A + A.mT) / math.sqrt(2))
    X = torch.randn(n, round(ratio * n), generator=rng, dtype=torch.float64)
    gram = torch.linalg.eigvalsh(2 * X.mT @ X / n)
    low, high = spectra.marchenko_pastur_edges(ratio, 2.0)
    x = torch.linspace(-1.2, 1.2, 20001, dtype=torch.float64)
    assert float(torch.trapezoid(spectra.semicircle(x, 0.25), x)) == pytest.approx(1, abs=1e-5)
    for cut in (-0.5, 0.1, 0.6):
        below = float(torch.trapezoid(torch.where(x < cut, spectra.semicircle(x, 0.25), 0), x))
        assert float((wigner < cut).double().mean()) == pytest.approx(below, abs=5e-3)

    # z = low + (high - low) sin² removes the square roots at both edges.
    angle = (torch.arange(20000, dtype=torch.float64) + 0.5) * math.pi / 40000
    z = low + (high - low) * torch.sin(angle) ** 2
    mass = spectra.marchenko_pastur(z, ratio, 2.0) * (high - low) * torch.sin(2 * angle) * math.pi / 40000
    assert float(mass.sum()) == pytest.approx(min(1, 1 / ratio), rel=1e-6)
    assert float((mass * z).sum()) == pytest.approx(2, rel=1e-6)
    for cut in (low + 0.2 * (high - low), low + 0.6 * (high - low)):
        assert float((gram > cut).double().mean()) == pytest.approx(float(mass[z > cut].sum()), abs=5e-3)
    assert spectra.semicircle(torch.tensor(1.1), 0.25) == 0 and spectra.marchenko_pastur(torch.tensor(0.0), ratio) == 0


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: spectra.hessian(lambda: torch.tensor(0.0), []), "params is empty"),
        (lambda: spectra.hessian(lambda w: w, [torch.ones(2)]), "scalar"),
        (lambda: spectra.hessian(torch.sum, [torch.ones(2)])(torch.ones(1, 3)), "3 entries; expected 2"),
        (lambda: spectra.hvp(torch.sum, [torch.ones(2)], [torch.ones(2, 3)]), "shapes"),
        (lambda: spectra.lanczos(operator(torch.eye(2)), torch.zeros(1, 2), 2), "non-zero"),
        (lambda: spectra.lanczos(operator(torch.eye(2)), torch.ones(2), 2), "start has shape"),
        (lambda: spectra.lanczos(operator(torch.eye(2)), torch.ones(1, 2), 0), "steps=0"),
        (lambda: spectra.lanczos(operator(torch.eye(2) * math.inf), torch.ones(1, 2), 2), "not finite at step 0"),
        (lambda: spectra.top_eigenpair(operator(torch.eye(2)), torch.ones(1, 2)), "expected a vector"),
        (lambda: spectra.slq(operator(torch.eye(2)), 2, 0, 2, generator(0, "cpu")), "probes=0"),
        (lambda: spectra.sgd_stability_limit(torch.tensor([-1.0, 1.0]), 1), "eigenvalues"),
        (lambda: spectra.sgd_stability_limit(torch.ones(2), 0.5), "batch=0.5"),
        (lambda: spectra.semicircle(torch.ones(1), 0), "variance=0"),
        (lambda: spectra.marchenko_pastur(torch.ones(1), -1), "ratio=-1"),
    ],
)
def test_wrong_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
