"""A page of the house: one HTML file that runs no script and opens no connection, with the house's style and a policy that says so."""

import base64
import hashlib
from importlib.resources import files

from hooke.atlas.sensitive import NOTE, SHOW
from hooke.text.markup import Child, Markup, join, tag

__all__ = ["document", "masthead", "veiled"]


def document(title: str, style: str, *body: Child) -> str:
    """The file: `body` under the house's style sheet and `style` after it, both finished CSS; nothing else is let load or run."""
    css = Markup(files("hooke.report").joinpath("house.css").read_text("utf-8") + style)
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", title),
        tag("style", css),
    )
    foot = tag("footer", "Made by Hooke. This file holds everything it shows; it opens no connection and runs no script.")
    return "<!doctype html>\n" + tag("html", head, tag("body", *body, foot), lang="en")


def masthead(heading: Child, lede: Child) -> Markup:
    """The top of a page: the house's mark, the choice of colours, what the page is, and, unless it is None, a sentence about it."""
    lens = tag(
        "svg", tag("circle", cx=10, cy=10, r=7), tag("circle", cx=10, cy=10, r=2.2, class_="dot"), viewBox="0 0 20 20", aria_hidden="true"
    )
    theme = [
        tag("label", tag("input", type="radio", name="theme", id=name, checked=name == "auto", autocomplete="off", class_="vh"), name)
        for name in ("auto", "light", "dark")
    ]
    return tag(
        "div",
        tag("p", lens, "Hooke", class_="brand"),
        tag("fieldset", tag("legend", "Colours", class_="vh"), theme, class_="theme"),
        tag("h1", join(heading)),
        None if lede is None else tag("p", join(lede), class_="lede"),
        class_="top",
    )


def veiled(*shown: Child) -> Markup:
    """Texts behind a sensitive feature: there, and not in sight before they are asked for."""
    return tag("div", tag("p", NOTE, class_="soft small"), tag("details", tag("summary", SHOW), *shown, class_="veiled"))
