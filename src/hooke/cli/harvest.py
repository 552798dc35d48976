"""`hooke harvest`: activations of a model over corpora, written as shards."""

import contextlib
import random
import time
from collections.abc import Generator
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from hooke.cli.engines import HERE, Engine
from hooke.cli.options import BatchTokens, Context, Corpora, CorpusField, Dtype, Json, ModelName, Seed, Sites
from hooke.cli.output import Status, print_line, print_text
from hooke.cli.progress import ProgressBar
from hooke.cli.stopping import stoppable
from hooke.cli.values import FEW, TOKENS, WORKERS
from hooke.errors import BadConfig, HookeError
from hooke.text.figures import byte_size, duration

if TYPE_CHECKING:
    from hooke.harvest.saving import HarvestConfig
    from hooke.model import Model
    from hooke.names import Site
    from hooke.shards import Shard, ShardFacts, Shards


def harvest(
    *,
    site: Sites,
    corpus: Corpora,
    tokens: Annotated[int, TOKENS, Parameter(help="Tokens to write.")],
    out: Annotated[str, Parameter(help="A folder, or an address that fsspec knows, such as s3://bucket/folder.")],
    model: ModelName = "gemma-3-270m",
    field: CorpusField = None,
    context: Context = 128,
    pack: Annotated[bool, Parameter(help="Let several documents share a window, so that all windows are full.")] = False,
    seed: Seed = 0,
    epochs: Annotated[int, FEW, Parameter(help="How often a corpus that runs out begins again, at most.")] = 1,
    held_out: Annotated[bool, Parameter(help="Read the documents that are kept from training, not the others.")] = False,
    shard_tokens: Annotated[int, TOKENS, Parameter(help="Tokens in a shard; one shard is held in memory.")] = 1 << 16,
    batch_tokens: BatchTokens = 4096,
    dtype: Dtype = "auto",
    device: Annotated[str, Parameter(help="Where to compute, cpu or cuda; auto: the model's layers spread over all devices.")] = "cpu",
    nproc: Annotated[int, WORKERS, Parameter(help="Processes, each with a part of every layer of the model (tensor parallelism).")] = 1,
    where: Engine = HERE,
    json: Json = False,
) -> None:
    """Write a model's activations over texts to disk, to train on later."""
    from hooke.text.corpus import parse_corpora

    corpora = parse_corpora(corpus, field=field)
    with contextlib.ExitStack() as stack:
        with Status() as status:
            from hooke.cli.processes import joined, started
            from hooke.harvest.saving import HarvestConfig, facts_of, save
            from hooke.model import Model
            from hooke.names import Site

            home, there = _home(where, device, dtype, started(nproc)), _there(out)
            config = HarvestConfig(tokens, context, pack, seed, epochs, held_out, shard_tokens=shard_tokens, batch_tokens=batch_tokens)
            sites = list(dict.fromkeys(map(Site.parse, site)))
            if stack.enter_context(joined(nproc, device)).rank:
                _follow(model, home)
                return
            loaded = Model.load(model, **home, progress=status)
            if loaded.spread is not None:
                stack.enter_context(loaded.spread.led())
            facts = facts_of(loaded, corpora, sites, config)
            if there is None or not there.complete:
                rate = None
                if where.engine == "here":
                    status("Measuring how fast this machine reads")
                    rate = reading_rate(loaded, sites, config)
                _announce(status, out, facts, there, rate)
        began, before = time.perf_counter(), there.tokens if there else 0
        bar = ProgressBar().begin(tokens, "tokens")
        with where.joined(device) as cluster:
            _write(bar, out, save(loaded, corpora, sites, out, config, bar.move, cluster=cluster))
    _summarize(out, before, time.perf_counter() - began, as_json=json)


def _home(where: Engine, device: str, dtype: str, processes: int) -> dict[str, Any]:
    """Where the model is; on no single device where it is to be spread."""
    if device != "auto" and processes == 1:
        return where.home(device, dtype)
    if where.engine != "here":
        asked = "--device auto" if processes == 1 else f"--nproc {processes}"
        raise BadConfig(f"{asked} spreads one model over devices here, and --engine {where.engine} gives each worker one: leave out one.")
    if device == "auto" and processes > 1:
        raise BadConfig("--device auto lays whole layers on each device, --nproc gives each process a part of every layer: leave out one.")
    where.home("cpu", dtype)
    return {"dtype": dtype, "spread": True}


