"""Worked comparisons: what `hooke diff --json` or `hooke audit --json` found in a public set, kept as figures, and the tables and pictures
that the pages in `docs/audits` show of them.

    hooke diff clickbait.jsonl --by group --json > found.json
    python docs/worked.py clickbait found.json          # writes docs/audits/clickbait.json
    make docs                                           # and the page's tables and picture out of it

What is kept has no text of the set, only names, shares and digests: some sets state no licence.
"""

import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from hooke.differences.result import Confounder, Differences, Excerpt, Finding, Replication
from hooke.files import atomic_write
from hooke.report import differences_wording as wording
from hooke.text.figures import share
from hooke.text.marks import stripped
from hooke.text.markup import Child, Markup, tag

FOLDER = Path(__file__).resolve().parent / "audits"
BEGIN, END = "<!-- figures -->\n", "<!-- end of figures -->\n"
_KINDS = (("feature", "about", 6), ("feature", "words", 6), ("topic", None, 3), ("word", None, 8))
"""Kind, group and number of the findings of each side that are kept."""
_PICTURED = 6
_STYLE = """
svg { font: 13px system-ui, sans-serif } text { fill: #333 } .soft { fill: #666 } .line { stroke: #999 }
.a { stroke: #0b6bcb; fill: #0b6bcb } .b { stroke: #b4471b; fill: #b4471b } .mark { stroke-width: 2 } .weak { fill: #fff }
@media (prefers-color-scheme: dark) {
  text { fill: #ddd } .soft { fill: #aaa } .line { stroke: #777 }
  .a { stroke: #7ab8ff; fill: #7ab8ff } .b { stroke: #ff9d73; fill: #ff9d73 } .weak { fill: #111 }
}
"""


def kept(found: dict[str, Any]) -> dict[str, Any]:
    """What a page shows of a comparison's or an audit's JSON."""
    made = {name: found["made"][name] for name in ("hooke", "models", "saes", "corpus_sha256", "seed") if name in found["made"]}
    if "findings" not in found:
        return {"rows": found["rows"], "groups": found["groups"], "texts": found["texts"], "units": found["units"], "made": made}
    result = _result(found)
    sides = [
        {"name": name, "other": other, "findings": [_row(one) for kind in _KINDS for one in wording.listed(own, *kind)[0]]}
        for name, other, own in wording.sides(result)
    ]
    return {
        "groups": result.groups,
        "able": wording.able(result),
        "summary": wording.summary(result),
        "notes": [note for note in result.notes if "pip install" not in note],
        "replication": found["replication"],
        "sides": sides,
        "confounders": [[one.name, one.said, wording.of_confounder(one), wording.kept(one)] for one in result.confounders],
        "baselines": {name: wording.auc(row) for name, row in result.baselines.items()},
        "made": made,
    }


def _result(found: dict[str, Any]) -> Differences:
    fields = {name: value for name, value in found.items() if name != "schema_version"}
    findings = [Finding(**{**one, "excerpts": [Excerpt(**own) for own in one["excerpts"]]}) for one in found["findings"]]
    confounders = [Confounder(**one) for one in found["confounders"]]
    return Differences(**fields | {"findings": findings, "confounders": confounders, "replication": Replication(**found["replication"])})


def _row(one: Finding) -> dict[str, Any]:
    return {
        "kind": one.kind,
        "name": stripped(one.name),
        "feature": one.feature.rpartition("resid_post.")[2].replace("/8k/", "/") if one.kind == "feature" else None,
        "shares": [round(value, 3) for value in one.groups.values()],
        "effect": [round(value, 4) for value in (one.effect, one.low, one.high)],
        "q": wording.q(one.q),
        "held": wording.held(one),
        "beyond": bool(one.beyond_words),
        "weak": wording.fragile(one),
        "doubtful": wording.doubtful(one),
    }


def page(text: str, facts: dict[str, Any], name: str) -> str:
    """A page with its figures as `facts` has them."""
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return "".join([head, BEGIN, "\n", "\n\n".join(block(facts, name)), "\n\n", END, tail])


def block(facts: dict[str, Any], name: str) -> Iterator[str]:
    """The tables of a page."""
    if "rows" in facts:
        yield from _audited(facts)
        return
    yield "*" + _plain(facts["able"]) + "*"
    yield _plain(" ".join(facts["summary"]))
    yield from map(_plain, facts["notes"])
    if facts["sides"]:
        yield f"![Differences with their intervals, in points]({name}.svg)"
    groups = [_cell(group["name"]) for group in facts["groups"]]
    counted = [f"{group} ({one['texts']:,})" for group, one in zip(groups, facts["groups"], strict=True)]
    for side in facts["sides"]:
        rows = [one for one in side["findings"] if one["kind"] != "word"]
        title = f"**More often in {_cell(side['name'])}** than in {_cell(side['other'])}"
        yield (
            _table([title, *counted, "points [95 %]", "q", "other half", ""], [_finding(one) for one in rows])
            if rows
            else f"{title}: nothing."
        )
    words = [(side, [one for one in side["findings"] if one["kind"] == "word"]) for side in facts["sides"]]
    said = [f"- more in {_cell(side['name'])}: " + "; ".join(map(_word, own)) for side, own in words if own]
    yield "**Plain words alone find**" + (":\n\n" + "\n".join(said) if said else " nothing.")
    yield _table(["telling the groups apart on unseen texts", "pairs told apart (100 AUC) [95 %]"], facts["baselines"].items())
    yield _table(["what else differs", "in the groups", "with that held fixed"], [[row[0], *row[2:]] for row in facts["confounders"]])
    yield _made(facts)


