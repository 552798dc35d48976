"""`hooke eval`: what SAEs keep of a model, beside baselines, each figure with its interval."""

import hashlib
import json as json_module
import shutil
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from hooke.cli.engines import HERE, Engine
from hooke.cli.named import context_for, named
from hooke.cli.options import BatchTokens, Corpora, Device, Dtype, Html, Json, JudgedSaes, OwnContext, OwnModel, Seed
from hooke.cli.output import Status, check_places, console_for, print_line, talk, write_text
from hooke.cli.values import TOKENS
from hooke.errors import BadConfig, unknown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hooke.engine.cluster import Cluster
    from hooke.evals import EvalConfig, Evaluation
    from hooke.model import Model
    from hooke.sae import Sae
    from hooke.text.corpus import Corpus

_SUITES = ("core", "geometry", "uniformity", "probing", "tpp")
_LABELLED = ("probing", "tpp")


def eval(  # noqa: A001 (the command's name)
    *sae: JudgedSaes,
    corpus: Corpora = (),
    model: OwnModel = None,
    tokens: Annotated[int, TOKENS, Parameter(help="Tokens to judge on.")] = 100_000,
    suite: Annotated[str, Parameter(help="Some of core, geometry, uniformity, probing and tpp, with commas.")] = "core,geometry",
    labels: Annotated[str | None, Parameter(help="For probing and tpp: the field that holds a document's class.")] = None,
    labelled: Annotated[Path | None, Parameter(help="The file of labelled documents; by default the first --corpus.")] = None,
    context: OwnContext = None,
    all_documents: Annotated[bool, Parameter(help="Read all documents, not only the one in 50 that training leaves out.")] = False,
    batch_tokens: BatchTokens = 4096,
    dtype: Dtype = "auto",
    device: Device = "cpu",
    seed: Annotated[Seed, Parameter(help="Decides the order of documents, resamples and random baselines.")] = 0,
    where: Engine = HERE,
    json: Json = False,
    saebench: Annotated[Path | None, Parameter(help="Also write files in SAEBench's schema to this folder.")] = None,
    html: Html = None,
) -> None:
    """Judge SAEs: what they keep of the model, how sparse they are, what their features are good for, beside baselines."""
    from hooke.text.corpus import parse_corpora, windows

    suites = _parsed(suite)
    _check(sae, corpus, suites, labels, html, saebench)
    with Status() as status:
        home = where.home(device, dtype)
        found_saes, corpora = named(sae), parse_corpora(corpus)
        from hooke.evals import EvalConfig
        from hooke.model import Model
        from hooke.sae.fits import model_of

        saes = _told_apart(status, sae, [one.open() for one in found_saes])
        loaded = Model.load(model or model_of(saes), **home, progress=status)
        saes = [one.to(home["device"]) for one in saes]
        _try(status, loaded, saes)
        context = context or context_for(saes, loaded)
        text = windows(corpora, loaded.tokenizer, length=context, seed=seed, held_out=not all_documents)
        settings = {"context": context, "all_documents": all_documents, "dtype": str(loaded.dtype).removeprefix("torch."), "seed": seed}
        own = tuple(name for name in suites if name not in _LABELLED)
        found, work = None, None
        if own:
            # Each baseline costs as much as an SAE: on a tenth of the tokens they cost less than the SAEs together.
            beside = max(2_000, min(10_000, tokens // 10))
            config = EvalConfig(tokens, own, baseline_tokens=beside, batch_tokens=batch_tokens, seed=seed)
            work = _work(loaded, saes, corpora, config, settings)
            with where.joined(device) as cluster:
                found = _evaluated(cluster, sae, loaded, saes, text, config, work, status)
        result = found.result if found else _bare(loaded, saes)
        result |= {"corpus": _described(corpora, result), **settings, "suites": list(suites)}
        if labels is not None:
            _add_labelled(result, suites, loaded, saes, (labelled or corpora[0].path, labels), seed, status)
    _write(result, found, saes, as_json=json, saebench=saebench, html=html)
    if work is not None:  # only now that its figures are out
        work.unlink(missing_ok=True)
        shutil.rmtree(work.with_suffix(""), ignore_errors=True)


def _evaluated(
    cluster: "Cluster | None", refs: tuple[str, ...], model: "Model", saes: "list[Sae]", text: Any, config: "EvalConfig", *how: Any
) -> "Evaluation":
    """What there is to be found, here or by a cluster."""
    from hooke.evals import evaluate

    work, progress = how
    if cluster is None:
        return evaluate(model, saes, text, config, work=work, progress=progress)
    from hooke.evals.spread import evaluate_spread
    from hooke.sae.recipe import SaeRecipe

    asked = {SaeRecipe.of(ref, one): one for ref, one in zip(refs, saes, strict=True)}
    return evaluate_spread(model, asked, text, config, cluster, work=work.with_suffix(""), progress=progress)


def _parsed(suite: str) -> tuple[str, ...]:
    asked = [name.strip() for name in suite.split(",") if name.strip()]
    for name in asked:
        if name not in _SUITES:
            raise unknown("suite", name, _SUITES, "Several are written with commas: --suite core,geometry.")
    if not asked:
        raise BadConfig(f"--suite names no suite. Known: {', '.join(_SUITES)}.")
    return tuple(name for name in _SUITES if name in asked)


def _check(
    sae: tuple[str, ...], corpus: tuple[str, ...], suites: tuple[str, ...], labels: str | None, html: Path | None, saebench: Path | None
) -> None:
    if not sae:
        raise BadConfig("no SAE to judge. Name some (see `hooke saes`): hooke eval gemma-3-270m/resid_post.12/8k --corpus FILE")
    if not corpus:
        raise BadConfig("no text to judge on. Give --corpus FILE, JSON Lines with a 'text' (.zst too); several are mixed, FILE=WEIGHT.")
    needs = [name for name in suites if name in _LABELLED]
    if needs and labels is None:
        raise BadConfig(f"{' and '.join(needs)} need labelled documents: give --labels FIELD, the field that holds a document's class.")
    if labels is not None and not needs:
        raise BadConfig("--labels is for the suites probing and tpp; add one of them to --suite.")
    check_places(html)
    if saebench is not None and saebench.exists() and not saebench.is_dir():
        raise BadConfig(f"cannot write to {saebench}: it is a file, and --saebench wants a folder.")
    if saebench is not None and not {"core", "geometry"} <= set(suites):
        raise BadConfig("--saebench writes SAEBench's core file, which needs --suite core,geometry.")


def _try(status: Status, model: "Model", saes: "Sequence[Sae]") -> None:
    """Refuse SAEs that were read wrongly, and say which do not do what they promise."""
    from hooke.evals.run import check
    from hooke.sanity import doubts

    check(model, saes)
    for doubt in doubts(model, saes):
        status.note(f"note: {doubt}")


def _told_apart(status: Status, refs: "Sequence[str]", saes: "Sequence[Sae]") -> "list[Sae]":
    """The SAEs; where files that are not the same have one name, the later ones get a number behind it."""
    seen: Counter[str] = Counter()
    out = []
    for number, (ref, one) in enumerate(zip(refs, saes, strict=True)):
        seen[one.name] += 1
        if seen[one.name] > 1 and ref not in refs[:number]:
            name = f"{one.name}-{seen[one.name]}"
            status.note(f"note: {ref} is called {name} here, another SAE being {one.name}.")
            one = replace(one, facts=replace(one.facts, name=name))
        out.append(one)
    return out


def _described(corpora: "Sequence[Corpus]", result: dict[str, Any]) -> list[dict[str, Any]]:
    """Name, weight and tokens read of each corpus."""
    read = next((row["by_corpus"] for row in result["saes"] if "by_corpus" in row), {})
    return [
        {"name": corpus.name, "path": str(corpus.path), "weight": corpus.weight}
        | ({"tokens": int(read[corpus.name]["tokens"]["value"])} if corpus.name in read else {})
        for corpus in corpora
    ]


def _bare(model: "Model", saes: "Sequence[Sae]") -> dict[str, Any]:
    from hooke.evals.run import SCHEMA, identity

    return {"schema_version": SCHEMA, "model": model.name, "saes": [identity(sae) for sae in saes]}


def _work(model: "Model", saes: "Sequence[Sae]", corpora: "Sequence[Corpus]", config: "EvalConfig", settings: dict[str, Any]) -> Path:
    """Where an unfinished run of exactly this kind keeps its sums."""
    from hooke.files import cache_dir

    digest = hashlib.sha256()
    facts = {"model": model.name, "config": asdict(config), **settings}
    files = [(corpus.name, str(corpus.path), corpus.weight, _stamp(corpus.path)) for corpus in corpora]
    digest.update(json_module.dumps([facts, files], sort_keys=True).encode())
    for sae in saes:
        digest.update(sae.name.encode())
        for tensor in (sae.W_enc, sae.b_enc, sae.W_dec, sae.b_dec, sae.threshold):
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return cache_dir() / "evals" / f"{digest.hexdigest()[:24]}.safetensors"


def _stamp(path: Path | str) -> tuple[int, int]:
    """What changes when a local file does."""
    local = Path(path)
    return (local.stat().st_size, local.stat().st_mtime_ns) if local.exists() else (0, 0)


def _add_labelled(
    result: dict[str, Any],
    suites: tuple[str, ...],
    model: "Model",
    saes: "list[Sae]",
    source: tuple[Path | str, str],
    seed: int,
    progress: Any,
) -> None:
    """Probing and TPP, from one reading of the labelled documents."""
    from hooke.evals import probing, tpp
    from hooke.evals.labelled import read_labelled
    from hooke.evals.pooled import pool_texts

    labelled = read_labelled(*source, seed=seed)
    pooled = pool_texts(model, saes, labelled.texts, seed=seed, progress=progress)
    for name, module in (("probing", probing), ("tpp", tpp)):
        if name in suites:
            found = module.run(model, saes, labelled, seed=seed, progress=progress, pooled=pooled)
            for row, figures in zip(result["saes"], found, strict=True):
                row[name] = figures


def _write(
    result: dict[str, Any], found: "Evaluation | None", saes: "Sequence[Sae]", *, as_json: bool, saebench: Path | None, html: Path | None
) -> None:
    from hooke.report.evaluation import page

    write_text(html, page, result)
    if saebench is not None and found is not None:
        from hooke.evals.saebench import write

        for path in write(saebench, found, saes):
            talk(f"Wrote {path}")
    if as_json:
        print_line(result)
    else:
        from hooke.report.evaluation_terminal import print_tables

        print_tables(result, console_for())
