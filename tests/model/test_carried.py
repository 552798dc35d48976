"""Carried models: chunks are read without running the carrier, converted once and exactly, and a cache in any state is repaired."""

import dataclasses
import errno
import hashlib
import itertools
import json
import os
import re
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest
import tokenizers
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from hooke import files
from hooke.errors import BadConfig, BadFile, DigestMismatch, LimitReached, Missing
from hooke.model import Model, carried
from hooke.model.carried import Carried, carried_folder, sentencepiece_bpe
from hooke.model.gguf import Gguf

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6
SPACES = [" " * n for n in range(2, 9)]  # runs of the space mark, which GGUF files spell as spaces
SPELLED = ["\n", "\n\n", "<table>", "<tab"]
MERGED = ["ab", "▁a", "ta", "bl", "▁ab", "tab", "ble", "▁t", "able", "tabl", "table", "▁table", "▁ta", "ba", "aa", "aba", "▁."]
CHARACTERS = [*"▁ablet.<>é"]
TOKENS = ["<pad>", "<eos>", "<bos>", "<unk>", *SPELLED, *SPACES, *(f"<0x{byte:02X}>" for byte in range(256)), *MERGED, *CHARACTERS]
KINDS = (
    [CONTROL] * 3 + [UNKNOWN] + [USER_DEFINED] * (len(SPELLED) + len(SPACES)) + [BYTE] * 256 + [NORMAL] * (len(MERGED) + len(CHARACTERS))
)
SCORES = [0.0 if kind != NORMAL else -float(index) for index, kind in enumerate(KINDS)]
D, HEAD, FEED, LAYERS = 32, 16, 64, 6


def block_shapes() -> dict[str, tuple[int, ...]]:
    return {
        "attn_q": (2 * HEAD, D),
        "attn_k": (HEAD, D),
        "attn_v": (HEAD, D),
        "attn_output": (D, 2 * HEAD),
        "ffn_gate": (FEED, D),
        "ffn_up": (FEED, D),
        "ffn_down": (D, FEED),
        "attn_q_norm": (HEAD,),
        "attn_k_norm": (HEAD,),
        "attn_norm": (D,),
        "post_attention_norm": (D,),
        "ffn_norm": (D,),
        "post_ffw_norm": (D,),
    }