def _finding(one: dict[str, Any]) -> list[str]:
    name = _cell(one["name"]) + (f" `{one['feature']}`" if one["feature"] else "")
    marks = ["**+**"] * one["beyond"] + [f"not with {', '.join(one['weak'])} fixed"] * bool(one["weak"])
    return [name, *map(share, one["shares"]), _points(one["effect"]), one["q"], one["held"], " ".join(marks)]


def _points(ends: Sequence[float]) -> str:
    value, low, high = map(wording.points, ends)
    return f"{value} [{low}, {high}]"


def _word(one: dict[str, Any]) -> str:
    return f"*{_cell(one['name'])}* {wording.points(one['effect'][0])}"


def _audited(facts: dict[str, Any]) -> Iterator[str]:
    a, b = facts["groups"]
    yield f"{facts['texts']:,} texts, {facts['units']:,} pairs."
    head = ["pairs", "nats a token, " + a, b, "difference [95 %]", "size (d)", "q"]
    rows = []
    for row in facts["rows"]:
        ends = f"{_signed(row['effect'])} [{_signed(row['low'])}, {_signed(row['high'])}]"
        means = [f"{row['means'][name]:.3f}" for name in (a, b)]
        rows.append([row.get("of", "all"), *means, ends, f"{row['size']:+.2f}".replace("-", "−"), wording.q(row["q"])])
        rows += [[f"of these, {kind}", "", "", _signed(effect), "", ""] for kind, effect in row["wordings"].items()]
    yield _table(head, rows)
    yield _made(facts)


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")


def _made(facts: dict[str, Any]) -> str:
    made = facts["made"]
    digests = ", ".join(f"{one['name']} (`{_digest(one)}`)" for one in [*made["models"], *made.get("saes", [])])
    return f"Made with Hooke {made['hooke']}, {digests}, texts `{made['corpus_sha256'][:12]}`, seed {made['seed']}."


def _digest(one: dict[str, Any]) -> str:
    return next(str(value)[:12] for key, value in one.items() if "sha256" in key or key == "revision")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_plain(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    """Text as Markdown that shows it as it is."""
    return re.sub(r"([\\|*_`<\[\]])", r"\\\1", text)


def _plain(text: str) -> str:
    return re.sub(r"(?<=\d)\u202f(?=\d)", ",", text).replace("\u202f", " ")


def picture(facts: dict[str, Any]) -> str:
    """The first findings of each side as a forest plot: a dot a finding, a line its interval; hollow where another thing may explain it."""
    rows = []
    for sign, side in zip((1, -1), facts["sides"], strict=True):
        own = [one for one in side["findings"] if one["kind"] != "word"]
        rows += [(one, sign) for one in sorted(own, key=lambda one: -one["effect"][1])[:_PICTURED]]
    a, b = (side["name"] for side in facts["sides"])
    most = max(max(map(abs, one["effect"])) for one, _ in rows)
    reach = min(1.0, -(-most // 0.2) * 0.2)
    height = 26 * len(rows) + 64

    def x(value: float) -> float:
        return round(520 + 220 * max(-1.0, min(1.0, value / reach)), 1)

    def line(at: float, y: float, end: float, y_end: float, class_: str) -> Markup:
        return tag("path", d=f"M{at} {y}L{end} {y_end}", class_=class_, fill="none")

    drawn: list[Child] = [
        tag("style", Markup(_STYLE)),
        tag("text", f"← more in {b}", x=510, y=18, class_="soft", text_anchor="end"),
        tag("text", f"more in {a} →", x=530, y=18, class_="soft"),
        line(x(0), 28, x(0), height - 30, "line"),
    ]
    for value in (-reach, -reach / 2, 0, reach / 2, reach):
        drawn.append(tag("text", wording.points(value) if value else "0", x=x(value), y=height - 10, class_="soft", text_anchor="middle"))
    for at, (one, sign) in enumerate(rows):
        y, side = 44 + 26 * at, "a" if sign > 0 else "b"
        value, low, high = (sign * part for part in one["effect"])
        drawn.append(tag("text", one["name"][:44], x=285, y=y + 4, text_anchor="end"))
        drawn.append(line(x(low), y, x(high), y, f"mark {side}"))
        hollow = " weak" if one["doubtful"] else ""
        drawn.append(tag("circle", cx=x(value), cy=y, r=4.5, class_=f"mark {side}{hollow}"))
    said = f"What is more frequent in {a} (right) and in {b} (left), in points, with 95 % intervals"
    return str(tag("svg", *drawn, xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 760 {height}", role="img", aria_label=said)) + "\n"


def pages() -> dict[Path, str]:
    """Every worked page and its picture, as their figures make them."""
    made = {}
    for path in sorted(FOLDER.glob("*.json")):
        facts, text = json.loads(path.read_text()), path.with_suffix(".md")
        made[text] = page(text.read_text(), facts, path.stem)
        if facts.get("sides"):
            made[path.with_suffix(".svg")] = picture(facts)
    return made


def main() -> None:
    """Keep what was found in a set; of several audits (``NAME FOUND OF FOUND OF ...``) each with what it was of."""
    name, first, *more = sys.argv[1:]
    facts = kept(json.loads(Path(first).read_text()))
    for of, path in zip(more[::2], more[1::2], strict=True):
        facts["rows"] += [row | {"of": of} for row in json.loads(Path(path).read_text())["rows"]]
    with atomic_write(FOLDER / f"{name}.json") as file:
        file.write(json.dumps(facts, indent=1, ensure_ascii=False).encode() + b"\n")


if __name__ == "__main__":
    main()
