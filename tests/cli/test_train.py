"""`hooke train` as people run it: what it leaves behind, what it refuses and why, and that a stopped run ends in the same bytes."""

import dataclasses
import json
import math
import re
from pathlib import Path

import pytest
from commands import Command, forked

from hooke import tiny
from hooke.cli import train as cli_train
from hooke.cli.fields import sentences
from hooke.files import sole_writer
from hooke.sae import Sae
from hooke.train.config import TrainConfig
from hooke.train.plan import DERIVED, Plan, Wiring

pytestmark = [
    pytest.mark.filterwarnings("ignore::numba.core.errors.NumbaPerformanceWarning"),
    pytest.mark.usefixtures("one_thread"),
]
SUITE = """
model = "tiny"
corpus = ["news.jsonl=2", "prose.jsonl"]
tokens = 3000
batch = 100
buffer = 500
context = 8
held_out = 256

[[sae]]
site = ["resid_post.0", "resid_post.1"]
architecture = ["batchtopk", "jumprelu"]
d_sae = 48
l0 = 4

[[sae]]
site = "resid_post.0"
d_sae = 48
l0 = 4
prefixes = [16]

[[sae]]
site = "resid_post.0"
target = "mlp_out.1"
d_sae = 40
l0 = 4
skip = true

[[sae]]
crosscoder = ["resid_post.0", "resid_post.1"]
d_sae = 48
l0 = 4
"""
ONE = ("--model", "tiny", "--site", "resid_post.0", "--d-sae", "48", "--l0", "4", "--corpus", "news.jsonl", "--batch", "100")
HARVEST = ("--model", "tiny", "--corpus", "news.jsonl", "--context", "8", "--tokens", "4000", "--shard-tokens", "400")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with the planted model, two corpora, and suites that read them, or shards."""
    root = tmp_path_factory.mktemp("train")
    (root / "tiny").mkdir()
    tiny.save(root / "tiny")
    words = [word for group in tiny.concepts.values() for word in group]
    for name, count in (("news", 2500), ("prose", 1500), ("few", 150)):
        lines = [" ".join(words[(i * 7 + j * j) % len(words)] for j in range(3 + i % 5)) for i in range(count)]
        (root / f"{name}.jsonl").write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))
    (root / "suite.toml").write_text(SUITE)
    (root / "stored.toml").write_text(SUITE.replace('corpus = ["news.jsonl=2", "prose.jsonl"]', 'shards = "acts"'))
    return root


@pytest.fixture
def hooke(folder, monkeypatch, command) -> Command:
    """Run a command in `folder`."""
    monkeypatch.chdir(folder)
    return command


def one(hooke: Command, out: Path, *arguments: str, tokens: int = 600) -> tuple[int, str, str]:
    """Train one small SAE."""
    return hooke("train", *ONE, "--tokens", str(tokens), "--out", str(out), *arguments)


def test_a_suite_from_a_corpus(hooke, tmp_path):
    out = tmp_path / "run"
    code, said, err = hooke("train", "suite.toml", "--out", str(out))
    assert code == 0, err
    assert "What this run takes" in err
    assert "30 of 30 steps" in err
    assert "resid_post.0/transcoder-40-l0_4" in said
    files = sorted(str(path.relative_to(out / "saes")) for path in (out / "saes").rglob("*.safetensors"))
    assert files == [
        "resid_post.0/batchtopk-48-l0_4.safetensors",
        "resid_post.0/batchtopk-nested-48-l0_4.safetensors",
        "resid_post.0/crosscoder-48-l0_4.safetensors",
        "resid_post.0/jumprelu-48-l0_4.safetensors",
        "resid_post.0/transcoder-40-l0_4.safetensors",
        "resid_post.1/batchtopk-48-l0_4.safetensors",
        "resid_post.1/jumprelu-48-l0_4.safetensors",
    ]
    settings = json.loads((out / "run.json").read_text())
    assert settings["held_out"].keys() == settings["saes"].keys()
    assert all(0 <= metrics["fvu"] < 2 for metrics in settings["held_out"].values())
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert (rows[-1]["step"], rows[-1]["tokens"], rows[-1]["saes"].keys()) == (30, 3000, settings["saes"].keys())
    assert "<svg" in (out / "run.html").read_text()
    events = [json.loads(line)["kind"] for line in (out / "events.jsonl").read_text().splitlines()]
    assert (events[0], events[-1]) == ("started", "finished")
    sae = Sae.load(out / "saes" / files[0])
    assert sae.facts.training["corpora"] == {"news": 2.0, "prose": 1.0}
    assert sae.facts.training["tokens"] == 3000

    code, again, err = hooke("train", "suite.toml", "--out", str(out), "--json")
    assert (code, "holds this run, finished" in err) == (0, True)
    assert [row["sae"] for row in json.loads(again)["saes"]] == list(settings["saes"])


def test_options_are_the_fields_of_the_configurations(monkeypatch, command, tmp_path):
    """Each but those that follow from others is an option, says what the field says, and reaches the plan as a suite's key would."""
    monkeypatch.setattr(cli_train, "_lead", lambda plan, *_: plans.append(plan))
    plans: list[Plan] = []
    for key, typed, value in (
        ("lr", "2e-3", 2e-3),
        ("prefixes", ("8", "1k"), [8, 1024]),
        ("cosine", None, False),
        ("densest", "0.1", 0.1),
        ("dead_after", "2M", 2_000_000),
        ("target", "mlp_out.1", "mlp_out.1"),
        ("seed", ("0", "3"), [0, 3]),
        ("architecture", ("batchtopk", "relu"), ["batchtopk", "relu"]),
        ("context", "64", 64),
        ("field", "title", "title"),
        ("pack", None, True),
    ):
        name = "--sae-seed" if key == "seed" else f"--{'no-' if value is False else ''}{key.replace('_', '-')}"
        given = [word for one in ((typed,) if isinstance(typed, str) else typed or ()) for word in (name, one)] or [name]
        code, _, err = command("train", "--site", "resid_post.0", "--corpus", "news.jsonl", "--out", str(tmp_path), *given)
        assert code == 0, err
        of_run = key in {field.name for field in dataclasses.fields(Plan)} - {"seed"}
        table = {"site": "resid_post.0", **({} if of_run else {key: value})}
        assert plans.pop() == Plan.parse({"corpus": "news.jsonl", "sae": [table], **({key: value} if of_run else {})})
    said = " ".join(re.sub("[│╭╮╰╯─]", " ", command("train", "--help")[1]).split())
    for config, but in ((TrainConfig, DERIVED), (Wiring, ()), (Plan, ("saes",))):
        told = sentences(config)
        for field in dataclasses.fields(config):
            assert field.name in but or told[field.name].rstrip(".").replace("`", "") in said, field.name


