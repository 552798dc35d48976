"""The command line: one module per command. Data goes to standard output, talk to standard error."""

import os
import sys

from cyclopts import App, CycloptsError

from hooke.errors import HookeError

app = App(
    name="hooke",
    help="A microscope for language models: decompose what a model computes into sparse, nameable features.",
    version_flags=["--version"],
    suppress_keyboard_interrupt=False,
)
# By path, so that a command's module is imported only when it is asked for; the summary is its docstring's first line (a test compares).
_COMMANDS = {
    "analyze": "Show the features a model used on each text, and the broader topics they make up.",
    "atlas": "Build, check and export atlases: files that hold what is known of every feature.",
    "convert": "Write an SAE in another format.",
    "eval": "Judge SAEs: what they keep of the model, how sparse they are, what their features are good for, beside baselines.",
    "explain": "Name features by letting a language model, or anybody, read where they fire; try names on text that was held out.",
    "feature": "Show everything the atlas knows of a feature; keep notes on it.",
    "finetune": "Fine-tune a trained SAE so that the model predicts with its reconstructions what it predicts without.",
    "harvest": "Write a model's activations over texts to disk, to train on later.",
    "inspect": "Say what an SAE is, without reading its weights; what is not on this machine is fetched.",
    "notes": "List your notes, stars and labels, or carry them to another machine.",
    "open": "Open a feature in the page of the running `hooke serve`.",
    "pull": "Fetch SAEs, to use them later without a network.",
    "saes": "List the SAEs at hand, and published ones that can be fetched.",
    "sample": "Write text sampled from a model itself, to train on or to look at.",
    "search": "Find features by the words of their labels, of the text they fire on, or of what they write.",
    "serve": "Show features and read texts in a browser: one page, on this machine alone, offline.",
    "train": "Train SAEs, one or a whole suite, from one pass over the activations.",
}
for _name, _summary in _COMMANDS.items():
    app.command(f"hooke.cli.{_name}:{_name}", help=_summary)

_USAGE, _INTERRUPTED = 2, 130


def main() -> None:
    """Run the command in ``sys.argv``; exit with the documented code, never with a traceback for anything a person did."""
    try:
        app(sys.argv[1:], exit_on_error=False, print_error=True, result_action="return_value")
        sys.stdout.flush()
    except CycloptsError:
        sys.exit(_USAGE)
    except HookeError as error:
        sys.stderr.write(f"hooke: {error}\n")
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # Whoever read our output has enough. Point stdout away so that the interpreter's own last flush stays silent.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except KeyboardInterrupt:
        sys.stderr.write("hooke: stopped.\n")
        sys.exit(_INTERRUPTED)
    except MemoryError:
        sys.stderr.write("hooke: out of memory. Try a smaller --batch-tokens.\n")
        sys.exit(6)
