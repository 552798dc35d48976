"""Card: with what a result was made, so that somebody else can make it again."""

import hashlib
import platform
import shlex
import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hooke.model.carried import CARRIED
from hooke.sae import Sae, digest

_LIBRARIES = ("torch", "numpy", "scipy")


def card(models: Sequence[str], saes: Iterable[Sae], texts: Iterable[tuple[int, str]], seed: int) -> dict[str, Any]:
    """Versions, models, SAEs and texts with their digests, the seed, and the command where `hooke` was called as one.

    `texts` come with the numbers of their groups. A model's digest is known of those that packages carry.
    """
    corpus = hashlib.sha256()
    for place, text in texts:
        corpus.update(f"{place}\0{text}\0".encode("utf-8", "surrogatepass"))
    made = {
        "hooke": version("hooke"),
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in _LIBRARIES},
        "models": [{"name": name, "sha256": CARRIED[name].sha256 if name in CARRIED else None} for name in models],
        "saes": [{"name": sae.name, "sha256": digest(sae)} for sae in saes],
        "corpus_sha256": corpus.hexdigest(),
        "seed": seed,
    }
    if Path(sys.argv[0]).stem == "hooke" and sys.argv[1:2] != ["serve"]:  # the page says its own
        made["command"] = shlex.join(["hooke", *sys.argv[1:]])
    return made
