"""Datasets on a hub, read by the hub's own client from a server on loopback: which files are meant, and what is said when it cannot be."""

from collections.abc import Iterator
from pathlib import Path

import dataset_hub
import pytest
from dataset_hub import DatasetHub

from hooke.errors import BadConfig, HookeError, Missing, UnknownName
from hooke.text.corpus import documents, parse_corpus
from hooke.text.datasets import DatasetRef, chosen

CARD = b"""---
configs:
- config_name: en
  data_files:
  - split: train
    path: en/part-*
  - split: test
    path: [en/held.jsonl]
- config_name: de
  data_dir: german
---
Prose.
"""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[DatasetHub]:
    with dataset_hub.running(monkeypatch, str(tmp_path / "cache")) as hub:
        yield hub


def files(*names: str) -> dict[str, bytes]:
    """Each file has one document, its own name."""
    return {name: f'{{"text": "{name}"}}\n'.encode() if "jsonl" in name else name.encode() for name in names}


def read(ref: str) -> list[str]:
    return list(documents(parse_corpus(ref).path))


def test_the_training_files_are_read_in_order_each_fetched_when_it_is_reached(hub: DatasetHub) -> None:
    hub.datasets["org/news"] = files("README.md", "data/train-1.jsonl", "data/train-0.jsonl", "data/test-0.jsonl", "LICENSE.txt")
    stream = documents(parse_corpus("org/news").path)
    assert next(stream) == "data/train-0.jsonl"
    assert hub.fetched == ["README.md", "data/train-0.jsonl"]
    assert list(stream) == ["data/train-1.jsonl"]
    assert read("org/news") == ["data/train-0.jsonl", "data/train-1.jsonl"]
    assert len(hub.fetched) == 3  # the second time from the cache


def test_a_part_a_revision_and_a_configuration_can_be_named(hub: DatasetHub) -> None:
    hub.datasets["org/x"] = {"README.md": CARD} | files("en/part-1.jsonl", "en/part-0.jsonl", "en/held.jsonl", "german/a.jsonl")
    assert read("hf://datasets/org/x/en") == ["en/part-0.jsonl", "en/part-1.jsonl"]
    assert read("hf://datasets/org/x@v1/de") == ["german/a.jsonl"]
    assert read("hf://datasets/org/x@refs/convert/parquet/en/held.jsonl") == ["en/held.jsonl"]
    assert read("hf://datasets/org/x/en/*-0.jsonl") == ["en/part-0.jsonl"]
    with pytest.raises(BadConfig, match=r"has 2 configurations: de, en\. Choose one, for example hf://datasets/org/x/de"):
        read("org/x")
    with pytest.raises(UnknownName, match=r"unknown part of the dataset org/x 'fr'\. Known: README\.md, de, en, german"):
        read("hf://datasets/org/x/fr")


def test_refusals_are_one_sentence_each(hub: DatasetHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.datasets |= {"org/shut": files("a.jsonl"), "org/none": files("a.bin", "script.py"), "org/down": {}}
    hub.gated["org/shut"], hub.broken = "sesame", {"org/down"}
    for ref, kind, said in (
        ("org/nope", Missing, "there is no dataset 'org/nope' on http://127"),
        ("org/shut", Missing, "is gated: accept its terms at http://127"),
        ("org/none", Missing, "has no data files that are read"),
        ("org/down", HookeError, "refused the dataset 'org/down'"),
        ("hf://org/none", BadConfig, "names no dataset. Write hf://datasets/org/name"),
    ):
        with pytest.raises(kind, match=said) as caught:
            read(ref)
        assert "\n" not in str(caught.value)
    monkeypatch.setenv("HF_TOKEN", "sesame")
    with pytest.raises(Missing, match="has no revision 'v9'"):
        read("org/shut@v9")
    assert read("org/shut") == ["a.jsonl"]


def test_offline_reads_the_cache_and_says_what_is_not_in_it(hub: DatasetHub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    hub.datasets |= {"org/a": files("x.jsonl"), "org/b": files("x.jsonl")}
    assert read("org/a") == ["x.jsonl"]
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert read("org/a") == ["x.jsonl"]
    with pytest.raises(Missing, match=r"'org/b' is not in the cache, and the hub is switched off \(HF_HUB_OFFLINE\)"):
        read("org/b")


def test_a_hub_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with dataset_hub.running(monkeypatch, str(tmp_path)):
        pass
    with pytest.raises(Missing, match=r"cannot reach the dataset 'org/a' on http://127.*Set HF_HUB_OFFLINE=1"):
        read("hf://datasets/org/a")


@pytest.mark.parametrize(
    ("names", "card", "expected"),
    [
        (["a.jsonl", "b.parquet", "c.txt"], {}, ["b.parquet"]),
        (["train/a.jsonl", "test/a.jsonl"], {}, ["train/a.jsonl"]),
        (["training-set.jsonl", "val.jsonl"], {}, ["training-set.jsonl"]),
        (["trains.jsonl", "test.jsonl"], {}, ["test.jsonl", "trains.jsonl"]),
        (["test.jsonl"], {}, ["test.jsonl"]),
        (["b/1.jsonl", "b/2.jsonl"], {}, ["b/1.jsonl", "b/2.jsonl"]),
        (["b/1.jsonl", "c/2.jsonl"], {"configs": [{"config_name": "all", "data_files": "*/*.jsonl"}]}, ["b/1.jsonl", "c/2.jsonl"]),
        (
            ["b.jsonl", "c.jsonl"],
            {"configs": [{"config_name": "x", "default": True, "data_files": ["c.*"]}, {"config_name": "y"}]},
            ["c.jsonl"],
        ),
        (["b.jsonl"], {"configs": "odd"}, ["b.jsonl"]),
        (["b.jsonl"], {"configs": [5, {}, {"config_name": 7}]}, ["b.jsonl"]),
    ],
)
def test_which_files_are_meant(names: list[str], card: dict[str, object], expected: list[str]) -> None:
    assert chosen(DatasetRef("org/x"), names, card) == expected


def test_folders_beside_each_other_are_configurations() -> None:
    with pytest.raises(BadConfig, match="has 2 configurations: de, en"):
        chosen(DatasetRef("org/x"), ["de/train.jsonl", "en/train.jsonl"], {})
