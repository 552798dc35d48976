"""`hooke atlas build`: one reading of text made into what is known of every feature."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from hooke.cli.engines import HERE, Engine
from hooke.cli.named import context_for, named
from hooke.cli.options import BatchTokens, Corpora, CorpusField, Device, Dtype, Json, JudgedSaes, OwnContext, OwnModel, Seed
from hooke.cli.output import Status, print_line, print_text, talk
from hooke.cli.progress import ProgressBar
from hooke.cli.values import FEW, TOKENS, WORKERS
from hooke.errors import BadConfig, HookeError
from hooke.text.figures import byte_size, left_out

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hooke.sae import Sae


def build(
    *sae: JudgedSaes,
    corpus: Corpora = (),
    acts: Annotated[str | None, Parameter(help="A harvest of that text at the SAEs' sites, in place of the model's reading.")] = None,
    tokens: Annotated[int, TOKENS, Parameter(help="Tokens to read.")] = 2_000_000,
    out: Annotated[
        str | None,
        Parameter(help="The file or address to write, for --atlas; by default a file in Hooke's own folder, where `analyze` finds it."),
    ] = None,
    examples: Annotated[int, FEW, Parameter(help="Strongest examples kept of each feature; `hooke explain` needs 40.")] = 20,
    subjects: Annotated[bool, Parameter(help="Let labels say what a text is on (*in texts on sport*); needs hooke[semantic].")] = False,
    model: OwnModel = None,
    field: CorpusField = None,
    context: OwnContext = None,
    seed: Seed = 0,
    batch_tokens: BatchTokens = 4096,
    workers: Annotated[int, WORKERS, Parameter(help="Threads, or processes for the labels; 0: one a core.")] = 0,
    dtype: Dtype = "auto",
    device: Device = "cpu",
    where: Engine = HERE,
    json: Json = False,
) -> None:
    """Make the atlas of some SAEs: read text once, and find out what makes each feature fire. Stopped, the same command goes on."""
    _check(sae, corpus, acts, where)
    began = time.perf_counter()
    with Status() as status:
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
        loaded = Model.load(model or saes[0].facts.model, **home, progress=status)
        check(loaded, saes)
        for doubt in strangers(loaded, saes):
            status.note(f"note: {doubt}")
        length = context or context_for(saes, loaded)
    _announce(path, saes, tokens, cache_bytes(saes, tokens))
    settings = AtlasSettings(tokens, length, seed, examples=examples, subjects=subjects, batch_tokens=batch_tokens, workers=workers)
    with where.joined(device) as cluster, ProgressBar() as bar:
        told = lambda stage, *how: bar.at(stage, "tokens" if stage == "Reading" else "features", *how)  # noqa: E731
        build_atlas(loaded, saes, corpora, path, settings, acts=harvested, progress=told, cluster=cluster, kept=kept)
    if out is None:
        _register(path, {one.name: digest(one) for one in saes})
    elif kept is not None:
        publish(path, out.rpartition("/")[0])  # the one made here stays in the cache
    _summarize(path, tokens, time.perf_counter() - began, as_json=json)


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


def _register(path: Path, digests: dict[str, str]) -> None:
    """Let `analyze` find the atlas; where that fails, the atlas is there all the same and is used by its path."""
    from hooke.sae.packs import register_atlas

    try:
        register_atlas(path, digests)
    except HookeError as error:
        said = f"warning: the atlas is written, but commands will not find it by themselves ({error}) Use it with --atlas {path}."
        talk(said)


def _announce(path: Path, saes: "Sequence[Sae]", tokens: int, size: int) -> None:
    features = sum(sae.d_sae for sae in saes)
    talk(
        f"{tokens:,} tokens for {len(saes)} {'SAE' if len(saes) == 1 else 'SAEs'} with {features:,} features; until {path} is there, "
        f"about {byte_size(size)} beside it."
    )


def _summarize(path: Path, asked: int, seconds: float, *, as_json: bool) -> None:
    from hooke.atlas import Atlas

    made = Atlas(path)
    tables = {name: made.table(name) for name in made.saes}
    rows = []
    for name, table in tables.items():
        scores = [score for score, rule in zip(table.score, table.rule, strict=True) if score is not None and rule != "none"]
        row = {"sae": name, "features": len(table.max), "fired": int((table.max > 0).sum()), "labelled": len(scores)}
        rows.append(row | {"clearly": sum(score >= 0.8 for score in scores), "explained": made.saes[name].facts["explained"]})
    size, features = path.stat().st_size, sum(row["features"] for row in rows)
    summary: dict[str, Any] = {"path": str(path), "bytes": size, "bytes_per_feature": round(size / features, 1)}
    summary |= {name: made.facts[name] for name in ("tokens", "left_out", "documents")}
    summary |= {"asked": asked, "seconds": round(seconds, 1), "saes": rows}
    made.close()
    if as_json:
        print_line(summary)
        return
    fewer = f", all there is of the {asked:,} asked for" if summary["tokens"] < asked else ""
    read = f"{summary['tokens']:,} tokens{fewer}, {byte_size(size)}; {left_out(**summary['left_out'])}"
    print_text(f"{path}: {features:,} features from {read}.")
    for row in rows:
        fired = f"{row['sae']}: {row['fired']:,} of {row['features']:,} features fired"
        print_text(f"{fired}, {row['labelled']:,} have a label, {row['clearly']:,} one that scores 0.8 or more.")
