"""The page's budgets: `hooke serve` started as a person starts it, asked what the page asks, beside what each answer may take.

    python benchmarks/serve.py [--rows 262144] [--keep FILE] [--headlines 60] [--no-model]

One table: what was asked, the budget, the median and the 95th percentile in wall time, and the server's processor time for one answer,
which a busy machine does not change: where it is idle, the two are the same. `--rows` is the size of a generated atlas for what has to be
fast at any size. Where there is a Chromium and playwright, what is painted is timed too.
"""

import argparse
import gzip
import http.client
import importlib.util
import json
import os
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

from atlas_read import Made, write

from hooke.topics import load_topics

API = "/api/v1"
FOUR = [f"gemma-3-270m/resid_post.{variant}" for variant in ("5/4k", "9/4k", "12/8k", "15/4k")]
WORDS = ("bank", "football", "the court", "rain", "budget deficit", '"as well as"', "astron*", "of")
_TICK = os.sysconf("SC_CLK_TCK")


@dataclass
class Server:
    """A running `hooke serve`."""

    process: "subprocess.Popen[str]"
    port: int
    key: str
    began: float

    def ask(self, path: str, body: Any = None) -> bytes:
        """The whole answer."""
        return b"".join(self.lines(path, body))

    def lines(self, path: str, body: Any = None) -> Iterator[bytes]:
        """The answer as it comes."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        connection.request("GET" if body is None else "POST", path, body and json.dumps(body), headers)
        answer = connection.getresponse()
        assert answer.status == 200, (path, answer.read()[:300])
        yield from iter(answer.readline, b"")
        connection.close()

    @property
    def processor(self) -> float:
        """Seconds of processor time so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICK

    @property
    def memory(self) -> int:
        """MB that are its own: files of weights that it looks into, which any process may share and the system may drop, apart."""
        status = dict(line.split(":", 1) for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines())
        return int(status["RssAnon"].split()[0]) // 1024

    @property
    def resident(self) -> int:
        """MB in memory, such files with it."""
        status = dict(line.split(":", 1) for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines())
        return int(status["VmRSS"].split()[0]) // 1024