def write_gguf(path: Path) -> None:
    """A random Gemma 3 with six layers, the last of them global, weights of three kinds."""
    writer = gguf.GGUFWriter(path, "gemma3")
    writer.add_context_length(128)
    writer.add_embedding_length(D)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED)
    writer.add_head_count(2)
    writer.add_head_count_kv(1)
    writer.add_key_length(HEAD)
    writer.add_value_length(HEAD)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(1e6)
    writer.add_sliding_window(4)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(TOKENS)
    writer.add_token_scores(SCORES)
    writer.add_token_types(KINDS)
    writer.add_pad_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_bos_token_id(2)
    writer.add_unk_token_id(3)
    rng = np.random.default_rng(1)
    shapes = {"token_embd": (len(TOKENS), D), "output_norm": (D,)}
    shapes |= {f"blk.{layer}.{name}": shape for layer in range(LAYERS) for name, shape in block_shapes().items()}
    for name, shape in shapes.items():
        values = rng.standard_normal(shape).astype(np.float32) * 0.3 + name.endswith("norm")
        kind = gguf.GGMLQuantizationType.F32
        if len(shape) == 2:
            kind = gguf.GGMLQuantizationType.Q8_0 if "ffn" in name or "embd" in name else gguf.GGMLQuantizationType.Q4_0
        writer.add_tensor(f"{name}.weight", gguf.quants.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The joined file."""
    path = tmp_path_factory.mktemp("gguf") / "fake.gguf"
    write_gguf(path)
    return path.read_bytes()


@dataclasses.dataclass(frozen=True)
class Carrier:
    """Two installed packages with a chunk each, and an empty cache."""

    packages: Path
    home: Path
    chunks: tuple[Path, Path]
    entry: Carried

    def cached(self) -> list[str]:
        """What is in the cache."""
        models = self.home / "cache" / "models"
        return sorted(path.name for path in models.iterdir()) if models.exists() else []


@pytest.fixture
def carrier(content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Carrier:
    """A carrier whose packages give themselves away, and fail, if they are ever imported."""
    packages, home = tmp_path / "site-packages", tmp_path / "home"
    half = len(content) // 2 + 1
    chunks = []
    for number, part in enumerate((content[:half], content[half:])):
        package = packages / f"hooke_fake_part{number}"
        (package / "data").mkdir(parents=True)
        (package / "__init__.py").write_text(f"open({str(tmp_path / 'imported')!r}, 'w')\nraise RuntimeError('the carrier was run')\n")
        chunks.append(package / "data" / f"fake.gguf.part{number}")
        chunks[-1].write_bytes(part)
    names = tuple((path.parent.parent.name, f"data/{path.name}") for path in chunks)
    entry = Carried("hooke-fake==1.0", names, len(content), hashlib.sha256(content).hexdigest())
    monkeypatch.setitem(carried.CARRIED, "fake", entry)
    monkeypatch.setenv("HOOKE_HOME", str(home))
    monkeypatch.syspath_prepend(packages)
    yield Carrier(packages, home, (chunks[0], chunks[1]), entry)
    assert not (tmp_path / "imported").exists()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_folder_opens_with_transformers_and_holds_the_dequantised_weights(carrier: Carrier, content: bytes) -> None:
    lm = AutoModelForCausalLM.from_pretrained(carried_folder("fake"), dtype=torch.float32)
    assert lm.config.layer_types == ["sliding_attention"] * 5 + ["full_attention"]
    source, state, used = Gguf(memoryview(content)), lm.state_dict(), {"lm_head.weight"}
    for name in source.tensors:
        target = carried._gemma3_name(name)
        used.add(target)
        gain = 1 if "norm" in name else 0
        assert torch.equal(state[target], (source.read(name, torch.float32) - gain).bfloat16().float()), name
    assert used == set(state)


def test_logits_equal_those_of_transformers_own_gguf_loader(carrier: Carrier, content: bytes, tmp_path: Path) -> None:
    (tmp_path / "gguf").mkdir()
    (tmp_path / "gguf" / "fake.gguf").write_bytes(content)
    # GGUF does not say how attention is scaled; the loader's default is right for heads of 256.
    scale = {"query_pre_attn_scalar": HEAD}
    stock = AutoModelForCausalLM.from_pretrained(tmp_path / "gguf", gguf_file="fake.gguf", dtype=torch.float32, **scale)
    ours = AutoModelForCausalLM.from_pretrained(carried_folder("fake"), dtype=torch.float32)
    ids = torch.tensor([[2, *range(250, 290)]])
    with torch.inference_mode():
        for weight in stock.parameters():  # ours were rounded on the way to the cache; round theirs too
            weight.copy_(weight.bfloat16())
        expected, found = stock(input_ids=ids).logits, ours(input_ids=ids).logits
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_it_is_converted_once_and_said_so(carrier: Carrier, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    folder = carried_folder("fake", said.append)
    assert said == ["Converting fake (once; about half a minute)"]
    assert carrier.cached() == [folder.name]
    assert {"complete.json", "config.json", "model.safetensors", "tokenizer.json"} <= set(contents(folder))
    for chunk in carrier.chunks:  # the second start needs neither the packages nor the converter
        chunk.unlink()
    monkeypatch.setattr(carried, "_convert", None)
    assert carried_folder("fake", said.append) == folder
    assert len(said) == 1


def test_conversion_is_the_same_every_time(carrier: Carrier, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    first = contents(carried_folder("fake"))
    monkeypatch.setenv("HOOKE_HOME", str(tmp_path / "other"))
    assert contents(carried_folder("fake")) == first


def test_the_model_loads_by_its_name(carrier: Carrier) -> None:
    model = Model.load("fake", dtype="float32")
    assert (model.name, model.n_layers, model.tokenizer.bos, len(model.tokenizer)) == ("fake", LAYERS, 2, len(TOKENS))
    assert model.tokenizer.special == {0, 1, 2}
    assert model.loss(torch.tensor(model.tokenizer.encode(["a table"]))).isfinite().all()


# What can be wrong with the packages.


def test_a_missing_package_is_said_with_the_way_to_install_it(carrier: Carrier) -> None:
    os.rename(carrier.packages / "hooke_fake_part1", carrier.packages / "elsewhere")
    with pytest.raises(Missing) as caught:
        carried_folder("fake")
    assert str(caught.value).startswith("the model 'fake' comes with the package hooke_fake_part1, which is not installed. ")
    assert str(caught.value).endswith("pip install hooke-fake==1.0")
    assert carrier.cached() == []


def test_a_missing_chunk_is_said(carrier: Carrier) -> None:
    carrier.chunks[1].unlink()
    with pytest.raises(
        BadFile, match=r"the package hooke_fake_part1 lacks its file data/fake.gguf.part1. Install it again: pip install --force"
    ):
        carried_folder("fake")
    assert carrier.cached() == []


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "one bit": lambda part: part[:-1] + bytes([part[-1] ^ 1]),
    "cut": lambda part: part[:-1],
    "empty": lambda part: b"",
    "longer": lambda part: part + b"\0",
}


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_chunk_is_a_digest_mismatch(carrier: Carrier, how: str, which: int) -> None:
    chunk = carrier.chunks[which]
    chunk.write_bytes(DAMAGE[how](chunk.read_bytes()))
    with pytest.raises(DigestMismatch, match=re.escape("pip install --force-reinstall hooke-fake==1.0")):
        carried_folder("fake")
    assert carrier.cached() == []


def test_chunks_in_the_wrong_order_are_a_digest_mismatch(carrier: Carrier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(carried.CARRIED, "fake", dataclasses.replace(carrier.entry, chunks=carrier.entry.chunks[::-1]))
    with pytest.raises(DigestMismatch, match="was expected"):
        carried_folder("fake")


def test_another_architecture_is_said(carrier: Carrier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = gguf.GGUFWriter(tmp_path / "other.gguf", "mamba")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    other = (tmp_path / "other.gguf").read_bytes()
    carrier.chunks[0].write_bytes(other)
    entry = Carried("x==1", carrier.entry.chunks[:1], len(other), hashlib.sha256(other).hexdigest())
    monkeypatch.setitem(carried.CARRIED, "fake", entry)
    with pytest.raises(BadFile, match="architecture 'mamba' cannot be converted; known: gemma3"):
        carried_folder("fake")
    assert carrier.cached() == []


# What can be wrong with the cache.


def make_folder_a_file(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    folder.write_bytes(b"")


HARM: dict[str, Callable[[Path], object]] = {
    "no mark": lambda folder: (folder / "complete.json").unlink(),
    "empty mark": lambda folder: (folder / "complete.json").write_text(""),
    "mark that is no JSON": lambda folder: (folder / "complete.json").write_bytes(b"\xff\0{"),
    "mark that is a list": lambda folder: (folder / "complete.json").write_text("[1]"),
    "mark without files": lambda folder: (folder / "complete.json").write_text('{"layout": 1}'),
    "mark with files in words": lambda folder: (folder / "complete.json").write_text('{"layout": 1, "files": "all"}'),
    "deeply nested mark": lambda folder: (folder / "complete.json").write_text("[" * 100_000),
    "another layout": lambda folder: remark(folder, layout=0),
    "another source": lambda folder: remark(folder, source_sha256="0" * 64),
    "no weights": lambda folder: (folder / "model.safetensors").unlink(),
    "four flipped bytes of the weights": lambda folder: flip(folder / "model.safetensors", 4),
    "a flipped byte whose time was put back": lambda folder: flip(folder / "tokenizer.safetensors", 1, keep_time=True),
    "no digests": lambda folder: remark(folder, sha256={}),
    "cut weights": lambda folder: os.truncate(folder / "model.safetensors", 1000),
    "longer tokenizer": lambda folder: os.truncate(folder / "tokenizer.json", 1 << 20),
    "empty config": lambda folder: os.truncate(folder / "config.json", 0),
    "a folder in a file's place": lambda folder: ((folder / "config.json").unlink(), (folder / "config.json").mkdir()),
    "a file in the folder's place": make_folder_a_file,
}


def flip(path: Path, count: int, *, keep_time: bool = False) -> None:
    before, data = path.stat(), bytearray(path.read_bytes())
    for at in range(len(data) // 2, len(data) // 2 + count):
        data[at] ^= 1
    path.write_bytes(data)
    assert path.stat().st_size == before.st_size
    if keep_time:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def remark(folder: Path, **changes: object) -> None:
    mark = json.loads((folder / "complete.json").read_text())
    (folder / "complete.json").write_text(json.dumps(mark | changes))


@pytest.mark.parametrize("harm", HARM)
def test_a_harmed_cache_is_repaired(carrier: Carrier, harm: str) -> None:
    folder = carried_folder("fake")
    sound = contents(folder)
    HARM[harm](folder)
    assert carried_folder("fake") == folder
    assert contents(folder) == sound
    assert carrier.cached() == [folder.name]


def test_a_sound_cache_is_read_once_to_be_sure_of_it(carrier: Carrier, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    whole = files.sha256
    monkeypatch.setattr(files, "sha256", lambda path: (read.append(path.name), whole(path))[1])
    folder = carried_folder("fake")
    read.clear()
    assert carried_folder("fake") == folder
    assert sorted(read) == sorted(path.name for path in folder.iterdir() if path.name != "complete.json")
    assert carried_folder("fake") == carried_folder("fake") == folder
    assert len(read) == 4, "and not again"
    (folder / "config.json").write_bytes((folder / "config.json").read_bytes())
    assert carried_folder("fake") == folder
    assert len(read) == 8, "but where somebody wrote to it"


def test_what_an_earlier_version_made_is_removed_and_said(carrier: Carrier) -> None:
    stem = carried_folder("fake").name.rpartition("-")[0]
    models = carried_folder("fake").parent
    for name in (stem, f"{stem}-1", f"{stem}-99", "another"):
        (models / name).mkdir()
    (models / f"{stem}-{carried._LAYOUT}" / "complete.json").unlink()
    said: list[str] = []
    carried_folder("fake", said.append)
    assert said[0].startswith("Converting fake (again")
    assert said[1:] == [f"Removing {models / name}, made by an earlier version" for name in (stem, f"{stem}-1")]
    assert sorted(path.name for path in models.iterdir()) == sorted(["another", f"{stem}-99", f"{stem}-{carried._LAYOUT}"])


KILLS = """
import json, os, random, shutil, signal, sys, time
from hooke import files
from hooke.model import carried

chunks, size, digest, moments = json.loads(sys.argv[1])
carried.CARRIED["fake"] = carried.Carried("fake==1", tuple(map(tuple, chunks)), size, digest)

def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}

