"""The HTML page and the notebook's fragment: what they say, what they never let through, and what they never open."""

import base64
import dataclasses
import hashlib
import html
import json
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hooke.analysis import notebook
from hooke.analysis.result import Analysis, Hit, TextResult, TopicResult, TopicScore
from hooke.atlas import Label
from hooke.atlas.feature import Context, Feature, OutputToken, Relative
from hooke.report import analysis as report
from hooke.report.analysis import fragment, page

EMPTY = {"meta", "input"}
PAYLOADS = [
    "<script>alert(1)</script>",
    "</script><script src=//x.example/a.js></script>",
    "</style><img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "' autofocus onfocus='alert(1)",
    '" style="position:fixed" x="',
    "javascript:alert(1)",
    "&lt;b&gt; &amp; &#60;script&#62;",
    "<!-- --><![CDATA[ ]]><?php ?>",
    "</title><base href=//x.example>",
    "<iframe srcdoc='<script>1</script>'>",
    "{{7*7}} ${7*7} #{7*7} {0} %s",
    "\x1b[31m\0\x08\x7f\u202egnp.exe\u2066\u200b\ufeff",
    "https://x.example/?q=<a>",
    "a\nb\r\n\tc",
]


class Page(HTMLParser):
    """Elements, attributes and text of a page, and whether every element is closed in order."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        assert len(dict(attrs)) == len(attrs)
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data!r}")

    @property
    def shape(self) -> list[tuple[str, tuple[str, ...]]]:
        return [(tag, tuple(attributes)) for tag, attributes in self.elements]

    def all(self, tag: str, class_: str = "") -> list[dict[str, str | None]]:
        return [a for t, a in self.elements if t == tag and (not class_ or class_ in (a.get("class") or "").split())]


def outside(text: str) -> Analysis:
    """An analysis in which every string from outside is `text`."""
    feature = Hit(text, text, 1, text, 0.9, text, 5, 1.0, 0.5, 1.0, text, 0, {0: 1.0}, text)
    named = dataclasses.replace(feature, name=text, own_label=None)
    topics = [TopicScore(text, 0.5, [text]), TopicScore(text + "2", 0.3, [])]
    result = TextResult(text, [text], [feature], text, topics, 0.5, about=[feature], words=[named])
    carried = [{"feature": text, "label": text, "label_score": 0.9, "own_label": text, "texts": 1}]
    sae = {"name": text, "site": text, "d_sae": 4, "l0": 1.0, "explained": 0.5, "expected": None}
    return Analysis(text, [sae], [result, dataclasses.replace(result, topic=None)], [TopicResult(text, [0], carried)], [text])


def assert_safe(source: str) -> Page:
    parsed = Page(source)
    harmless = {
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "header",
        "main",
        "section",
        "article",
        "footer",
        "div",
        "p",
        "h1",
        "h2",
        "h3",
        "span",
    }
    harmless |= {
        "a",
        "b",
        "i",
        "bdi",
        "code",
        "ul",
        "ol",
        "li",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "label",
        "input",
        "fieldset",
        "legend",
    }
    harmless |= {"details", "summary", "dl", "dt", "dd", "svg", "rect", "circle", "text"}
    for tag, attributes in parsed.elements:
        assert tag in harmless, tag
        for name, value in attributes.items():
            assert not name.startswith("on")
            assert name not in ("src", "srcset", "action", "formaction", "xlink:href", "srcdoc", "background", "poster")
            assert name != "href" or (value or "").startswith("#"), value
            assert not re.search(r"url\(|expression|@import|https?:", (value or "") if name == "style" else "")
    assert not re.search("[\0-\x08\x0b-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]", source)
    source.encode()
    return parsed


def known(text: str) -> dict[str, Feature]:
    """An atlas' feature in which every string from outside is `text`."""
    context = Context([text, text], [0.5, 1.0], 1, text, 0, 0)
    label = Label(text, text, {"any": {"word": [text or "x"]}})
    return {text: Feature(text, 0.1, 1.0, label, top=[context], promoted=[OutputToken(text, 1.0)], neighbours=[Relative(text, text, 0.5)])}


def opened(analysis: Analysis) -> str:
    """The page with what an atlas knows of the first feature."""
    return page(analysis, known(analysis.texts[0].features[0].feature))