@pytest.mark.parametrize(("config", "but"), [(TrainConfig, DERIVED), (Plan, ("saes",)), (Wiring, ())])
def test_the_page_tells_every_field_and_its_default(config, but):
    rows = re.findall(r"^\| (`[^|]+`) \|([^|]*)\|", (Path(__file__).parents[2] / "docs/training.md").read_text(), re.MULTILINE)
    told = {}
    for keys, defaults in rows:
        names = re.findall("`([a-z_0-9]+)`", keys)
        told.update(zip(names, defaults.split(",") if len(names) > 1 else [defaults] * len(names), strict=True))
    for field in dataclasses.fields(config):
        if field.name not in but:
            said = told[field.name].strip(" `").replace(",", "")
            if isinstance(field.default, bool):
                assert said == str(field.default).lower()
            elif isinstance(field.default, int | float) and field.name != "seed":
                assert float(re.split("[;` ]", said)[0]) == field.default, field.name


def test_a_suite_from_shards(hooke, folder, tmp_path):
    sites = ("--site", "resid_post.0", "--site", "resid_post.1", "--site", "mlp_out.1")
    assert hooke("harvest", *HARVEST, *sites, "--out", "acts")[0] == 0
    code, out, err = hooke("train", "stored.toml", "--out", str(tmp_path / "run"), "--json")
    assert code == 0, err
    summary = json.loads(out)
    assert len(summary["saes"]) == 7
    assert all(Path(row["file"]).is_file() and row["fvu"] < 2 for row in summary["saes"])

    refused = tmp_path / "refused"
    for arguments, exit_code, text in (
        (
            ("--tokens", "9000"),
            6,
            "have 3,600 tokens to train on, besides those held out, and the run asks for 9,000. Ask for at most 3,600",
        ),
        (("--tokens", "9000"), 6, "let them be read again (--epochs 3)"),
        (("--model", "other"), 2, "hold activations of 'tiny', not of 'other'"),
        (("--shards", "nowhere"), 4, "no activation shards at nowhere"),
    ):
        code, _, err = hooke("train", "stored.toml", *arguments, "--out", str(refused))
        assert (code, text in err) == (exit_code, True), err
    code, _, err = hooke("train", "--model", "tiny", "--site", "attn_out.1", "--shards", "acts", "--out", str(refused))
    assert (code, "attn_out.1" in err, "mlp_out.1" in err) == (4, True, True), err
    assert hooke("train", "stored.toml", "--tokens", "9000", "--epochs", "3", "--out", str(refused), "--dry-run")[0] == 0

    shard = sorted((folder / "acts").glob("shard-*"))[0]
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-2] + b"\xc0\x7f")  # a bfloat16 that is no number
    code, _, err = hooke("train", "stored.toml", "--out", str(refused))
    shard.write_bytes(whole)
    assert (code, "is damaged" in err) == (3, True), err


