"""`hooke atlas build`: one reading of text made into what is known of every feature."""

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from hooke.cli.engines import HERE, Engine
from hooke.cli.named import named
from hooke.cli.output import console_for, print_line, say
from hooke.cli.progress import ProgressBar
from hooke.cli.values import BATCH, FEW, SEED, TOKENS, WINDOW, WORKERS
from hooke.errors import BadConfig, HookeError
from hooke.text.figures import byte_size, left_out

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from hooke.model import Model
    from hooke.sae import Sae


def build(
    *sae: Annotated[str, Parameter(help="Names (see `hooke saes`) or files of SAEs, all of one model.")],
    corpus: Annotated[
        tuple[str, ...],
        Parameter(negative="", help="What to read: a file, folder, address or dataset, perhaps with =WEIGHT."),
    ] = (),
    acts: Annotated[str | None, Parameter(help="A harvest of that text at the SAEs' sites, in place of the model's reading.")] = None,
    tokens: Annotated[int, TOKENS, Parameter(help="Tokens to read.")] = 2_000_000,
    out: Annotated[
        str | None,
        Parameter(help="The file or address to write, for --atlas; by default a file in Hooke's own folder, where `analyze` finds it."),
    ] = None,
    examples: Annotated[int, FEW, Parameter(help="Strongest examples kept of each feature; `hooke explain` needs 40.")] = 20,
    subjects: Annotated[
        bool, Parameter(negative="", help="Let labels say what a text is on (*in texts on sport*); needs hooke[semantic].")
    ] = False,
    model: Annotated[str | None, Parameter(help="A model's name, a folder, or org/name on a hub; by default what the SAEs name.")] = None,
    field: Annotated[str | None, Parameter(help="The field or column that holds the text.")] = None,
    context: Annotated[int | None, WINDOW, Parameter(help="Tokens in a window of text; by default what the SAEs were trained on.")] = None,
    seed: Annotated[int, SEED, Parameter(help="Decides the order of documents.")] = 0,
    batch_tokens: Annotated[int, BATCH, Parameter(help="Tokens per forward pass.")] = 4096,
    workers: Annotated[int, WORKERS, Parameter(help="Threads, or processes for the labels; 0: one a core.")] = 0,
    dtype: Annotated[str, Parameter(help="The model's number format: auto (what is fast here), bfloat16 or float32.")] = "auto",
    device: Annotated[str, Parameter(help="Where to compute, cpu or cuda.")] = "cpu",
    where: Engine = HERE,
    json: Annotated[bool, Parameter(name="--json", negative="", help="Print a summary as one JSON document.")] = False,
) -> None:
    """Make the atlas of some SAEs: read text once, and find out what makes each feature fire. Stopped, the same command goes on."""
    _check(sae, corpus, acts, where)
    began = time.perf_counter()
    console = console_for(stderr=True)
    with console.status("Loading") as status:
        home, found = where.home(device, dtype), named(sae)
        from hooke.builder import AtlasSettings, build_atlas, cache_bytes
        from hooke.evals.run import check
        from hooke.model import Model
        from hooke.sae import digest
        from hooke.sanity import strangers
        from hooke.shards import Shards
        from hooke.shards.kept import publish
        from hooke.text.corpus import parse_corpora

        corpora = parse_corpora(corpus, field=field)
        harvested, saes = Shards.open(acts) if acts else None, [one.open().to(home["device"]) for one in found]
        path, kept = _place(out, saes)
        loaded = Model.load(model or saes[0].facts.model, **home, progress=lambda text: say(console, status, text))
        check(loaded, saes)
        for doubt in strangers(loaded, saes):
            console.print(f"note: {doubt}", highlight=False, markup=False, soft_wrap=True)
        length = context or _context(saes, loaded)
    _announce(console, path, saes, tokens, cache_bytes(saes, tokens))
    settings = AtlasSettings(tokens, length, seed, examples=examples, subjects=subjects, batch_tokens=batch_tokens, workers=workers)
    with where.joined(device) as cluster, ProgressBar(console) as bar:
        build_atlas(loaded, saes, corpora, path, settings, acts=harvested, progress=partial(_move, bar), cluster=cluster, kept=kept)
    if out is None:
        _register(console, path, {one.name: digest(one) for one in saes})
    elif kept is not None:
        publish(path, out.rpartition("/")[0])  # the one made here stays in the cache
    _summarize(path, tokens, time.perf_counter() - began, as_json=json)


def _move(bar: ProgressBar, stage: str, done: int, total: int) -> None:
    if stage != bar.stage:
        bar.begin(total, "tokens" if stage == "Reading" else "features", stage=stage)
    bar.move(done)


