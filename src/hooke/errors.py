"""Everything Hooke raises on purpose, and the one message form for an unknown name.

HookeError                     exit code 1
├── BadConfig                  2   an option or setting that cannot be
├── BadFile                    3   a file from outside that is damaged, hostile or of the wrong kind
├── ShapeMismatch              3   parts that do not fit together (SAE and model, weights and header)
├── UnknownName                4   no such model, SAE, site, feature, topic ...
├── Missing                    4   something that has to be installed or fetched first
├── DigestMismatch             5   the bytes are not the bytes that were promised
├── LimitReached               6   disk, memory or a stated limit
└── Busy                      75   another process is at work on the same thing; try again later
"""

import difflib
from collections.abc import Iterable


class HookeError(Exception):
    """Base of every error that Hooke raises on purpose; ``exit_code`` is what the command line returns for it."""

    exit_code = 1


class BadConfig(HookeError):
    """An option or setting has a value that cannot be."""

    exit_code = 2


class BadFile(HookeError):
    """A file from outside is damaged, hostile or not of the kind that was asked for."""

    exit_code = 3


class ShapeMismatch(HookeError):
    """Two parts do not fit together; the message gives both shapes."""

    exit_code = 3


class UnknownName(HookeError):
    """A name that nothing answers to."""

    exit_code = 4


class Missing(HookeError):
    """Something has to be installed or fetched first; the message says how."""

    exit_code = 4


class DigestMismatch(HookeError):
    """The bytes are not the bytes that were promised."""

    exit_code = 5


class LimitReached(HookeError):
    """Disk, memory or a stated limit does not allow it."""

    exit_code = 6


class Busy(HookeError):
    """Another process is at work on the same thing; the same command works once that is done."""

    exit_code = 75


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether `error`, or what it came from, says that there is too little memory. Libraries say so in words of their own.

    >>> ran_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory")), ran_out_of_memory(RuntimeError("shapes differ"))
    (True, False)
    """
    said = str(error).lower()
    here = isinstance(error, MemoryError) or any(words in said for words in ("allocate memory", "out of memory"))
    return here or (error.__cause__ is not None and ran_out_of_memory(error.__cause__))


def quoted(value: object, most: int = 80) -> str:
    """A value from outside, for a message: its first `most` characters, of a container only its kind. Always short, always quick.

    >>> quoted("resid"), quoted(0.5), quoted(10**400), quoted(({}, {}))
    ("'resid'", '0.5', 'a number of more than 80 digits', 'a tuple')
    """
    if isinstance(value, str | bytes | bytearray):
        return repr(value if len(value) <= most else value[:most]) + ("..." if len(value) > most else "")
    if isinstance(value, int) and value.bit_length() > 3 * most:
        return f"a number of more than {most} digits"
    return repr(value) if value is None or isinstance(value, bool | int | float) else f"a {type(value).__name__}"


def listed(names: Iterable[str], most: int = 20) -> str:
    """The first of these names in order, for a message, and how many more there are; a name from outside is cut at 80 characters.

    >>> listed(["b", "a", "c"], most=2)
    'a, b and 1 more'
    """
    known = sorted(set(names))
    more = f" and {len(known) - most} more" if len(known) > most else ""
    return ", ".join(name[:80] for name in known[:most]) + more


def unknown(what: str, asked: object, known: Iterable[str], hint: str = "") -> UnknownName:
    """The error for a name nothing answers to: what was asked, the nearest match, what is known, what to do.

    >>> str(unknown("site kind", "resid_pst", ["resid_pre", "resid_post"]))
    "unknown site kind 'resid_pst'. Did you mean 'resid_post'? Known: resid_post, resid_pre."
    """
    names = sorted(set(known))
    near = difflib.get_close_matches(str(asked)[:80], names, n=1, cutoff=0.5)
    parts = [f"unknown {what} {quoted(str(asked), 200)}."]
    if near:
        parts.append(f"Did you mean {near[0]!r}?")
    parts.append(f"Known: {listed(names)}." if names else "None is known here.")
    if hint:
        parts.append(hint)
    return UnknownName(" ".join(parts))
