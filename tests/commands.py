"""Commands run for tests: in this process, or as forks of a process that has paid for the imports, to be killed and stopped."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hooke import cli

Command = Callable[..., tuple[int, str, str]]
"""Runs ``hooke`` with the arguments given (and bytes on `stdin`): exit code, standard output, standard error."""


def main(arguments: Sequence[str], stdin: bytes = b"") -> int:
    """Run ``hooke`` in this process; its exit code."""
    sys.argv = ["hooke", *arguments]
    sys.stdin = io.TextIOWrapper(io.BytesIO(stdin))
    try:
        cli.main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def fork(arguments: Sequence[str], said: Path) -> int:
    """Run ``hooke`` in a fork of this process, which writes what it says to the file `said`; its process number."""
    pid = os.fork()
    if pid:
        return pid
    told = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(told, 2)
    os.dup2(told, 1)
    code = main(arguments)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def ended(pid: int) -> int:
    """Wait for a fork: its exit code, or minus the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def forked(script: str, *arguments: str, folder: Path, environment: Mapping[str, str] | None = None) -> Any:
    """What `script`, which forks commands, prints as JSON when run by a fresh Python in `folder`."""
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    one_thread = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=folder,
        env=os.environ | one_thread | dict(environment or {}),
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
