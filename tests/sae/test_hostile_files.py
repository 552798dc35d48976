"""Damaged and hostile files of every format raise an error of ours, soon, and in little memory."""

import re
import time
import tracemalloc
import zipfile
from pathlib import Path

import mutations
import numpy as np
import published
import pytest
import torch
from safetensors.torch import load_file, save_file

from hooke.errors import BadFile
from hooke.sae import digest
from hooke.sae.formats import inspect, open_sae


def test_mutated_files_do_no_harm(thorough: bool) -> None:
    files = 400 if thorough else 100
    outcome = mutations.run(files, seed=3)
    assert outcome.bad == []
    assert outcome.said["opened"] > files // 8
    assert outcome.said["BadFile"] > files // 8


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


DOUBLINGS = 40
"""Levels of a value each of which holds the one below twice: 2⁴⁰ values for whoever walks it, a few hundred bytes on disk."""


def archive(path: Path, pickle: bytes) -> Path:
    """A `.pt` file with this pickle and one storage of four floats."""
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("a/data.pkl", pickle)
        made.writestr("a/data/0", np.zeros(4, np.float32).tobytes())
    return path


def text(value: str) -> bytes:
    return b"X" + len(value).to_bytes(4, "little") + value.encode()


def doubled(start: bytes) -> bytes:
    """Pickle instructions that make a tuple of two of a tuple of two of ... `start`."""
    return start + b"".join(b"q" + bytes([level]) + b"h" + bytes([level]) + b"\x86" for level in range(DOUBLINGS))


NAME, STORE = b"ctorch\nFloatStorage\n", b"X\7\0\0\0storage"
WIDE = doubled(b")")
SHARED = {
    "for a name": b"\x80\4" + text("torch") + WIDE + b"\x93.",
    "for a module": b"\x80\4" + WIDE + text("x") + b"\x93.",
    "for a key": b"\x80\2}(" + WIDE + text("x") + b"u.",
    "for a kind of reference": b"\x80\2(" + WIDE + NAME + text("0") + text("cpu") + b"K\4tQ.",
    "for a storage": b"\x80\2(" + STORE + NAME + WIDE + text("cpu") + b"K\4tQ.",
    "for a shape": b"\x80\2ctorch._utils\n_rebuild_tensor_v2\n((" + STORE + NAME + text("0") + text("cpu") + b"K\4tQK\0" + WIDE + b")tR.",
    "for a tensor's storage": b"\x80\2ctorch._utils\n_rebuild_tensor_v2\n(" + WIDE + b"K\0))tR.",
    "for everything": b"\x80\2" + WIDE + b".",
    "beside tensors": b"\x80\2}(" + text("pre_bias") + WIDE + text("latent_bias") + WIDE + text("k") + WIDE + b"u.",
}


@pytest.mark.parametrize("place", SHARED)
def test_a_value_that_shares_its_parts_is_never_walked(place: str, tmp_path: Path) -> None:
    with pytest.raises(BadFile) as caught:
        inspect(archive(tmp_path / "sae.pt", SHARED[place]))
    assert len(str(caught.value)) < 1500


def test_many_marks_take_time_in_proportion(tmp_path: Path) -> None:
    def seconds(marks: int) -> float:
        path = archive(tmp_path / f"{marks}.pt", b"\x80\2" + b"(" * marks + b"t" * marks + b".")
        began = time.process_time()
        with pytest.raises(BadFile):
            inspect(path)
        return time.process_time() - began

    seconds(1000)
    assert min(seconds(80_000) for _ in range(3)) < 40 * max(seconds(8_000), 0.01)  # a search for each mark through all would be 100