@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize("render", [page, opened, fragment])
def test_nothing_from_outside_becomes_an_element_or_an_attribute(render, payload: str) -> None:
    plain, bad = assert_safe(render(outside("plain"))), assert_safe(render(outside(payload)))

    def but_marks(shape):
        # What is shown as a mark, and what keeps to itself where it may run from right to left.
        return [element for element in shape if element not in (("span", ("class", "title")), ("bdi", ()))]

    assert but_marks(bad.shape) == but_marks(plain.shape)


@given(st.text(max_size=40))
def test_nothing_from_outside_at_all(text: str) -> None:
    assert_safe(opened(outside(text)))
    assert_safe(fragment(outside(text)))


def test_the_page_forbids_all_but_its_own_style(analysis: Analysis) -> None:
    source = page(analysis)
    parsed = assert_safe(source)
    style = re.search(r"<style>(.*?)</style>", source, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    [policy] = [a["content"] for a in parsed.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    assert not any("style" in attributes for _, attributes in parsed.elements)
    for outside_word in ("http:", "https:", "url(", "@import", "<script", "<link"):
        assert outside_word not in source
    assert "<style" not in fragment(analysis)


def test_ids_are_unique_and_links_lead_somewhere(analysis: Analysis) -> None:
    parsed = Page(page(analysis))
    ids = [a["id"] for _, a in parsed.elements if "id" in a]
    assert len(ids) == len(set(ids))
    assert {a["href"] for a in parsed.all("a") if "href" in a} <= {f"#{name}" for name in ids}


def words(source: str) -> str:
    return " ".join("".join(Page(source).text).split())


@pytest.mark.parametrize("render", [page, fragment])
def test_what_must_stand_beside_a_result_stands_there(render, analysis: Analysis) -> None:
    said = words(render(analysis))
    for expected in (
        "interest rates and central banks",
        "0.94 on 128 places",
        "no consistent meaning found",
        "0.52 on 128 places",
        "no label",
        "not tested",
        "gemma-3-270m/resid_post.12/4k/2817",
        "layer 12, resid_post",
        "83 %" if render is page else "“bank”",
        "no topic sure enough; closest: sport 20 %",
        "explained share not measured",
        "Topics rest on 6 texts.",
        "No feature stands out here." if render is fragment else "The text has no tokens.",
    ):
        assert expected in said, expected


@pytest.mark.parametrize("render", [page, fragment])
def test_a_text_is_said_to_be_explained_badly_only_where_it_is(render, analysis: Analysis) -> None:
    badly = dataclasses.replace(analysis.texts[0], explained=0.31)
    assert analysis.texts[0].explained == 0.86
    assert "86 % explained" not in words(render(analysis))
    assert "only 31 % explained" in words(render(dataclasses.replace(analysis, texts=[badly])))


def test_the_facts_of_each_sae(analysis: Analysis) -> None:
    said = words(page(analysis))
    assert "gemma-3-270m/resid_post.9/4klayer 9, resid_post4 09649.7explains 88 % here; 87 % of the long texts on its card" in said
    unmeasured = dataclasses.replace(analysis, saes=[{"name": "x/resid_post.1/y", "site": "resid_post.1"}])
    assert "not measured" in words(page(unmeasured))


def test_tokens_carry_the_steps_of_every_feature(analysis: Analysis) -> None:
    source = page(analysis)
    first = source[source.index('id="text-0"') :]
    # rates peaks at 0.83 of its maximum (step 5); bank has 31.2/44 of that, 0.59 (step 3); inflation 0.24 (step 2)
    assert '<span class="t">Central</span> <span class="t f0s3 p0">bank</span> <span class="t f2s2 p2">holds</span>' in first
    assert '<span class="t f0s5">rates</span> <span class="t f3s1 p3">as</span> <span class="t f0s2 f1s3 p1">inflation</span>' in first
    chosen = [
        ".text:has(.r0[open]):not(:has(summary.s:hover))",
        ".text:has(.r0>summary:hover)",
        ".text:not(:has(.row[open])):not(:has(summary.s:hover))",
    ]
    assert ",".join(f"{one} .f0s5" for one in chosen) + "{--t:var(--s5);--w:5px;--u:underline}" in source


def test_tokens_as_text_are_the_text(analysis: Analysis) -> None:
    for i in (0, 1, 2, 3):
        shown = re.search(rf'id="text-{i}">.*?<p class="tokens"[^>]*>(.*?)</p>', page(analysis), re.DOTALL)
        assert shown is not None
        assert html.unescape(re.sub("<[^>]*>", "", shown[1])) == analysis.texts[i].text


def test_hidden_characters_are_shown_as_marks(analysis: Analysis) -> None:
    source = page(analysis)
    assert '<span class="mark" title="U+202E">RLO</span>' in source
    assert "👩\u200d🚀" in source
    assert "\u202e" not in source


def test_each_text_has_its_rows_of_which_one_is_open_at_a_time(analysis: Analysis) -> None:
    rows = Page(page(analysis)).all("details", "row")
    for i, text in enumerate(analysis.texts):
        own = [row for row in rows if row["name"] == f"t{i}"]
        assert {row["class"] for row in own} == {f"row r{n}" for n in range(len(text.features))}
        assert not any("open" in row for row in own)


def test_what_a_text_is_about_comes_first_and_its_words_stand_on_a_line(analysis: Analysis) -> None:
    text = analysis.texts[0]
    about = [dataclasses.replace(text.features[1], name="about prices", group="about")]
    split = dataclasses.replace(text, about=about, words=[text.features[0], text.features[2]])
    source = page(dataclasses.replace(analysis, texts=[split]))
    assert [row["class"] for row in Page(source).all("details", "row")] == ["row r0", "row r1", "row r2"]
    assert "<bdi>prices</bdi>" in source
    line = "words “rates” interest rates and central banks"  # not what seldom fits
    assert line in words(source)
    assert '<span class="t f1s3 p1">bank</span>' in source


def test_an_opened_row_shows_contexts_what_is_promoted_and_relatives(analysis: Analysis) -> None:
    hit = analysis.texts[0].features[0]
    context = Context([" the", " lending", " rate"], [0.0, 2.0, 44.0], 2, "news", 3, 0)
    feature = Feature(
        hit.feature,
        0.01,
        53.0,
        Label("mostly rate", "word", {"any": {"word": ["rate", "rates"]}}),
        top=[context],
        promoted=[OutputToken(" rates", 2.0), OutputToken("Rates", 1.0)],
        neighbours=[
            Relative(f"{hit.sae}/9", "mostly bank, loan … in texts with said", 0.4),
            Relative(f"{hit.sae}/10", "cars and driving", 0.1),
        ],
    )
    said = words(page(analysis, {hit.feature: feature}))
    for expected in ("the lending rate", "pushes the model to say next“rates”", "write alikebank, loan", "its rulethe word rate, rates"):
        assert expected in said, expected
    assert "cars and driving" not in said


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        (
            {"named_by": "reader", "name": "money"},
            "usually fits: somebody read where it fires and named it; what was tested is its rule, right at 0.94",
        ),
        ({"named_by": "reader", "name": "money", "label_method": "none"}, "not tested: somebody read where it fires"),
        (
            {"named_by": "reader", "name": "money", "name_score": 1.0, "name_evidence": 10},
            "sometimes fits: a second reader who saw only the name was right at 1.00 on 10",
        ),
        ({"named_by": "rule"}, "usually fits: the name is its rule in short, right at 0.94 on 128 held-out places"),
    ],
)
def test_an_opened_row_says_in_a_sentence_who_named_the_feature_and_what_was_tested(analysis: Analysis, changed, expected: str) -> None:
    text = analysis.texts[0]
    one = dataclasses.replace(text.features[0], **changed)
    assert expected in words(page(dataclasses.replace(analysis, texts=[dataclasses.replace(text, features=[one])], topics=[])))


