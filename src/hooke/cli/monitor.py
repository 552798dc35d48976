"""`hooke monitor`: alarms on texts of one kind, at a rate of false alarms that was set."""

from cyclopts import App

from hooke.cli.examples import epilogue

monitor = App(name="monitor", help="Raise an alarm on texts of one kind, at a rate of false alarms that was set beforehand.")
"""Raise an alarm on texts of one kind, at a rate of false alarms that was set beforehand."""

_COMMANDS = {
    "make": "Make a monitor from labelled texts: learn, set the threshold, and try it, each on texts of its own.",
    "run": "Read texts with a monitor: a JSON line for each, and at the end whether they are like those it was made from.",
}
for _name, _summary in _COMMANDS.items():
    monitor.command(f"hooke.cli.monitor_{_name}:{_name}", name=_name, help=_summary, **epilogue(f"monitor {_name}"))
