"""The page in a real browser: looked at in every width and colour, used by keyboard, attacked, left in the middle.

Needs a Chromium; where there is none these are skipped.
"""

import json
import os
import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import handmade
import hostile
import planted
import pytest
import served
from piles import pile

from hooke import tiny
from hooke.serve.microscope import Microscope
from hooke.serve.session import API

pytest.importorskip("playwright", reason="the page's tests need playwright: make test installs it")
from playwright.sync_api import Browser, Page, expect, sync_playwright

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
AXE = Path(__file__).parents[2] / "web" / "node_modules" / "axe-core" / "axe.min.js"
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="the page's tests need a browser: apt-get install chromium")

SAE = tiny.sae().name
TEXT = "The bank raised its loan after the storm"
XSS = '"><img data-xss src=x onerror=alert(1)><script data-xss>alert(2)</script>\u202e${7*7}'
STATES = (
    "/",
    f"/?t={TEXT.replace(' ', '+')}",
    f"/?t=the+judge%0Athe+rain&lines=1&sae={SAE}",
    f"/f/{SAE}/0",
    f"/f/{handmade.FIRST}/1",
    f"/f/{handmade.FIRST}/3",
    f"/f/{SAE}/0?with={SAE}/2",
    "/features",
    f"/features?sort=density&up=1&sae={SAE}",
    "/features?q=nothing+has+this",
    "/search?q=sport",
    "/search?q=nowhere",
    "/lists",
    "/compare",
    "/saes",
    f"/saes/{SAE}",
    f"/steer?f={SAE}/1&p=the+mayor+says&dose=1&dose=2&tokens=8&temp=0.7&seed=3",
    "/layers?t=The+bank+and+the+storm&at=1",
    "/runs",
    "/f/no/resid_post.0/where/1",
    "/no/such-page",
)

LOOKED_INTO = [STATES[i] for i in (0, 1, 4, 6, 8, 10, 11, 12, 13, 14, 15, 16, 17, 18, 20)]
# A page in a browser costs a second of processor time: one of each kind every time, all of them with `make test-all`.
MORE = (
    "/features?kind=unclear",
    "/features?q=sport&sort=score",
    "/features?max_density=0.01&sort=label&up=1",
    "/features?rating=usually+fits",
    "/features?which=starred",
    "/search?q=sport&in=label",
    "/search?q=the&in=output",
    "/search?q=rocket+price",
    "/?t=the+bank&max_density=0.01",
    f"/?t=the+storm%0Athe+bank&sae={SAE}",
    "/layers?t=The+bank&b=The+storm",
    f"/f/{handmade.FIRST}/2?with={handmade.FIRST}/1",
    f"/steer?f={SAE}/1&f={SAE}/2&p=the+mayor&dose=-1&tokens=20&temp=0&seed=1",
)
BROUGHT_BACK = [
    path if i in (1, 6, 8, 10, 17) else pytest.param(path, marks=pytest.mark.exhaustive) for i, path in enumerate([*STATES[:18], *MORE])
]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[served.Desk]:
    """The planted model with its atlas, and a hostile atlas beside it."""
    folder = tmp_path_factory.mktemp("desk")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOOKE_HOME", str(folder / "home"))
        atlas = planted.write(folder / "atlas.sqlite")
        patch.setattr("hooke.analysis.labelled_sae.atlas_file", lambda _: atlas)
        with served.desk(folder, [atlas, handmade.write(folder / "hostile.sqlite")], served.tiny_microscope) as one:
            yield one


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


class Watched:
    """A page of the browser that remembers what went wrong in it."""

    def __init__(self, browser: Browser, desk: served.Desk, **options: Any) -> None:
        self.wrong: list[str] = []
        self._base = desk.session.address.rstrip("/")
        self._context = browser.new_context(**options)
        self._context.on("request", lambda asked: self._look(asked.url))
        self.page: Page = self._context.new_page()
        self.page.on("console", lambda told: self._hear(told.type, told.text))
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.wrong.append("dialog"), dialog.dismiss()))
        self.page.goto(desk.session.link())
        self.page.wait_for_selector(".model.ready")

    def _look(self, url: str) -> None:
        if not url.startswith((self._base, "data:", "blob:")):
            self.wrong.append(url)

    def _hear(self, kind: str, text: str) -> None:
        if kind == "error" and "status of 4" not in text:  # a browser says of every 404 that it was one
            self.wrong.append(text)

    def open(self, path: str) -> Page:
        self.page.goto(self._base + path)
        self.page.wait_for_selector("main :is(h1, .empty, .failed)", state="attached")
        expect(self.page.locator(".stale")).to_have_count(0, timeout=30_000)
        expect(self.page.locator("main")).not_to_contain_text("Opening")
        return self.page

    def open_whole(self, path: str) -> Page:
        """Open it, and wait for all that it asks the server for, what it reads included."""
        page = self.open(path)
        page.wait_for_load_state("networkidle")
        expect(page.locator(".stale")).to_have_count(0)
        return page

    def close(self) -> None:
        self._context.close()


@pytest.fixture(scope="module")
def seen(browser: Browser, desk: served.Desk) -> Iterator[Watched]:
    """One page for the tests that only look."""
    one = Watched(browser, desk, viewport={"width": 1280, "height": 800}, reduced_motion="reduce")
    yield one
    one.close()