def test_no_share_of_the_strongest_ever_seen_passes_all_of_it(analysis: Analysis) -> None:
    assert analysis.texts[2].features[0].relative > 1
    said = words(page(analysis))
    assert "112 %" not in said
    assert "stronger than ever in the atlas' text" in said


def test_what_a_feature_is_stands_once_and_is_linked_to(analysis: Analysis) -> None:
    hit = analysis.texts[0].features[0]
    again = dataclasses.replace(analysis, texts=[analysis.texts[0]] * 3, topics=[])
    (feature,) = known(hit.feature).values()
    feature = dataclasses.replace(feature, promoted=[OutputToken(" onlyhere", 1.0)], neighbours=[])
    parsed = Page(page(again, {hit.feature: feature}))
    assert "".join(parsed.text).count("onlyhere") == 1
    assert [a.get("href") for a in parsed.all("a")].count("#f0-0") == 2
    assert [a.get("id") for _, a in parsed.elements].count("f0-0") == 1
    assert words(page(again)).count("is said with text 1") == 2 * len(again.texts[0].features)


def test_an_address_is_short_to_see_and_whole_to_copy(analysis: Analysis) -> None:
    source = page(analysis)
    assert '<code><span class="vh">gemma-3-270m/resid_post.</span>12<span class="vh">/4k</span>/2817</code>' in source


