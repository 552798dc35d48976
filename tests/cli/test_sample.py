"""`hooke sample` as people run it: the same bytes however often it was cut off, from the model's own distribution, packed by name."""

import gzip
import json
from functools import partial
from pathlib import Path

import pytest
import torch
from commands import Command

from hooke import tiny
from hooke.errors import BadConfig, BadFile, Busy, HookeError
from hooke.model.sampled import SampleConfig, sample
from hooke.text.corpus import documents

MODEL = tiny.model()


@pytest.fixture
def hooke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command) -> Command:
    """Run the command with the planted model."""
    monkeypatch.chdir(tmp_path)
    tiny.save(tmp_path / "tiny")
    return partial(command, "sample", "--model", "tiny")


def records(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_command_writes_a_corpus(hooke: Command, tmp_path: Path) -> None:
    code, out, err = hooke("--tokens", "500", "--length", "20", "--batch", "8", "--out", "x.jsonl.zst", "--json")
    assert code == 0
    summary = json.loads(out)
    assert summary["tokens"] >= 500
    assert "of 500 tokens" in err
    assert len(list(documents(tmp_path / "x.jsonl.zst"))) == summary["documents"]
    assert not list(tmp_path.glob("*.part*"))
    code, out, err = hooke("--tokens", "500", "--length", "20", "--out", "x.jsonl.zst")
    assert (code, out) == (2, "")
    assert "x.jsonl.zst is there already" in err.replace("\n", " ")


def test_prompts_of_any_length_are_gone_on_from_in_turn(hooke: Command, tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("the old judge\nrain\n")
    told = hooke("--tokens", "60", "--length", "5", "--batch", "4", "--out", "x.jsonl", "--prompt", "The bank", "--prompts", "p.txt")
    assert told[:2] == (0, "")
    texts = [record["text"] for record in records(tmp_path / "x.jsonl")]
    assert len(texts) >= 12
    for text, prompt in zip(texts, ["The bank", "the old judge", "rain"] * 9, strict=False):
        assert text.startswith(prompt)
        assert len(MODEL.tokenizer.encode([text])[0]) - len(MODEL.tokenizer.encode([prompt])[0]) >= 1


@pytest.mark.parametrize("name", ["x.jsonl", "x.jsonl.gz", "x.jsonl.zst"])
def test_a_run_that_was_cut_off_ends_with_the_same_bytes(name: str, tmp_path: Path) -> None:
    config = SampleConfig(tokens=400, length=12, batch=8, seed=3)
    list(sample(MODEL, config, tmp_path / "whole" / name))
    for cut in range(4):
        out = tmp_path / str(cut) / name
        run = sample(MODEL, config, out)
        for _ in range(cut + 1):
            next(run)
        run.close()
        with out.with_name(name + ".part").open("ab") as file:  # a batch that was cut off in the middle
            file.write(b"half a rec")
        assert not out.exists()
        assert next(sample(MODEL, config, out)).batches == cut
        list(sample(MODEL, config, out))
        assert out.read_bytes() == (tmp_path / "whole" / name).read_bytes()
        assert [path.name for path in out.parent.iterdir()] == [name]


def test_the_seed_decides_and_documents_stop_at_the_end(tmp_path: Path) -> None:
    texts = {}
    for seed in (0, 1):
        list(sample(MODEL, SampleConfig(300, 12, 8, seed=seed), tmp_path / f"{seed}.jsonl"))
        texts[seed] = [record["text"] for record in records(tmp_path / f"{seed}.jsonl")]
    assert texts[0] != texts[1]
    ending = tiny.model()
    ending.hf.config.eos_token_id = list(range(4, len(MODEL.tokenizer), 2))  # every other token ends a text
    done = list(sample(ending, SampleConfig(100, 12, 8), tmp_path / "short.jsonl"))[-1]
    assert 1 <= done.tokens / done.documents < 4
    ending.hf.config.eos_token_id = list(range(len(MODEL.tokenizer)))
    with pytest.raises(HookeError, match="ended 8 documents in a row at once"):
        list(sample(ending, SampleConfig(100, 12, 8), tmp_path / "none.jsonl"))


def test_a_row_is_sampled_from_its_own_distribution_whatever_its_neighbours() -> None:
    """At temperature 0, prompts of several lengths together give what each gives alone."""
    prompts = MODEL.tokenizer.encode(["the storm", "the judge and the jury", "rain", "a new album"])
    width = max(map(len, prompts))
    ragged = torch.tensor([row + [-1] * (width - len(row)) for row in prompts])
    together = MODEL.generate(ragged, 6, temperature=0.0)
    for row, prompt in zip(together, prompts, strict=True):
        alone = MODEL.generate(torch.tensor([prompt]), 6, temperature=0.0)[0]
        assert torch.equal(row[: len(prompt) + 6], alone)


def test_what_does_not_fit_together_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "x.jsonl"
    config = SampleConfig(400, 12, 8)
    run = sample(MODEL, config, out)
    next(run), next(run)
    with pytest.raises(Busy, match="another process is writing"):
        next(sample(MODEL, config, out))
    run.close()
    with pytest.raises(BadConfig, match=r"was begun with other settings: seed 0, now 5\. Give the same"):
        next(sample(MODEL, SampleConfig(400, 12, 8, seed=5), out))
    with pytest.raises(BadConfig, match="do not fit tiny, which reads 128"):
        next(sample(MODEL, SampleConfig(400, 128), out))
    for odd in ({"tokens": 0}, {"tokens": 9, "batch": 0}, {"tokens": 9, "length": -1}, {"tokens": 9, "temperature": float("nan")}):
        with pytest.raises(BadConfig, match="cannot sample"):
            next(sample(MODEL, SampleConfig(**odd), out))
    (tmp_path / "x.jsonl.part.json").write_bytes(b"[")
    with pytest.raises(BadFile, match="is damaged"):
        next(sample(MODEL, config, out))


def test_no_more_documents_are_begun_than_could_be_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, generate = [], type(MODEL).generate

    def counted(self, prompts, *args, **options):
        rows.append(len(prompts))
        return generate(self, prompts, *args, **options)

    monkeypatch.setattr(type(MODEL), "generate", counted)
    (_, done) = sample(MODEL, SampleConfig(tokens=1, length=12), tmp_path / "one.jsonl")
    assert (rows, done.documents, len(records(tmp_path / "one.jsonl"))) == ([1], 1, 1)
    rows.clear()
    done = list(sample(MODEL, SampleConfig(tokens=100, length=12, batch=8), tmp_path / "x.jsonl"))[-1]
    assert rows[0] == 8
    assert done.documents <= done.begun == sum(rows) <= done.documents + 4
    assert 100 <= done.tokens < 112
    numbers = [int(record["id"].split("-")[1]) for record in records(tmp_path / "x.jsonl")]
    assert numbers == sorted(set(numbers))
    assert max(numbers) < done.begun


def test_packed_output_is_one_file_of_its_kind(tmp_path: Path) -> None:
    list(sample(MODEL, SampleConfig(200, 12, 8), tmp_path / "x.jsonl.gz"))
    list(sample(MODEL, SampleConfig(200, 12, 8), tmp_path / "x.jsonl"))
    assert gzip.decompress((tmp_path / "x.jsonl.gz").read_bytes()) == (tmp_path / "x.jsonl").read_bytes()
