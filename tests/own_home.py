"""A home of the tests' own, for whoever runs them may have built atlases and written notes. The converted model alone is shared."""

import os
import shutil
import tempfile
from pathlib import Path

import platformdirs

_MODELS = Path("cache", "models")


def make() -> None:
    """Turn this process, and all that it starts, to a new home."""
    before = os.environ.get("HOOKE_HOME")
    models = Path(before) / _MODELS if before else Path(platformdirs.user_cache_dir("hooke", appauthor=False)) / _MODELS.name
    models.mkdir(parents=True, exist_ok=True)
    home = Path(tempfile.mkdtemp(prefix="hooke-tests-"))
    (home / _MODELS.parent).mkdir()
    (home / _MODELS).symlink_to(models.absolute())
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        os.environ.pop(name, None)
    os.environ.update(HOOKE_HOME=str(home), HF_HOME=str(home / "hub"))


def another(folder: Path) -> str:
    """A new home in `folder`, with the same cache: what `HOOKE_HOME` is to be where a test makes atlases or notes."""
    folder.mkdir()
    (folder / "cache").symlink_to(Path(os.environ["HOOKE_HOME"], "cache"))
    return str(folder)


def remove() -> None:
    """Remove what `make` made."""
    shutil.rmtree(os.environ["HOOKE_HOME"])
