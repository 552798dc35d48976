"""Suites as people write them: what they stand for, and what is said of a slip."""

from pathlib import Path

import pytest

from hooke.errors import BadConfig, BadFile, HookeError, Missing, UnknownName
from hooke.names import Site
from hooke.train.plan import Plan

SAE = {"site": "resid_post.9"}


def plan(*tables: dict, **own) -> Plan:
    return Plan.parse({"corpus": ["a.jsonl"], "sae": list(tables or (SAE,)), **own})


def read(folder: Path, text: str, **given) -> Plan:
    path = folder / "suite.toml"
    path.write_text(text, encoding="utf-8")
    return Plan.read(path, given)


def test_a_suite_is_every_combination_of_its_lists(tmp_path):
    found = read(
        tmp_path,
        """
        model = "some/tiny-model"
        corpus = ["a.jsonl=2", "b.jsonl"]
        tokens = 10_000
        batch = 100

        [[sae]]
        site = ["resid_post.9", "resid_post.12"]
        architecture = ["batchtopk", "jumprelu"]
        d_sae = [1000, 2048]
        l0 = 20
        seed = [0, 1]
        lr = 1e-3
        """,
    )
    assert len(found.saes) == 16
    assert list(found.saes)[:3] == [
        "tiny-model/resid_post.9/batchtopk-1000-l0_20",
        "tiny-model/resid_post.9/batchtopk-1000-l0_20-seed_1",
        "tiny-model/resid_post.9/batchtopk-2k-l0_20",
    ]
    last = found.saes["tiny-model/resid_post.12/jumprelu-2k-l0_20-seed_1"]
    assert (last.architecture, last.d_sae, last.l0, last.seed, last.lr, last.steps) == ("jumprelu", 2048, 20, 1, 1e-3, 100)
    assert found.sites == [Site(9, "resid_post"), Site(12, "resid_post")]
    assert (found.corpus, found.steps) == (("a.jsonl=2", "b.jsonl"), 100)


def test_temporal_saes_are_fed_pairs_and_controls_are_named():
    found = plan({**SAE, "about": 0.2}, {**SAE, "frozen": "soft-decoder"}, {**SAE, "d_sae": 64, "l0": 8, "about": 8.0, "name": "few"})
    assert list(found.saes) == [
        "gemma-3-270m/resid_post.9/batchtopk-temporal-4k-l0_50",
        "gemma-3-270m/resid_post.9/batchtopk-frozen-soft-decoder-4k-l0_50",
        "gemma-3-270m/resid_post.9/few-batchtopk-temporal-64-l0_8",
    ]
    assert [config.groups for config in found.saes.values()] == [
        {"about": [0, 819], "word": [819, 4096]},
        {},
        {"about": [0, 8], "word": [8, 64]},
    ]
    assert (found.pairs, plan().pairs, plan({**SAE, "about": 0.5}, pairs=16).pairs) == (1, 0, 16)
    assert found.settings()["pairs"] == 1
    assert plan({**SAE, "about": 0.5, "contrast": 0.0}).pairs == 0


@pytest.mark.parametrize(
    ("sae", "own", "said"),
    [
        ({"about": 0.0001}, {}, r"about=0\.0001 of d_sae=4096 leaves a group without features"),
        ({"about": 4096}, {}, r"about=4096 of d_sae=4096 leaves a group without features.*from 1 to 4095"),
        ({"about": 2.5}, {}, r"about=2\.5 of d_sae=4096"),
        ({"about": -0.1}, {}, "about=-0.1 must be at least 0"),
        ({"about": 0.2, "temperature": 0}, {}, "temperature=0.0 must be at least"),
        ({"about": 0.2, "architecture": "gated"}, {}, "about is for batchtopk and topk .* not for a gated"),
        ({"about": 0.2}, {"pairs": 0}, "is temporal .about. and learns from pairs of tokens: say how far apart"),
        ({"about": 0.2}, {"batch": 1001}, "batch=1001: a batch of pairs holds an even number"),
        ({"about": 0.2}, {"context": 2}, "a window of context=2 has 1 tokens after .* and one token makes no pair"),
        ({}, {"pairs": 200}, "pairs=200: a window of context=128 has 127 tokens .* at most 126 apart"),
        ({"frozen": "decodr"}, {}, "unknown frozen 'decodr'.*Did you mean 'decoder'"),
    ],
)
def test_groups_and_pairs_that_cannot_be_are_refused(sae, own, said):
    with pytest.raises((BadConfig, UnknownName), match=said):
        plan({**SAE, **sae}, **own)


def test_other_forms_have_names_of_their_own():
    found = plan(
        {"site": "mlp_in.2", "target": "mlp_out.2", "skip": True},
        {"crosscoder": ["resid_post.3", "resid_post.4"], "d_sae": 64, "l0": 4},
        {"site": "resid_post.9", "d_sae": 4096, "prefixes": [256, 1024]},
        {"site": "resid_post.9", "name": "gentle", "lr": 1e-4},
        collection="mine",
    )
    transcoder, crosscoder, nested, named = found.saes.items()
    assert transcoder[0] == "mine/mlp_in.2/transcoder-4k-l0_50"
    assert (transcoder[1].writes, transcoder[1].skip) == (("mlp_out.2",), True)
    assert crosscoder[0] == "mine/resid_post.3/crosscoder-64-l0_4"
    assert crosscoder[1].reads == ("resid_post.3", "resid_post.4")
    assert (nested[0], nested[1].prefixes) == ("mine/resid_post.9/batchtopk-nested-4k-l0_50", (256, 1024))
    assert named[0] == "mine/resid_post.9/gentle-batchtopk-4k-l0_50"
    assert list(map(str, found.sites)) == ["mlp_in.2", "mlp_out.2", "resid_post.3", "resid_post.4", "resid_post.9"]


