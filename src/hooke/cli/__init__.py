"""The command line: one module per command. Data goes to standard output, talk to standard error."""

import contextlib
import io
import os
import sys
from typing import NoReturn

from cyclopts import App, CycloptsError, CycloptsPanel, Group, MissingArgumentError, Parameter, Token, UnknownOptionError

from hooke.cli.examples import epilogue
from hooke.cli.memory import advice, guard, ran_out
from hooke.cli.settings import settings
from hooke.errors import BadFile, HookeError


def _put(error: CycloptsError) -> object:
    """What is said of a mistake. A mistyped option is named before what is missing, because it may be that."""
    if isinstance(error, MissingArgumentError) and error.app is not None:
        known = error.app.assemble_argument_collection()
        names = {name for argument in known for name in argument.names}
        given = [word.partition("=")[0] for word in error.unused_tokens or () if word.startswith("--")]
        if wrong := next((word for word in given if word not in {"--", *names}), None):
            token = Token(keyword=wrong, source="cli")
            return CycloptsPanel(UnknownOptionError(token=token, argument_collection=known, app=error.app, verbose=False))
    return CycloptsPanel(error)


app = App(
    name="hooke",
    help="A microscope for language models: decompose what a model computes into sparse, nameable features.",
    version_flags=["--version"],
    default_parameter=Parameter(negative=""),  # no --no-json; a switch that is on has its opposite spelt out
    suppress_keyboard_interrupt=False,
    error_formatter=_put,
)
# By path, so that a command's module is imported only when it is asked for; the summary is its docstring's first line (a test compares).
_COMMANDS = {
    "ablate": "Show what a model predicts worse without features, token by token, beside as large a change at random.",
    "analyze": "Show the features a model used on each text, and the broader topics they make up.",
    "atlas": "Build, check and export atlases: files that hold what is known of every feature.",
    "attribute": "Show which features push what a model expects next, and how far that can be trusted.",
    "audit": "Try whether a model treats two groups differently in the same sentence.",
    "convert": "Write an SAE in another format.",
    "diff": "Show what differs between groups of texts: features, topics and words, with error control.",
    "eval": "Judge SAEs: what they keep of the model, how sparse they are, what their features are good for, beside baselines.",
    "explain": "Name features by letting a language model, or anybody, read where they fire; try names on text that was held out.",
    "feature": "Show everything the atlas knows of a feature; keep notes on it.",
    "finetune": "Fine-tune a trained SAE so that the model predicts with its reconstructions what it predicts without.",
    "harvest": "Write a model's activations over texts to disk, to train on later.",
    "inspect": "Say what an SAE is, without reading its weights; what is not on this machine is fetched.",
    "lens": "Show one text through every layer of a model: the word each would say next, and its features.",
    "monitor": "Raise an alarm on texts of one kind, at a rate of false alarms that was set beforehand.",
    "notes": "List your notes, stars and labels, or carry them to another machine.",
    "open": "Open a feature in the page of the running `hooke serve`.",
    "plan": "Say what a harvest or the training of SAEs would take on given machines: hours, money, memory, disk, and what is short.",
    "pull": "Fetch SAEs, to use them later without a network.",
    "saes": "List the SAEs at hand, and published ones that can be fetched.",
    "sample": "Write text sampled from a model itself, to train on or to look at.",
    "search": "Find features by the words of their labels, of the text they fire on, or of what they write.",
    "serve": "Show features and read texts in a browser: one page, on this machine alone, offline.",
    "steer": "Write text with features turned up or down, beside the model's own and random controls; or propose features to turn.",
    "topics": "Group texts into topics of their own, by the features of what they are about.",
    "train": "Train SAEs, one or a whole suite, from one pass over the activations.",
}
_GROUPS = {
    "Read texts": ("analyze", "lens", "topics", "diff", "monitor", "serve"),
    "Look up": ("search", "feature", "saes", "inspect", "notes", "open"),
    "Act on a model": ("steer", "ablate", "attribute", "audit"),
}
"""Which commands stand together in the help; all others make something."""
_AS_GROUPS = {name: Group(name, sort_key=at) for at, name in enumerate(_GROUPS)}
_GROUP_OF = {command: _AS_GROUPS[name] for name, commands in _GROUPS.items() for command in commands}
_MAKE = Group("Make and judge", sort_key=len(_GROUPS))
for _name, _summary in _COMMANDS.items():
    app.command(f"hooke.cli.{_name}:{_name}", help=_summary, group=_GROUP_OF.get(_name, _MAKE), **epilogue(_name))
app.register_install_completion_command(help="Let your shell complete commands and options; it finds out which shell that is.")

_USAGE, _LIMIT, _INTERRUPTED = 2, 6, 130


def main() -> None:
    """Run the command in ``sys.argv``; exit with the documented code, never with a traceback for anything a person did."""
    _check_streams()
    guard()
    app.config = settings(_COMMANDS)
    try:
        app(sys.argv[1:], exit_on_error=False, print_error=True, result_action="return_value")
        sys.stdout.flush()
    except CycloptsError:
        sys.exit(_USAGE)
    except HookeError as error:
        _end(error.exit_code, str(error))
    except BrokenPipeError:  # whoever read our output has enough
        _silence()
        sys.exit(0)
    except (MemoryError, RuntimeError, ImportError, OSError) as error:
        if ran_out(error):
            _end(_LIMIT, f"out of memory. {advice()}")
        if not isinstance(error, OSError):
            raise
        if error.filename is not None:
            _end(BadFile.exit_code, f"cannot read {error.filename}: {error.strerror}.")
        _silence()  # files are written with errors of their own; what is left is standard output
        _end(_LIMIT, f"cannot write to standard output: {error.strerror or error}.")
    except KeyboardInterrupt:
        _end(_INTERRUPTED, "stopped.")


class _Talk(io.TextIOWrapper):
    """Standard error; what cannot be written there (a full disk) is lost, and costs no work and no exit code."""

    def write(self, text: str, /) -> int:
        with contextlib.suppress(OSError):
            super().write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            super().flush()


def _check_streams() -> None:
    """Make the best of the standard streams: what a terminal cannot show is replaced, what is closed is said before any work."""
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 (for as long as the process lives)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _Talk(sys.stderr.buffer, sys.stderr.encoding, errors="replace", line_buffering=True)
    if sys.stdout is None:
        _end(_LIMIT, "standard output is closed. Send it to a file, to a pipe, or to /dev/null.")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _end(code: int, said: str) -> NoReturn:
    sys.stderr.write(f"hooke: {said}\n")
    sys.exit(code)


def _silence() -> None:
    """Point standard output away, so that the interpreter's own last flush stays silent."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
