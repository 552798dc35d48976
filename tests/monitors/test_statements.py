"""The shipped true and false statements: as many of either, no word that tells them apart, no topic in both parts."""

import importlib.util
from collections import Counter
from pathlib import Path

import pytest

FILE = Path(__file__).resolve().parents[2] / "examples" / "truth" / "statements.py"


@pytest.fixture(scope="module")
def parts():
    spec = importlib.util.spec_from_file_location("statements", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {part: list(module.statements(part)) for part in ("teach", "try")}


@pytest.mark.parametrize("part", ["teach", "try"])
def test_every_word_stands_in_as_many_true_statements_as_false_ones(parts, part):
    said = {truth: Counter() for truth in ("true", "false")}
    for row in parts[part]:
        said[row["truth"]].update((row["topic"], word) for word in row["text"].rstrip(".").split())
    assert said["true"] == said["false"]


def test_statements_are_all_different_and_topics_in_one_part_alone(parts):
    texts = [row["text"] for rows in parts.values() for row in rows]
    assert len(texts) == len(set(texts)) == 560
    topics = [{row["topic"] for row in rows} for rows in parts.values()]
    assert (len(topics[0]), len(topics[1]), topics[0] & topics[1]) == (8, 6, set())
