"""The place in which commands are run that need a pack and a model."""

import planted
import pytest
from commands import Command

from hooke import tiny


@pytest.fixture
def hooke(command, tmp_path, monkeypatch) -> Command:
    """Run a command where a pack with the planted SAE is installed and the planted model is a folder beside it."""
    monkeypatch.setenv("HOOKE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    tiny.save(tmp_path / "model")
    planted.write(tmp_path / "pack" / "atlas.sqlite")
    monkeypatch.setattr("hooke.sae.packs.pack_folders", lambda: {"tiny": tmp_path / "pack"})
    monkeypatch.setattr("hooke.sae.Sae.from_pretrained", lambda name: tiny.sae())
    return command
