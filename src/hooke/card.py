"""Card: with what something was made, so that somebody else can make it again."""

import hashlib
import platform
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hooke.files import sha256
from hooke.model import Model
from hooke.model.carried import CARRIED
from hooke.sae import Sae, digest

_LIBRARIES = ("torch", "numpy", "scipy", "transformers")


def card(models: Iterable[Mapping[str, Any]], saes: Iterable[Sae], read: Iterable[bytes], seed: int) -> dict[str, Any]:
    """Versions, models (`identified`), SAEs and what was `read` with their digests, the seed, and the command where `hooke` was called
    as one."""
    corpus = hashlib.sha256()
    for piece in read:
        corpus.update(piece)
    made = {
        "hooke": version("hooke"),
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in _LIBRARIES},
        "models": [dict(one) for one in models],
        "saes": [{"name": sae.name, "sha256": digest(sae)} for sae in saes],
        "corpus_sha256": corpus.hexdigest(),
        "seed": seed,
    }
    program = Path(sys.argv[0])
    called = program.stem == "hooke" or program.parts[-2:] == ("hooke", "__main__.py")
    if called and sys.argv[1:2] != ["serve"]:  # the page says its own
        made["command"] = shlex.join(["hooke", *sys.argv[1:]])
    return made


def identified(model: Model) -> dict[str, Any]:
    """Which model: of a carried one the digest of the file that packages carry, of one from a hub its commit, of a folder the digest of
    the names and digests of its weights."""
    if model.ref in CARRIED:
        return {"name": model.name, "sha256": CARRIED[model.ref].sha256}
    if model.ref is None:
        return {"name": model.name, "sha256": None}
    if not (folder := Path(model.ref)).is_dir():
        return {"name": model.name, "commit": getattr(model.hf.config, "_commit_hash", None)}
    weights = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        weights.update(f"{path.name}\0{sha256(path)}\0".encode())
    return {"name": model.name, "sha256": weights.hexdigest()}


def of_groups(texts: Iterable[tuple[int, str]]) -> Iterator[bytes]:
    """Texts, each with the number of its group, as a card takes what was read."""
    for place, text in texts:
        yield f"{place}\0{text}\0".encode("utf-8", "surrogatepass")
