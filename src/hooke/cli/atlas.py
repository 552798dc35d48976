"""`hooke atlas`: atlases built, checked and exported."""

from cyclopts import App

from hooke.cli.examples import epilogue

atlas = App(name="atlas", help="Build, check and export atlases: files that hold what is known of every feature.")
"""Build, check and export atlases: files that hold what is known of every feature."""

# By path, as in `hooke.cli`: a command's module is imported only when it is asked for.
_COMMANDS = {
    "build": "Make the atlas of some SAEs: read text once, and find out what makes each feature fire. Stopped, the same command goes on.",
    "check": "Read everything in an atlas once, and say what is wrong with it; if nothing is, with what it was made.",
    "effects": "Measure what every feature of an SAE does to a model's expectations, and put it into the atlas. Stopped, it goes on.",
    "export": "Write an atlas as JSON Lines or Parquet, or in Neuronpedia's or SAEDashboard's layout.",
}
for _name, _summary in _COMMANDS.items():
    atlas.command(f"hooke.cli.atlas_{_name}:{_name}", name=_name, help=_summary, **epilogue(f"atlas {_name}"))
