"""The page's budgets, measured: how soon the server and its page are there, how fast it answers, how much memory it takes.

    python benchmarks/serve.py            # the installed pack, without a model
    python benchmarks/serve.py --model    # also what reading a headline takes

Every request is made over HTTP to a server of its own, as the page makes them. Sizes are those of the built page.
"""

import argparse
import gzip
import http.client
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

STATIC = Path(__file__).resolve().parent.parent / "src" / "hooke" / "serve" / "static"
API = "/api/v1"
HEADLINE = "Central bank holds rates as inflation cools for third month"


class Server:
    """`hooke serve` in a process of its own."""

    def __init__(self, *arguments: str) -> None:
        self.began = time.perf_counter()
        command = [Path(sys.executable).with_name("hooke"), "serve", "--no-open", *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self.process.stdout is not None
        address, _, self.token = self.process.stdout.readline().strip().partition("#k=")
        self.port = int(address.rstrip("/").rpartition(":")[2])
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)

    def ask(self, path: str, body: Any = None) -> bytes:
        """The whole answer."""
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        self.connection.request("GET" if body is None else "POST", path, body and json.dumps(body), headers)
        answer = self.connection.getresponse()
        told = answer.read()
        assert answer.status == 200, told
        return told

    def memory(self) -> float:
        """Resident megabytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(20)


def timed(server: Server, paths: list[str], body: Any = None) -> str:
    """Median and 99th percentile of the requests, in milliseconds."""
    taken = []
    for path in paths:
        began = time.perf_counter()
        server.ask(API + path, body)
        taken.append(1000 * (time.perf_counter() - began))
    return f"p50 {np.median(taken):.1f} ms, p95 {np.quantile(taken, 0.95):.1f} ms, p99 {np.quantile(taken, 0.99):.1f} ms"


def sizes() -> None:
    """What the first view loads."""
    for suffix, most in ((".js", 40), (".css", 12)):
        packed = sum(len(gzip.compress(path.read_bytes(), 9)) for path in STATIC.rglob(f"*{suffix}"))
        row(f"first view, {suffix} packed", f"{packed / 1024:.1f} KB", f"{most} KB")
    row("all built files", f"{sum(path.stat().st_size for path in STATIC.rglob('*') if path.is_file()) / 1024:.0f} KB", "400 KB")


def row(what: str, found: str, budget: str) -> None:
    print(f"| {what} | {found} | {budget} |", flush=True)


def answers(server: Server) -> None:
    """The atlas' routes."""
    rng = np.random.default_rng(0)
    saes = json.loads(server.ask(f"{API}/saes"))
    names = [f"{sae['name']}/{rng.integers(sae['d_sae'])}" for sae in saes for _ in range(100)]
    server.ask(f"{API}/features")
    row("a feature", timed(server, [f"/features/{name}" for name in names]), "p50 6, p99 25 ms")
    total = sum(sae["d_sae"] for sae in saes)
    sorts = [f"/features?sort={sort}&cursor={rng.integers(total)}" for sort in ("density", "max", "score", "label") for _ in range(25)]
    row(f"100 rows anywhere of {total:,}, any sort", timed(server, sorts), "60 ms")
    filters = [f"/features?q={word}&min_score=0.8&max_density=0.01" for word in ("bank", "the", "war", "x", "year") for _ in range(10)]
    row("filtered by name, score and density", timed(server, filters), "60 ms")
    words = ("bank", "budget", "war", "football", "music", "tax", "sea", "said", "law", "the")
    row("search", timed(server, [f"/search?q={word}" for word in words * 5]), "p95 60 ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", action="store_true", help="load the model, and read headlines")
    asked = parser.parse_args()
    print("| what | measured | budget |\n| --- | --- | --- |")
    sizes()
    starts = []
    for _ in range(3):
        server = Server("--model", "none")
        server.ask("/")
        starts.append(time.perf_counter() - server.began)
        server.end()
    row("start to the page's HTML", f"{np.median(starts):.2f} s (of 3)", "1.5 s")
    server = Server("--model", "none")
    server.ask(f"{API}/about")
    row("memory without a model, at rest", f"{server.memory():.0f} MB", "180 MB")
    answers(server)
    server.end()
    if asked.model:
        reading()


def reading() -> None:
    """A headline, from the request to the last event."""
    server = Server()
    server.ask("/")
    row("start to the page's HTML, the model warming", f"{time.perf_counter() - server.began:.2f} s", "1.5 s")
    while (state := json.loads(server.ask(f"{API}/about"))["model"])["state"] == "loading":
        time.sleep(0.1)
    row("model warm", f"{time.perf_counter() - server.began:.1f} s", "10 s")
    for names in (state["default"], state["saes"]):
        body = {"texts": [HEADLINE], "saes": names, "top": 40}
        server.ask(f"{API}/analyze", body)
        row(f"a headline through {len(names)} SAEs", timed(server, ["/analyze"] * 20, body), "p50 150, p95 250 ms (four)")
    row("memory with the model", f"{server.memory():.0f} MB", "1,600 MB")
    server.end()


if __name__ == "__main__":
    main()
