"""The kernels for CUDA devices against naive twins: on a GPU (marked `gpu`), and on the CPU in Triton's interpreter.

TRITON_INTERPRET=1 python -m pytest tests/kernels/test_cuda.py      # the interpreter; needs triton, and no GPU
python -m pytest -m gpu                                             # a GPU
"""

import importlib
import importlib.util
import json
import os
import runpy
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernels import twins

from hooke.errors import Missing
from hooke.kernels import Entries, Gradients, Layout, Parameter
from hooke.names import Site
from hooke.train.config import TrainConfig
from hooke.train.trainer import SaeTrainer

pytestmark = [
    pytest.mark.filterwarnings("ignore::numba.core.errors.NumbaPerformanceWarning"),
    pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION"),
]
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
examples = settings(max_examples=20)


@pytest.fixture(scope="module", params=[pytest.param("cpu", id="interpreter"), pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request) -> torch.device:
    if importlib.util.find_spec("triton") is None:
        pytest.skip("needs triton: pip install triton")
    if request.param == "cpu" and not INTERPRETED:
        pytest.skip("needs TRITON_INTERPRET=1")
    if request.param == "cuda" and (INTERPRETED or not torch.cuda.is_available()):
        pytest.skip("needs a CUDA device, and TRITON_INTERPRET unset")
    return torch.device(request.param)


@pytest.fixture(scope="module")
def kernels(device):
    return importlib.import_module("hooke.kernels.cuda")


@pytest.fixture
def always_sparse(kernels, monkeypatch):
    monkeypatch.setattr(kernels, "_DENSE_SHARE", 1.0)
    return kernels


def on(device: torch.device, *values):
    """Tensors, and tuples and layouts of them, on `device`."""
    return [v.to(device) if isinstance(v, torch.Tensor | Layout) else type(v)(*on(device, *v)) for v in values]


def same(found: Entries, wanted: Entries) -> None:
    for name, a, b in zip(Entries._fields, found, wanted, strict=True):
        assert a.dtype == b.dtype, name
        assert torch.equal(a.cpu(), b), name


def near(found, wanted, atol: float = 1e-5) -> None:
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a.cpu().double(), b.double(), atol=atol, rtol=1e-5)


def bits(value: torch.Tensor) -> int:
    return value.bfloat16().view(torch.int16).item()


@examples
@given(pre=twins.matrices(), keep=st.integers(0, 60), floor=st.integers(1, 32767))
def test_largest_is_the_naive_one_whatever_the_guess(device, kernels, pre, keep, floor):
    found, cut = kernels.largest(pre.to(device), keep, floor)
    same(found, twins.largest(pre, keep))
    if 0 < keep <= len(found.value):
        assert cut == bits(found.value.min())
    else:
        assert cut == (1 if keep else 32767)


@examples
@given(pre=twins.matrices(), k=st.integers(1, 10), floor=st.integers(1, 32767))
def test_largest_per_token_is_the_naive_one_whatever_the_guess(device, kernels, pre, k, floor):
    if len(pre):
        found, guess = kernels.largest_per_token(pre.to(device), k, floor)
        same(found, twins.largest_per_token(pre, k))
        assert 1 <= guess <= 32767


@examples
@given(pre=twins.matrices(), data=st.data())
def test_above_is_the_naive_one(device, kernels, pre, data):
    features = pre.shape[1]
    levels = st.sampled_from([*twins.LEVELS, 0.2501, -0.5001, -3.0, 4e30])
    floor = torch.tensor(data.draw(st.lists(levels, min_size=features, max_size=features)))
    same(kernels.above(pre.to(device), floor.to(device)), twins.above(pre, floor))


def test_rows_longer_than_one_stretch(device, kernels):
    """Several stretches per row, ties across them, an empty row, and a guess that is too high for one row alone."""
    pre = torch.randint(-40, 9, (3, 4500), generator=torch.Generator().manual_seed(0)).bfloat16()
    pre[1] = -1
    pre[2] /= 64
    for keep, floor in ((7, 1), (900, bits(torch.tensor(2.0))), (10_000, 1)):
        same(kernels.largest(pre.to(device), keep, floor)[0], twins.largest(pre, keep))
        same(kernels.largest_per_token(pre.to(device), keep, floor)[0], twins.largest_per_token(pre, keep))


