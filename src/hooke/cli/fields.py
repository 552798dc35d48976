"""Fields: a command's options made of a configuration's fields, so that names, types, sentences and defaults stand once."""

import ast
import inspect
import itertools
import textwrap
import types
from collections.abc import Container, Mapping
from dataclasses import Field, fields
from types import MappingProxyType
from typing import Annotated, Any, Literal, TypedDict, Union, get_args, get_origin

from cyclopts import Group, Parameter

from hooke.cli.values import FEW, share


def options(
    config: type,
    group: Group,
    *,
    read: Mapping[str, Parameter],
    but: Container[str] = (),
    many: Container[str] = (),
    names: Mapping[str, str] = MappingProxyType({}),
) -> Any:
    """A type for a command's argument: a mapping of what was given of the fields of the dataclass `config`, `but` some left out.

    Those in `many` may be given several times. `read` says how a field's text is read, where it is not a small count or a finite number;
    `names` what an option is called, where it is not called as its field is.
    """
    told = sentences(config)
    made = {
        field.name: _option(field, told[field.name], group, field.name in many, read.get(field.name), names.get(field.name))
        for field in fields(config)
        if field.name not in but
    }
    return TypedDict(config.__name__, made, total=False)  # type: ignore[misc] (made here, so that nothing stands twice)


def sentences(config: type) -> dict[str, str]:
    """The first sentence under each field of a dataclass."""
    body = ast.parse(textwrap.dedent(inspect.getsource(config))).body[0].body  # type: ignore[attr-defined]
    found = {}
    for field, said in itertools.pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(said, ast.Expr) and isinstance(said.value, ast.Constant):
            text = " ".join(str(said.value.value).split()).replace("``", "`")
            found[ast.unparse(field.target)] = text.partition(". ")[0].rstrip(".") + "."
    return found


def _option(field: Field[Any], sentence: str, group: Group, many: bool, read: Parameter | None, name: str | None) -> Any:
    kind = _one_kind(field.type)
    if get_origin(kind) is Literal:
        missing = [choice for choice in get_args(kind) if choice not in sentence]
        kind, sentence = str, f"{sentence[:-1]}: {', '.join(missing)}." if missing else sentence
    inner = get_args(kind)[0] if get_origin(kind) is tuple else kind
    ways = {int: FEW, float: share(0, 1e12)}
    if field.default is not False and isinstance(field.default, int | float | str):
        sentence += f" [default: {'yes' if field.default is True else field.default}]"
    own = Parameter(name=name, negative=None if field.default is True else "", help=sentence, group=group)
    parts = [part for part in (read or ways.get(inner), own) if part is not None]
    return Annotated[(tuple[inner, ...] if many else kind, *parts)]  # type: ignore[valid-type]


def _one_kind(kind: Any) -> Any:
    """A field's type without None, which stands for what was not given."""
    if get_origin(kind) in (types.UnionType, Union):
        return next(part for part in get_args(kind) if part is not type(None))
    return kind
