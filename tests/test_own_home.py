"""Tests see nothing of what whoever runs them has made."""

import os
import subprocess
import sys
from pathlib import Path

import own_home

from hooke.files import cache_dir, data_dir
from hooke.sae.packs import register_atlas

PROBE = """
import conftest, own_home  # what every test begins with
import os
from pathlib import Path
from hooke.atlas.notes import Notes
from hooke.files import cache_dir
from hooke.sae.packs import atlas_file

assert not Notes().path.exists()
assert atlas_file("mine/resid_post.1/2") is None
assert (cache_dir() / "models" / "converted").read_text() == "once"
assert not Path(os.environ["HF_HOME"], "hub").exists()
assert "HF_TOKEN" not in os.environ
own_home.remove()
assert not Path(os.environ["HOOKE_HOME"]).exists()
"""


def test_a_persons_atlases_notes_and_hub_are_not_seen_and_the_converted_model_is(tmp_path, monkeypatch):
    person = tmp_path / "person"
    monkeypatch.setenv("HOOKE_HOME", str(person))
    (cache_dir() / "models").mkdir(parents=True)
    (cache_dir() / "models" / "converted").write_text("once")
    (data_dir() / "notes.sqlite").write_text("mine")
    (person / "own.sqlite").write_text("mine")
    register_atlas(person / "own.sqlite", {"mine/resid_post.1/2": "0"})
    (person / "hub" / "hub").mkdir(parents=True)
    before = sorted(person.rglob("*"))
    theirs = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    theirs |= {"HF_HOME": str(person / "hub"), "HF_TOKEN": "secret"}
    done = subprocess.run(
        [sys.executable, "-c", PROBE], env=theirs, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert sorted(person.rglob("*")) == before


def test_a_home_within_it_shares_the_cache(tmp_path, monkeypatch):
    cache = cache_dir().resolve()
    monkeypatch.setenv("HOOKE_HOME", own_home.another(tmp_path / "other"))
    assert (cache_dir().resolve(), data_dir()) == (cache, tmp_path / "other")