def _follow(model: str, home: dict[str, Any]) -> None:
    """Read what the first process reads."""
    from hooke.model import Model

    try:
        loaded = Model.load(model, **home)
    except HookeError as error:  # the first has said it
        raise SystemExit(1) from error
    if loaded.spread is not None:
        loaded.spread.follow()


def _there(out: str) -> "Shards | None":
    from hooke.shards import Shards, manifest_file
    from hooke.shards.place import place_at

    return None if manifest_file(place_at(out)) is None else Shards.open(out)


def reading_rate(model: "Model", sites: "list[Site]", config: "HarvestConfig") -> float:
    """Tokens per second of a short pass over random tokens: for the estimate only."""
    from hooke.harvest import harvest as read
    from hooke.text.corpus import Window

    draw = random.Random(0)  # noqa: S311 (no secret)
    length = min(config.context, config.batch_tokens)
    count = max(1, min(1024, config.batch_tokens) // length)
    some = [Window("", 0, [draw.randrange(len(model.tokenizer)) for _ in range(length)]) for _ in range(count)]
    wall = 1.0
    for _ in range(2):  # the first pays for what is only done once
        began = time.perf_counter()
        for _ in read(model, some, sites, batch_tokens=length * count):
            wall = time.perf_counter() - began
    return length * count / wall


def _announce(status: Status, out: str, facts: "ShardFacts", there: "Shards | None", rate: float | None) -> None:
    from hooke.shards.manifest import token_bytes

    done, shards = there.tokens if there else 0, -(-facts.tokens // facts.shard_tokens)
    status.note(
        f"{facts.tokens:,} tokens at {', '.join(facts.sites)} of {facts.model}: {byte_size(token_bytes(facts) * facts.tokens)} in "
        f"{shards:,} {'shard' if shards == 1 else 'shards'} at {out}"
        + (f"; {done:,} tokens are there already" if done else "")
        + (f". At {rate:,.0f} tokens/s that takes {duration((facts.tokens - done) / rate)}." if rate else ".")
    )


def _write(bar: ProgressBar, out: str, shards: "Generator[Shard, None, None]") -> None:
    """Take the shards as they come; once asked to stop, end with the one at hand."""

    def told() -> None:
        bar.say("Stopping once the shard at hand is written. Ask again to stop at once; that shard is then made again.")

    with contextlib.closing(shards), bar, stoppable(told) as stop:
        for shard in shards:
            bar.note(f"{shard.file}: {shard.tokens:,} tokens, {bar.rate:,.0f} tokens/s")
            if stop:
                break
    there = _there(out)
    if stop and there is not None and not there.complete:
        bar.say(f"Stopped after {there.tokens:,} tokens. The same command goes on from there.")
        raise SystemExit(stop.exit_code)


def _summarize(out: str, before: int, seconds: float, *, as_json: bool) -> None:
    from hooke.shards import Shards

    shards = Shards.open(out)
    size = sum(shard.bytes for shard in shards.shards)
    rate = (shards.tokens - before) / seconds
    if as_json:
        print_line(
            {
                "out": out,
                "model": shards.facts.model,
                "sites": shards.facts.sites,
                "tokens": shards.tokens,
                "shards": len(shards),
                "bytes": size,
                "corpora": shards.corpora,
                "left_out": shards.left_out,
                "mean_square": {str(site): value for site, value in shards.mean_square.items()},
                "new_tokens": shards.tokens - before,
                "seconds": round(seconds, 3),
                "tokens_per_s": round(rate, 1) if shards.tokens > before else None,
            }
        )
        return
    read = ", ".join(f"{name} {tokens:,}" for name, tokens in shards.corpora.items())
    left = ", ".join(f"{count:,} {reason}" for reason, count in shards.left_out.items()) or "none"
    fresh = f" in {duration(seconds)}, {rate:,.0f} tokens/s" if shards.tokens > before else ": they were all there already"
    print_text(f"{shards.tokens:,} tokens, {byte_size(size)}, at {out}{fresh}.")
    print_text(f"Tokens by corpus: {read}. Positions left out: {left}.")
