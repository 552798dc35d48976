"""Sampled text: documents that a model writes itself, batch by batch, into a file that a killed run goes on with."""

import contextlib
import fcntl
import gzip
import hashlib
import json
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import zstandard
from jaxtyping import Int
from torch import Tensor

from hooke.errors import BadConfig, BadFile, Busy, HookeError
from hooke.files import atomic_write, parse_json, write_error
from hooke.model import Model
from hooke.model.sampling import ends_of

_MOST_TOGETHER = 1 << 16  # documents of a batch
_TOGETHER = ("batches", "begun", "documents", "tokens", "bytes")


@dataclass(frozen=True)
class SampleConfig:
    """What to sample."""

    tokens: int
    """Tokens in all; sampling ends with the document that reaches them."""
    length: int = 128
    """Most tokens sampled for a document, what it was prompted with not counted."""
    batch: int = 128
    """Most documents sampled together; fewer where those are likely to reach `tokens`. Part of what is drawn: another number gives other
    documents."""
    temperature: float = 1.0
    """1 is the model's own distribution; below it is bolder, 0 takes the likeliest token."""
    seed: int = 0
    """Decides what is drawn."""
    prompts: tuple[str, ...] = field(default=(), repr=False)
    """Texts to go on from, each in turn; none: the beginning-of-sequence token alone."""

    def check(self, model: Model) -> None:
        """Raise `BadConfig` for what cannot be sampled from `model`."""
        for name, most in (("tokens", 10**13), ("length", model.context), ("batch", _MOST_TOGETHER)):
            if not 1 <= getattr(self, name) <= most:
                raise BadConfig(f"cannot sample with {name}={getattr(self, name)}; it must be from 1 to {most:,}.")
        if self.temperature < 0 or self.temperature == float("inf") or self.temperature != self.temperature:
            raise BadConfig(f"cannot sample at temperature {self.temperature}; it must be 0 or more, and finite.")
        longest = max(map(len, self.starts(model)))
        if longest + self.length > model.context:
            raise BadConfig(
                f"a prompt of {longest} tokens and {self.length} more do not fit {model.name}, which reads {model.context}. Use a smaller"
                " length or shorter prompts."
            )

    def starts(self, model: Model) -> list[list[int]]:
        """Token ids of the prompts."""
        starts = model.tokenizer.encode(self.prompts or ("",))
        if not all(starts):
            raise BadConfig(f"{model.name} has no beginning-of-sequence token to go on from. Give a prompt with something in it.")
        return starts


@dataclass
class Sampled:
    """What is written so far."""

    batches: int = 0
    """Whole batches."""
    begun: int = 0
    """Documents begun in them."""
    documents: int = 0
    """Documents in them; those that ended before they began are left out."""
    tokens: int = 0
    """Tokens sampled for them."""
    bytes: int = 0
    """Size of the file up to there."""


def sample(model: Model, config: SampleConfig, out: Path, progress: Callable[[int], None] = lambda _: None) -> Iterator[Sampled]:
    """Write documents sampled from `model` to `out`, JSON Lines with ``id`` and ``text`` (``.gz``, ``.zst`` packed); one value a batch.

    Whole batches wait in ``out.part``, what they are in ``out.part.json``; the same call goes on after the last of them. Every batch has
    a seed of its own, so a run that was killed gives, in the end, the bytes of one that was not. `progress` hears of tokens in between.
    Raises `BadConfig` where `out` is there already or its parts were begun with other settings, `Busy` where another process writes it.
    """
    config.check(model)
    if out.exists():
        raise BadConfig(f"{out} is there already. Remove it, or write to another file.")
    part, note = (out.with_name(out.name + suffix) for suffix in (".part", ".part.json"))
    settings = _settings(model, config)
    done = _begun(part, note, settings)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with part.open("ab") as file:
            _alone(file.fileno(), out)
            file.truncate(done.bytes)
            yield done
            in_vain = 0
            while done.tokens < config.tokens:
                rows = _wanted(config, done)
                documents, counts = _batch(model, config, done, rows, progress)
                in_vain = 0 if documents else in_vain + rows
                if in_vain >= config.batch:
                    raise HookeError(f"{model.name} ended {in_vain} documents in a row at once. Give another prompt or seed.")
                data = _packed("".join(json.dumps(own, ensure_ascii=False) + "\n" for own in documents).encode(), out.suffix)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
                begun, kept, tokens = done.begun + rows, done.documents + len(counts), done.tokens + sum(counts)
                done = Sampled(done.batches + 1, begun, kept, tokens, done.bytes + len(data))
                with atomic_write(note) as noted:
                    noted.write(json.dumps({"settings": settings, **asdict(done)}).encode())
                yield done
        os.replace(part, out)
        note.unlink(missing_ok=True)
    except OSError as error:
        raise write_error(error, out) from error


