"""The table in a terminal: what it says, at every width, and that nothing from outside steers the terminal."""

import dataclasses
import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from hooke.analysis.result import Analysis, Hit, TextResult, TopicResult, TopicScore
from hooke.report.analysis_terminal import print_table


def printed(analysis: Analysis, width: int = 140, top: int = 5, **options) -> str:
    out = io.StringIO()
    print_table(analysis, Console(file=out, width=width, **options), top)
    return out.getvalue()


@pytest.mark.parametrize("width", [140, 80, 40])
def test_everything_that_must_stand_beside_a_result_stands_there(analysis: Analysis, width: int) -> None:
    out = " ".join(printed(analysis, width).split())
    for said in (
        "interest rates and central banks",
        "usually fits · 0.94 on 128 places",
        "“bank”",
        "no label",
        "not tested",
        "no consistent meaning found",
        "no topic sure enough; closest: sport 20 %",
        "explained share not measured",
        "no feature stands out",
        "environment 52 %",
        "Topics of 6 texts",
        "Topics rest on 6 texts.",
    ):
        assert said in out, said
    assert "gemma-3-270m/resid_post.12/4k/2817" in "".join(printed(analysis, width).split())


@pytest.mark.parametrize("width", [140, 80])
def test_your_own_label_stands_in_place_of_the_atlas_and_has_no_score(renamed: Analysis, analysis: Analysis, width: int) -> None:
    out, before = (" ".join(printed(found, width).split()) for found in (renamed, analysis))
    assert "yours · not tested" in out
    assert "wages" in out.partition("Topics of")[0]
    assert "wages yours" in out.partition("Topics of")[2]
    assert out.count("interest rates and central banks") < before.count("interest rates and central banks")


@pytest.mark.parametrize("width", [140, 80])
def test_nothing_is_wider_than_the_terminal(analysis: Analysis, width: int) -> None:
    assert max(map(len, printed(analysis, width).splitlines())) <= width


def test_a_feature_is_one_line_where_there_is_room_and_columns_stand_under_each_other(analysis: Analysis) -> None:
    lines = [line for line in printed(analysis).splitlines() if "4k/" in line and "on 128 places" in line]
    assert len({re.search("(usually|sometimes|seldom) fits", line).start() for line in lines}) == 1
    assert "interest rates" in lines[0]
    assert "/2817" in lines[0]


def test_one_text_has_no_list_of_topics(analysis: Analysis) -> None:
    assert "Topics of" not in printed(dataclasses.replace(analysis, texts=analysis.texts[:1]))


def test_how_names_came_about_is_said_before_any_is_shown_and_nothing_is_said_twice(analysis: Analysis) -> None:
    said = "Names are guesses; three in ten are wrong."
    out = printed(dataclasses.replace(analysis, naming=said, limits=[said, *analysis.limits]))
    assert out.startswith(said)
    assert out.count(said) == 1
    assert "a name usually fits that scored 0.85 or more on at least 20 held-out places" in " ".join(out.split())


def test_addresses_are_as_short_as_the_command_takes_them_and_sentences_break_in_a_pipe_too(analysis: Analysis) -> None:
    short = [{**sae, "short": sae["name"].split(".")[1].split("/")[0]} for sae in analysis.saes]
    out = printed(dataclasses.replace(analysis, saes=short), width=10_000)
    assert "12/2817" in out
    assert "gemma-3-270m/resid_post.12/4k/2817" not in out
    assert out.rstrip().splitlines()[-1] == "`hooke feature 12/2817` shows where a feature fires."
    assert max(len(line.rstrip()) for line in out.partition("What this rests on")[2].splitlines()) <= 100


def test_the_word_that_is_shown_is_one_with_content(analysis: Analysis) -> None:
    first = analysis.texts[0]
    on_as = dataclasses.replace(first.features[0], token=" as", pos=4, activations={4: 9.0, 5: 3.0})
    out = printed(dataclasses.replace(analysis, texts=[dataclasses.replace(first, features=[on_as])]))
    assert "“inflation”" in out
    assert "“as”" not in out


def test_top_limits_the_features_of_each_text(analysis: Analysis) -> None:
    assert "prices and inflation" not in printed(analysis, top=1)
    assert "no feature stands out" in printed(analysis, top=0)


def test_colour_only_where_it_is_wanted(analysis: Analysis, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b" not in printed(analysis)
    assert "\x1b[1;4m" in printed(analysis, force_terminal=True)
    monkeypatch.setenv("NO_COLOR", "1")
    assert not re.search(r"\x1b\[[\d;]*(3[0-8]|9[0-7])", printed(analysis, force_terminal=True))


def outside(text: str) -> Analysis:
    """An analysis in which every string from outside is `text`."""
    feature = Hit(text, text, 1, text, 0.9, text, 5, 1.0, 0.5, 1.0, text, 0, {0: 1.0}, text)
    result = TextResult(text, [text], [feature], text, [TopicScore(text, 0.5, [text])], 0.5)
    carried = [{"feature": text, "label": text, "label_score": 0.9, "own_label": text, "texts": 1}]
    sae = {"name": text, "site": text, "d_sae": 4, "l0": 1.0, "explained": 0.5, "expected": None}
    return Analysis(text, [sae], [result], [TopicResult(text, [0], carried)], [text])


@given(st.text(st.characters(categories=["Cc", "Cf", "Cs", "Zl", "Ll", "Po"]), max_size=30))
def test_no_control_character_reaches_the_terminal(text: str) -> None:
    out = printed(outside(text), width=80)
    assert not re.search("[\0-\x09\x0b-\x1f\x7f-\x9f\u2028\u202a-\u202e\u2066-\u2069\ud800-\udfff]", out)


def test_escape_codes_links_and_markup_are_only_text() -> None:
    for text in (
        "\x1b[2J\x1b]0;title\x07",
        "\x1b]8;;https://x.example\x1b\\link\x1b]8;;\x1b\\",
        "[red]a[/red] [link=x]b[/] [/nothing]",
        "\x9b31m",
    ):
        out = printed(outside(text), force_terminal=True, color_system=None)
        assert "\x1b]" not in out
        assert "\x1b[2J" not in out
        assert "\x9b" not in out
    assert "[red]a[/red]" in printed(outside("[red]a[/red]"))


def test_a_long_text_is_cut_and_its_length_said(analysis: Analysis) -> None:
    long = dataclasses.replace(analysis, texts=[TextResult("word " * 200_000, ["word "] * 4096, [], None, [], 0.5, truncated=9)])
    out = " ".join(printed(long).split())
    assert len(out) < 3000
    assert "… (1 000 000 characters)" in out
    assert "9 tokens past the model's context left out" in out