@pytest.mark.parametrize("width", [320, *(pytest.param(width, marks=pytest.mark.exhaustive) for width in (360, 768, 1280))])
def test_a_tour_without_an_error_or_a_foreign_address(browser, desk, width):
    one = Watched(browser, desk, viewport={"width": width, "height": 800}, reduced_motion="reduce")
    for path in STATES:
        page = one.open_whole(path)
        for scheme in ("dark", "light"):
            page.emulate_media(color_scheme=scheme)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{path} is wider than {width}"
    one.close()
    assert one.wrong == []


@pytest.mark.exhaustive
@pytest.mark.skipif(not AXE.is_file(), reason="needs axe-core: npm ci in web")
@pytest.mark.parametrize("width", [1280, 320])
def test_nothing_serious_for_those_who_cannot_see_or_point(browser, desk, width):
    """In the dark by the rules that look at colours alone: it has the elements that the light has."""
    one = Watched(browser, desk, viewport={"width": width, "height": 900}, bypass_csp=True, reduced_motion="reduce")
    serious = []
    for path in LOOKED_INTO:
        page = one.open_whole(path)
        page.evaluate(AXE.read_text())
        for scheme, rules in (("light", {}), ("dark", {"runOnly": ["color-contrast", "link-in-text-block"]})):
            page.emulate_media(color_scheme=scheme)
            told = page.evaluate("rules => axe.run(document, {resultTypes: ['violations'], elementRef: false, ...rules})", rules)
            for kind in told["violations"]:
                if kind["impact"] in ("serious", "critical"):
                    serious.append((path, scheme, kind["id"], [node["html"][:160] for node in kind["nodes"][:2]]))
    one.close()
    assert serious == []


def test_the_key_leaves_the_address_and_without_it_the_page_is_locked(browser, desk):
    one = Watched(browser, desk)
    assert "#" not in one.page.url
    assert desk.session.token not in one.page.content()
    assert one.page.evaluate("document.cookie") == ""
    one.close()
    bare = browser.new_context().new_page()
    bare.goto(desk.session.address)
    expect(bare.get_by_role("heading", name="locked")).to_be_visible()
    bare.goto(desk.session.address + "features#k=wrong")
    expect(bare.get_by_role("heading", name="locked")).to_be_visible()
    bare.context.close()


def test_typing_reads_and_the_last_text_counts(seen):
    page = seen.open("/")
    box = page.get_by_label("Text to read")
    box.press_sequentially("the storm and the judge", delay=20)
    box.fill("the bank")
    expect(page.locator(".tokens")).to_have_text("the bank")
    assert "t=the+bank" in page.url
    finance = page.locator(".hit").filter(has_text="finance")
    expect(finance).to_be_visible()
    finance.hover()
    expect(page.locator(".token", has_text="bank").locator("span")).to_have_class("s5 peak ")
    page.mouse.move(0, 0)
    page.locator(".token", has_text="bank").click()
    page.mouse.move(0, 0)
    expect(page.get_by_role("heading", name="On this token")).to_be_visible()
    expect(page.locator(".hit").filter(has_text="finance")).to_be_visible()
    box.fill("")
    expect(page.locator(".tokens")).to_have_count(0)


def test_a_text_is_asked_for_within_a_fifth_of_a_second_after_the_last_key_and_older_answers_never_show(browser, desk):
    """The model is scripted: it takes its time for the first text. The page's clock stands still but where the test lets it go on."""
    one = Watched(browser, desk)
    page = one.page
    asked, slow = [], []

    def answer(route: Any) -> None:
        texts = route.request.post_data_json["texts"]
        asked.append(texts)
        if len(asked) == 1:
            slow.append(route)  # it is read for as long as anybody waits
            return
        told = desk.ask("POST", f"{API}/analyze", {"texts": texts})[1]
        route.fulfill(status=200, content_type="text/event-stream", body=told)

    page.route("**/analyze", answer)
    page.clock.install()
    page.clock.pause_at(page.evaluate("Date.now()") + 1000)
    box = page.get_by_label("Text to read")
    box.fill("the storm")
    page.clock.run_for(200)
    page.wait_for_timeout(50)
    assert asked == [["the storm"]]
    expect(page.locator(".controls [role=status]")).to_have_text("reading…")
    for letters in ("the b", "the ba", "the ban"):
        box.fill(letters)
        page.clock.run_for(50)
    box.fill("the bank")
    page.clock.run_for(199)
    expect(page.locator(".tokens")).to_have_text("the bank")
    assert asked == [["the storm"], ["the bank"]]  # nothing for what was typed in between
    page.unroute("**/analyze", answer)
    page.wait_for_timeout(50)
    assert page.locator(".tokens").inner_text() == "the bank"
    one.close()


def test_the_first_feature_tints_the_text_and_underlines_the_word_of_its_row(seen):
    page = seen.open_whole(f"/?t={TEXT.replace(' ', '+')}")
    assert page.locator(".hit:not(.head)").count() == 2
    for row in page.locator(".hit:not(.head)").all():
        row.hover()
        assert page.locator(".tokens .peak").all_inner_texts() == [row.locator(".at").inner_text()]
        assert row.locator("a").inner_text() in page.locator(".legend").inner_text()
    page.mouse.move(0, 0)
    assert page.locator(".tokens .peak").all_inner_texts() == [page.locator(".hit .at bdi").first.inner_text()]