@contextmanager
def served(*options: str) -> Iterator[Server]:
    """A server with these options, from its first answer on."""
    began = time.perf_counter()
    command = ["hooke", "serve", "--no-open", "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            address, _, key = process.stdout.readline().strip().partition("#k=")
            yield Server(process, int(address.rsplit(":", 1)[1].strip("/")), key, began)
        finally:
            process.terminate()


def told(what: str, budget: str, *figures: str) -> None:
    """One row."""
    print(f"{what:<58}{budget:>16}" + "".join(f"{figure:>14}" for figure in figures), flush=True)


def timed(what: str, budget: str, server: Server, asks: list[Callable[[], Any]]) -> None:
    """Time each of `asks`, after the first once."""
    asks[0]()
    before, taken = server.processor, []
    for ask in asks:
        began = time.perf_counter()
        ask()
        taken.append(1000 * (time.perf_counter() - began))
    taken.sort()
    each = 1000 * (server.processor - before) / len(asks)
    told(what, budget, f"{taken[len(taken) // 2]:.0f}", f"{taken[int(0.95 * (len(taken) - 1))]:.0f}", f"{each:.1f}")


def rested(server: Server) -> float:
    """Share of a processor that it takes while nobody asks anything."""
    before = server.processor
    time.sleep(1)
    return server.processor - before


def pages(server: Server, rows: int, words: Sequence[str]) -> None:
    """What needs no model, on an atlas of so many rows."""
    lots, get = random.Random(0), server.ask
    names = [row["name"] for row in json.loads(get(f"{API}/saes"))]
    each = rows // len(names)
    server.ask(f"{API}/features?limit=1")
    while rested(server) > 0.05:  # the columns and their orders are made once, behind the page
        pass
    some = [f"{API}/features/{lots.choice(names)}/{lots.randrange(each)}" for _ in range(200)]
    timed(f"a feature, of {rows:,}", "p50 6 ms", server, [lambda path=path: get(path) for path in some])
    sorts = [f"sort={sort}&ascending={up}" for sort in ("named", "score", "density", "max", "label", "layer") for up in ("true", "false")]
    for said, queries in (
        ("sorted, the first time", sorts),
        ("sorted again, any place", [f"{one}&cursor={lots.randrange(rows)}" for one in sorts for _ in range(4)]),
        ("filtered", [f"q={quote(word)}&max_density=0.1&rating=sometimes%20fits" for word in words for _ in range(3)]),
    ):
        asks = [lambda query=query: get(f"{API}/features?limit=100&{query}") for query in queries]
        timed(f"features, of {rows:,}: {said}", "60 ms", server, asks)
    asks = [lambda word=word: get(f"{API}/search?limit=60&q={quote(word)}") for _ in range(5) for word in words]
    timed(f"search, of {rows:,}", "p95 60 ms", server, asks)


def readings(server: Server, headlines: int) -> None:
    """What the model reads."""
    texts = [text for topic in load_topics()[0] for text in topic.examples[1::6]][:headlines]
    for said, saes in (("layer 12", FOUR[2:3]), ("four SAEs", FOUR)):
        bodies = [{"texts": [text], "saes": saes, "top": 40} for text in texts]
        timed(
            f"a headline read, {said}",
            "p50 150, p95 250",
            server,
            [lambda body=body: server.ask(f"{API}/analyze", body) for body in bodies],
        )
    long = " ".join(text for topic in load_topics()[0] for text in topic.examples)[:9000]
    tokens = len(json.loads(server.ask(f"{API}/tokenize", {"texts": [long]}))["tokens"][0])
    began, before, first = time.perf_counter(), server.processor, None
    for line in server.lines(f"{API}/analyze", {"texts": [long]}):
        first = first or (line.startswith(b"event: text") and time.perf_counter() - began)
    took, used = time.perf_counter() - began, server.processor - before
    told("a text of 2,000 tokens: first part", "0.5 s", f"{first:.2f} s")
    told("the same: tokens a second", "2,000", f"{tokens / took:,.0f}", "", f"{tokens / used:,.0f} /s")


def painted(server: Server) -> None:
    """What a browser shows, and when."""
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None or importlib.util.find_spec("playwright") is None:
        print("no Chromium or no playwright: nothing painted")
        return
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(f"http://127.0.0.1:{server.port}/features#k={server.key}")
        page.wait_for_selector("[data-row] a")
        page.reload()
        page.wait_for_selector("[data-row] a")
        paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
        told("first contentful paint", "0.4 s", f"{paint / 1000:.2f} s")
        clicks = []
        for _ in range(7):
            page.locator("[data-row] a").nth(random.Random(len(clicks)).randrange(8)).evaluate(
                "link => { window.began = performance.now(); link.click() }"
            )
            page.wait_for_selector(".passages, .empty")
            clicks.append(page.evaluate("new Promise(done => requestAnimationFrame(() => done(performance.now() - window.began)))"))
            page.go_back()
            page.wait_for_selector("[data-row] a")
        told("a feature's page, from click to paint", "120 ms", f"{sorted(clicks)[3]:.0f}", f"{max(clicks):.0f}")
        told("rows of a long list in the page", "200", f"{page.locator('[data-row]').count()}")
        browser.close()


def weighed() -> None:
    """What the page's files weigh, packed as any server packs them."""
    built = {path.name: path.read_bytes() for path in files("hooke.serve").joinpath("static", "assets").iterdir()}
    for said, budget, kind, begins in (("script", "40 kB", ".js", "index"), ("style", "12 kB", ".css", "")):
        packed = sum(len(gzip.compress(own, 9)) for name, own in built.items() if name.endswith(kind) and name.startswith(begins))
        told(f"first view, {said}, packed", budget, f"{packed / 1000:.1f} kB")
    told("all built files", "600 kB", f"{sum(map(len, built.values())) / 1000:.0f} kB")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=262_144)
    parser.add_argument("--keep", type=Path, help="where the generated atlas lies, or is to stay")
    parser.add_argument("--headlines", type=int, default=60)
    parser.add_argument("--no-model", action="store_true")
    given = parser.parse_args()
    told("", "budget", "median ms", "p95 ms", "processor ms")
    weighed()
    with served("--model", "none") as server:
        server.ask("/")
        told("from the command to the page", "1.5 s", f"{time.perf_counter() - server.began:.2f} s", "", f"{1000 * server.processor:.0f}")
        pages(server, json.loads(server.ask(f"{API}/about"))["features"], WORDS)
        told("memory without a model", "180 MB", f"{server.memory} MB", f"({server.resident})")
        painted(server)
    with tempfile.TemporaryDirectory() as folder:
        file, made = given.keep or Path(folder) / "atlas.sqlite", Made(2000, given.rows)
        if not file.is_file():
            write(file, made)
        with served("--model", "none", "--atlas", str(file)) as server:
            pages(server, given.rows, [made.words[i] for i in (3, 30, 300, 3000)])
    if given.no_model:
        return
    with served() as server:
        server.ask("/")
        began = time.perf_counter()
        while json.loads(server.ask(f"{API}/about"))["model"]["state"] == "loading":
            time.sleep(0.1)
        told("the model warm, behind the page", "10 s", f"{time.perf_counter() - began:.1f} s", "", f"{1000 * server.processor:.0f}")
        told("memory with the model, idle", "1.6 GB", f"{server.memory} MB", f"({server.resident})")
        readings(server, given.headlines)
        told("memory with the model, after these", "1.6 GB", f"{server.memory} MB", f"({server.resident})")


if __name__ == "__main__":
    main()
