"""True and false statements, as many of either, by topic; as JSON Lines.

    python examples/truth/statements.py teach > teach.jsonl      topics to learn from
    python examples/truth/statements.py try > try.jsonl          other topics, to try on what was learnt

A false statement has the second word of another true one of its topic. So no word tells a true statement from a false one.
"""

import json
import random
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

FACTS = Path(__file__).with_name("facts.toml")


def statements(part: str) -> Iterator[dict[str, str]]:
    """The statements of the topics of a part, ``teach`` or ``try``: ``text``, ``truth`` and ``topic``."""
    for topic in tomllib.loads(FACTS.read_text("utf-8"))["topic"]:
        if topic["part"] != part:
            continue
        firsts, seconds = zip(*topic["pairs"], strict=True)
        for truth, ends in (("true", seconds), ("false", dealt(seconds, topic["name"]))):
            for first, end in zip(firsts, ends, strict=True):
                yield {"text": topic["sentence"].format(first, end), "truth": truth, "topic": topic["name"]}


def dealt(words: tuple[str, ...], seed: str) -> list[str]:
    """The words in another order, none of them where it was."""
    rng, out = random.Random(seed), list(words)
    while any(one == other for one, other in zip(words, out, strict=True)):
        rng.shuffle(out)
    return out


if __name__ == "__main__":
    if sys.argv[1:] not in (["teach"], ["try"]):
        raise SystemExit(__doc__)
    for row in statements(sys.argv[1]):
        print(json.dumps(row))