def test_features_that_fire_everywhere_can_be_left_out(seen, desk):
    page = seen.open_whole(f"/?t={TEXT.replace(' ', '+')}")
    before = page.locator(".hit:not(.head) a").all_inner_texts()
    hits = dict(desk.stream("/analyze", {"texts": [TEXT]}))["text"]["result"]["about"]
    kept = [hit["name"] for hit in hits if hit["density"] <= 0.01]
    assert len(kept) < len(before) == len(hits)
    page.get_by_label("Leave out").select_option("0.01")
    expect(page.locator(".hit:not(.head)")).to_have_count(len(kept))
    assert "max_density=0.01" in page.url
    page.get_by_label("Leave out").select_option("0.1")
    expect(page.locator(".hit:not(.head) a")).to_have_text(before)
    page.get_by_label("Leave out").select_option("nothing")


@pytest.mark.parametrize("path", [f"/?t={TEXT.replace(' ', '+')}", "/search?q=sport+weather", "/features?sort=index"])
def test_rows_are_gathered_into_a_list(seen, desk, path):
    page = seen.open_whole(path)
    page.get_by_role("button", name="gather into a list").click()
    boxes = page.get_by_role("checkbox", name="Pick")
    names = [page.locator("main :is([data-row], .hit, .hits li) a").nth(i).get_attribute("href").removeprefix("/f/") for i in range(2)]
    for i in range(2):
        boxes.nth(i).check()
    page.get_by_placeholder("a list, old or new").fill("gathered")
    page.get_by_role("button", name="put 2 into it").click()
    expect(page.get_by_role("link", name="gathered")).to_be_visible()
    assert boxes.first.is_checked() is False
    for name in names:
        assert desk.get(f"/notes/{name}")["lists"] == ["gathered"]
        desk.ask("DELETE", f"{API}/lists/gathered/{name}", {})
    page.get_by_role("button", name="done").click()
    expect(boxes).to_have_count(0)


def test_a_long_text_has_a_short_address_and_comes_in_parts(seen):
    page = seen.open("/")
    text = "the bank and the storm of the judge\n" * 400
    page.get_by_label("Text to read").fill(text)
    page.get_by_role("button", name="one text").click()
    expect(page.locator(".texts")).to_contain_text("parts, each by itself")
    expect(page).to_have_url(re.compile(r"[?&]id=[0-9a-f]{16}"), timeout=30_000)
    expect(page.locator(".controls .bar")).to_have_count(0)
    kept = page.url.removeprefix(seen._base)
    page.get_by_role("button", name="clear").click()
    expect(page).not_to_have_url(re.compile("id="))
    page = seen.open(kept)
    expect(page.get_by_label("Text to read")).to_have_value(text)
    seen.open("/?id=0123")
    expect(page.get_by_role("alert")).to_contain_text("another machine")


def test_a_second_tab_is_told_and_keeps_what_was_typed(seen, desk):
    page = seen.open(f"/f/{SAE}/10")
    page.get_by_label("A note").fill("typed here")
    desk.ask("PUT", f"{API}/notes/{SAE}/10", {"label": "from elsewhere"})
    page.get_by_role("button", name="keep").click()
    expect(page.locator(".yours [role=status]")).to_contain_text("another tab")
    expect(page.get_by_label("Your name for it")).to_have_value("from elsewhere")
    expect(page.get_by_label("A note")).to_have_value("typed here")
    page.get_by_role("button", name="keep").click()
    expect(page.locator(".yours [role=status]")).to_have_text("kept")
    assert desk.get(f"/notes/{SAE}/10")["written"] == {"star": False, "label": "from elsewhere", "note": "typed here"}
    desk.ask("PUT", f"{API}/notes/{SAE}/10", {"label": "", "note": ""})


def test_by_keyboard_alone(seen):
    page = seen.open("/runs")
    page.keyboard.press("/")
    expect(page.locator("#words")).to_be_focused()
    page.keyboard.type("sport")
    expect(page.locator(".hits a").first).to_have_text("the word “sport”")
    page.locator("#words").press("Tab")
    for _ in range(8):
        if page.evaluate("document.activeElement.matches('.hits a')"):
            break
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("sport")
    index = list(tiny.concepts).index("sport")
    page.keyboard.press("]")
    expect(page).to_have_url(f"{seen._base}/f/{SAE}/{index + 1}")
    page.keyboard.press("[")
    expect(page).to_have_url(f"{seen._base}/f/{SAE}/{index}")
    page.keyboard.press("?")
    expect(page.get_by_role("heading", name="Keys", exact=True)).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.keyboard.press("g")
    page.keyboard.press("f")
    expect(page.get_by_role("table", name="Features")).to_be_visible()
    page.locator("[data-row] a").first.focus()
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement === document.querySelectorAll('[data-row] a')[1]")
    page.keyboard.press("g")
    page.keyboard.press("r")
    page.get_by_label("Text to read").fill(TEXT)
    page.locator(".token").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(page.locator(".token[aria-pressed=true]")).to_have_text("bank")
    page.keyboard.press("Escape")
    expect(page.locator(".token[aria-pressed=true]")).to_have_count(0)
    page.get_by_label("Text to read").fill("")


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def walk_to(page: Page, wanted: str, most: int = 40) -> None:
    """Tab until what `wanted` selects has the focus, as a person does who has no mouse."""
    page.locator(wanted).first.wait_for()
    for _ in range(most):
        if page.evaluate("wanted => document.activeElement.matches(wanted)", wanted):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"no {wanted} within {most} tabs of {page.url}")


