"""Shape words come from one list, so that `token` never means a batch row in one file and a position in another."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

AXES = {
    "batch": "sequences run together",
    "pos": "positions of one sequence",
    "token": "tokens of many sequences in one run, special positions left out",
    "layer": "blocks of the model",
    "head": "attention heads",
    "key": "heads of keys and values, of which several heads of queries may share one",
    "vocab": "entries of the vocabulary",
    "d_model": "width of the residual stream",
    "d_head": "width of one attention head",
    "d_site": "width of whatever site is read",
    "d_in": "what an SAE reads",
    "d_out": "what an SAE writes",
    "d_sae": "features of an SAE",
    "feature": "some features, chosen",
    "d": "d_in or d_out, where it does not matter which",
    "k": "features kept for each token",
    "pair": "pairs of tokens of one text",
    "group": "nested dictionaries of a Matryoshka SAE",
    "d_read": "what one feature of an SAE reads, of all that the SAE does",
    "nnz": "active entries of sparse codes",
    "rows": "rows of sparse codes, one for each token",
    "text": "texts of an analysis",
    "topic": "broader topics",
    "train": "documents that a probe is fitted on",
    "test": "documents that it is tested on",
    "resample": "resamples of documents or windows",
    "window": "windows of text",
    "row": "some rows of a batch, chosen",
    "n": "numbers kept of each token or window",
    "column": "things that a text has or has not, each tested",
    "unit": "what is dealt out as a whole: texts, pairs or families",
    "deal": "ways in which units are dealt out to two groups, the first the real one",
    "family": "families of texts that belong together",
    "family_a": "families of the one group",
    "family_b": "families of the other",
    "stratum": "classes of texts alike in something",
    "comparison": "groups held against others",
    "part": "parts of a mixture of distributions",
    "name": "names of features, that readers judged",
    "direction": "directions in which texts are told apart",
    "total": "positions after generation: prompt and what followed",
}
_KINDS = re.compile(r"(Shaped|Bool|Num|Inexact|Real|Float|BFloat|Integer|U?Int|Complex|Key|Scalar)\d*")
_DERIVED = re.compile(r"_(plus|minus)_one$")


def annotations(source: str) -> Iterator[tuple[int, str]]:
    """Line and shape text of every jaxtyping annotation."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Tuple) and len(node.slice.elts) == 2:
            name = node.value.id if isinstance(node.value, ast.Name) else getattr(node.value, "attr", "")
            shape = node.slice.elts[1]
            if _KINDS.fullmatch(name) and isinstance(shape, ast.Constant) and isinstance(shape.value, str):
                yield node.lineno, shape.value


def strangers(shape: str) -> list[str]:
    """The words of a shape that are not on the list; numbers, ``...`` and arithmetic on listed words are fine."""
    words = re.findall(r"[A-Za-z_][A-Za-z0-9_]*", re.sub(r"\{[^}]*\}", "", shape))
    bare = [_DERIVED.sub("", word.lstrip("_")) for word in words]
    return [word for word in bare if word and word not in AXES]


def test_axis_names_come_from_the_list():
    bad = [
        f"{path.relative_to(ROOT)}:{line}: {word!r} in {shape!r}"
        for path in sorted((ROOT / "src").rglob("*.py"))
        for line, shape in annotations(path.read_text())
        for word in strangers(shape)
    ]
    assert not bad, "use a word of tests/test_axis_names.py, or add it there with its meaning:\n" + "\n".join(bad)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("token d_sae", []),
        ("*batch pos 3 ...", []),
        ("pos_minus_one", []),
        ("2*d_model", []),
        ("tokens d_sae", ["tokens"]),
        ("b t x", ["b", "t", "x"]),
    ],
)
def test_a_stranger_is_caught(shape, expected):
    assert [word for _, found in annotations(f"x: Float[Tensor, {shape!r}]") for word in strangers(found)] == expected


def test_shapes_are_live():
    """If the jaxtyping hook is ever lost, this fails, rather than all shape checking silently stopping."""
    import torch
    from jaxtyping import TypeCheckError

    from hooke.codes import Codes

    with pytest.raises(TypeCheckError):
        Codes.from_dense(torch.zeros(3))


def test_an_axis_is_one_number_throughout_a_call():
    import torch
    import typed
    from jaxtyping import Float, TypeCheckError
    from torch import Tensor

    @typed.checked
    def first(a: Float[Tensor, " token"], b: Float[Tensor, " token"], many: int = 2) -> Float[Tensor, " token"]:
        return first(a[:1], b[:1], 1).expand(many) if many > 1 else a + b

    @typed.checked
    def each(a: Float[Tensor, " token"], b: Float[Tensor, " token"]) -> Iterator[Float[Tensor, " token"]]:
        yield a[:1]
        yield b

    two = torch.ones(2)
    with pytest.raises(TypeCheckError):
        each(two, torch.ones(3))
    assert [len(first(item, item, 1)) for item in each(two, two)] == [1, 2]
    assert first(two, two).tolist() == [2, 2]
    for arguments in ((two, torch.ones(3)), (two, two, 3), (two, two, 2.0), (two, two.int())):
        with pytest.raises(TypeCheckError):
            first(*arguments)