class Dying:
    calls = 0
    def __init__(self, at): self.at = at
    def __getattr__(self, name):
        call = getattr(os, name)
        return self.wrap(call) if name in ("open", "fsync", "rename", "replace", "fdopen") else call
    def wrap(self, call):
        def wrapped(*args, **kwargs):
            self.calls += 1
            if self.calls == self.at:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **kwargs)
        return wrapped

start = time.perf_counter()
folder = carried.carried_folder("fake")
took = time.perf_counter() - start
sound, order, statuses, left = contents(folder), random.Random(0), [], []
for at in moments:
    shutil.rmtree(folder)
    pid = os.fork()
    if pid == 0:
        files.os = os if at is None else Dying(at)
        carried.carried_folder("fake")
        os._exit(0)
    if at is None:
        time.sleep(order.random() * took)
        os.kill(pid, signal.SIGKILL)
    statuses.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    left.append(len(list(folder.parent.iterdir())))
    assert carried.carried_folder("fake") == folder
    assert contents(folder) == sound, at
    # Killed between putting the folder in its place and clearing up, it leaves an empty one, for the next conversion to remove.
    assert not [path for other in folder.parent.iterdir() if other != folder for path in other.iterdir()], at
    assert len(list(folder.parent.iterdir())) <= 2
print(json.dumps([statuses.count(-9), sum(left)]))
"""


FEW, MANY = [4, 16, None], [1, 2, 4, 7, 10, 13, 15, 16, 17, 18, 19, *[None] * 4]
"""Calls that touch the disk; None is any moment of the work."""


def test_a_kill_at_any_moment_leaves_a_cache_that_the_next_start_repairs(carrier: Carrier, thorough: bool) -> None:
    arguments = json.dumps([carrier.entry.chunks, carrier.entry.size, carrier.entry.sha256, MANY if thorough else FEW])
    environment = os.environ | {"PYTHONPATH": str(carrier.packages), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", KILLS, arguments], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    kills, leftovers = json.loads(done.stdout)
    assert kills >= (10 if thorough else 2), "the test has to kill it in the middle of its work"
    assert leftovers >= (8 if thorough else 1)


class Full:
    """`os` on a disk that is full or read-only from the `at`-th write on."""

    def __init__(self, code: int) -> None:
        self.code = code

    def __getattr__(self, name: str) -> object:
        return self.refuse if name == "fsync" else getattr(os, name)

    def refuse(self, *_: object) -> None:
        raise OSError(self.code, os.strerror(self.code))


@pytest.mark.parametrize(("code", "kind"), [(errno.ENOSPC, LimitReached), (errno.EDQUOT, LimitReached), (errno.EROFS, BadConfig)])
def test_a_full_or_read_only_cache_is_said_and_nothing_is_left(
    carrier: Carrier, code: int, kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "os", Full(code))
    with pytest.raises(kind, match="HOOKE_HOME"):
        carried_folder("fake")
    assert carrier.cached() == []


@pytest.mark.parametrize("limit", [100, 2000, 60_000])
def test_whichever_file_meets_the_limit_it_is_said_and_nothing_is_left(carrier: Carrier, limit: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))  # Python ignores the signal, so the write fails
    try:
        with pytest.raises(LimitReached, match="HOOKE_HOME"):
            carried_folder("fake")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert carrier.cached() == []


def test_a_full_disk_at_the_last_file_is_said(carrier: Carrier, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, *_: object, **__: object) -> int:
        if self.name == "tokenizer.json":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(self, *_, **__)

    write = Path.write_text
    monkeypatch.setattr(Path, "write_text", refuse)
    with pytest.raises(LimitReached, match="HOOKE_HOME"):
        carried_folder("fake")
    assert carrier.cached() == []


# The tokenizer.


@pytest.fixture(scope="module")
def tokenizer() -> tokenizers.Tokenizer:
    return sentencepiece_bpe(TOKENS, np.asarray(SCORES, np.float32), np.asarray(KINDS, np.int32), 3)


def naive(text: str) -> list[str]:
    """SentencePiece's BPE: pieces the user defined first, longest wins; then the best-scoring neighbours merge; then bytes."""
    fixed = [*SPELLED, *(spaces.replace(" ", "▁") for spaces in SPACES)]
    score = {piece: value for piece, value, kind in zip(TOKENS, SCORES, KINDS, strict=True) if kind == NORMAL}
    out: list[tuple[str, bool]] = []
    text = text.replace(" ", "▁")
    while text:
        piece = max((piece for piece in fixed if text.startswith(piece)), key=len, default=None)
        out.append((piece or text[0], piece is not None))
        text = text[len(out[-1][0]) :]
    while True:
        pairs = [(score.get(a + b, -1e9), -i) for i, ((a, stop), (b, end)) in enumerate(itertools.pairwise(out)) if not (stop or end)]
        best, at = max(pairs, default=(-1e9, 0))
        if best == -1e9:
            break
        out[-at : -at + 2] = [(out[-at][0] + out[-at + 1][0], False)]
    return [
        part for piece, known in out for part in ([piece] if known or piece in score else [f"<0x{byte:02X}>" for byte in piece.encode()])
    ]


