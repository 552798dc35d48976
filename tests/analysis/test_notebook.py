"""The fragment for a notebook's cell: inline, folded when there is much (its safety is tested with the page)."""

import dataclasses

from hooke.analysis.notebook import MAX_OPEN, fragment
from hooke.analysis.result import Analysis


def test_few_texts_are_open_and_many_are_folded(analysis: Analysis) -> None:
    assert fragment(analysis).count("<details open") == len(analysis.texts)
    many = dataclasses.replace(analysis, texts=analysis.texts * MAX_OPEN)
    assert "<details open" not in fragment(many)


def test_your_own_label_stands_in_place_of_the_atlas_and_has_no_score(renamed: Analysis, analysis: Analysis) -> None:
    source = fragment(renamed)
    assert "<bdi>wages</bdi>" in source
    assert source.count("<b>yours</b>") == 1
    assert source.count("interest rates and central banks") < fragment(analysis).count("interest rates and central banks")


def test_tokens_are_tinted_by_the_first_feature_without_any_class(analysis: Analysis) -> None:
    source = fragment(analysis)
    assert '<span style="background:rgba(230,159,0,0.55)">rates</span>' in source
    assert "class=" not in source
