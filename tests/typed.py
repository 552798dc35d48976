"""Types and shapes of every function of Hooke, checked while tests run: of a test's calls of one function the first 64, then one in 16.

What jaxtyping does to a function costs about a hundred microseconds a call; beartype alone, inside jaxtyping's context where an
annotation has a shape, says the same of types and shapes for a few. A training loop calls what it calls thousands of times alike.
"""

import functools
import inspect
import threading
import typing
from collections.abc import Callable
from dataclasses import is_dataclass
from typing import Any

import jaxtyping
from beartype import BeartypeConf, beartype

_beartype = beartype(conf=BeartypeConf(violation_type=jaxtyping.TypeCheckError))
_jaxtyped = jaxtyping.jaxtyped
_lock = threading.Lock()
_FIRST, _ONE_IN = 64, 16
_calls: dict[Callable[..., Any], int] = {}
"""Calls in this test, by function."""


def begin_test() -> None:
    """Count calls from the beginning."""
    _calls.clear()


def install() -> None:
    """Check what is imported from now on."""
    jaxtyping.jaxtyped = _typed  # the hook writes this name before every function and class
    jaxtyping.install_import_hook("hooke", "typed")


def _typed(*, typechecker: object) -> Callable[[Any], Any]:
    return checked


def checked(thing: Any) -> Any:
    """`thing`, a function or class, raising `jaxtyping.TypeCheckError` for a call that its annotations do not allow."""
    if not inspect.isclass(thing):
        return _function(thing)
    if is_dataclass(thing) and "__init__" in vars(thing):
        thing.__init__ = _function(thing.__init__)
    return thing


def _function(function: Callable[..., Any]) -> Callable[..., Any]:
    hints = {name: _resolved(hint, function.__globals__) for name, hint in function.__annotations__.items()}
    if getattr(function, "__no_type_check__", False) or not hints:
        return function
    has_shapes = any(map(_has_shape, hints.values()))
    if inspect.isgeneratorfunction(function) and has_shapes:  # beartype looks at its arguments when an item is asked for, not in the call
        return _jaxtyped(typechecker=_beartype)(function)
    if inspect.isgeneratorfunction(function) or inspect.iscoroutinefunction(function):
        return _with_types(function, hints)
    typed = functools.cache(lambda: _with_types(function, hints))  # made when first called: most functions never are

    @functools.wraps(function)
    def counted(*args: Any, **kwargs: Any) -> Any:
        count = _calls[function] = _calls.get(function, 0) + 1
        if count > _FIRST and count % _ONE_IN:
            return function(*args, **kwargs)
        if not has_shapes:
            return typed()(*args, **kwargs)
        with _jaxtyped("context"):  # an axis is one number throughout a call
            return typed()(*args, **kwargs)

    return counted


def _with_types(function: Callable[..., Any], hints: dict[str, Any]) -> Callable[..., Any]:
    """Beartype's form of a function whose annotations mean `hints`."""
    with _lock:
        written = function.__annotations__
        function.__annotations__ = hints
        try:
            typed = _beartype(function)
        finally:
            function.__annotations__ = written
        typed.__annotations__ = written
    return typed


def _resolved(hint: object, names: dict[str, Any]) -> object:
    """What an annotation means; anything, where a name in quotes is not there yet or only for type checkers."""
    if isinstance(hint, type):
        return hint
    holder = type("holder", (), {"__annotations__": {"value": hint}})
    try:
        return typing.get_type_hints(holder, names, include_extras=True)["value"]
    except NameError:
        return Any


def _has_shape(hint: object) -> bool:
    if isinstance(hint, type) and issubclass(hint, jaxtyping.AbstractArray):
        return True
    return any(map(_has_shape, typing.get_args(hint)))