TEXTS = st.lists(st.sampled_from([*MERGED, *CHARACTERS, *SPELLED, *SPACES, "x", "é", "漢", "😀", "▁"]), max_size=12).map(
    lambda parts: re.sub("▁", " ", "".join(parts))
)


@settings(max_examples=400, deadline=None)
@given(TEXTS.filter(lambda text: " " * 9 not in text))
def test_it_splits_as_sentencepiece_does(tokenizer: tokenizers.Tokenizer, text: str) -> None:
    assert [piece.replace(" ", "▁") for piece in tokenizer.encode(text).tokens] == naive(text)


@settings(max_examples=200, deadline=None)
@given(TEXTS | st.text(st.characters(codec="utf-8", exclude_characters="▁"), max_size=30))
def test_decoding_gives_the_text_back(tokenizer: tokenizers.Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    assert 3 not in ids
    assert tokenizer.decode(ids, skip_special_tokens=False) == text


def test_by_hand(tokenizer: tokenizers.Tokenizer) -> None:
    assert tokenizer.encode("a table").tokens == ["a", "▁table"]
    assert tokenizer.encode("<table>\n\n\n").tokens == ["<table>", "\n\n", "\n"]
    assert tokenizer.encode("   a").tokens == ["▁▁▁", "a"]
    assert tokenizer.encode("x").tokens == ["<0x78>"]
    assert tokenizer.encode("<0x78>").tokens[0] == "<"
    assert [tokenizer.token_to_id(token) for token in ("<pad>", "<eos>", "<bos>", "<unk>")] == [0, 1, 2, 3]