def _check(sae: "Sequence[str]", corpus: "Sequence[str]", acts: str | None, where: Engine) -> None:
    if not sae:
        raise BadConfig("no SAE to make an atlas of. Name some (see `hooke saes`): hooke atlas build 12 --corpus FILE")
    if not corpus:
        raise BadConfig("no text to read. Give --corpus FILE, JSON Lines with a 'text' (.zst too); several are mixed, FILE=WEIGHT.")
    if acts and where.engine != "here":
        raise BadConfig("--acts was read before, and --engine is for reading: give one of the two.")


def _place(out: str | None, saes: "Sequence[Sae]") -> tuple[Path, str | None]:
    """Where the atlas is made, and the address at which what was read for it is kept, if it goes to one.

    A file there already is replaced, unless it knows SAEs that this one would not; an object is not.
    """
    from hooke.files import check_writable
    from hooke.sae.packs import default_atlas

    if out is None or "://" not in out:
        path = _file(Path(out) if out else default_atlas(saes[0].name), saes)
        check_writable(path)
        return path, None
    import hashlib

    from hooke.files import cache_dir
    from hooke.shards.place import place_at

    folder, _, name = out.rpartition("/")
    if place_at(folder).size(name) is not None:
        raise BadConfig(f"{out} is there already. Give another address, or remove it.")
    return cache_dir() / "atlases" / hashlib.sha256(out.encode()).hexdigest()[:16] / name, f"{out}.work"


def _file(path: Path, saes: "Sequence[Sae]") -> Path:
    from hooke.atlas import Atlas

    if path.is_dir():
        raise BadConfig(f"cannot write {path}: it is a folder. Give a file's name: --out {path / 'atlas.sqlite'}")
    if not path.is_file():
        return path
    there = Atlas(path)
    lost = sorted(set(there.saes) - {one.name for one in saes})
    there.close()
    if lost:
        raise BadConfig(
            f"{path} holds an atlas that knows {', '.join(lost)} too, and would be replaced. "
            "Name those as well, or give another place: --out FILE."
        )
    return path


def _register(console: "Console", path: Path, digests: dict[str, str]) -> None:
    """Let `analyze` find the atlas; where that fails, the atlas is there all the same and is used by its path."""
    from hooke.sae.packs import register_atlas

    try:
        register_atlas(path, digests)
    except HookeError as error:
        said = f"warning: the atlas is written, but commands will not find it by themselves ({error}) Use it with --atlas {path}."
        console.print(said, highlight=False, soft_wrap=True, markup=False)


def _context(saes: "Sequence[Sae]", model: "Model") -> int:
    known = [sae.facts.context for sae in saes if sae.facts.context > 1]
    return min([*known, model.context] if known else [128, model.context])


def _announce(console: "Console", path: Path, saes: "Sequence[Sae]", tokens: int, size: int) -> None:
    features = sum(sae.d_sae for sae in saes)
    console.print(
        f"{tokens:,} tokens for {len(saes)} {'SAE' if len(saes) == 1 else 'SAEs'} with {features:,} features; until {path} is there, "
        f"about {byte_size(size)} beside it.",
        highlight=False,
        soft_wrap=True,
        markup=False,
    )


def _summarize(path: Path, asked: int, seconds: float, *, as_json: bool) -> None:
    from hooke.atlas import Atlas

    made = Atlas(path)
    tables = {name: made.table(name) for name in made.saes}
    rows = [
        {
            "sae": name,
            "features": len(table.max),
            "fired": int((table.max > 0).sum()),
            "labelled": sum(score is not None and rule != "none" for score, rule in zip(table.score, table.rule, strict=True)),
            "clearly": sum(
                score is not None and rule != "none" and score >= 0.8 for score, rule in zip(table.score, table.rule, strict=True)
            ),
            "explained": made.saes[name].facts["explained"],
        }
        for name, table in tables.items()
    ]
    size, features = path.stat().st_size, sum(row["features"] for row in rows)
    summary: dict[str, Any] = {
        "path": str(path),
        "bytes": size,
        "bytes_per_feature": round(size / features, 1),
        "tokens": made.facts["tokens"],
        "left_out": made.facts["left_out"],
    }
    summary |= {"asked": asked, "documents": made.facts["documents"], "seconds": round(seconds, 1), "saes": rows}
    made.close()
    if as_json:
        print_line(summary)
        return
    console = console_for()
    fewer = f", all there is of the {asked:,} asked for" if summary["tokens"] < asked else ""
    console.print(
        f"{path}: {features:,} features from {summary['tokens']:,} tokens{fewer}, {byte_size(size)}; {left_out(**summary['left_out'])}.",
        highlight=False,
        soft_wrap=True,
        markup=False,
    )
    for row in rows:
        console.print(
            f"{row['sae']}: {row['fired']:,} of {row['features']:,} features fired, {row['labelled']:,} have a label, "
            f"{row['clearly']:,} one that scores 0.8 or more.",
            highlight=False,
            soft_wrap=True,
            markup=False,
        )
