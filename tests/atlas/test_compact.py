"""A smaller copy of an atlas says the same with fewer examples."""

from dataclasses import replace
from pathlib import Path

import handmade
import numpy as np
import pytest

from hooke.atlas import Atlas, AtlasWriter, Label, SaeEntry, Score
from hooke.atlas.check import problems
from hooke.atlas.compact import compact


def test_it_says_the_same_with_fewer_examples(tmp_path: Path) -> None:
    whole, small = Atlas(handmade.write(tmp_path / "whole")), Atlas(compact(handmade.write(tmp_path / "w"), tmp_path / "s", examples=1))
    assert small.facts == whole.facts
    for name, entry in whole.saes.items():
        before, after = whole.table(name), small.table(name)
        assert (after.label, after.rule, after.score) == (before.label, before.rule, before.score)
        assert (after.background == before.background).all()
        assert (after.topics == before.topics).all()
        assert small.saes[name].digest == entry.digest
    address = f"{handmade.FIRST}/1"
    one, other = whole.feature(address), small.feature(address)
    assert len(other.top) == 1
    assert other.top[0].tokens == one.top[0].tokens
    assert other.histogram == one.histogram
    assert (other.count, other.max, other.label) == (one.count, one.max, one.label)
    assert not other.misses
    assert problems(small.path) == []


def test_it_is_what_a_small_file_written_at_once_would_be(tmp_path: Path) -> None:
    at_once = handmade.write(tmp_path / "small", examples=1, contexts=False)
    assert compact(handmade.write(tmp_path / "whole"), tmp_path / "copy", examples=1).read_bytes() == at_once.read_bytes()


@pytest.mark.parametrize(("kind", "kept"), [("points", False), ("word", True)])
def test_rules_of_points_stay_behind_and_their_scores_do_not(tmp_path: Path, kind: str, kept: bool) -> None:
    label = Label("mostly cats", kind, {"points": [[{"word": ["cat"]}, 2]], "at least": 2}, Score(0.9, 0.8, 0.95, 40, 80), strong=0.97)
    with AtlasWriter(tmp_path / "whole", handmade.FACTS) as writer:
        writer.windows(handmade.windows())
        writer.pieces(handmade.PIECES)
        writer.sae(SaeEntry(handmade.FIRST, "", 8, {}, np.zeros(4, np.float32)), [replace(handmade.record(1), label=label)])
        writer.finish()
    found = Atlas(compact(tmp_path / "whole", tmp_path / "copy", examples=2)).feature(f"{handmade.FIRST}/1").label
    assert found is not None
    assert bool(found.rule) == kept
    assert (found.text, found.token, found.strong) == (label.text, label.token, 0.97)
