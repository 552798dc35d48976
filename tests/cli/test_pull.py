"""`hooke pull` and `hooke saes` as people run them, and the article's own example, against a hub on this machine."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import fake_hub
import pytest
from commands import Command
from small_gemma import gemma_2, gemma_scope

from hooke import tiny

FOLDER = "layer_20/width_16k/average_l0_71"
REPO = "google/gemma-scope-2b-pt-res"
SAE = f"gemma-scope-2b-pt-res/{FOLDER}"
TEXTS = ["the bank and the old choir", "rain for the team"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], bytes]:
    folder = tmp_path_factory.mktemp("gemma-2-2b")
    model = gemma_2(folder)
    return model, gemma_scope(folder)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: tuple[dict[str, bytes], bytes]) -> Iterator[fake_hub.Hub]:
    with fake_hub.serving() as serving:
        fake_hub.connect(serving, tmp_path / "cache", monkeypatch)
        monkeypatch.setattr("hooke.sae.packs.pack_folders", dict)
        monkeypatch.chdir(tmp_path)
        serving.add("google/gemma-2-2b", files[0])
        # About 69 of its features fire on a token: 71 is near enough, 9 is not.
        serving.add(REPO, {f"{FOLDER}/params.npz": files[1], f"{FOLDER[:-2]}9/params.npz": files[1]})
        yield serving


def test_pull(hub: fake_hub.Hub, command: Command, files: tuple[dict[str, bytes], bytes]) -> None:
    code, out, err = command("pull", "gemma-2-2b/20-gemmascope-res-16k")
    assert code == 0, err
    assert out.startswith(f"{SAE}: {len(files[1]) / 1000:.3g} kB at ")
    assert "Fetching layer_20/width_16k/average_l0_71/params.npz" in err
    code, out, _ = command("pull", SAE, "--json")
    row = json.loads(out)
    assert (row["name"], row["model"], row["reads"], row["d_in"], row["d_sae"]) == (SAE, "gemma-2-2b", ["resid_post.20"], 16, 384)
    assert [Path(file).name for file in row["files"]] == ["params.npz"]
    assert row["bytes"] == len(files[1])


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "nothing to pull"),
        (["gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_70"], 4, "Beside it on the hub: average_l0_71, average_l0_9"),
        (["google/gemma-2-2b"], 2, "holds a language model"),
        (["some/where/else"], 4, "there is no repository some/where"),
        ([SAE, "--revision", "v9"], 4, "no revision 'v9'"),
        (["tiny/resid_post.0/64"], 4, "unknown SAE"),
    ],
)
def test_pulls_that_fail(hub: fake_hub.Hub, command: Command, arguments: list[str], code: int, said: str) -> None:
    found, out, err = command("pull", *arguments)
    assert (found, out) == (code, "")
    assert said in err


def test_pulls_that_fail_on_the_way(hub: fake_hub.Hub, command: Command) -> None:
    hub.faults["params.npz"] = ["flip"]
    code, out, err = command("pull", SAE)
    assert (code, out) == (5, "")
    assert "arrived damaged" in err
    hub.repos[REPO].gated = True
    code, _, err = command("pull", SAE)
    assert code == 4
    assert f"{REPO} is gated" in err


def test_saes(command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    tiny.sae().save(tmp_path / "one.safetensors")
    monkeypatch.setattr("hooke.sae.packs.pack_folders", lambda: {"tiny": tmp_path})
    code, out, _ = command("saes")
    assert code == 0
    assert out.index("tiny/resid_post.0/64") < out.index("gemma-2-2b") < out.index("hooke saes --model")
    assert "any" not in out
    code, out, _ = command("saes", "--model", "google/gemma-2-2b", "--site", "resid_post.20")
    assert code == 0
    assert "None of these is installed." in out
    assert f"{SAE} " in out
    assert "hooke pull NAME" in out
    code, out, _ = command("saes", "--model", "gemma-2-2b", "--json", "--width", "16k", "--site", "resid_post.20")
    (row,) = json.loads(out)["saes"]
    assert (row["name"], row["installed"], row["l0"], row["neuronpedia"]) == (SAE, False, 71, "gemma-2-2b/20-gemmascope-res-16k")
    assert "and 12 more" in command("saes", "--model", "gemma-2-2b", "--site", "attn_z")[1]
    assert json.loads(command("saes", "--width", "64", "--json", "--installed")[1])["saes"][0]["name"] == "tiny/resid_post.0/64"
    assert "knows no such SAE" in command("saes", "--model", "nothing")[1]
    assert command("saes", "--site", "resid_pst.1")[0] == 4


def analyze(hub: fake_hub.Hub, cache: Path, sae: str, *, offline: bool = False) -> subprocess.CompletedProcess[str]:
    """The article's example in a process of its own, as a shell would start it."""
    (cache / "texts.txt").write_text("\n".join(TEXTS))
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
    env = clean | fake_hub.environment(hub, cache) | ({"HF_HUB_OFFLINE": "1"} if offline else {}) | {"HOOKE_HOME": str(cache / "hooke")}
    main = "from hooke.cli import main; main()"
    arguments = [sys.executable, "-c", main, "analyze", "--model", "google/gemma-2-2b", "--sae", sae, str(cache / "texts.txt"), "--json"]
    return subprocess.run(arguments, capture_output=True, text=True, timeout=300, env=env, check=False)


