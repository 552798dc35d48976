"""What findings are called: true of the texts behind them by the likelihood that `hooke analyze` shows, else what can be seen in them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from piles import pile

from hooke import tiny
from hooke.analysis import Options, Reader
from hooke.analysis.likelihood import Likelihood
from hooke.differences import compare, group, piles
from hooke.differences.called import likelihoods
from hooke.differences.reading import read_pile
from hooke.report.differences_wording import foremost

SPORT = list(tiny.concepts).index("sport")


def judged(atlas, *, right: float, slope: float = 0.0) -> Reader:
    """The planted model, whose name for sport is right of texts by so much, in logits, and more of those in which it is strong."""
    reader = Reader(tiny.model(), [tiny.sae()], Options(), atlas=atlas)
    (labelled,) = reader.labelled_saes
    d = labelled.sae.d_in
    zeros = np.zeros((1, 3), np.float32)
    labelled.likelihood = Likelihood(
        weights=np.array([0, slope, 0, 0, right], np.float32),
        feature=np.array([SPORT]),
        sites=(labelled.sae.site,),
        offset=zeros[0, :1],
        slope=np.zeros((1, 4), np.float32),
        lean=zeros,
        mean=np.zeros(d, np.float32),
        scale=np.ones(d, np.float32),
        centre=np.zeros(d, np.float32),
        directions=np.eye(d, 3, dtype=np.float32),
        names=(labelled.named(SPORT)["name"],),
    )
    return reader


@pytest.fixture(scope="module")
def grouped():
    own = [pile("sport", 60, share, seed) for share, seed in ((0.6, 1), (0.1, 3))]
    return group(piles(own, ["back page", "front page"], "desk"), "desk")


def sport(found):
    return next(one for one in found.findings if one.feature == f"tiny/resid_post.0/64/{SPORT}")


def test_a_name_that_is_mostly_right_is_used_and_counted_where_it_is(atlas, grouped):
    found = compare(judged(atlas, right=2.0), grouped)
    one = sport(found)
    assert (one.name, one.meant, one.by_name) == (one.known_as, True, True)
    assert one.fits == pytest.approx(1 / (1 + np.exp(-2)), abs=1e-3)
    assert "right of 8 in 10" in one.rated
    assert [lead.group for lead in foremost(found) if one.name in "".join(lead.said)] == ["back page"]


def test_a_name_that_is_mostly_wrong_gives_way_to_the_words_that_are_marked(atlas, grouped):
    found = compare(judged(atlas, right=-2.0), grouped)
    one = sport(found)
    assert (one.meant, one.by_name) == (False, False)
    assert {word.strip("“”") for word in one.name.split(", ")} <= set(tiny.concepts["sport"])
    assert f"elsewhere called {one.known_as}, which is likely right of only 1 in 10" in one.rated
    assert not any(one.known_as in said or one.name in said for lead in foremost(found) for said in lead.said)


def test_what_is_doubtful_is_in_no_sentence(atlas, grouped):
    found = compare(judged(atlas, right=2.0), grouped)
    weak = [replace(one, replicated=False) for one in found.findings]
    assert list(foremost(replace(found, findings=weak))) == []


def test_texts_count_by_the_same_likelihood_as_beside_each_of_them(atlas, grouped):
    reader = judged(atlas, right=0.5, slope=1.0)
    table = likelihoods(read_pile(reader, grouped.texts), reader.labelled_saes)
    shown = {(n, hit.index): hit.likely for n, one in enumerate(reader.read(grouped.texts)) for hit in one.about if hit.likely is not None}
    assert len(shown) > 20
    for (n, index), likely in shown.items():
        assert table[n, index] == pytest.approx(likely, abs=5e-3)


@pytest.mark.parametrize("threads", [1, 3])
def test_the_order_of_texts_and_groups_changes_nothing(atlas, grouped, threads):
    reader = judged(atlas, right=0.5, slope=1.0)
    found = compare(reader, grouped)
    texts = list(zip(grouped.texts, [grouped.names[i] for i in grouped.group.tolist()], strict=True))[::-1]
    own = [[text for text, desk in texts if desk == name] for name in ("front page", "back page")]
    other = group(piles(own, ["front page", "back page"], "desk"), "desk", groups=["front page", "back page"])
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        again = compare(reader, other)
    finally:
        torch.set_num_threads(before)

    def without_numbers(result):
        told = [
            (replace(one, texts=[], excerpts=[]), [(piece.before, piece.token, piece.after, piece.group) for piece in one.excerpts])
            for one in result.findings
        ]
        return told, result.replication, result.confounders, result.baselines, result.groups

    assert without_numbers(again) == without_numbers(found)
    for result, of in ((found, grouped), (again, other)):
        for one in result.findings:
            for piece in one.excerpts:
                assert piece.token in of.texts[piece.text]
                assert of.names[of.group[piece.text]] == piece.group