def test_settings_hold_every_default_and_can_be_written():
    settings = plan(batch=100, tokens=1000).settings()
    sae = settings["saes"]["gemma-3-270m/resid_post.9/batchtopk-4k-l0_50"]
    assert (sae["lr"], sae["aux_weight"], sae["steps"], sae["site"]) == (3e-3, 1 / 32, 10, "resid_post.9")
    assert (settings["held_out_tokens"], settings["collection"]) == (65_536, "gemma-3-270m")
    assert "held_out" not in settings, "in run.json that is what was measured"


def test_the_buffer_is_whole_batches_and_no_larger_than_the_run():
    assert plan(tokens=100_000, batch=1000, buffer=5500).capacity == 5000
    assert plan(tokens=10_000, batch=1000, buffer=50_000, reuse=4).capacity == 3000


def test_options_take_the_place_of_the_files_keys(tmp_path):
    text = 'corpus = "a.jsonl"\ntokens = 5000\n[[sae]]\nsite = "resid_post.0"\n'
    assert read(tmp_path, text).corpus == ("a.jsonl",)
    found = read(tmp_path, text, tokens=3000, shards="acts")
    assert (found.tokens, found.corpus, found.shards) == (3000, (), "acts")


@pytest.mark.parametrize(
    ("own", "tables", "said"),
    [
        ({"tokns": 5}, [SAE], "unknown setting 'tokns'. Did you mean 'tokens'?"),
        ({"d_sae": 5}, [SAE], "What belongs to an SAE stands under [[sae]]."),
        ({}, [SAE | {"dsae": 5}], "unknown setting of an SAE 'dsae'. Did you mean 'd_sae'?"),
        ({}, [SAE | {"steps": 5}], "unknown setting of an SAE 'steps'."),
        ({}, [SAE | {"architecture": "topkk"}], "unknown architecture 'topkk'. Did you mean 'topk'?"),
        ({}, [{"site": "resid_pst.9"}], "unknown site kind 'resid_pst'. Did you mean 'resid_post'?"),
        ({"tokens": "many"}, [SAE], "tokens='many': expected a whole number."),
        ({"tokens": True}, [SAE], "tokens=True: expected a whole number."),
        ({"corpus": [1]}, [SAE], "corpus=[1]: expected a list, each text."),
        ({"pack": 1}, [SAE], "pack=1: expected true or false."),
        ({}, [SAE | {"lr": [1e-3, 1e-4]}], "lr=[0.001, 0.0001]: expected a number."),
        ({}, [SAE | {"d_sae": 4096.0}], "d_sae=4096.0: expected a whole number."),
        ({}, [SAE | {"prefixes": 5}], "prefixes=5: expected a list, each a whole number."),
        ({}, [{"site": 9}], "site=9: expected text."),
        ({}, [SAE | {"target": ["mlp_out.9"]}], "target=['mlp_out.9']: expected text."),
        ({}, [SAE | {"name": "a/b"}], "cannot read 'gemma-3-270m/resid_post.9/a/b-batchtopk"),
        ({}, [{"crosscoder": "resid_post.9"}], "crosscoder='resid_post.9': expected a list, each text."),
        ({}, [{"crosscoder": ["resid_post.9"]}], "a crosscoder reads at least two"),
        ({}, [SAE | {"crosscoder": ["resid_post.9", "resid_post.10"]}], "needs either site or"),
        ({}, [{"d_sae": 64}], "needs either site or"),
        ({}, [{"site": []}], "site=[] is empty"),
        ({}, [SAE | {"l0": 5000}], "l0=5000 cannot exceed d_sae=4096"),
        ({}, [{"site": "resid_post.9", "seed": list(range(40)), "l0": list(range(1, 40))}], "stand for 1,560 SAEs; at most 1,000"),
        ({}, [SAE, SAE | {"lr": 1e-3}], "two SAEs would be called gemma-3-270m/resid_post.9/batchtopk-4k-l0_50. Give one"),
        ({"sae": []}, [], "a suite needs at least one [[sae]] table"),
        ({"sae": SAE}, [], "write [[sae]] above each"),
        ({"shards": "acts"}, [SAE], "either corpora or shards: give one of the two"),
        ({"corpus": []}, [SAE], "either corpora or shards: give one of the two"),
        ({"tokens": 1000}, [SAE], "tokens=1,000 do not fill one batch of 1,024"),
        ({"buffer": 1000}, [SAE], "buffer=1,000 does not hold one batch of 1,024"),
        ({"batch": 0}, [SAE], "batch=0 must be at least 1"),
        ({"tokens": 10**15}, [SAE], "must be at least 1 and at most 1,000,000,000,000"),
        ({"held_out": 5}, [SAE], "held_out=5 must be at least 256"),
    ],
)
def test_what_cannot_be_is_said(own, tables, said):
    with pytest.raises(HookeError) as error:
        Plan.parse({"corpus": ["a.jsonl"], "sae": tables} | own)
    assert isinstance(error.value, BadConfig | UnknownName)
    assert said in str(error.value)


def test_a_file_that_is_no_suite(tmp_path):
    with pytest.raises(Missing, match="no suite at"):
        Plan.read(tmp_path / "nowhere.toml", {})
    for text in ("tokens = ", 'corpus = "a', "[[sae]", "a = " + "[" * 5000):
        with pytest.raises(BadFile, match="is no TOML file"):
            read(tmp_path, text)
    (tmp_path / "suite.toml").write_bytes(b'corpus = "\xff"')
    with pytest.raises(BadFile, match="is no TOML file"):
        Plan.read(tmp_path / "suite.toml", {})
    with pytest.raises(BadFile, match="larger than 1 MiB"):
        read(tmp_path, "#" * (1 << 20) + "#")