def _settings(model: Model, config: SampleConfig) -> dict[str, Any]:
    facts = asdict(config) | {"model": model.name, "dtype": str(model.dtype).removeprefix("torch.")}
    facts["prompts"] = hashlib.sha256(json.dumps(config.prompts).encode()).hexdigest()[:16] if config.prompts else ""
    return facts


def _begun(part: Path, note: Path, settings: dict[str, Any]) -> Sampled:
    """What an earlier run left, if it was the same run."""
    if not note.is_file() or not part.is_file():
        return Sampled()
    try:
        found = parse_json(note.read_bytes())
        before, done = dict(found["settings"]), Sampled(*(int(found[name]) for name in _TOGETHER))
    except (ValueError, KeyError, TypeError) as error:
        raise BadFile(f"{note} is damaged ({error}). Remove it to begin again.") from error
    if other := [f"{name} {before.get(name)!r}, now {value!r}" for name, value in settings.items() if before.get(name) != value]:
        raise BadConfig(f"{part} was begun with other settings: {'; '.join(other)}. Give the same, or remove {part} to begin again.")
    if part.stat().st_size < done.bytes:
        raise BadFile(f"{part} is shorter than {note} says. Remove both to begin again.")
    return done


def _alone(handle: int, out: Path) -> None:
    """Hold the lock on the part, which the system gives up for us if we are killed."""
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return
    raise Busy(f"another process is writing {out}. Wait for it, or write to another file.")


def _wanted(config: SampleConfig, done: Sampled) -> int:
    """Documents of the next batch: as many as reach what is wanted, if they are as long as those before; the first, if none ends early."""
    tokens, begun = (done.tokens, done.begun) if done.tokens else (config.length, 1)
    return min(config.batch, -(-(config.tokens - done.tokens) * begun // tokens))


def _batch(
    model: Model, config: SampleConfig, done: Sampled, count: int, progress: Callable[[int], None]
) -> tuple[list[dict[str, str]], list[int]]:
    """The next `count` documents and how many tokens each has, up to the one that reaches what is wanted."""
    starts, first = config.starts(model), done.begun
    rows = [starts[(first + i) % len(starts)] for i in range(count)]
    seed = random.Random(f"{config.seed}/{done.batches}").getrandbits(63)  # noqa: S311 (no secret)
    width = max(map(len, rows))
    told = 0

    def tell(each: int) -> None:
        nonlocal told
        progress(count * (each - told))
        told = each

    drawn = model.generate(_ragged(rows, width), config.length, temperature=config.temperature, seed=seed, progress=tell).tolist()
    ends, left = ends_of(model.hf), config.tokens - done.tokens
    documents, counts = [], []
    for number, (start, ids) in enumerate(zip(rows, drawn, strict=True), first):
        body = ids[len(start) : len(start) + config.length]
        body = body[: next((at for at, token in enumerate(body) if token in ends), len(body))]
        if body:
            documents.append({"id": f"{config.seed}-{number}", "text": model.tokenizer.decode(start + body)})
            counts.append(len(body))
            left -= len(body)
        if left <= 0:
            break
    return documents, counts


def _ragged(rows: list[list[int]], width: int) -> Int[Tensor, "batch pos"]:
    return torch.tensor([row + [-1] * (width - len(row)) for row in rows])


def _packed(data: bytes, suffix: str) -> bytes:
    """`data` as a member or frame of its own: one after another they are one file."""
    if suffix == ".gz":
        return gzip.compress(data, mtime=0)
    return zstandard.compress(data) if suffix == ".zst" else data
