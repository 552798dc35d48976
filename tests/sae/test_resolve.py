"""One SAE, however it is written; and what is said of names that nothing answers to. (From a hub: test_hub.)"""

import importlib
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import fake_hub
import fsspec
import numpy as np
import pytest
import torch
from fsspec.implementations.memory import MemoryFileSystem

from hooke import tiny
from hooke.errors import BadConfig, BadFile, Missing, UnknownName
from hooke.sae import Sae
from hooke.sae.resolve import resolve, size_in_words

NAME = tiny.sae().name


@pytest.fixture
def packs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pack with the planted SAE, an empty cache, and a hub that is switched off."""
    (tmp_path / "pack").mkdir()
    tiny.sae().save(tmp_path / "pack" / "one.safetensors")
    monkeypatch.setattr("hooke.sae.packs.pack_folders", lambda: {"tiny": tmp_path / "pack"})
    monkeypatch.setenv("HOOKE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def hub(packs: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[fake_hub.Hub]:
    with fake_hub.serving() as serving:
        fake_hub.connect(serving, packs / "cache", monkeypatch)
        yield serving


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[MemoryFileSystem]:
    """An object store in memory, behind s3://."""

    class Store(MemoryFileSystem):
        protocol = "s3"
        store: dict = {}  # noqa: RUF012 (fsspec's own way)
        pseudo_dirs = [""]  # noqa: RUF012

        @classmethod
        def _strip_protocol(cls, path: str) -> str:
            return super()._strip_protocol(path.removeprefix("s3://"))

    fsspec.register_implementation("s3", Store, clobber=True)
    yield Store()
    importlib.import_module("fsspec.registry")._registry.pop("s3", None)


def same(found: Sae) -> bool:
    return torch.equal(found.W_enc, tiny.sae().W_enc) and torch.equal(found.threshold, tiny.sae().threshold)


def test_packs_and_paths(packs: Path) -> None:
    for ref in (NAME, "pack/one.safetensors", "./pack/one.safetensors", packs / "pack" / "one.safetensors", "pack"):
        assert same(Sae.from_pretrained(ref)), ref
    assert resolve(NAME).source == "pack"
    assert resolve("pack/one.safetensors").source == "file"
    assert same(Sae.from_pretrained(".", subfolder="pack"))


def test_an_installed_sae_answers_to_its_site_and_layer(packs: Path) -> None:
    site, variant = NAME.split("/")[1:]
    layer = site.rpartition(".")[2]
    for ref in (f"{site}/{variant}", site, layer, f"{layer}/{variant}"):
        assert resolve(ref).source == "pack", ref
        assert same(Sae.from_pretrained(ref)), ref
    two = replace(tiny.sae(), facts=replace(tiny.sae().facts, name=f"other/{site}/{variant}"))
    two.save(packs / "pack" / "two.safetensors")
    with pytest.raises(BadConfig, match=rf"'{layer}' may be one of .*other/{site}/{variant}.* Give more of the name"):
        resolve(layer)
    assert resolve(NAME).source == "pack"


@pytest.mark.parametrize("which", [NAME, NAME.split("/")[1], NAME.split("/")[1].rpartition(".")[2]])
def test_one_feature_is_no_sae(packs: Path, which: str) -> None:
    with pytest.raises(UnknownName, match=f"'{which}/17' is one feature of an SAE. Give the SAE alone: {which}$"):
        resolve(f"{which}/17")


def test_an_empty_name_is_no_folder(packs: Path) -> None:
    with pytest.raises(BadConfig, match="the name of an SAE is empty"):
        resolve(" ")


@pytest.mark.parametrize("ref", ["./none.safetensors", "/no/such/folder", "~/no/such/thing"])
def test_a_path_that_is_not_there(packs: Path, ref: str) -> None:
    with pytest.raises(Missing, match="there is no file or folder"):
        resolve(ref)


@pytest.mark.parametrize(
    ("ref", "said"),
    [
        ("tiny/resid_post.0/46", f"Did you mean '{NAME}'"),
        ("sae", "Tried: files, 1 installed SAEs, the catalogue"),
        ("gemma-scope-2b-pt-res/layer_20/width_61k/canonical", "gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_71"),
        ("gemma-scope-9b-pt-att/layer_20/width_16k/canonical", "gemma-scope-9b-pt-att/layer_20/width_16k/average_l0_*"),
        ("other/resid_post.3/4k", "An SAE is a name from `hooke saes`"),
        ("pack/two.safetensors", "Tried: files"),
    ],
)
def test_a_mistyped_name_is_told_with_the_nearest_and_opens_no_connection(hub: fake_hub.Hub, ref: str, said: str) -> None:
    with pytest.raises(UnknownName, match=r"^unknown SAE") as caught:
        resolve(ref)
    assert said in str(caught.value)
    assert hub.seen == []


