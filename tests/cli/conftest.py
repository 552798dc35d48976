"""The place in which commands are run that need a pack and a model."""

import shutil
from pathlib import Path

import planted
import pytest
from commands import Command

from hooke import tiny


@pytest.fixture(scope="session")
def model_and_pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the planted model in ``model``, and its SAE with an atlas in ``pack``."""
    root = tmp_path_factory.mktemp("planted")
    tiny.save(root / "model")
    planted.write(root / "pack" / "atlas.sqlite")
    tiny.sae().save(root / "pack" / "sae.safetensors")
    return root


@pytest.fixture
def hooke(command, tmp_path, monkeypatch, model_and_pack) -> Command:
    """Run a command where a pack with the planted SAE is installed and the planted model is a folder beside it."""
    monkeypatch.setenv("HOOKE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").symlink_to(model_and_pack / "model")
    shutil.copytree(model_and_pack / "pack", tmp_path / "pack")
    monkeypatch.setattr("hooke.sae.packs.pack_folders", lambda: {"tiny": tmp_path / "pack"})
    return command
