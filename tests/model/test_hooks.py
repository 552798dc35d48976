"""Capturing, editing and stopping, on every architecture of the table."""

from collections.abc import Callable

import pytest
import torch
import transformers as hf
from torch import Tensor, nn

from hooke.errors import ShapeMismatch
from hooke.model.architectures import architecture_of
from hooke.model.hooks import Located, capturing, editing, run_until
from hooke.names import Site


def sites_of(lm: hf.PreTrainedModel) -> list[Site]:
    return architecture_of(lm.config).sites(lm.config)


def locate(lm: hf.PreTrainedModel, *sites: Site) -> dict[Site, Located]:
    return {site: architecture_of(lm.config).locate(lm, site) for site in sites}


def logits(lm: hf.PreTrainedModel, tokens: Tensor) -> Tensor:
    with torch.no_grad():
        return lm(input_ids=tokens).logits


def n_hooks(lm: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in lm.modules())


class Computed:
    """Names of the modules whose forward ran to its end, in that order."""

    def __init__(self, lm: nn.Module) -> None:
        self.names: list[str] = []
        self.handles = [module.register_forward_hook(self.note(name)) for name, module in lm.named_modules()]

    def note(self, name: str) -> Callable[..., None]:
        return lambda *_: self.names.append(name)

    def __enter__(self) -> list[str]:
        return self.names

    def __exit__(self, *_: object) -> None:
        for handle in self.handles:
            handle.remove()


def test_nothing_after_the_stop_is_computed(lm: hf.PreTrainedModel, tokens: Tensor) -> None:
    with Computed(lm) as everything:
        logits(lm, tokens)
    names = {module: name for name, module in lm.named_modules()}
    for site in sites_of(lm):
        located = locate(lm, site)
        place = names[located[site].module]
        with Computed(lm) as computed:
            run_until(architecture_of(lm.config).base(lm), located, site, input_ids=tokens, use_cache=False)
        assert computed == everything[: len(computed)]
        if located[site].side == "output":
            assert computed[-1] == place
        else:
            assert not any(name == place or name.startswith(f"{place}.") for name in computed)
            assert len(computed) < len(everything)
            after = everything[len(computed)]  # the very next thing that a full pass computes is in the module we stopped before
            assert after == place or after.startswith(f"{place}.")


def test_all_sites_below_the_stop_are_captured(llama: hf.PreTrainedModel, tokens: Tensor) -> None:
    wanted = [Site(0, "resid_mid"), Site(1, "attn_z"), Site(1, "mlp_out")]
    found = run_until(llama.model, locate(llama, *wanted), wanted[-1], input_ids=tokens)
    assert list(found) == wanted


def test_a_site_above_the_stop_is_missed_loudly(llama: hf.PreTrainedModel, tokens: Tensor) -> None:
    with pytest.raises(ShapeMismatch, match=r"never came to resid_post\.2 before it ended at resid_post\.0"):
        run_until(llama.model, locate(llama, Site(0, "resid_post"), Site(2, "resid_post")), Site(0, "resid_post"), input_ids=tokens)


def test_without_a_stop_the_pass_runs_to_its_end(llama: hf.PreTrainedModel, tokens: Tensor) -> None:
    expected = logits(llama, tokens)
    with capturing(locate(llama, Site(0, "resid_post"))) as found:
        assert torch.equal(logits(llama, tokens), expected)
    assert list(found) == [Site(0, "resid_post")]


def test_an_inner_capture_does_not_end_an_outer_one_or_the_other_way_round(llama: hf.PreTrainedModel, tokens: Tensor) -> None:
    low, high = Site(0, "resid_post"), Site(2, "resid_post")
    with capturing(locate(llama, low), low) as outer:
        with capturing(locate(llama, high), high) as inner:
            logits(llama, tokens)
        pytest.fail("the outer capture's stop has to end the outer block")
    assert (list(outer), list(inner)) == ([low], [])
    with capturing(locate(llama, high), high) as outer:
        with capturing(locate(llama, low), low) as inner:
            logits(llama, tokens)
        logits(llama, tokens)
    assert (list(outer), list(inner)) == ([high], [low])


def test_an_edit_that_changes_nothing_gives_the_same_logits_to_the_bit(lm: hf.PreTrainedModel, tokens: Tensor) -> None:
    expected = logits(lm, tokens)
    for site in sites_of(lm):
        with editing(locate(lm, site)[site], lambda acts: acts):
            assert torch.equal(logits(lm, tokens), expected), site


def test_an_edit_to_zero_changes_the_logits(lm: hf.PreTrainedModel, tokens: Tensor) -> None:
    expected = logits(lm, tokens)
    for site in sites_of(lm):
        with editing(locate(lm, site)[site], torch.zeros_like):
            assert (logits(lm, tokens) - expected).abs().max() > 1e-3, site
    assert torch.equal(logits(lm, tokens), expected)


