"""`hooke ablate`: what a model predicts worse without features, token by token."""

import os
import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from hooke.cli.named import model_for
from hooke.cli.options import AtlasFile, ExactDtype, Html, Json, OwnModel, Seed
from hooke.cli.output import Status, check_places, console_for, print_line, write_text
from hooke.cli.values import TEXTS
from hooke.errors import BadConfig

if TYPE_CHECKING:
    from hooke.ablate import Ablation

_SCHEMA, _MOST_TEXTS = 1, 1000
_FEATURE = re.compile(r"[\w.\-]+(/[\w.\-]+){0,2}/\d+")


def ablate(
    *arguments: Annotated[str, TEXTS, Parameter(help="Features such as 12/6213, then texts, files of texts, or - for standard input.")],
    pairs: Annotated[bool, Parameter(help="Also without every two of up to ten features: whether they stand in for each other.")] = False,
    seed: Annotated[Seed, Parameter(help="Decides the random directions of the control.")] = 0,
    model: OwnModel = None,
    dtype: ExactDtype = "float32",
    atlas: AtlasFile = None,
    json: Json = False,
    html: Html = None,
) -> None:
    """Show what a model predicts worse without features, token by token, beside as large a change at random."""
    from hooke.cli.atlases import find_feature, open_atlases, opened_saes
    from hooke.text.arguments import texts_from

    names, given = features_first(arguments)
    check_places(html)
    if not names:
        raise BadConfig("no feature to silence. Give one, for example 12/54, then a text or a file; `hooke search WORDS` finds some.")
    texts = list(texts_from(given))
    if len(texts) > _MOST_TEXTS:
        raise BadConfig(f"{len(texts):,} texts; at most {_MOST_TEXTS:,} are read at a time.")
    opened = open_atlases(atlas)
    found = [find_feature(name, opened) for name in names]
    known = [one.feature(name) for one, name in found]
    results = list["Ablation"]()
    with Status() as status:
        from hooke.ablate import ablate as run

        saes = opened_saes(found, (name.rpartition("/")[0] for name in names))
        loaded = model_for([*saes.values()], model, status, dtype=dtype)
        chosen = [(saes[sae], int(index)) for sae, _, index in (name.rpartition("/") for _, name in found)]
        for number, text in enumerate(texts, 1):
            status.count(f"Reading: text {number:,} of {len(texts):,}")
            results.append(run(loaded, chosen, text, pairs=pairs, seed=seed))
    _show(results, {feature.name: feature.title for feature in known}, as_json=json, html=html)


def features_first(arguments: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """The features that stand first among `arguments`, and the texts after them; a file that is there is no feature."""
    for number, argument in enumerate(arguments):
        head, _, index = argument.rpartition("/")
        of_file = index.isdecimal() and os.path.isfile(head)
        if not (of_file or _FEATURE.fullmatch(argument)) or os.path.exists(argument):
            return list(arguments[:number]), list(arguments[number:])
    return list(arguments), []


def _show(results: "list[Ablation]", titles: dict[str, str | None], *, as_json: bool, html: Path | None) -> None:
    from hooke.report.ablation import page, print_ablations

    write_text(html, page, results, titles)
    if as_json:
        texts = [{key: value for key, value in asdict(one).items() if key != "model"} for one in results]
        print_line({"schema_version": _SCHEMA, "model": results[0].model, "titles": titles, "texts": texts, "note": results[0].note})
    else:
        print_ablations(results, titles, console_for())