def test_nothing_is_kept_of_nothing(device, kernels):
    for pre in (torch.zeros(3, 4), -torch.ones(2, 2), torch.zeros(0, 5)):
        found, cut = kernels.largest(pre.bfloat16().to(device), 7)
        same(found, Entries(torch.zeros(len(pre) + 1, dtype=torch.int64), torch.zeros(0, dtype=torch.int32), torch.zeros(0)))
        assert cut == 1


def check_step(device, kernels, given_step, atol: float, dense_share: float = 1.0) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "_DENSE_SHARE", dense_share)
        _check_step(device, kernels, given_step, atol)


def _check_step(device, kernels, given_step, atol: float) -> None:
    entries, W_dec, acts, target, layout = given_step
    W_dec = W_dec.bfloat16()
    wanted = twins.decode(entries, W_dec.float(), target, layout)
    there = on(device, entries, W_dec, target, layout)
    error, grad_recon, grad_acts = kernels.decode(*there)
    near((error, grad_recon, grad_acts), wanted, atol)
    d_sae, d = W_dec.shape
    width = d // 2 if layout.reads.any() else d
    before = Gradients(torch.ones(d_sae, d), torch.ones(d_sae, width), torch.ones(d_sae))
    if layout.writes.any():
        before.W_dec.mul_(torch.arange(d) >= layout.writes[:, None])
    into = Gradients(*(array.clone() for array in before))
    acts, rows = acts.bfloat16(), wanted[1].bfloat16()
    twins.add_gradients(entries, wanted[2], acts.float(), rows.float(), layout, 0.25, into)
    (found,) = on(device, before)
    kernels.add_gradients(there[0], grad_acts, acts.to(device), rows.to(device), there[3], 0.25, found)
    near(found, into, atol)


@examples
@given(sizes=twins.steps())
def test_errors_and_gradients(device, kernels, sizes):
    check_step(device, kernels, twins.step(*sizes), 1e-4)


@pytest.mark.parametrize("kind", ["plain", "nested", "crosscoder"])
def test_rows_wider_than_one_program(device, kernels, kind):
    """More columns than one program takes, not a power of two; features with more entries than are gathered at once."""
    check_step(device, kernels, twins.step(kind, 21, 6, 1100, 0.7, 1), 1e-3)


@pytest.mark.parametrize("kind", ["plain", "nested", "crosscoder"])
def test_dense_codes_go_through_dense_products(device, kernels, kind, monkeypatch):
    monkeypatch.setattr(kernels, "_decode", None)
    check_step(device, kernels, twins.step(kind, 6, 8, 6, 0.9, 2), 0.15, dense_share=0.1)


@pytest.mark.gpu
def test_a_step_repeats_bit_for_bit(device, always_sparse):
    entries, W_dec, acts, target, layout = twins.step("nested", 64, 40, 70, 0.5, 3)
    there, acts = on(device, entries, W_dec.bfloat16(), target, layout), acts.to(device)
    runs = []
    for _ in range(3):
        _, grad_recon, grad_acts = always_sparse.decode(*there)
        into = Gradients(torch.zeros(40, 70, device=device), torch.zeros(40, 70, device=device), torch.zeros(40, device=device))
        always_sparse.add_gradients(there[0], grad_acts, acts.bfloat16(), grad_recon.bfloat16(), there[3], 1.0, into)
        runs.append([grad_recon, grad_acts, *into])
    assert all(torch.equal(a, b) for other in runs[1:] for a, b in zip(runs[0], other, strict=True))


