"""Export: an atlas' features as JSON Lines, as Parquet, or in the layouts of Neuronpedia, SAEDashboard and Delphi."""

import json
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hooke.atlas import Atlas
from hooke.atlas.dashboards import write_delphi, write_neuronpedia, write_saedashboard
from hooke.atlas.feature import Feature
from hooke.errors import BadConfig, Missing, unknown
from hooke.files import atomic_folder, atomic_write

if TYPE_CHECKING:
    import pyarrow as pa

Progress = Callable[[str], None]
_FOLDERS = {"neuronpedia": write_neuronpedia, "saedashboard": write_saedashboard, "delphi": write_delphi}
FORMATS = ("jsonl", "parquet", *_FOLDERS)
"""What an atlas can be exported to."""
_GROUP = 1024


def export(atlas: Atlas, to: str, out: Path, *, saes: Sequence[str] = (), progress: Progress = lambda _: None) -> Path:
    """Write the features of `saes` (all of the atlas') to `out` in one of `FORMATS`, whole or not at all; returns `out`.

    ``jsonl`` and ``parquet`` are one file with a row a feature. ``neuronpedia`` is a folder in the layout of its bulk exports,
    ``saedashboard`` one of batches in a folder for each SAE, ``delphi`` one of explanations. Of the notes that `atlas` was opened with,
    labels go along, beside the atlas' and marked as such (in ``delphi`` in their place), where the format has labels (``saedashboard`` has
    none); notes and stars stay at home.
    """
    if to not in FORMATS:
        raise unknown("format", to, FORMATS)
    names = [str(name) for name in saes] or list(atlas.saes)
    if strange := [name for name in names if name not in atlas.saes]:
        raise unknown("SAE", strange[0], atlas.saes, f"These are in the atlas {atlas.path}.")
    if to in _FOLDERS:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise BadConfig(f"{out} is there already. Give a new folder: nothing of yours is to be overwritten.")
        with atomic_folder(out) as folder:
            for name in names:
                _FOLDERS[to](atlas, name, folder, progress)
        return out
    if out.is_dir():
        raise BadConfig(f"cannot write {out}: it is a folder.")
    features = (feature for name in names for feature in features_of(atlas, name, progress))
    if to == "jsonl":
        with atomic_write(out) as file:
            for feature in features:
                file.write((json.dumps(_shared(feature), ensure_ascii=False) + "\n").encode("utf-8", "replace"))
    else:
        _write_parquet(out, features)
    return out


def features_of(atlas: Atlas, sae: str, progress: Progress, *, around: int = 32) -> Iterator[Feature]:
    """Every feature of the SAE called `sae`, in order."""
    total = atlas.saes[sae].d_sae
    for index in range(total):
        if index % _GROUP == 0:
            progress(f"{sae}: {index:,} of {total:,} features")
        yield atlas.feature(f"{sae}/{index}", around=around)


def _shared(feature: Feature) -> dict[str, Any]:
    """A feature with no more of what a person wrote than the label."""
    found = feature.to_json()
    return found | {"own_label": found.pop("written")["label"] or None}


def _row(feature: Feature) -> dict[str, Any]:
    label, token = feature.label, feature.label.token if feature.label else None
    sae, _, index = feature.name.rpartition("/")
    known = _shared(feature)
    return {
        "sae": sae,
        "index": int(index),
        "title": feature.title,
        "own_label": known["own_label"],
        "label": label and label.text,
        "kind": label and label.kind,
        "score": token and token.value,
        "score_low": known["label"]["token"]["low"] if token else None,
        "score_high": known["label"]["token"]["high"] if token else None,
        "positives": token and token.positives,
        "negatives": token and token.negatives,
        "near": label and label.near,
        "strong": label and label.strong,
        "control": label and label.control,
        "output": feature.output and feature.output.text,
        **{key: known[key] for key in ("count", "density", "max", "mean", "documents", "persistence", "commonest", "histogram")},
        "tokens": known["tokens"],
        "promoted": known["promoted"],
        "suppressed": known["suppressed"],
        "neighbours": known["neighbours"],
        "together": known["together"],
        "examples": known["top"],
    }


def _schema(pa: Any) -> "pa.Schema":
    text, whole, real = pa.string(), pa.int64(), pa.float64()

    def rows(**fields: Any) -> Any:
        return pa.list_(pa.struct(list(fields.items())))

    relative, output = rows(name=text, label=text, value=real), rows(text=text, weight=real)
    types = dict.fromkeys(("sae", "title", "own_label", "label", "kind", "output"), text)
    types |= dict.fromkeys(("index", "positives", "negatives", "count", "documents"), whole)
    types |= {"histogram": pa.list_(whole), "neighbours": relative, "together": relative}
    types |= {"promoted": output, "suppressed": output, "tokens": rows(text=text, count=whole, share=real, enrichment=real)}
    examples = {"tokens": pa.list_(text), "values": pa.list_(real), "peak": whole, "corpus": text, "doc": whole, "start": whole}
    types["examples"] = rows(**examples)
    columns = list(_row(Feature("a/resid_post.0/b/0", 0.0, 0.0, None)))
    return pa.schema([(name, types.get(name, real)) for name in columns])


def _write_parquet(out: Path, features: Iterator[Feature]) -> None:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise Missing("Parquet needs pyarrow: pip install 'hooke[parquet]'.") from error
    schema = _schema(pa)
    with atomic_write(out) as file, pq.ParquetWriter(file, schema, compression="zstd") as writer:
        while group := [_row(feature) for feature in islice(features, _GROUP)]:
            writer.write_table(pa.Table.from_pylist(group, schema))
