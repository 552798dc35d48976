"""Network: whether a host can be found at all, asked before a library spends a minute on trying again."""

import os
import socket
import urllib.request
from urllib.parse import urlsplit

from hooke.errors import Missing

__all__ = ["require_host"]


def require_host(address: str, what: str) -> None:
    """Raise `Missing` at once where the name of the host of `address` cannot be resolved; `what` is what is wanted of it.

    Behind a proxy it is the proxy that resolves names, so nothing is asked.
    """
    host, proxies = urlsplit(address).hostname, urllib.request.getproxies()
    if not host or "all" in proxies or "https" in proxies or os.environ.get("HF_HUB_OFFLINE"):
        return
    try:
        socket.getaddrinfo(host, None)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise Missing(
            f"cannot reach {address} for {what}: its name cannot be resolved ({reason}). This machine seems to be offline;"
            " HF_HUB_OFFLINE=1 reads what was fetched before."
        ) from error