def test_other_settings_in_the_same_folder_are_refused(hooke, tmp_path):
    assert one(hooke, tmp_path)[0] == 0
    code, _, err = one(hooke, tmp_path, "--seed", "1")
    assert (code, "seed was 0 and is now 1" in err) == (2, True), err
    code, _, err = one(hooke, tmp_path, "--architecture", "topk")
    assert (code, "holds a run with other settings" in err) == (2, True), err


def test_two_at_once_are_refused(hooke, tmp_path):
    with sole_writer(tmp_path):
        code, _, err = one(hooke, tmp_path)
    assert code == 75, err


def test_text_that_ends_too_early(hooke, tmp_path):
    few = ("train", *ONE[:-4], "--corpus", "few.jsonl", "--batch", "100", "--tokens", "3000", "--out", str(tmp_path))
    assert hooke(*few)[0] == 6
    code, _, err = hooke(*few)
    assert code == 6, "the same command says the same"
    assert " of 30 steps" in err
    assert "let it be read again (epochs)" in err
    assert list((tmp_path / "checkpoints").glob("step-*"))
    assert "the activations ended" in (tmp_path / "run.html").read_text()


def test_a_dry_run_leaves_nothing(hooke, tmp_path):
    out = tmp_path / "run"
    code, said, err = one(hooke, out, "--dry-run", "--json")
    assert code == 0
    assert json.loads(said)["hours"] > 0
    assert "memory" in err
    assert not out.exists()


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("available_memory", "the run needs .* of memory and 1 KiB are available"),
        ("free_disk", "the run needs .* of disk and 1 KiB are free"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_made(hooke, tmp_path, monkeypatch, what, said):
    monkeypatch.setattr(f"hooke.train.cost.{what}", lambda *_: 1024)
    monkeypatch.setattr("hooke.train.trainer.SaeTrainer.__init__", lambda *_: pytest.fail("nothing may be made before"))
    code, _, err = one(hooke, tmp_path / "run")
    assert code == 6
    assert re.search(said, err), err
    assert not (tmp_path / "run").exists()


def test_an_l0_out_of_reach_is_said_with_what_to_do(hooke, folder, tmp_path):
    suite = folder / "reach.toml"
    suite.write_text(
        SUITE[: SUITE.index("[[sae]]")] + '[[sae]]\nsite = "resid_post.0"\narchitecture = "relu"\nd_sae = 48\nl0 = 4\nsparsity = 0.0\n'
    )
    code, out, err = hooke("train", str(suite), "--tokens", "600", "--out", str(tmp_path))
    assert code == 0, err
    assert "asked for was 4. It follows from sparsity=0: raise that, or leave it out" in out


def test_a_loss_that_is_no_number(hooke, tmp_path, monkeypatch):
    from hooke.train.trainer import SaeTrainer

    count = SaeTrainer._count

    def counted(self, tokens, varied, error, active):
        error = error * (math.nan if self.steps == 4 and self.config.steps == 6 and self.name else 1)
        count(self, tokens, varied, error, active)

    monkeypatch.setattr(SaeTrainer, "_count", counted)
    code, _, err = one(hooke, tmp_path)
    assert (code, "the loss is no longer finite at step 5. Lower lr" in err) == (1, True), err
    assert "no longer finite" in (tmp_path / "run.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 2, "nothing to train: name a suite (a TOML file), or at least one --site"),
        (("nowhere.toml",), 4, "no suite at nowhere.toml"),
        (("news.jsonl",), 3, "is no TOML file"),
        (("suite.toml", "--d-sae", "64"), 2, "--d-sae is for runs without a suite"),
        (("suite.toml", "--tokens", "50"), 2, "tokens=50 do not fill one batch of 100"),
        (("suite.toml", "--corpus", "nowhere.jsonl"), 4, "nowhere.jsonl"),
        (("suite.toml", "--device", "cuda:99"), 2, "cannot compute on 'cuda:99'"),
        (("--model", "tiny", "--corpus", "news.jsonl", "--site", "resid_post.7"), 4, "resid_post.7"),
        (
            ("--model", "tiny", "--corpus", "news.jsonl", "--site", "resid_post.0", "--architecture", "topk2"),
            4,
            "unknown architecture 'topk2'",
        ),
    ],
)
def test_what_cannot_be_is_said(hooke, tmp_path, arguments, code, said):
    found, out, err = hooke("train", *arguments, "--out", str(tmp_path / "run"))
    assert (found, out) == (code, ""), err
    assert said in err
    assert not (tmp_path / "run").exists()


