"""Damaged and hostile files of every format raise an error of ours, soon, and in little memory."""

import zipfile
from pathlib import Path

import mutations
import numpy as np
import published
import pytest
import torch

from hooke.errors import BadFile
from hooke.sae.formats import open_sae


def test_mutated_files_do_no_harm() -> None:
    outcome = mutations.run(400, seed=3)
    assert outcome.bad == []
    assert outcome.said["opened"] > 50
    assert outcome.said["BadFile"] > 50


def repack(path: Path, change: str, content: bytes | None = None) -> None:
    """The archive with one member renamed or replaced."""
    with zipfile.ZipFile(path) as archive:
        files = {info.filename: archive.read(info) for info in archive.infolist()}
    first = next(iter(files))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(change if name == first and content is None else name, data if name != first or content is None else content)


def test_every_trick_has_its_own_message(tmp_path: Path) -> None:
    made = published.gemma_scope(tmp_path)
    path = made.path / "params.npz"
    sound = path.read_bytes()

    def said() -> str:
        with pytest.raises(BadFile) as caught:
            open_sae(made.path)
        path.write_bytes(sound)
        return str(caught.value)

    repack(path, "../../W_enc.npy")
    assert "has a name that leads out of its folder" in said()
    repack(path, "", b"\0" * (40 << 20))
    assert "claims to unpack to 41,9" in said()
    np.savez(path, W_enc=np.array([{}], dtype=object), W_dec=np.zeros(1), threshold=np.zeros(1))
    assert "is an array of Python objects, which would run code on opening" in said()
    path.write_bytes(sound.replace(b"(6, 20)", b"(6, 90)"))
    assert "has shape [6, 90] of torch.float32, but 480 bytes of values" in said()
    arrays = dict(np.load(path))
    np.savez(path, **(arrays | {"W_dec": np.full((20, 6), np.nan, np.float32)}))
    assert "'W_dec' holds values that are not finite" in said()
    np.savez(path, **(arrays | {"W_dec": np.zeros((20, 6), np.int32)}))
    assert "W_dec is of type int32; weights are floating point" in said()
    np.savez(path, **(arrays | {"W_enc": np.zeros((0, 20), np.float32)}))
    assert "W_enc has shape [0, 20]: it is empty" in said()
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr("W_enc.npy", b"again")
    assert "occurs twice" in said()


def test_a_tensor_that_reaches_beyond_its_storage_is_refused(tmp_path: Path) -> None:
    made = published.goodfire(tmp_path)
    wide = torch.zeros(1).expand(1 << 20, 1 << 20)
    torch.save({"encoder_linear.weight": wide} | {k: torch.zeros(2) for k in ("encoder_linear.bias", "decoder_linear.weight")}, made.path)
    state = torch.load(made.path)
    torch.save(state | {"decoder_linear.bias": torch.zeros(2)}, made.path)
    with pytest.raises(BadFile, match=r"a tensor of shape \[1048576, 1048576\] does not lie within its storage"):
        open_sae(made.path)
