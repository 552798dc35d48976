"""Every architecture's gradients are those of its published loss, written densely with autograd and a pseudo-derivative of its own."""

import math

import pytest
import torch
from torch import Tensor

from hooke.names import Site
from hooke.train.config import TrainConfig
from hooke.train.trainer import SaeTrainer

pytestmark = [
    pytest.mark.filterwarnings("ignore::numba.core.errors.NumbaPerformanceWarning"),
    pytest.mark.usefixtures("one_thread"),
]
D, M, N, L0 = 6, 24, 48, 5
RESID, LATER, MLP_IN, MLP_OUT = Site(0, "resid_post"), Site(1, "resid_post"), Site(0, "mlp_in"), Site(0, "mlp_out")
BASE = {"d_sae": M, "l0": L0, "steps": 10, "lr": 1e-3, "sparsity_warmup": 0.0, "dead_after": 1 << 40}

CASES = {
    "batchtopk": {},
    "batchtopk nested": {"prefixes": (6, 12)},
    "batchtopk skip transcoder": {"writes": ("mlp_out.0",), "skip": True},
    "batchtopk crosscoder": {"reads": ("resid_post.0", "resid_post.1")},
    "topk": {},
    "topk multi": {"multi": True},
    "batchtopk nested skip transcoder": {"writes": ("mlp_out.0",), "skip": True, "prefixes": (6, 12)},
    "topk nested": {"prefixes": (8,)},
    "batchtopk temporal": {"about": 0.25, "contrast": 0.3},
    "batchtopk temporal, published": {"about": 10.0, "contrast": 0.01, "cosine": False, "temperature": 1.0, "prefixes": (4,)},
    "topk temporal transcoder": {"about": 8.0, "contrast": 0.2, "writes": ("mlp_out.0",)},
    "batchtopk temporal without contrast": {"about": 8.0, "contrast": 0.0},
    "jumprelu": {"sparsity": 0.3, "frequency": 0.2, "bandwidth": 0.8},
    "jumprelu nested": {"sparsity": 0.3, "bandwidth": 0.8, "prefixes": (6, 12)},
    "jumprelu-step": {"sparsity": 0.05, "bandwidth": 0.8},
    "jumprelu-tanh": {"sparsity": 0.05},
    "gated": {"sparsity": 0.05},
    "relu": {"sparsity": 0.05},
    "relu transcoder": {"sparsity": 0.05, "writes": ("mlp_out.0",)},
}


class Jump(torch.autograd.Function):
    """``z`` where it is above ``θ``; the window's pseudo-derivative for θ, and for z where that is asked for."""

    @staticmethod
    def forward(ctx, z: Tensor, theta: Tensor, width: float, through: bool) -> Tensor:
        ctx.save_for_backward(z, theta)
        ctx.width, ctx.through = width, through
        return z * (z > theta)

    @staticmethod
    def backward(ctx, g: Tensor):
        z, theta = ctx.saved_tensors
        window = ((z - theta).abs() < ctx.width / 2) * theta / ctx.width
        return g * ((z > theta) + (window if ctx.through else 0)), -(g * window).sum(0), None, None


class Step(torch.autograd.Function):
    """1 where ``z`` is above ``θ``; its gradient reaches θ alone."""

    @staticmethod
    def forward(ctx, z: Tensor, theta: Tensor, width: float) -> Tensor:
        ctx.save_for_backward(z, theta)
        ctx.width = width
        return (z > theta).float()

    @staticmethod
    def backward(ctx, g: Tensor):
        z, theta = ctx.saved_tensors
        return None, -(g * ((z - theta).abs() < ctx.width / 2)).sum(0) / ctx.width, None


def rounded(value: Tensor) -> Tensor:
    """To bfloat16 and back, with the gradient of doing nothing."""
    return value + (value.bfloat16().float() - value).detach()


def only_largest(pre: Tensor, k: int) -> Tensor:
    """The first of equals: bfloat16 has many."""
    order = pre.detach().argsort(dim=1, descending=True, stable=True)[:, :k]
    return pre.relu() * torch.zeros_like(pre).scatter(1, order, 1.0)


def contrast(codes: Tensor, config: TrainConfig) -> Tensor:
    """Each half of the batch should find its partners in the other: PyTorch's own cross-entropy and cosine."""
    first, second = codes[:, : config.about_size].chunk(2)
    compared = torch.cosine_similarity(first[:, None], second[None], dim=2) if config.cosine else first @ second.T
    right = torch.arange(len(first))
    ways = (torch.nn.functional.cross_entropy(one / config.temperature, right) for one in (compared, compared.T))
    return config.contrast * sum(ways, torch.zeros(())) / 2