def test_a_file_in_the_folders_place(hooke, tmp_path):
    (tmp_path / "run").write_text("")
    code, _, err = one(hooke, tmp_path / "run")
    assert code != 0
    assert "run" in err


# One process pays for the imports; each run is a fork of it, which is stopped. Prints what became of them.
RUNS = """
import json, os, signal, sys, time
from pathlib import Path
import hooke.cli.train_stream, hooke.model, hooke.report.training, hooke.train.alarms, rich.progress, rich.table
from commands import ended, fork

hooke.model.Model.load("tiny")  # what it imports, no fork has to
names, arguments, root = sys.argv[1].split(), sys.argv[2:-1], Path(sys.argv[-1])

def run(out):
    return fork([*arguments, "--out", str(out)], root / "said")

def kept(out):
    return {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.name == "metrics.jsonl" or p.parent.parent.name == "saes"}

assert ended(run(root / "whole")) == 0, (root / "said").read_text()
found, same = {}, True
for name in names:
    out = root / name
    pid, end = run(out), time.monotonic() + 60
    while not (out / "metrics.jsonl").exists() and time.monotonic() < end:
        time.sleep(0.002)
    os.kill(pid, getattr(signal, name))
    found[name] = [ended(pid), (root / "said").read_text(), len(list(out.glob("saes/*/*")))]
    assert ended(run(out)) == 0, (root / "said").read_text()
    found[name].append((root / "said").read_text())
    same = same and kept(out) == kept(root / "whole")
print(json.dumps({"found": found, "same": same, "kept": len(kept(root / "whole"))}))
"""


def test_a_stopped_run_goes_on_to_the_same_bytes(folder, tmp_path, thorough):
    codes = {"SIGTERM": 143, "SIGINT": 130} if thorough else {"SIGTERM": 143}
    result = forked(RUNS, " ".join(codes), "train", "suite.toml", "--tokens", "2500", str(tmp_path), folder=folder)
    assert (result["same"], result["kept"]) == (True, 8)
    for name, code in codes.items():
        stopped, said, saes, after = result["found"][name]
        assert (stopped, saes) == (code, 0), "the test has to stop it in the middle of its work"
        assert "Stopping after this step, with a checkpoint." in said
        assert "The same command goes on from there." in said
        assert "Going on after step " in after
        assert "What this run takes" not in after