@pytest.mark.parametrize("ref", ["ftp://a/b", "https://example.org/a/b", "hf://one"])
def test_addresses_that_are_none_of_ours(packs: Path, ref: str) -> None:
    with pytest.raises(BadConfig, match=r"Known are hf://org/repo/path, pages of the hub, and s3://"):
        resolve(ref)


def test_what_cannot_be_asked_for(packs: Path) -> None:
    with pytest.raises(BadConfig, match="is not on the hub, so it has no revision 'v1'"):
        resolve(NAME, revision="v1")
    with pytest.raises(BadConfig, match="codes are computed in float32"):
        Sae.from_pretrained(NAME, dtype="bfloat16")
    assert same(Sae.from_pretrained(NAME, dtype=torch.float32, device="cpu"))


def npz(sae: Sae) -> bytes:
    out = io.BytesIO()
    names = ("W_enc", "W_dec", "b_enc", "b_dec", "threshold")
    np.savez(out, **{name: getattr(sae, name).numpy() for name in names})
    return out.getvalue()


def test_gemma_scope_from_the_hub_is_named_by_the_catalogue(hub: fake_hub.Hub) -> None:
    folder = "layer_20/width_16k/average_l0_71"
    hub.add("google/gemma-scope-2b-pt-res", {f"{folder}/params.npz": npz(tiny.sae())})
    found = Sae.from_pretrained("gemma-scope-2b-pt-res/layer_20/width_16k/canonical")
    assert same(found)
    assert (found.name, found.facts.model) == ("gemma-scope-2b-pt-res/resid_post.20/16k-l0-71", "gemma-2-2b")
    assert found.facts.metrics["l0"] == 71
    assert same(Sae.from_pretrained(found.name))


def test_one_of_several_in_a_repository(hub: fake_hub.Hub) -> None:
    sae = tiny.sae()
    for file, scale in (("a", 1.0), ("b", 2.0)):
        replace(sae, W_enc=scale * sae.W_enc).save(Path(f"{file}.safetensors"))
    hub.add("org/two", {f"{name}/sae.safetensors": Path(f"{name}.safetensors").read_bytes() for name in "ab"})
    assert same(Sae.from_pretrained("org/two/a"))
    assert same(Sae.from_pretrained("org/two", subfolder="a"))
    assert torch.equal(Sae.from_pretrained("hf://org/two/b").W_enc, 2 * sae.W_enc)


def test_from_a_bucket_once(packs: Path, bucket: MemoryFileSystem) -> None:
    bucket.pipe("/lab/gemma/layer_3/sae.safetensors", (packs / "pack" / "one.safetensors").read_bytes())
    bucket.pipe("/lab/gemma/layer_3/examples.safetensors", b"x" * 1000)
    assert same(Sae.from_pretrained("s3://lab/gemma/layer_3"))
    found = resolve("s3://lab/gemma/layer_3/sae.safetensors")
    assert (found.source, [file.name for file in found.files]) == ("bucket", ["sae.safetensors"])
    bucket.rm("/lab", recursive=True)
    assert same(Sae.from_pretrained("s3://lab/gemma/layer_3"))
    with pytest.raises(Missing, match=r"cannot fetch s3://lab/gemma/layer_3|there is nothing at s3://lab"):
        resolve("s3://lab/gemma/layer_3", refresh=True)


def test_buckets_that_hold_nothing_of_use(packs: Path, bucket: MemoryFileSystem) -> None:
    bucket.pipe("/lab/notes/readme.txt", b"x")
    with pytest.raises(BadFile, match="s3://lab/notes holds no SAE"):
        resolve("s3://lab/notes")
    with pytest.raises(BadConfig, match="as a place in an object store"):
        resolve("s3://lab/../etc")
    assert not (packs / "home" / "cache" / "buckets").exists()


def test_a_missing_driver_is_named(packs: Path) -> None:
    with pytest.raises(Missing, match=r"gs:// needs the package gcsfs\. pip install gcsfs"):
        resolve("gs://lab/x")


def test_sizes_as_people_say_them() -> None:
    assert [size_in_words(n) for n in (12, 4200, 302_000_000, 19_300_000_000)] == ["12 bytes", "4.2 kB", "302 MB", "19.3 GB"]
