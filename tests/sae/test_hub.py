"""Files from a hub, by the real client against a hub on this machine: what is fetched, what is not, and everything that goes wrong."""

import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import fake_hub
import numpy as np
import pytest

from hooke.errors import BadConfig, BadFile, DigestMismatch, Missing, UnknownName
from hooke.sae import hub as client
from hooke.sae.fetch import choose
from hooke.sae.hub import HubPath
from hooke.sae.resolve import resolve

REPO = "google/gemma-scope-2b-pt-res"
FOLDER = "layer_20/width_16k/average_l0_71"
REF = f"gemma-scope-2b-pt-res/{FOLDER}"
CANONICAL = "gemma-scope-2b-pt-res/layer_20/width_16k/canonical"


def npz(d: int = 8, f: int = 16, seed: int = 0) -> bytes:
    """Weights in the layout of Gemma Scope."""
    rng = np.random.default_rng(seed)
    shapes = {"W_enc": (d, f), "W_dec": (f, d), "b_enc": (f,), "b_dec": (d,), "threshold": (f,)}
    out = io.BytesIO()
    np.savez(out, **{name: np.abs(rng.standard_normal(shape)).astype(np.float32) for name, shape in shapes.items()})
    return out.getvalue()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[fake_hub.Hub]:
    """A hub with an SAE in Gemma Scope's layout, and the client turned to it, with an empty cache."""
    with fake_hub.serving() as serving:
        fake_hub.connect(serving, tmp_path / "cache", monkeypatch)
        monkeypatch.setattr("hooke.sae.packs.pack_folders", dict)
        monkeypatch.chdir(tmp_path)
        serving.add(
            REPO, {f"{FOLDER}/params.npz": npz(), "layer_20/width_16k/average_l0_38/params.npz": npz(seed=1), "README.md": b"# card"}
        )
        yield serving


def switch_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def test_every_way_to_write_it_leads_to_the_same_file(hub: fake_hub.Hub) -> None:
    commit = hub.repos[REPO].commit
    ways = [
        REF,
        CANONICAL,
        "gemma-2-2b/20-gemmascope-res-16k",
        "gemma-scope-2b-pt-res/resid_post.20/16k-l0-71",
        f"{REPO}/{FOLDER}",
        f"{REPO}@{commit}/{FOLDER}",
        f"hf://{REPO}/{FOLDER}",
        f"hf://{REPO}@main/{FOLDER}",
        f"hf://{REPO}/{FOLDER}?revision=main",
        f"https://huggingface.co/{REPO}/tree/main/{FOLDER}",
        f"{hub.url}/{REPO}/tree/main/{FOLDER}",
        f"{REPO}/{FOLDER}/params.npz",
        f"https://huggingface.co/{REPO}/blob/main/{FOLDER}/params.npz",
    ]
    found = [resolve(way) for way in ways]
    assert {one.files[0].read_bytes() for one in found} == {npz()}
    assert {one.files[0].parts[-4:] for one in found} == {("layer_20", "width_16k", "average_l0_71", "params.npz")}
    assert {one.source for one in found} == {"hub"}
    assert {one.known.name for one in found if one.known} == {REF}
    assert resolve(REPO, subfolder=FOLDER, revision=commit).files == found[0].files


def test_only_the_weights_come_and_only_once(hub: fake_hub.Hub) -> None:
    first = resolve(REF)
    assert first.bytes == len(npz())
    assert [line for line in hub.seen if line.startswith("GET")] == [f"GET /cdn/{REPO}/{FOLDER}/params.npz"]
    hub.seen.clear()
    assert resolve(REF).files == resolve(f"{REPO}/{FOLDER}").files == first.files
    assert hub.seen == []