def loss(trainer: SaeTrainer, w: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
    """The loss that a rule's gradients should be of: a mean over tokens and coordinates, penalties a mean over tokens."""
    config, blocks = trainer.config, len(trainer.reads)
    parts = [
        torch.nn.functional.linear(rounded(part), rounded(W), None) + rounded(b)
        for part, W, b in zip(x.chunk(blocks, 1), w["W_enc"].chunk(blocks), w["b_enc"].chunk(blocks), strict=True)
    ]
    pre = rounded(torch.cat(parts, 1))
    base = w["b_dec"] + (x @ w["W_skip"] if config.skip else 0)

    def error(codes: Tensor, W_dec: Tensor, base: Tensor) -> Tensor:
        total = torch.zeros(())
        ends = sorted({*config.prefixes, config.about_size, M} - {0})
        for end in ends:
            total = total + (codes[:, :end] @ rounded(W_dec[:end]) + base - y).square().mean() / len(ends)
        return total + (contrast(codes, config) if config.about else 0)

    kind, norms = config.architecture, w["W_dec"].norm(dim=1)
    if kind == "batchtopk":
        return error(only_largest(pre.reshape(1, -1), L0 * N).reshape(pre.shape), w["W_dec"], base)
    if kind == "topk":
        far = error(only_largest(pre, 4 * L0), w["W_dec"], base) / 8 if config.multi else 0
        return error(only_largest(pre, L0), w["W_dec"], base) + far
    assert config.sparsity is not None
    if kind == "relu":
        return error(pre.relu(), w["W_dec"], base) + config.sparsity * (pre.relu() * norms).sum(1).mean()
    if kind == "gated":
        u = pre - w["b_enc"]
        value = (pre > 0) * (w["r_mag"].exp() * u + w["b_mag"]).relu()
        frozen = (pre.relu() @ w["W_dec"].detach() + w["b_dec"].detach() - y).square().mean()
        return error(value, w["W_dec"], base) + config.sparsity * pre.relu().sum(1).mean() + frozen
    codes = Jump.apply(pre, w["threshold"], config.bandwidth, kind == "jumprelu-tanh")
    total = error(codes, w["W_dec"], base)
    if kind == "jumprelu-tanh":
        up = (w["threshold"] - pre).relu() * norms.detach()
        return total + config.sparsity * torch.tanh(4 * codes * norms).sum(1).mean() + trainer.pre_act * up.sum(1).mean()
    on = Step.apply(pre, w["threshold"], config.bandwidth)
    share = on.mean(0)
    if kind == "jumprelu-step":
        return total + config.sparsity * share.sum()
    return total + config.sparsity / (2 * L0) * (share.sum() - L0) ** 2 + config.frequency * (share**2).sum() / 0.1


@pytest.mark.parametrize("case", CASES)
def test_gradients_are_those_of_the_loss(monkeypatch, case):
    monkeypatch.setattr("hooke.kernels.cpu._DENSE_SHARE", 1.1)
    generator = torch.Generator().manual_seed(len(case))
    acts = {site: 3 * torch.randn(N, D, generator=generator) + 1 for site in (RESID, LATER, MLP_IN, MLP_OUT)}
    config = TrainConfig(**BASE, architecture=case.split()[0], **CASES[case]).resolved(N)
    trainer = SaeTrainer("toy/mlp_in.0/x" if config.writes else "toy/resid_post.0/x", config, acts)
    for parameter in trainer.parameters.values():  # away from the first values, which are too regular
        parameter.value.mul_(1 + 0.1 * torch.randn(parameter.value.shape, generator=generator))
        if parameter.value.ndim == 1:
            parameter.value.add_(0.1 * torch.rand(parameter.value.shape, generator=generator))
    trainer._update = lambda: None
    trainer.step(acts)

    w = {name: parameter.value.clone().requires_grad_() for name, parameter in trainer.parameters.items()}
    x, y = trainer.normalised(acts, trainer.reads), trainer.normalised(acts, trainer.writes)
    loss(trainer, w, x, y).backward()
    for name, parameter in trainer.parameters.items():
        wanted = w[name].grad
        assert wanted is not None, name
        if name == "W_dec" and len(trainer.reads) > 1:
            wanted = wanted * (torch.arange(wanted.shape[1]) >= trainer.layout.writes[:, None])
        if name == "W_enc":
            assert float(wanted.abs().max()) > 0
        tolerance = 2**-8 * float(wanted.abs().max()) + 1e-9  # a bfloat16 step: a pre-activation may be rounded either way
        assert math.isclose(float((parameter.gradient - wanted).abs().max()), 0, abs_tol=tolerance), name


@pytest.mark.parametrize("dense", [True, False])
def test_dense_products_give_what_sparse_ones_give(monkeypatch, dense):
    """Of codes that are hardly sparse; to the precision of the bfloat16 products they go through."""
    monkeypatch.setattr("hooke.kernels.cpu._DENSE_SHARE", 0.0 if dense else 1.1)
    acts = {RESID: torch.randn(N, D, generator=torch.Generator().manual_seed(1))}
    config = TrainConfig(**BASE, architecture="relu", sparsity=0.05, prefixes=(6, 12)).resolved(N)
    trainer = SaeTrainer("toy/resid_post.0/x", config, acts)
    trainer._update = lambda: None
    trainer.step(acts)
    w = {name: parameter.value.clone().requires_grad_() for name, parameter in trainer.parameters.items()}
    x = trainer.normalised(acts, trainer.reads)
    loss(trainer, w, x, x).backward()
    for name, parameter in trainer.parameters.items():
        wanted = w[name].grad
        assert wanted is not None
        torch.testing.assert_close(parameter.gradient, wanted, atol=0.02 * float(wanted.abs().max()), rtol=0)