def test_several_saes_stand_side_by_side(analysis: Analysis) -> None:
    source = page(analysis)
    assert source.count('class="about several"') == len([text for text in analysis.texts if text.features])
    first = source[source.index('id="text-0"') : source.index('id="text-1"')]
    assert first.index("layer 9, resid_post") < first.index("no label") < first.index("layer 12, resid_post") < first.index("central banks")


def test_topics_filter_their_texts_and_say_which_features_speak_for_them(analysis: Analysis) -> None:
    source = page(analysis)
    assert "body:has(#only-0:checked) .text:not(.in-0,:target,:has(:target)){display:none}" in source
    assert [a["class"] for a in Page(source).all("article")] == [f"text in-{k}" for k in (0, 1, 2, 0, "x", "x")]
    topic = source[source.index('id="topic-0"') : source.index('id="topic-1"')]
    assert 'href="#topic-0"' in source
    assert "interest rates and central banks" in topic


def test_many_texts_are_cut_off_and_that_is_said(analysis: Analysis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "MAX_TEXTS", 2)
    monkeypatch.setattr(notebook, "MAX_TEXTS", 2)
    assert "The first 2 texts are shown; 4 more are in the JSON output." in words(page(analysis))
    assert "4 more texts in the analysis" in words(fragment(analysis))
    assert len(Page(page(analysis)).all("article")) == 2


def test_empty_and_odd_numbers_do_not_break_the_page(analysis: Analysis) -> None:
    assert_safe(page(Analysis("m", [], [], [], [])))
    assert_safe(fragment(Analysis("m", [], [], [], [])))
    odd = analysis.texts[0].features[0]
    hits = [
        dataclasses.replace(odd, relative=r, activation=a)
        for r in (float("nan"), float("inf"), 0.0, -1.0)
        for a in (0.0, 1.0, float("nan"))
    ]
    hits.append(dataclasses.replace(odd, pos=99, activations={99: 1.0, -1: 2.0}, label_score=float("nan")))
    odd_text = dataclasses.replace(analysis.texts[0], features=hits, explained=-0.5)
    for render in (page, fragment):
        assert "−50 % explained" in words(render(dataclasses.replace(analysis, texts=[odd_text])))


def test_the_same_analysis_makes_the_same_bytes(analysis: Analysis) -> None:
    assert page(analysis) == page(analysis)
    assert analysis._repr_html_() == fragment(analysis)
    json.dumps(analysis.to_json())


def unlabelled(analysis: Analysis) -> Analysis:
    """What is found where no atlas knows the SAE: no labels, no topics."""
    texts = [
        dataclasses.replace(
            text,
            topic=None,
            topics=[],
            features=[dataclasses.replace(hit, label=None, label_score=None, label_method=None, label_evidence=0) for hit in text.features],
        )
        for text in analysis.texts
    ]
    return dataclasses.replace(
        analysis, saes=[{**sae, "labelled": False} for sae in analysis.saes], texts=texts, topics=[], limits=["no atlas"]
    )


@pytest.mark.parametrize("render", [page, fragment])
def test_without_an_atlas_nothing_is_said_of_labels_or_topics(render, analysis: Analysis) -> None:
    said = [re.sub(r"<style.*?</style>", "", render(one), flags=re.DOTALL) for one in (analysis, unlabelled(analysis))]
    known, unknown = (" ".join(assert_safe(source).text) for source in said)
    assert "topic" in known.lower()
    assert ("held-out" if render is page else "how far to rely on it") in known
    assert "topic" not in unknown.lower()
    assert "held-out" not in unknown
    assert unknown.count("no label") == sum(len(text.features) for text in analysis.texts)


def test_your_own_label_stands_in_place_of_the_atlas_and_has_no_score(renamed: Analysis, analysis: Analysis) -> None:
    source = page(renamed)
    assert source.count("<bdi>wages</bdi>") == 2  # the row, and once for the topic, which two features of that name carry
    assert source.count("<b>yours</b> · not tested") == 2  # there, and behind the row
    assert source.count("interest rates and central banks") < page(analysis).count("interest rates and central banks")
