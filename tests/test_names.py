"""Names survive printing and parsing, are read in the forms other tools use, and a wrong one says what is right."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hooke.errors import BadConfig, HookeError, UnknownName
from hooke.names import SITE_KINDS, FeatureName, SaeName, Site

SITES = st.builds(Site, st.integers(0, 9999), st.sampled_from(SITE_KINDS))
PARTS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", fullmatch=True)
SAES = st.builds(SaeName, PARTS, SITES, PARTS)
FEATURES = st.builds(FeatureName, SAES, st.integers(0, 10**9 - 1))


@given(SITES)
def test_a_site_reads_back_from_its_text(site: Site) -> None:
    assert Site.parse(str(site)) == site
    assert Site.parse(f" {site}\n") == site
    assert Site.parse(site) is site


@given(SAES)
def test_an_sae_name_reads_back_from_its_text(name: SaeName) -> None:
    assert SaeName.parse(str(name)) == name
    assert SaeName.parse(name) is name


@given(FEATURES)
def test_a_feature_name_reads_back_from_its_text(name: FeatureName) -> None:
    assert FeatureName.parse(str(name)) == name
    assert FeatureName.parse(name) is name


@given(st.lists(SITES))
def test_sites_sort_by_layer_first(sites: list[Site]) -> None:
    assert sorted(sites) == sorted(sites, key=lambda site: (site.layer, site.kind))


@pytest.mark.parametrize(
    ("foreign", "ours"),
    [
        ("blocks.12.hook_resid_post", "resid_post.12"),
        ("blocks.0.hook_resid_pre", "resid_pre.0"),
        ("blocks.3.hook_resid_mid", "resid_mid.3"),
        ("blocks.3.hook_attn_out", "attn_out.3"),
        ("blocks.3.hook_mlp_out", "mlp_out.3"),
        ("blocks.3.attn.hook_z", "attn_z.3"),
        ("blocks.3.mlp.hook_in", "mlp_in.3"),
        ("layers.7", "resid_post.7"),
        ("model.layers.7", "resid_post.7"),
        ("model.layers.7.output", "resid_post.7"),
        ("model.language_model.layers.7.output", "resid_post.7"),
        ("language_model.layers.7.self_attn.o_proj.input", "attn_z.7"),
        ("model.layers.7.pre_feedforward_layernorm.output", "mlp_in.7"),
        ("model.layers.7.post_feedforward_layernorm.output", "mlp_out.7"),
        ("resid_post.007", "resid_post.7"),
    ],
)
def test_a_site_is_read_in_the_forms_of_other_tools(foreign: str, ours: str) -> None:
    assert str(Site.parse(foreign)) == ours


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("resid_pst.12", "unknown site kind 'resid_pst'. Did you mean 'resid_post'? Known: attn_out, attn_z, "),
        ("blocks.3.hook_resid_pots", "unknown site kind 'hook_resid_pots'. Did you mean"),
        ("model.layers.3.mlp", "unknown site kind 'mlp'."),
    ],
)
def test_an_unknown_kind_is_told_with_the_nearest(asked: str, said: str) -> None:
    with pytest.raises(UnknownName) as caught:
        Site.parse(asked)
    assert str(caught.value).startswith(said)
    assert repr(asked) in str(caught.value)
    assert "for example resid_post.12" in str(caught.value)


@pytest.mark.parametrize(
    "asked", ["", "resid_post", "12", "resid_post.", "resid_post.-1", "resid_post.12.3", "resid_post.12345", "resid post.1"]
)
def test_what_is_no_site_at_all_is_a_bad_setting(asked: str) -> None:
    with pytest.raises(BadConfig) as caught:
        Site.parse(asked)
    assert str(caught.value).startswith(
        f"cannot read {asked!r} as a site. A site is written kind.layer, for example resid_post.12; kinds: attn_out,"
    )


@pytest.mark.parametrize(
    "asked",
    [
        "",
        "a/b",
        "a/resid_post.1",
        "a/resid_post.1/b/c",
        "/resid_post.1/b",
        "../resid_post.1/b",
        "a/resid_post.1/b\n",
        "a/resid_post.1/" + "b" * 101,
    ],
)
def test_what_is_no_sae_name_is_a_bad_setting(asked: str) -> None:
    with pytest.raises(BadConfig) as caught:
        SaeName.parse(asked)
    assert str(caught.value).startswith(f"cannot read {asked!r} as an SAE's name. It is written collection/site/variant, for example ")


@pytest.mark.parametrize(
    "asked",
    ["", "17", "a/resid_post.1/b", "a/resid_post.1/b/", "a/resid_post.1/b/-1", "a/resid_post.1/b/1e3", "a/resid_post.1/b/" + "1" * 10],
)
def test_what_is_no_feature_name_is_a_bad_setting(asked: str) -> None:
    with pytest.raises(BadConfig, match="cannot read"):
        FeatureName.parse(asked)


@given(st.text(max_size=40) | st.from_regex(r"(blocks|layers|resid_post|[a-z]/[a-z_]+)[./][0-9a-z._/]{0,20}", fullmatch=True))
def test_any_text_is_a_name_or_one_of_our_errors(text: str) -> None:
    for kind in (Site, SaeName, FeatureName):
        try:
            name = kind.parse(text)
        except HookeError:
            continue
        assert kind.parse(str(name)) == name
        assert str(name).isascii()
