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
    whole, small = Atlas(handmade.write(tmp_path / "whole")), Atlas(compact([handmade.write(tmp_path / "w")], tmp_path / "s", examples=1))
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


def test_atlases_are_put_together_and_the_first_that_knows_an_sae_is_believed(tmp_path: Path) -> None:
    """Windows have the same numbers in both; each example stays with its own text."""
    other = "tiny/resid_post.5/8"
    with AtlasWriter(tmp_path / "other", handmade.FACTS | {"tokens": 99}) as writer:
        writer.windows(replace(w, ids=w.ids[::-1], corpus="elsewhere") for w in handmade.windows())
        writer.pieces(handmade.PIECES)
        for name in (other, handmade.SECOND):
            writer.sae(SaeEntry(name, "cd" * 32, 8, {}, np.zeros(4, np.float32)), map(handmade.record, range(8)))
        writer.finish()
    both = Atlas(compact([handmade.write(tmp_path / "whole"), tmp_path / "other"], tmp_path / "both", examples=2, contexts=True))
    assert both.facts == Atlas(tmp_path / "whole").facts
    assert list(both.saes) == [handmade.FIRST, handmade.SECOND, other]
    assert both.saes[handmade.SECOND].digest == ""
    for name, source in ((handmade.FIRST, "whole"), (other, "other")):
        found, before = (Atlas(path).feature(f"{name}/1") for path in (both.path, tmp_path / source))
        assert [e.tokens for e in found.top] == [e.tokens for e in before.top]
        assert [e.corpus for e in found.top] == [e.corpus for e in before.top]
    assert problems(both.path) == []
    one = compact([tmp_path / "whole", tmp_path / "other"], tmp_path / "one", examples=2, saes={other})
    assert list(Atlas(one).saes) == [other]


def test_examples_come_from_the_corpora_that_may_be_shown_and_from_near_their_peaks(tmp_path: Path) -> None:
    source = handmade.write(tmp_path / "whole")
    whole, short = Atlas(source), Atlas(compact([source], tmp_path / "short", examples=2, around=1))
    for before, after in zip(*(atlas.feature(f"{handmade.FIRST}/1").top for atlas in (whole, short)), strict=True):
        assert after.tokens == before.tokens[max(0, before.peak - 1) : before.peak + 2]
        assert after.tokens[after.peak] == before.tokens[before.peak]
        assert after.values[after.peak] == pytest.approx(before.values[before.peak], rel=1e-2)
    none = Atlas(compact([source], tmp_path / "none", examples=2, shown={"elsewhere"})).feature(f"{handmade.FIRST}/1")
    assert not none.top
    assert none.histogram == whole.feature(f"{handmade.FIRST}/1").histogram


@pytest.mark.parametrize(("kind", "kept"), [("points", False), ("word", True)])
def test_rules_of_points_stay_behind_and_their_scores_do_not(tmp_path: Path, kind: str, kept: bool) -> None:
    label = Label("mostly cats", kind, {"points": [[{"word": ["cat"]}, 2]], "at least": 2}, Score(0.9, 0.8, 0.95, 40, 80), strong=0.97)
    with AtlasWriter(tmp_path / "whole", handmade.FACTS) as writer:
        writer.windows(handmade.windows())
        writer.pieces(handmade.PIECES)
        writer.sae(SaeEntry(handmade.FIRST, "", 8, {}, np.zeros(4, np.float32)), [replace(handmade.record(1), label=label)])
        writer.finish()
    found = Atlas(compact([tmp_path / "whole"], tmp_path / "copy", examples=2)).feature(f"{handmade.FIRST}/1").label
    assert found is not None
    assert bool(found.rule) == kept
    assert (found.text, found.token, found.strong) == (label.text, label.token, 0.97)