@pytest.mark.parametrize(("shape", "unit_rows"), [((5, 7), False), ((5, 7), True), ((3, 1100), True), ((2500,), False)])
def test_adam_is_torchs_and_unit_rows_stay_unit(device, kernels, shape, unit_rows):
    generator = torch.Generator().manual_seed(0)
    wanted = torch.randn(shape, generator=generator)
    if unit_rows:
        wanted = torch.nn.functional.normalize(wanted, dim=1)
    start = wanted.clone()
    parameter = Parameter.of(wanted.to(device, copy=True))
    optimiser = torch.optim.Adam([wanted], lr=0.01, betas=(0.9, 0.99))
    for step in range(1, 11):
        gradient = torch.randn(shape, generator=generator)
        parameter.gradient.copy_(gradient)
        wanted.grad = gradient - (gradient * wanted).sum(-1, keepdim=True) * wanted if unit_rows else gradient
        optimiser.step()
        if unit_rows:
            wanted.copy_(torch.nn.functional.normalize(wanted, dim=1))
        kernels.adam(parameter, step, 0.01, (0.9, 0.99), 1e-8, unit_rows=unit_rows)
        assert not parameter.gradient.any()
    near([parameter.value], [wanted])
    assert (wanted - start).abs().max() > 0.02
    if unit_rows:
        assert (parameter.value.norm(dim=1) - 1).abs().max() < 1e-6


@pytest.mark.parametrize(
    "changes",
    [
        {"prefixes": (6, 12)},
        {"architecture": "topk", "multi": True},
        {"architecture": "jumprelu", "bandwidth": 0.8},
        {"architecture": "gated"},
        {"reads": ("resid_post.0", "resid_post.1"), "dead_after": 40},
    ],
    ids=lambda changes: " ".join(changes),
)
def test_a_trainer_takes_the_steps_it_takes_on_the_cpu(device, always_sparse, monkeypatch, changes):
    monkeypatch.setattr("hooke.kernels.cpu._DENSE_SHARE", 1.0, raising=False)
    config = TrainConfig(**{"d_sae": 24, "l0": 4, "steps": 10, "lr": 1e-3, "dead_after": 1 << 40} | changes).resolved(40)
    generator = torch.Generator().manual_seed(0)
    acts = [{Site(layer, "resid_post"): torch.randn(40, 6, generator=generator) for layer in (0, 1)} for _ in range(3)]
    name = "planted/resid_post.0/24"
    with monkeypatch.context() as patch:
        patch.setattr("hooke.train.trainer.kernels_for", lambda _: always_sparse)
        there = SaeTrainer(name, config, {site: value.to(device) for site, value in acts[0].items()})
    here = SaeTrainer(name, config, acts[0])
    for batch in acts:
        here.step(batch)
        there.step({site: value.to(device) for site, value in batch.items()})
    for key, parameter in here.parameters.items():
        for field in fields(parameter):
            # Adam makes much of a gradient that is nearly nothing, so a few elements may take another step.
            off = (getattr(there.parameters[key], field.name).cpu() - getattr(parameter, field.name)).abs() > 1e-4
            assert off.float().mean() < 0.01, f"{key}: {field.name}"


def test_without_triton_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "triton", None)
    monkeypatch.delitem(sys.modules, "hooke.kernels.cuda", raising=False)
    with pytest.raises(Missing, match="pip install triton"):
        importlib.import_module("hooke.kernels.cuda")


def test_the_benchmark_runs_at_tiny_sizes(monkeypatch, capsys):
    script = Path(__file__).resolve().parents[2] / "benchmarks" / "train_gpu.py"
    monkeypatch.setattr(sys, "argv", [str(script), "--smoke"])
    runpy.run_path(str(script), run_name="__main__")
    told = capsys.readouterr()
    lines = [json.loads(line) for line in told.out.splitlines()]
    assert [(line["what"], line["d_sae"]) for line in lines[:6]] == [(w, m) for m in (128, 256) for w in ("matmul", "hooke", "dense")]
    assert all(line["tokens_per_s"] > 0 for line in lines[:6])
    assert all(line["sparse_ms"] > 0 and line["dense_ms"] > 0 for line in lines[6:])
    assert "tokens/s" in told.err