def reads_a_text(page: Page, desk: served.Desk) -> None:
    press(page, "g", "r")
    walk_to(page, "#text")
    page.keyboard.type("the bank")
    expect(page.locator(".hit").filter(has_text="finance")).to_be_visible()


def holds_a_feature_to_tint_the_text(page: Page, desk: served.Desk) -> None:
    walk_to(page, ".pin")
    press(page, "Enter")
    expect(page.locator(".pin[aria-pressed=true]")).to_have_count(1)
    press(page, "Enter")


def looks_through_another_layer(page: Page, desk: served.Desk) -> None:
    page.locator("#text").focus()
    walk_to(page, ".controls .choice button")
    expect(page.locator(".controls .choice button:focus")).to_have_text("0")


def opens_a_feature_and_comes_back(page: Page, desk: served.Desk) -> None:
    page.locator("#text").focus()
    walk_to(page, ".hit a")
    press(page, "Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("finance")
    page.go_back()  # Alt and an arrow, which a browser without a window does not hear
    expect(page.get_by_label("Text to read")).to_have_value("the bank")


def finds_a_feature_by_words(page: Page, desk: served.Desk) -> None:
    page.keyboard.press("Escape")
    page.locator("main").focus()
    press(page, "/")
    page.keyboard.type("weather")
    walk_to(page, ".hits a")
    press(page, "Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("weather")


def stars_names_and_notes_it(page: Page, desk: served.Desk) -> None:
    walk_to(page, ".star")
    press(page, "Enter")
    expect(page.locator(".star")).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="name it, note it").press("Enter")
    expect(page.get_by_label("Your name for it")).to_be_focused()
    page.keyboard.type("storms of mine")
    press(page, "Tab")
    page.keyboard.type("seen by keyboard")
    press(page, "Tab", "Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("storms of mine")


def tries_it_on_a_sentence(page: Page, desk: served.Desk) -> None:
    page.get_by_label("Try it on your own sentence").focus()
    page.keyboard.type("the storm")
    expect(page.locator(".tryit .peak")).to_have_text("storm")


def finds_it_again_in_a_list(page: Page, desk: served.Desk) -> None:
    press(page, "Escape")
    page.locator("main").focus()
    press(page, "g", "l")
    expect(page.get_by_role("heading", level=1)).to_have_text("Lists")
    page.locator("main").focus()
    walk_to(page, ".lists-of a")
    press(page, "Enter")
    expect(page.locator("[data-row]")).to_contain_text(["storms of mine"])


def sorts_and_filters_the_features(page: Page, desk: served.Desk) -> None:
    page.locator("main").focus()
    press(page, "g", "f")
    expect(page.locator("[data-row]").nth(3)).to_be_visible()
    walk_to(page, ".filters input")
    page.keyboard.type("sport")
    expect(page.locator("[data-row]")).to_have_count(1)
    walk_to(page, ".row.head button")
    press(page, "Enter")
    expect(page.locator("[aria-sort=ascending], [aria-sort=descending]")).to_have_count(1)


def holds_two_features_against_each_other(page: Page, desk: served.Desk) -> None:
    press(page, "Control+k")
    page.keyboard.type("0/1")
    expect(page.get_by_role("option", name=f"{SAE}/1")).to_be_visible()
    press(page, "Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("sport")
    page.goto(f"{page.url}?with={SAE}/0")
    walk_to(page, "main a[href*='with=']")
    press(page, "Enter")
    expect(page.locator(".side .title")).to_have_text(["the word “finance”", "the word “sport”"])


def reads_what_an_sae_is(page: Page, desk: served.Desk) -> None:
    page.locator("main").focus()
    press(page, "g", "e")
    expect(page.get_by_role("heading", level=1)).to_have_text("Sparse autoencoders")
    page.locator("main").focus()
    walk_to(page, ".saes th a")
    press(page, "Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("features of layer 0")


def changes_the_colours_and_turns_single_keys_off(page: Page, desk: served.Desk) -> None:
    page.locator("main").focus()
    press(page, "t")
    expect(page.locator(":root")).to_have_attribute("data-theme", re.compile("light|dark"))
    press(page, "?")
    turn_single_keys(page, on=False)
    press(page, "/")
    expect(page).to_have_url(re.compile("/saes/"))
    page.get_by_role("button", name="Keys and help").press("Enter")
    turn_single_keys(page, on=True)
    press(page, "t", "t")


def turn_single_keys(page: Page, *, on: bool) -> None:
    """In the dialog that is open, which is closed when it is done: what is pressed next meets a page that has heard of it."""
    box = page.get_by_label("single keys do this")
    expect(box).to_be_checked(checked=not on)
    box.press("Space")
    expect(box).to_be_checked(checked=on)
    press(page, "Escape")
    expect(box).to_be_hidden()


TASKS = (
    reads_a_text,
    holds_a_feature_to_tint_the_text,
    looks_through_another_layer,
    opens_a_feature_and_comes_back,
    finds_a_feature_by_words,
    stars_names_and_notes_it,
    tries_it_on_a_sentence,
    finds_it_again_in_a_list,
    sorts_and_filters_the_features,
    holds_two_features_against_each_other,
    reads_what_an_sae_is,
    changes_the_colours_and_turns_single_keys_off,
)


def test_twelve_tasks_by_keyboard_alone(browser, desk):
    """One after the other in one page; steering, layers and piles are turned by keyboard in tests of their own."""
    one = Watched(browser, desk, viewport={"width": 1280, "height": 800}, reduced_motion="reduce")
    page = one.open("/runs")
    for task in TASKS:
        try:
            task(page, desk)
        except Exception as error:
            raise AssertionError(f"{task.__name__}: {error}") from error
    one.close()
    weather = f"{SAE}/{list(tiny.concepts).index('weather')}"
    kept = desk.get(f"/notes/{weather}")["written"]
    desk.ask("PUT", f"{API}/notes/{weather}", {"star": False, "label": "", "note": ""})
    assert kept == {"star": True, "label": "storms of mine", "note": "seen by keyboard"}
    assert one.wrong == []


def test_several_lines_are_texts_of_their_own_until_it_is_said_otherwise(seen):
    page = seen.open("/")
    box = page.get_by_label("Text to read")
    box.fill("the bank\nthe storm\nthe judge")
    expect(page.locator(".card")).to_have_count(3)
    page.get_by_role("button", name="one text").click()
    expect(page.locator(".card")).to_have_count(0)
    box.fill("the bank\nthe storm")
    expect(page.locator(".tokens")).to_have_count(1)
    page.get_by_role("button", name="clear").click()


def test_where_no_name_has_the_word_the_text_itself_can_be_read(seen):
    page = seen.open("/search?q=zebra")
    page.get_by_role("link", name="Read “zebra”").click()
    expect(page).to_have_url(f"{seen._base}/?t=zebra")


def test_what_is_named_so_stands_before_what_only_has_the_word_in_a_text(seen, desk):
    hits = desk.get("/search?q=sport&limit=60")["hits"]
    named = [hit["title"] for hit in hits if "label" in hit["found_in"]]
    page = seen.open("/search?q=sport")
    expect(page.get_by_role("list", name="Named so").get_by_role("listitem")).to_have_count(len(named))
    expect(page.get_by_role("list", name="Words found elsewhere").get_by_role("listitem")).to_have_count(len(hits) - len(named))
    expect(page.get_by_role("heading", name="Not named so")).to_have_count(1 if named and len(named) < len(hits) else 0)


def test_the_ratings_are_explained_where_they_are_asked_about_and_back_undoes_a_filter(seen):
    page = seen.open("/features")
    page.get_by_role("button", name="What do these ratings mean?").click()
    expect(page.get_by_role("heading", name="How far a name holds")).to_be_focused()
    expect(page.get_by_role("heading", name="How far a name holds")).to_be_in_viewport()
    page.keyboard.press("Escape")
    page.get_by_label("Its name").select_option("usually fits")
    expect(page).to_have_url(f"{seen._base}/features?rating=usually+fits")
    page.go_back()
    expect(page).to_have_url(f"{seen._base}/features")
    expect(page.get_by_label("Its name")).to_have_value("")


def test_the_palette_goes_anywhere_by_keyboard(seen):
    page = seen.open("/lists")
    page.keyboard.press("Control+k")
    box = page.get_by_role("combobox", name="Page, feature or words")
    expect(box).to_be_focused()
    box.fill("0/12")
    expect(page.get_by_role("option", name=f"{SAE}/12")).to_be_visible()
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{seen._base}/f/{SAE}/12")
    page.keyboard.press("Control+k")
    box.fill("sport")
    expect(page.get_by_role("option").first).to_contain_text("sport")
    expect(page.get_by_role("option", name="layer 0")).to_have_count(1)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{seen._base}/search?q=sport")
    page.keyboard.press("Control+k")
    page.keyboard.press("Escape")
    expect(box).to_have_count(0)


def test_two_piles_are_compared_and_the_address_brings_the_result_back(browser, desk):
    one = Watched(browser, desk, viewport={"width": 320, "height": 800}, bypass_csp=True, reduced_motion="reduce")
    page = one.open("/lists")
    page.keyboard.press("g")
    page.keyboard.press("c")
    expect(page.get_by_role("button", name="Compare")).to_be_disabled()
    for n, (name, share, seed) in enumerate((("back page", 0.8, 1), ("front page", 0.1, 2)), 1):
        page.get_by_label(f"Name of pile {n}").fill(name)
        page.get_by_label(f"Texts of pile {n}").fill("\n".join(pile("sport", 40, share, seed)))
    page.get_by_role("button", name="Compare").press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("What differs: back page, front page", timeout=60_000)
    expect(page.locator(".differences > p").first).to_contain_text("What this sample can show")
    expect(page.locator(".in-short")).to_contain_text(
        "back page is more often about the word “sport” (fires in 80\u202f% of texts, 10\u202f% of front page)"
    )
    row = page.locator("details.finding").first
    expect(row.locator("summary")).to_contain_text("sport")
    row.locator("summary").press("Enter")
    assert row.locator("mark").first.inner_text().strip() in tiny.concepts["sport"]
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    if AXE.is_file():
        page.evaluate(AXE.read_text())
        told = page.evaluate("axe.run(document, {resultTypes: ['violations'], elementRef: false})")["violations"]
        assert [kind["id"] for kind in told if kind["impact"] in ("serious", "critical")] == []
    seen_rows = page.locator("details.finding").count()
    page.get_by_text("By kind, and beside plain words").click()
    page.get_by_role("button", name="as a table").click()
    expect(page.locator("table.findings tbody tr").first).to_contain_text("sport")
    one.open(page.url.removeprefix(one._base))
    expect(page.locator("details.finding")).to_have_count(seen_rows)
    page.locator("details.finding summary").first.click()
    page.get_by_role("button", name="read it").first.click()
    expect(page.locator(".tokens")).not_to_be_empty()
    one.open("/compare?id=0123")
    expect(page.get_by_role("alert")).to_contain_text("is kept")
    one.close()
    assert one.wrong == []


def test_piles_alike_show_what_comes_nearest_and_how_many_texts_would_tell(seen):
    page = seen.open("/compare")
    for n, seed in ((1, 1), (2, 5)):
        page.get_by_label(f"Texts of pile {n}").fill("\n".join(pile("sport", 16, 0.4, seed)))
    expect(page.get_by_role("form").get_by_role("status")).to_have_text("32 texts: few, so that only large differences will show")
    page.get_by_role("button", name="Compare").click()
    told = page.locator(".differences")
    expect(told).to_contain_text("texts in each", timeout=60_000)
    expect(told.locator(".nearest")).to_contain_text("None of these counts as a difference")
    rows = told.locator(".nearest details.finding")
    assert rows.count() > 0
    assert rows.count() == told.locator(".nearest .finding .forest.weak").count()


def test_two_features_side_by_side(seen):
    page = seen.open(f"/f/{SAE}/0?with={SAE}/1")
    expect(page.locator(".side .title")).to_have_text(["the word “finance”", "the word “sport”"])
    page.get_by_role("link", name="swap").click()
    expect(page.locator(".side .title")).to_have_text(["the word “sport”", "the word “finance”"])
    seen.open(f"/f/{SAE}/0?with={SAE}/999")
    expect(page.get_by_role("alert")).to_contain_text("999")


def test_a_sentence_of_ones_own_on_a_feature(seen):
    page = seen.open(f"/f/{SAE}/0")
    page.get_by_label("Try it on your own sentence").fill("the profit of the storm")
    expect(page.locator(".tryit .peak")).to_have_text("profit")
    expect(page.locator(".tryit [role=status]")).to_contain_text("profit")
    page.get_by_label("Try it on your own sentence").fill("the storm")
    expect(page.locator(".tryit [role=status]")).to_have_text("It stays silent.")


def test_a_feature_is_turned_by_keyboard_beside_a_control(seen):
    page = seen.open(f"/f/{SAE}/1")
    page.get_by_role("link", name="steer this").click()
    expect(page.locator(".picker .chip")).to_contain_text("sport")
    page.get_by_role("searchbox", name="Feature").fill("weather")
    expect(page.locator(".offered li button")).to_contain_text("weather")
    page.keyboard.press("Enter")
    expect(page.locator(".picker .chip")).to_have_count(2)
    page.get_by_role("button", name="Leave out").last.press("Enter")
    page.get_by_text("40 words, usual choice").press("Enter")
    page.get_by_role("button", name="strength", exact=True).press("Enter")
    page.get_by_role("button", name="4×", exact=True).press("Enter")
    page.get_by_role("button", name="1×", exact=True).press("Enter")
    page.get_by_role("button", name="20", exact=True).press("Enter")
    page.get_by_label("Text to go on from").fill("the mayor says that the")
    page.keyboard.press("Control+Enter")
    expect(page.locator(".note")).to_contain_text("altered: not what the model says by itself", timeout=30_000)
    expect(page.locator(".arm h2")).to_contain_text(["The model by itself", "Turned, 4×", "Control", "Asked for in words"])
    page.locator(".arm.steered summary").click()
    words = page.locator(".arm.steered tbody td:first-child").all_inner_texts()
    assert sum(word.strip().lower() in tiny.concepts["sport"] for word in words) > len(words) / 2
    assert f"f={SAE.replace('/', '%2F')}%2F1" in page.url
    assert "dose=4" in page.url


def test_what_is_loaded_the_first_time_is_said_in_a_bar(seen, monkeypatch):
    gate = threading.Event()

    def slowly(microscope):
        while not gate.wait(0.05):
            microscope.tell("loading", {"share": 0.4})
        yield from ()

    monkeypatch.setattr(Microscope, "whole", slowly)
    try:
        page = seen.page
        page.goto(f"{seen._base}/steer?f={SAE}/1&p=the+mayor&dose=1&tokens=2")
        expect(page.locator(".steer form .actions > [role=status]")).to_contain_text("loading what writes, the first time only: 40\u202f%")
        expect(page.locator(".steer form .bar > span")).to_have_attribute("style", "width: 40%;")
    finally:
        gate.set()
    expect(page.locator(".steer .note")).to_be_visible(timeout=30_000)


def test_words_that_rise_from_next_to_nothing_are_said_with_how_far(seen, desk):
    head, chances = desk.get(f"/features/{SAE}/1"), {"before": 1.6e-5, "after": 9.4e-3}

    def answer(route):
        said = chances | {"rise": {"mean": 8.3, "low": 7.3, "high": 9.3}}
        dose = {"dose": 1, "kl": {"mean": 0.5, "low": 0.4, "high": 0.7}, "kl_random": [1, 1.4], "lowered": [], "held": []}
        head["feature"]["effect"] = {"doses": [dose | {"raised": [{"token": 1, "text": " Earth"} | said]}]}
        route.fulfill(json=head | {"kind": "reads"})

    page = seen.page
    page.route(re.compile(rf"/features/{SAE}/1$"), answer)
    try:
        page.goto(f"{seen._base}/f/{SAE}/1")
        expect(page.locator(".lede")).to_contain_text(
            "makes “Earth” likelier (“Earth” 590 times, to 0.94\u202f%). A random push as strong may raise other words as far"
        )
        expect(page.locator("table.effect")).to_contain_text("Earth")
        chances |= {"before": 3.8e-4, "after": 8.4e-4}  # twice next to nothing is nothing that anybody would meet
        page.goto(f"{seen._base}/features")
        page.goto(f"{seen._base}/f/{SAE}/1")
        expect(page.locator(".lede")).to_contain_text("no more than chance would")
        expect(page.locator("section", has=page.get_by_role("heading", name="What it makes the model say next"))).to_contain_text(
            "do not surely gain more"
        )
    finally:
        page.unroute_all()


def test_the_plain_text_stands_while_the_dose_is_looked_for_and_nothing_moves(seen):
    page = seen.open(f"/steer?f={SAE}/1&tokens=6")
    page.get_by_role("button", name="Yesterday in the city").click()
    page.get_by_label("Text to go on from").fill("the mayor says that the")
    before = page.locator(".primary").bounding_box()
    page.evaluate("""() => {
        window.told = [];
        const look = () => window.told.push([
            document.querySelector(".arm.clean .passage")?.textContent ?? "", document.querySelectorAll(".arm").length,
            document.querySelector(".actions [role=status]").textContent]);
        new MutationObserver(look).observe(document.querySelector("main"), {subtree: true, childList: true, characterData: true});
    }""")
    page.get_by_role("button", name="Write").click()
    expect(page.locator(".note")).to_be_visible(timeout=30_000)
    told = page.evaluate("window.told")
    looking = [one for one in told if "how far to turn" in one[2]]
    assert looking
    assert all(text.startswith("the mayor says that the ") and arms == 4 for text, arms, _ in looking)
    assert len({text for text, _, _ in looking}) == 1  # all of it, before the first attempt
    assert page.locator(".primary").bounding_box() == before


def test_features_that_write_some_words_are_found_by_measuring_on_the_page(seen):
    page = seen.open("/steer")
    page.get_by_role("searchbox", name="Feature").fill("goal, match")
    page.get_by_role("button", name="Find what makes the model write").click()
    expect(page.locator(".writers .chip").first).to_contain_text("sport", timeout=30_000)
    page.locator(".writers .chip").first.click()
    expect(page.locator(".picker li.chip")).to_contain_text("sport")
    page.get_by_role("searchbox", name="Feature").fill("zzzz")
    page.get_by_role("button", name="Find what makes the model write").click()
    expect(page.locator(".writers")).to_contain_text("no single token")


def test_a_text_is_followed_through_the_layers_by_keyboard(seen):
    page = seen.open("/layers")
    page.get_by_label("Text to follow").fill("The bank and the storm")
    page.keyboard.press("Enter")
    expect(page.locator(".followed")).to_have_count(0)
    expect(page.locator(".movie .of a")).to_contain_text(["finance"], timeout=30_000)
    expect(page.locator(".stale")).to_have_count(0, timeout=30_000)
    page.locator(".movie [tabindex='0']").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    expect(page.locator(".followed h2")).to_contain_text("bank")
    expect(page.locator(".followed tbody tr")).to_have_count(2)
    assert "at=1" in page.url
    page.keyboard.press("Enter")
    expect(page.locator(".followed")).to_have_count(0)
    page.keyboard.press("d")
    page.get_by_label("Second text").fill("The judge and the storm")
    page.keyboard.press("Enter")
    expect(page.locator(".movie thead .other")).to_have_text(["judge"])
    expect(page.locator(".stale")).to_have_count(0, timeout=30_000)
    page.locator(".movie [tabindex='0']").press("Enter")
    expect(page.locator(".followed tbody tr")).to_have_count(2)
    page.get_by_role("button", name="only one text").click()
    expect(page.locator(".movie thead .other")).to_have_count(0)
    expect(page.locator(".stale")).to_have_count(0, timeout=30_000)


def test_what_you_write_is_kept_and_shown(seen, desk):
    page = seen.open(f"/f/{SAE}/9")
    page.get_by_role("button", name="Star").click()
    expect(page.get_by_role("button", name="Star")).to_have_attribute("aria-pressed", "true")
    page.get_by_label("Your name for it").fill("my own")
    page.get_by_role("button", name="keep").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("my own")
    page.get_by_label("Put it into a list").fill("to show")
    page.get_by_role("button", name="add").click()
    expect(page.get_by_role("link", name="to show")).to_be_visible()
    page = seen.open("/lists")
    page.get_by_role("link", name="to show").click()
    expect(page.locator("[data-row] a")).to_have_text(["my own"])
    desk.ask("PUT", f"{API}/notes/{SAE}/9", {"star": False, "label": ""})
    desk.ask("DELETE", f"{API}/lists/to%20show/{SAE}/9", {})


def test_hostile_text_becomes_no_element(seen, desk):
    name = f"{handmade.FIRST}/3"
    desk.ask("PUT", f"{API}/notes/{name}", {"star": True, "label": XSS[:150], "note": XSS * 5})
    listed = "%22%3E%3Cimg%20data-xss%20src=x%3E"
    desk.ask("PUT", f"{API}/lists/{listed}/{name}", {})
    seen.wrong.clear()
    typed = "/?t=%3Cimg data-xss src=x onerror=alert(1)%3E"
    for path in (f"/f/{name}", "/features?which=starred", "/lists", "/search?q=hostile", "/search?q=img", typed):
        page = seen.open_whole(path)
        assert page.locator("[data-xss], main script, .passage b, main b b").count() == 0, path
        assert "\u202e" not in "".join(page.locator("h1, .label").all_inner_texts())
    assert seen.wrong == []
    desk.ask("PUT", f"{API}/notes/{name}", {"star": False, "label": "", "note": ""})
    desk.ask("DELETE", f"{API}/lists/{listed}/{name}", {})


@pytest.mark.parametrize("part", [0, *(pytest.param(part, marks=pytest.mark.exhaustive) for part in range(1, 5))])
def test_300_hostile_texts_are_read_and_named_and_stay_text(browser, desk, part):
    """Pasted into Read, and given to features as names of one's own: what is shown is text, no character hides or moves another."""
    one = Watched(browser, desk, viewport={"width": 1000, "height": 4000}, reduced_motion="reduce")
    mine = hostile.ALL[part::5]
    page = one.open("/")
    lines = [line[:140] for text in mine for line in re.split(r"[\r\n\u2028\u2029]", text) if line.strip()]
    page.evaluate(
        """text => { const box = document.getElementById("text");
        Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, "value").set.call(box, JSON.parse(text));
        box.dispatchEvent(new Event("input", {bubbles: true})); }""",
        json.dumps("\n".join(lines)),
    )
    expect(page.locator(".controls [role=status]")).to_contain_text("read in", timeout=60_000)
    assert page.locator(".card").count() > 0.9 * len(lines)  # one that is nothing but spaces to a browser is no text
    looked_through(page)
    for index, text in enumerate(mine):
        status, told, _ = desk.ask("PUT", f"{API}/notes/{SAE}/{index}", {"label": text})
        assert status == 200 or (status in (400, 413) and told["detail"].endswith(".")), (text[:80], told)
    page = one.open("/features?which=noted")
    expect(page.locator("[data-row]").first).to_be_visible()
    looked_through(page)
    for index in range(len(mine)):
        desk.ask("PUT", f"{API}/notes/{SAE}/{index}", {"label": ""})
    one.close()
    assert one.wrong == []


def looked_through(page: Page) -> None:
    """No element came out of a text, and no character that hides or moves others stands where it can be seen."""
    assert page.locator("[data-xss], main :is(iframe, base, link, style, script, object, form[action])").count() == 0
    assert re.findall("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]", "".join(shown(page))) == []


def shown(page: Page) -> list[str]:
    """What the page says once it says nothing new for a quarter of a second, less how long that took."""
    before, now = None, page.locator("main").inner_text()
    while now != before:
        page.wait_for_timeout(250)
        before, now = now, page.locator("main").inner_text()
    return [line for line in now.splitlines() if " ms" not in line]


@pytest.mark.parametrize("path", BROUGHT_BACK)
def test_an_address_brings_back_what_was_seen(seen, path):
    page = seen.open_whole(path)
    before, told = page.url, shown(page)
    page.goto("about:blank")
    seen.open_whole(before.removeprefix(seen._base))
    assert (page.url, shown(page)) == (before, told)


def test_an_address_from_another_atlas_is_said(seen):
    page = seen.open(f"/f/{handmade.FIRST}/1?made=0123abcd")
    expect(page.get_by_role("alert")).to_contain_text("another atlas")


def test_a_wrong_address_says_what_was_asked_and_finds_what_was_meant(seen, desk):
    assert [desk.ask("GET", path)[0] for path in ("/sport", "/no/such-page", "/nothing.js", "/api/nothing")] == [404] * 4
    page = seen.open("/sport")
    expect(page.get_by_role("heading", level=1)).to_have_text("Nothing is at this address")
    expect(page.locator(".lost code").first).to_have_text("/sport")
    page.get_by_role("link", name="the word “sport”").click()
    expect(page).to_have_url(f"{seen._base}/f/{SAE}/{list(tiny.concepts).index('sport')}")
    page = seen.open("/f/0/12")
    expect(page.locator(".related a").first).to_have_attribute("href", f"/f/{SAE}/12")
    page = seen.open(f"/f/{SAE}/999")
    expect(page.locator(".lost")).to_contain_text("999")
    page.get_by_label("Find what you meant").fill("sport")
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{seen._base}/search?q=sport")


def test_a_server_that_is_gone_is_said(browser, tmp_path):
    with served.desk(tmp_path, [planted.write(tmp_path / "a.sqlite")]) as one:
        page = browser.new_context().new_page()
        page.goto(one.session.link("features"))
        page.locator("[data-row] a").first.wait_for()
    page.get_by_label("Words in the name").fill("sport")
    expect(page.get_by_role("alert")).to_contain_text("hooke serve")
    page.context.close()
