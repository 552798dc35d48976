"""Every kernel against a naive twin, on shapes and ties that hypothesis picks."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hooke import kernels

pytestmark = pytest.mark.filterwarnings("ignore::numba.core.errors.NumbaPerformanceWarning")
examples = settings(max_examples=40, deadline=None)
# Few distinct values, so that ties, at the cut-off too, are common; zeros and negatives among them.
levels = st.sampled_from([-2.0, -0.5, 0.0, 2.0**-130, 0.25, 0.5, 0.50390625, 1.0, 3.0, 1e30])


@st.composite
def matrices(draw):
    rows, features = draw(st.integers(0, 6)), draw(st.integers(1, 9))
    values = draw(st.lists(levels, min_size=rows * features, max_size=rows * features))
    return torch.tensor(values).reshape(rows, features)


@st.composite
def sparse(draw):
    """Codes with empty rows, the rest of a training step beside them."""
    rows, features, d = draw(st.integers(1, 6)), draw(st.integers(1, 7)), draw(st.integers(1, 9))
    rng = np.random.default_rng(draw(st.integers(0, 1 << 30)))
    dense = rng.random((rows, features), np.float32) * (rng.random((rows, features)) < draw(st.sampled_from([0.0, 0.3, 1.0])))
    return dense, [rng.standard_normal(shape, np.float32) for shape in ((features, d), (rows, d), (rows, d))]


def bits_of(matrix: torch.Tensor) -> np.ndarray:
    return matrix.bfloat16().view(torch.int16).numpy()


def csr(dense: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    row, feature = np.nonzero(dense)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(dense)))]).astype(np.int64)
    return indptr, feature.astype(np.int32), dense[row, feature].astype(np.float32)


def naive_topk(matrix: torch.Tensor, keep: int) -> np.ndarray:
    """The positive entries in falling order, the earlier of equals first; the first `keep` of them as a dense matrix."""
    flat = matrix.bfloat16().float().flatten().numpy()
    order = [i for i in np.argsort(-flat, kind="stable") if flat[i] > 0][:keep]
    out = np.zeros_like(flat)
    out[order] = flat[order]
    return out.reshape(matrix.shape)


@examples
@given(matrix=matrices(), keep=st.integers(0, 70), floor=st.integers(1, 32767))
def test_batch_topk_is_the_naive_one_whatever_the_guess(matrix, keep, floor):
    indptr, feature, value, cut = kernels.batch_topk(bits_of(matrix), keep, floor)
    for found, wanted in zip((indptr, feature, value), csr(naive_topk(matrix, keep)), strict=True):
        np.testing.assert_array_equal(found, wanted)
        assert found.dtype == wanted.dtype
    if 0 < keep <= len(value):
        lowest = torch.tensor([value.min()]).bfloat16().view(torch.int16).item()
        assert cut == lowest


def test_batch_topk_keeps_nothing_of_nothing():
    for matrix in (torch.zeros(3, 4), -torch.ones(2, 2), torch.zeros(0, 5)):
        indptr, feature, value, cut = kernels.batch_topk(bits_of(matrix), 7)
        assert (indptr.tolist(), len(feature), len(value)) == ([0] * (len(matrix) + 1), 0, 0)
        assert cut >= 1


@examples
@given(given_codes=sparse())
def test_decode_error(given_codes):
    dense, (W_dec, target, _) = given_codes
    indptr, feature, value = csr(dense)
    error, g = np.full_like(target, np.nan), np.full_like(value, np.nan)
    kernels.decode_error(indptr, feature, value, W_dec, target, error, g)
    wanted = dense @ W_dec - target
    np.testing.assert_allclose(error, wanted, atol=1e-5)
    np.testing.assert_allclose(g, (wanted @ W_dec.T)[np.nonzero(dense)], atol=1e-4)


@examples
@given(given_codes=sparse())
def test_by_feature_groups_every_entry_once(given_codes):
    dense, _ = given_codes
    indptr, feature, _ = csr(dense)
    start, entry, row = kernels.by_feature(indptr, feature, dense.shape[1])
    assert sorted(entry.tolist()) == list(range(len(feature)))
    for i in range(dense.shape[1]):
        run = slice(start[i], start[i + 1])
        assert (feature[entry[run]] == i).all()
        np.testing.assert_array_equal(row[run], np.flatnonzero(dense[:, i]))


@examples
@given(given_codes=sparse())
def test_gradients_are_those_of_autograd(given_codes):
    """Of ``mean((codes W_dec − x)²)`` through the selected entries, codes ``x W_enc + b_enc`` there and 0 elsewhere."""
    dense, (W_dec, x, _) = given_codes
    features, d = W_dec.shape
    mask = torch.from_numpy(dense != 0)
    W, E = torch.tensor(W_dec, requires_grad=True), torch.tensor(W_dec[::-1].copy(), requires_grad=True)
    b = torch.full((features,), 0.5, requires_grad=True)
    codes = (torch.from_numpy(x) @ E.T + b) * mask
    (codes @ W - torch.from_numpy(x)).square().mean().backward()

    indptr = csr(dense)[0]
    feature = np.nonzero(dense)[1].astype(np.int32)
    value = codes.detach()[mask].numpy()
    error, g = np.empty_like(x), np.empty_like(value)
    kernels.decode_error(indptr, feature, value, W_dec, x, error, g)
    before = [np.ones((features, d), np.float32), np.ones((features, d), np.float32), np.ones(features, np.float32)]
    gradients = [array.copy() for array in before]
    kernels.add_gradients(*kernels.by_feature(indptr, feature, features), value, g, x, error, np.float32(2 / x.size), *gradients)
    for found, old, parameter in zip(gradients, before, (W, E, b), strict=True):
        assert parameter.grad is not None
        np.testing.assert_allclose(found - old, parameter.grad.numpy(), atol=2e-5, rtol=1e-4)


def adam(weights: np.ndarray, gradients: list[np.ndarray], *, unit_rows: bool) -> np.ndarray:
    first, second = np.zeros_like(weights), np.zeros_like(weights)
    for step, gradient in enumerate(gradients, 1):
        given_gradient = gradient.copy()
        kernels.adam_rows(weights, given_gradient, first, second, 0.01, 0.9, 0.999, 1e-8, step, unit_rows)
        assert not given_gradient.any()
    return weights


def torch_adam(parameter: torch.Tensor, gradients: list[torch.Tensor], *, unit_rows: bool) -> torch.Tensor:
    optimiser = torch.optim.Adam([parameter], lr=0.01)
    for gradient in gradients:
        along = (gradient * parameter).sum(1, keepdim=True) * parameter
        parameter.grad = gradient - along if unit_rows else gradient.clone()
        optimiser.step()
        if unit_rows:
            parameter.copy_(torch.nn.functional.normalize(parameter, dim=1))
    return parameter


@pytest.mark.parametrize("unit_rows", [False, True])
def test_adam_is_torchs_and_unit_rows_stay_unit(unit_rows):
    rng = np.random.default_rng(1)
    start = rng.standard_normal((5, 7)).astype(np.float32)
    if unit_rows:
        start /= np.linalg.norm(start, axis=1, keepdims=True)
    gradients = [rng.standard_normal((5, 7)).astype(np.float32) for _ in range(20)]
    found = adam(start.copy(), gradients, unit_rows=unit_rows)
    wanted = torch_adam(torch.tensor(start), [torch.tensor(g) for g in gradients], unit_rows=unit_rows)
    np.testing.assert_allclose(found, wanted.numpy(), atol=2e-6)
    assert np.abs(found - start).max() > 0.05
    if unit_rows:
        assert np.abs(np.linalg.norm(found, axis=1) - 1).max() < 1e-6
