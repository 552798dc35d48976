"""A guard against connections: an audit hook that refuses every address outside this machine and remembers the attempt.

An audit hook sits below `socket`, so it also sees code that took its own reference to `socket.connect`. What it cannot see is a
native library that opens sockets without Python; none of ours does while the hub is offline.
"""

import ipaddress
import socket
import sys
from collections.abc import Set
from pathlib import Path
from typing import Any

_LOCAL_FAMILIES = {getattr(socket, name) for name in ("AF_UNIX", "AF_NETLINK") if hasattr(socket, name)}
_CONNECTING = {"socket.connect", "socket.sendto", "socket.sendmsg"}
_LOOKING_UP = {"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"}

attempts: list[str] = []
"""Every refused attempt of this process. Kept because a library may catch the error and carry on as if nothing had been."""
_log: list[Path] = []


class NetworkRefused(RuntimeError):
    """A connection outside loopback; not an `OSError`, which too much code takes as "try again later"."""


def install(log: Path | None = None) -> None:
    """Start refusing, for the rest of the process; each attempt is also appended to `log`."""
    if log is not None:
        _log.append(log)
    sys.addaudithook(_watch)


def _watch(event: str, args: tuple[Any, ...], connecting: Set[str] = _CONNECTING, looking_up: Set[str] = _LOOKING_UP) -> None:
    if event in connecting:  # names of the function's own: the module's are gone when the interpreter ends, and the hook is not
        handle, address = args[0], args[1]
        if address is None or handle.family in _LOCAL_FAMILIES or is_local(address[0]):
            return
        _refuse(event, address)
    elif event in looking_up and not is_local(args[0]):
        _refuse(event, args[0])


def is_local(host: object) -> bool:
    """Whether `host`, as a socket call takes it, is this machine."""
    if isinstance(host, bytes):
        host = host.decode("ascii", "replace")
    if host in (None, "", "localhost"):
        return True
    try:
        address = ipaddress.ip_address(str(host).partition("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def _refuse(event: str, address: object) -> None:
    attempts.append(f"{event} {address!r}")
    for log in _log:
        with log.open("a") as file:
            file.write(attempts[-1] + "\n")
    raise NetworkRefused(f"{event} to {address!r}: nothing here may open a connection outside this machine.")