HOSTILE_YAML = {
    "aliases of aliases": "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 40)),
    "merges of merges": "a0: &a0 {x: 1}\n" + "".join(f"a{i}: &a{i}\n  <<: [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 20)),
    "merges of itself": "a: {<<: {<<: {x: 1}}}",
    "depth": "a: " + "[" * 30_000,
    "depth by lines": "\n".join(" " * i + "a:" for i in range(300)),
    "a number of 400 digits": "model_kind: transcoder_set\nactivation: topk\nk: " + "9" * 400,
    "a number of 40,000 digits": "k: " + "9" * 40_000,
}


@pytest.mark.parametrize("trick", HOSTILE_YAML)
def test_yaml_that_grows_when_read_is_refused(trick: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(HOSTILE_YAML[trick])
    save_file({"W_enc": torch.zeros(4, 2)}, tmp_path / "layer_0.safetensors")
    tracemalloc.start()
    with pytest.raises(BadFile) as caught:
        open_sae(tmp_path, member="layer_0")
    assert tracemalloc.get_traced_memory()[1] < 30 << 20
    tracemalloc.stop()
    assert len(str(caught.value)) < 1500


def put_in(folder: Path, extra: dict[str, torch.Tensor]) -> None:
    """Add tensors to every file of weights in `folder`."""
    for path in folder.rglob("*"):
        if path.suffix == ".safetensors":
            save_file({**load_file(path), **extra}, path)
        elif path.suffix == ".npz":
            np.savez(path, **(dict(np.load(path)) | {name: tensor.numpy() for name, tensor in extra.items()}))
        elif path.suffix in (".pt", ".pth"):
            content = torch.load(path)
            inner = content["ae"] if isinstance(content.get("ae"), dict) else content
            inner |= extra
            torch.save(content, path)


@pytest.mark.parametrize("case", [case for case in published.CASES if case != "qresearch"])  # which is told by its four names
def test_what_training_counted_is_passed_over_and_named(case: str, tmp_path: Path) -> None:
    """One number a feature changes nothing; of another shape it may be anything."""
    made = published.CASES[case](tmp_path)
    before = open_sae(made.path, member=made.member)
    put_in(tmp_path, {"act_freq_scores": torch.rand(before.d_sae), "steps": torch.tensor([3, 4])})
    assert digest(open_sae(made.path, member=made.member)) == digest(before)
    said = [line for line in inspect(made.path, member=made.member).warnings if line.startswith("passed over")]
    assert len(said) == 1
    assert "act_freq_scores" in said[0]
    assert "steps" in said[0]
    put_in(tmp_path, {"act_freq_scores": torch.rand(before.d_sae + 1)})
    with pytest.raises(BadFile, match="not known to have: 'act_freq_scores'"):
        open_sae(made.path, member=made.member)


@pytest.mark.parametrize("case", published.CASES)
def test_a_tensor_that_no_reader_knows_is_named(case: str, tmp_path: Path) -> None:
    made = published.CASES[case](tmp_path)
    put_in(tmp_path, {"mystery": torch.linspace(1, 2, 20)})
    said = (
        "is no SAE in a form" if case == "qresearch" else r"tensors that this format is not known to have: 'mystery' \[20\]"
    )  # told by its four names
    with pytest.raises(BadFile, match=said):
        open_sae(made.path, member=made.member)


LARGE = {"an integer": "9" * 400, "a negative one": "-" + "9" * 400, "an exponent": "1e999", "one past 64 bits": str(1 << 63)}


@pytest.mark.parametrize("number", LARGE)
def test_a_number_that_no_computer_takes_is_refused_in_every_configuration(number: str, tmp_path: Path) -> None:
    refused = 0
    for i, make in enumerate(published.CASES.values()):
        (tmp_path / str(i)).mkdir()
        made = make(tmp_path / str(i))
        for config in (tmp_path / str(i)).rglob("*.json"):
            sound = config.read_text()
            spoilt = re.sub(r"(: )\d+(?:\.\d+)?(?=[,}\n])", rf"\g<1>{LARGE[number]}", sound)
            if spoilt == sound:
                continue
            config.write_text(spoilt)
            for read in (open_sae, inspect):
                try:
                    read(made.path, member=made.member)  # a few dialects do not read theirs
                except BadFile as error:
                    refused += "does not fit into 64 bits" in str(error) or "is too large" in str(error)
            config.write_text(sound)
    assert refused > 20
