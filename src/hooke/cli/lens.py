"""`hooke lens`: one text through all layers of a model, what each would say next and which features it holds."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from hooke.cli.options import AtlasFile, Html, Json, ModelName
from hooke.cli.output import Status, check_places, console_for, print_line, write_text
from hooke.cli.values import TEXT, TEXTS, count
from hooke.errors import BadConfig, Missing

if TYPE_CHECKING:
    from hooke.atlas import Atlas
    from hooke.lens import Lens, LensSae
    from hooke.lens.differing import LensDifference

_SCHEMA = 1


def lens(
    text: Annotated[str, TEXTS, Parameter(help="The text, of at most 128 tokens, or a file with one.")],
    *,
    beside: Annotated[str | None, TEXT, Parameter(help="A second text: show where the two differ instead.")] = None,
    sae: Annotated[
        tuple[str, ...], Parameter(help="SAEs to show features of: names, files, or layers such as 12. By default one a layer.")
    ] = (),
    features: Annotated[bool, Parameter(negative="--no-features", help="Show features where there are SAEs.")] = True,
    words: Annotated[int, count(1, 20), Parameter(help="Words of each layer and token in the JSON and on the page.")] = 5,
    model: ModelName = "gemma-3-270m",
    atlas: AtlasFile = None,
    json: Json = False,
    html: Html = None,
) -> None:
    """Show one text through every layer of a model: the word each would say next, and its features."""
    from hooke.text.arguments import text_from

    check_places(html)
    text, beside = text_from(text), beside and text_from(beside)
    if html is not None and beside is not None:
        raise BadConfig("a page shows one text; two are shown in the terminal, as JSON, and under Layers in `hooke serve`.")
    homes = _homes(sae, model, atlas) if features else {}
    with Status() as status:
        from hooke.cli.atlases import opened_by
        from hooke.lens import read_lens
        from hooke.lens.differing import read_difference
        from hooke.model import Model

        opened = [_opened(home, name, opened_by(name, sae)) for name, home in homes.items()]
        loaded = Model.load(model, progress=status)
        status.count("Reading")
        if beside is not None:
            _show_difference(read_difference(loaded, text, beside, opened), homes, as_json=json)
            return
        result = read_lens(loaded, text, opened, top=words)
    found = {one.feature for own in result.saes for one in (*own.top, *(own.newest or ())) if one is not None}
    titles = {name: homes[name.rpartition("/")[0]].feature(name).title for name in sorted(found)}
    _show(result, titles, as_json=json, html=html)


def _homes(saes: tuple[str, ...], model: str, given: Path | None) -> "dict[str, Atlas]":
    """The atlas of each SAE meant; by default the first at each layer's residual stream that was made for the model."""
    from hooke.cli.atlases import find_sae, knowing, of_packs, open_atlases
    from hooke.names import model_name, one_a_layer

    try:
        opened = open_atlases(given)
    except Missing:
        if saes or given:
            raise
        return {}
    if saes:
        return {name: home for home, name in (find_sae(ref, opened) for ref in saes)}
    of_model = [home for home in (*of_packs(opened), *opened) if home.facts.get("model") == model_name(model)]
    return {name: knowing([name], opened)[0] for name in one_a_layer(name for home in of_model for name in home.saes)}


def _opened(atlas: "Atlas", name: str, ref: str) -> "LensSae":
    from hooke.lens import LensSae
    from hooke.sae import Sae

    sae, known = Sae.from_pretrained(ref), atlas.table(name)
    atlas.check(sae)
    return LensSae(sae, known.max, known.density)


def _show_difference(result: "LensDifference", homes: "dict[str, Atlas]", *, as_json: bool) -> None:
    found = {one.feature for own in result.saes for one in own.most if one is not None}
    titles = {name: homes[name.rpartition("/")[0]].feature(name).title for name in sorted(found)}
    if as_json:
        print_line({"schema_version": _SCHEMA, **asdict(result), "titles": titles})
    else:
        from hooke.report.lens import print_difference

        print_difference(result, titles, console_for())


def _show(result: "Lens", titles: dict[str, str | None], *, as_json: bool, html: Path | None) -> None:
    from hooke.report.lens import page, print_lens

    write_text(html, page, result, titles)
    if as_json:
        print_line({"schema_version": _SCHEMA, **asdict(result), "settled": result.settled, "titles": titles})
    else:
        print_lens(result, titles, console_for())