@pytest.mark.exhaustive
def test_the_articles_example(hub: fake_hub.Hub, tmp_path: Path) -> None:
    cold = analyze(hub, tmp_path, SAE, offline=True)
    assert cold.returncode == 4
    assert "HF_HUB_OFFLINE" in cold.stderr
    assert hub.seen == []
    done = analyze(hub, tmp_path, SAE)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["model"] == "gemma-2-2b"
    assert found["saes"][0]["name"] == "gemma-scope-2b-pt-res/resid_post.20/16k-l0-71"
    assert found["saes"][0]["explained"] > 0.9
    assert [text["text"] for text in found["texts"]] == TEXTS
    for text in found["texts"]:
        assert text["features"]
        assert {hit["label"] for hit in text["features"]} == {None}
        assert text["topic"] is None
    assert any("no atlas for this SAE: gemma-scope-2b-pt-res/resid_post.20/16k-l0-71" in limit for limit in found["limits"])
    hub.seen.clear()
    warm = analyze(hub, tmp_path, SAE, offline=True)
    assert warm.returncode == 0, warm.stderr
    assert json.loads(warm.stdout)["texts"] == found["texts"]
    assert hub.seen == []


def test_the_articles_example_in_this_process(hub: fake_hub.Hub, command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What a person reads, and weights whose figures do not fit their name."""
    folder = tmp_path / "gemma-2-2b"
    folder.mkdir()
    for name, data in hub.repos["google/gemma-2-2b"].files.items():
        (folder / name).write_bytes(data)
    monkeypatch.setenv("COLUMNS", "140")
    code, out, err = command("analyze", "--model", str(folder), "--sae", SAE, *TEXTS)
    assert code == 0, err
    assert "no atlas for this SAE: gemma-scope-2b-pt-res/resid_post.20/16k-l0-71" in " ".join(out.split())
    assert "topic" not in out.partition("What this rests on")[0]
    code, _, err = command("analyze", "--model", str(folder), "--sae", f"{SAE[:-2]}9", *TEXTS)
    assert code == 0, err  # no card says what it should explain: a warning with its figure
    assert "features a token (said to be 9)" in err, err


REF = ("analyze", "--model", "google/gemma-2-2b", "--sae", SAE, *TEXTS)


def test_the_articles_example_over_a_bad_line(hub: fake_hub.Hub, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Transfers of model and SAE that break are gone on with, and a model that moved is followed."""
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 4096)  # what came of an unfinished one does not count
    hub.faults |= {"model.safetensors": ["cut", "cut"], "params.npz": ["cut"]}
    code, out, err = command(*REF, "--json")
    assert code == 0, err
    assert json.loads(out)["saes"][0]["explained"] > 0.9
    assert sum(" from " in line for line in hub.seen) == 3
    assert all(line.startswith("GET /cdn/google/gemma") for line in hub.seen if " from " in line)  # by the hub's redirect


@pytest.mark.parametrize(
    ("repo", "file"), [("google/gemma-2-2b", "model.safetensors"), ("google/gemma-2-2b", "tokenizer.json"), (REPO, "params.npz")]
)
def test_damaged_bytes_are_named_and_fetched_again(repo: str, file: str, hub: fake_hub.Hub, command: Command) -> None:
    hub.faults[file] = ["flip"]
    code, out, err = command(*REF, "--json")
    assert (code, out) == (5, "")
    assert f"{file} arrived damaged: its digest is" in err
    code, _, err = command(*REF, "--json")
    assert code == 0, err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--model", "google/gemma-2-2b", "--sae", f"{SAE[:-2]}70"), "Beside it on the hub: average_l0_71, average_l0_9"),
        (("--model", "google/gemma-2-3b", "--sae", SAE), "cannot find the model 'google/gemma-2-3b'"),
    ],
)
def test_what_is_not_there_is_said(arguments: tuple[str, ...], said: str, hub: fake_hub.Hub, command: Command) -> None:
    code, out, err = command("analyze", *arguments, *TEXTS)
    assert (code, out) == (4, "")
    assert said in " ".join(err.split())
    assert "HF_HUB_OFFLINE" not in err


@pytest.mark.parametrize(("repo", "said"), [(REPO, f"{REPO} is gated"), ("google/gemma-2-2b", "the model 'google/gemma-2-2b' is gated")])
def test_what_is_gated_says_where_to_accept(
    repo: str, said: str, hub: fake_hub.Hub, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repos[repo].gated = True
    code, out, err = command(*REF)
    assert (code, out) == (4, "")
    assert said in err
    assert f"Accept them at {hub.url}/{repo}, then set HF_TOKEN" in " ".join(err.split())
    assert "HF_HUB_OFFLINE" not in err
    monkeypatch.setenv("HF_TOKEN", "hf_" + "x" * 34)
    code, _, err = command(*REF, "--json")
    assert code == 0, err