def test_with_the_hub_switched_off_what_is_here_is_used(hub: fake_hub.Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    resolve(REF)
    hub.seen.clear()
    switch_off(monkeypatch)
    assert resolve(CANONICAL).files[0].read_bytes() == npz()
    assert resolve(CANONICAL, refresh=True).files[0].read_bytes() == npz()
    assert hub.seen == []


def test_with_the_hub_switched_off_and_nothing_here_every_place_is_named(hub: fake_hub.Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    resolve(REF)
    hub.seen.clear()
    switch_off(monkeypatch)
    with pytest.raises(Missing) as caught:
        resolve("gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_38")
    said = str(caught.value)
    assert "HF_HUB_OFFLINE" in said
    assert str(client.cache_folder()) in said
    assert f"Fetched of {REPO}: {FOLDER}." in said
    assert "Tried: installed packs, files here, the hub's cache." in said
    assert "HF_HUB_OFFLINE=0 hooke pull gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_38" in said
    with pytest.raises(Missing, match="HF_HUB_OFFLINE"):
        resolve("some/where/else")
    assert hub.seen == []


def test_a_folder_that_the_hub_lacks_is_told_with_what_lies_beside(hub: fake_hub.Hub) -> None:
    with pytest.raises(UnknownName) as caught:
        resolve("gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_72")
    assert f"{REPO} has no layer_20/width_16k/average_l0_72/params.npz" in str(caught.value)
    assert "Beside it on the hub: average_l0_38, average_l0_71." in str(caught.value)
    with pytest.raises(UnknownName, match="there is no repository some/where"):
        resolve("some/where/else")
    with pytest.raises(UnknownName, match="no revision 'v9'"):
        resolve(f"{REPO}@v9/{FOLDER}")
    with pytest.raises(UnknownName, match=r"Did you mean 'layer_20/width_16k/average_l0_71/params.npz'"):
        resolve(f"{REPO}/{FOLDER}/param.npz")


def test_a_folder_of_saes_is_told_with_its_members(hub: fake_hub.Hub) -> None:
    with pytest.raises(BadConfig, match=r"holds 2 SAEs; name one of them: layer_20/width_16k/average_l0_38, layer_20/"):
        resolve(REPO)
    with pytest.raises(BadConfig, match=r"holds 2 SAEs; name one of them: average_l0_38, average_l0_71"):
        resolve(f"{REPO}/layer_20/width_16k")


def test_a_gated_repository_says_what_to_do(hub: fake_hub.Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.repos[REPO].gated = True
    with pytest.raises(Missing) as caught:
        resolve(REF)
    assert f"{REPO} is gated" in str(caught.value)
    assert f"{hub.url}/{REPO}" in str(caught.value)
    assert "HF_TOKEN" in str(caught.value)
    monkeypatch.setenv("HF_TOKEN", "hf_" + "x" * 34)
    assert resolve(REF).files[0].read_bytes() == npz()
    assert any(line.endswith("+token") for line in hub.seen)


def test_a_moved_repository_is_followed(hub: fake_hub.Hub) -> None:
    hub.add("org/new", {"x/params.npz": npz()})
    hub.moved["org/old"] = "org/new"
    hub.add("org/old", {"x/params.npz": b""})  # its listing; the files come from where it went
    assert resolve("org/old/x").files[0].read_bytes() == npz()


def test_a_broken_transfer_goes_on_where_it_broke(hub: fake_hub.Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 4096)  # what came of an unfinished one does not count
    big = npz(64, 1024)
    hub.repos[REPO].files[f"{FOLDER}/params.npz"] = big
    hub.faults["params.npz"] = ["cut", "cut"]
    assert resolve(REF).files[0].read_bytes() == big
    resumed = [line for line in hub.seen if " from " in line]
    assert len(resumed) == 2
    assert 0 < int(resumed[0].rpartition(" ")[2]) < int(resumed[1].rpartition(" ")[2]) < len(big)


@pytest.mark.parametrize("fault", ["flip", "short"])
def test_damaged_bytes_are_refused_and_not_kept(hub: fake_hub.Hub, fault: str) -> None:
    hub.faults["params.npz"] = [fault]
    with pytest.raises(DigestMismatch, match=f"{REPO}: .*params.npz arrived damaged"):
        resolve(REF)
    assert resolve(REF).files[0].read_bytes() == npz()


def test_damaged_small_files_are_refused_too(hub: fake_hub.Hub) -> None:
    hub.add("org/one", {"a/cfg.json": b"{}", "a/sae_weights.safetensors": b"w"})
    hub.faults["cfg.json"] = ["flip"]
    with pytest.raises(DigestMismatch, match=r"org/one: a/cfg.json arrived damaged"):
        resolve("org/one/a")
    assert [file.name for file in resolve("org/one/a").files] == ["sae_weights.safetensors", "cfg.json"]


def test_a_hub_in_trouble_and_a_hub_that_is_not_there(hub: fake_hub.Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.faults["params.npz"] = ["500"] * 20
    with pytest.raises(Missing, match=f"{hub.url} answered 500"):
        resolve(REF)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}"
    )
    with pytest.raises(Missing, match=r"cannot reach http://127\.0\.0\.1:9"):
        resolve(CANONICAL)
    with pytest.raises(Missing, match=r"cannot reach http://127\.0\.0\.1:9"):
        resolve("some/where/else")


def test_what_was_fetched_in_part_is_not_taken_for_all(hub: fake_hub.Hub) -> None:
    hub.add("org/set", {"s/config.yaml": b"a: 1", "s/layer_0.safetensors": b"0", "s/layer_1.safetensors": b"11"})
    hub.faults["layer_1.safetensors"] = ["500"] * 20
    with pytest.raises(Missing, match="500"):
        resolve("org/set/s")
    hub.faults.clear()
    assert {file.name for file in resolve("org/set/s").files} == {"config.yaml", "layer_0.safetensors", "layer_1.safetensors"}
    hub.seen.clear()
    resolve("org/set/s")
    assert hub.seen == []


def test_refresh_asks_for_what_is_newer(hub: fake_hub.Hub) -> None:
    old = resolve(REF).files[0]
    hub.repos[REPO].files[f"{FOLDER}/params.npz"] = npz(seed=7)
    assert resolve(REF).files[0] == old
    new = resolve(REF, refresh=True).files[0]
    assert (new != old, new.read_bytes()) == (True, npz(seed=7))
    assert resolve(REF).files[0] == new


def test_a_configuration_may_be_missing_and_examples_stay_there(hub: fake_hub.Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = "resid_post/layer_5_width_16k_l0_small"
    hub.add("google/gemma-scope-2-270m-pt", {f"{folder}/params.safetensors": b"w", f"{folder}/examples.safetensors": b"e" * 9999})
    found = resolve("gemma-scope-2-270m-pt-res/layer_5_width_16k_l0_small")
    assert [file.name for file in found.files] == ["params.safetensors"]
    assert not any("examples" in line for line in hub.seen)
    hub.seen.clear()
    switch_off(monkeypatch)
    assert resolve(f"google/gemma-scope-2-270m-pt/{folder}").files == found.files
    assert hub.seen == []


def test_pickles_come_only_when_they_are_named(hub: fake_hub.Hub) -> None:
    hub.add("org/pickles", {"a/ae.pt": b"p", "a/config.json": b"{}", "b/ae.pt": b"p", "b/ae.safetensors": b"w"})
    with pytest.raises(BadConfig, match=r"pickles only \(a/ae.pt\), which could run code"):
        resolve("org/pickles/a")
    assert {file.name for file in resolve("org/pickles/b").files} == {"ae.safetensors"}
    assert {file.name for file in resolve("org/pickles/a/ae.pt").files} == {"ae.pt", "config.json"}
    assert not any("b/ae.pt" in line for line in hub.seen)
    with pytest.raises(BadConfig, match=r"pickle only.*name its file: Qwen/SAE-Res-Qwen3-1.7B-Base-W32K-L0_50/layer3.sae.pt"):
        resolve("SAE-Res-Qwen3-1.7B-Base-W32K-L0_50/layer3")


def test_a_language_model_is_no_sae(hub: fake_hub.Hub) -> None:
    hub.add("google/gemma-2-2b", {"model.safetensors": b"w", "config.json": b"{}", "tokenizer.json": b"{}"})
    with pytest.raises(BadConfig, match=r"google/gemma-2-2b holds a language model \(model.safetensors, tokenizer.json\), not an SAE"):
        resolve("google/gemma-2-2b")
    hub.add("org/none", {"README.md": b"x"})
    with pytest.raises(BadFile, match=r"holds no SAE: none of its 1 files ends in .npz, .safetensors"):
        resolve("org/none")


def test_what_another_program_fetched_is_found_without_a_hub(hub: fake_hub.Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from huggingface_hub import snapshot_download

    hub.add("org/theirs", {"x/cfg.json": json.dumps({}).encode(), "x/sae_weights.safetensors": b"w", "x/sparsity.safetensors": b"s"})
    snapshot_download("org/theirs")
    shutil.rmtree(tmp_path / "cache" / "hooke", ignore_errors=True)
    switch_off(monkeypatch)
    hub.seen.clear()
    assert [file.name for file in resolve("org/theirs/x").files] == ["sae_weights.safetensors", "cfg.json"]
    assert hub.seen == []


@pytest.mark.parametrize("text", ["", "one", "a b/c", "../x/y", "https://example.org/a/b", "ftp://a/b"])
def test_what_is_no_place_on_the_hub(text: str) -> None:
    assert HubPath.parse(text) is None


@pytest.mark.parametrize("text", ["org/repo/../../etc", "org/repo/a//b", "hf://org/repo/./x"])
def test_paths_that_lead_elsewhere_are_refused(text: str) -> None:
    with pytest.raises(BadConfig, match="leads elsewhere"):
        HubPath.parse(text)


def test_a_place_on_the_hub_is_printed_as_it_is_read() -> None:
    for text in ("org/repo", "org/repo/a/b", "org/repo@v1/a", "org/repo@v1"):
        assert str(HubPath.parse(text)) == text


def test_choosing_takes_checkpoints_below() -> None:
    names = {"f/hyperparams.json": 10, "f/checkpoints/final.safetensors": 99, "f/other/x.safetensors": 5, "f/lm_config.json": 3}
    assert choose(names, "here", root="f") == ["f/hyperparams.json", "f/checkpoints/final.safetensors"]