def test_an_edit_reaches_everything_that_reads_the_site(lm: hf.PreTrainedModel, tokens: Tensor) -> None:
    """The block still adds up, with the edited tensor in the sum: above all resid_mid, which the MLP and the sum both read."""
    row = architecture_of(lm.config)
    layer = {site.kind: site for site in row.sites(lm.config) if site.layer == 1}
    for kind in {"attn_out", "resid_mid", "mlp_out"} & set(layer):
        with editing(locate(lm, layer[kind])[layer[kind]], torch.ones_like), torch.no_grad():
            found = run_until(row.base(lm), locate(lm, *layer.values()), layer["resid_post"], input_ids=tokens)
        at = {site.kind: acts for site, acts in found.items()}
        assert torch.equal(at[kind], torch.ones_like(at[kind]))
        mid = at.get("resid_mid", at["resid_pre"] + at["attn_out"])
        assert torch.allclose(at["resid_post"], mid + at["mlp_out"], atol=1e-6), kind
        if kind == "attn_out":
            assert torch.allclose(mid, at["resid_pre"] + 1, atol=1e-6)


def test_the_output_of_a_block_and_the_input_of_the_next_are_one_place_to_edit(lm: hf.PreTrainedModel, tokens: Tensor) -> None:
    changed = []
    for site in (Site(0, "resid_post"), Site(1, "resid_pre")):
        with editing(locate(lm, site)[site], lambda acts: acts * 0.5):
            changed.append(logits(lm, tokens))
    assert torch.equal(*changed)


def test_gradients_flow_through_an_edit(lm: hf.PreTrainedModel, tokens: Tensor) -> None:
    for site in sites_of(lm)[:7]:
        row = architecture_of(lm.config)
        scale = torch.ones(row.width(lm.config, site), requires_grad=True)
        with editing(locate(lm, site)[site], lambda acts, scale=scale: acts * scale):
            lm(input_ids=tokens).logits.square().sum().backward()
        assert scale.grad is not None, site
        assert scale.grad.abs().max() > 0, site
    lm.zero_grad()


def test_a_capture_inside_an_edit_sees_what_was_put_there(lm: hf.PreTrainedModel, tokens: Tensor) -> None:
    for site in sites_of(lm):
        located = locate(lm, site)
        with editing(located[site], torch.ones_like):
            found = run_until(architecture_of(lm.config).base(lm), located, site, input_ids=tokens)
        assert torch.equal(found[site], torch.ones_like(found[site])), site


def test_an_edit_comes_back_in_the_dtype_of_the_model(llama: hf.PreTrainedModel, tokens: Tensor) -> None:
    site = Site(1, "resid_post")
    with editing(locate(llama, site)[site], lambda acts: acts.double()):
        assert logits(llama, tokens).dtype == torch.float32


def test_an_edit_of_another_shape_is_refused(llama: hf.PreTrainedModel, tokens: Tensor) -> None:
    site = Site(1, "mlp_in")
    with (
        editing(locate(llama, site)[site], lambda acts: acts[..., :3]),
        pytest.raises(ShapeMismatch, match=r"given \[2, 7, 32\].*\[2, 7, 3\]"),
    ):
        logits(llama, tokens)


def test_no_hook_stays_behind(lm: hf.PreTrainedModel, tokens: Tensor) -> None:
    base, located = architecture_of(lm.config).base(lm), locate(lm, *sites_of(lm))
    before = n_hooks(lm)  # transformers leaves some of its own
    run_until(base, located, list(located)[-1], input_ids=tokens)
    assert n_hooks(lm) == before
    for place in located.values():
        with pytest.raises(ZeroDivisionError), editing(place, lambda acts: acts / (1 // 0)):
            logits(lm, tokens)
    with pytest.raises(KeyboardInterrupt), capturing(located):
        raise KeyboardInterrupt
    with pytest.raises(ValueError, match="input_ids"):
        run_until(base, located, list(located)[-1])
    assert n_hooks(lm) == before


def test_no_hook_stays_behind_when_one_cannot_be_put(llama: hf.PreTrainedModel) -> None:
    class Unhookable(nn.Module):
        def register_forward_hook(self, *_: object, **__: object) -> None:  # type: ignore[override]
            raise RuntimeError("no hooks here")

    before = n_hooks(llama)
    located = locate(llama, Site(0, "resid_pre")) | {Site(1, "resid_post"): Located(Unhookable(), "output")}
    with pytest.raises(RuntimeError, match="no hooks here"):  # noqa: SIM117
        with capturing(located):
            pytest.fail("the block must not be entered")
    assert n_hooks(llama) == before


def test_a_tensor_given_by_keyword_and_a_tuple_given_back_are_both_handled() -> None:
    class Inner(nn.Module):
        def forward(self, hidden_states: Tensor) -> tuple[Tensor, str]:
            return hidden_states + 1, "weights"

    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Inner()

        def forward(self, x: Tensor) -> tuple[Tensor, str]:
            return self.inner(hidden_states=x)

    model, x = Outer(), torch.zeros(1, 2, 3)
    into, out = Located(model.inner, "input"), Located(model.inner, "output")
    with (
        editing(into, lambda acts: acts + 10),
        editing(out, lambda acts: acts * 2),
        capturing({Site(0, "mlp_in"): into, Site(0, "mlp_out"): out}) as found,
    ):
        value, rest = model(x)
    assert rest == "weights"
    assert float(value.max()) == 22
    assert (float(found[Site(0, "mlp_in")].max()), float(found[Site(0, "mlp_out")].max())) == (10, 22)
