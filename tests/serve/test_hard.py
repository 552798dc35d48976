"""The interface under what nobody would send, under many readers, and killed while it writes."""

import json
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote, urlencode

import planted
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from served import Desk

from hooke import tiny
from hooke.atlas import Atlas
from hooke.atlas.notes import Notes
from hooke.serve.app import interface
from hooke.serve.session import API, Session

SAE = tiny.sae().name
SCHEMA = interface()
OPERATIONS = [(method, path) for path, operations in SCHEMA["paths"].items() for method in operations]
_TEXT = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(
    ["0", "-1", "1e400", "nan", "x" * 2000, "../..", "\u202e", "a'b", "%00"]
)
_KNOWN = {"collection": "tiny", "site": "resid_post.0", "variant": "64", "index": "3"}


def values(schema):
    """What a schema asks for, and now and then something else."""
    schema = SCHEMA["components"]["schemas"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    if "anyOf" in schema:
        return st.one_of(*map(values, schema["anyOf"]))
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    kind = schema.get("type")
    if kind == "array":
        return st.lists(values(schema.get("items", {})), max_size=3)
    if kind == "object":
        properties = {name: values(one) for name, one in schema.get("properties", {}).items()}
        return st.fixed_dictionaries({}, optional=properties)
    plain = {
        "integer": st.integers(-(1 << 70), 1 << 70) | st.integers(0, 70),
        "number": st.floats(),
        "boolean": st.booleans(),
        "null": st.none(),
    }
    return plain.get(kind, _TEXT)


@st.composite
def requests(draw, method, path):
    """A request as the schema has it; each part may be something else instead."""
    operation = SCHEMA["paths"][path][method]
    query = []
    for one in operation.get("parameters", []):
        given_value = draw(values(one["schema"]) | _TEXT)
        if one["in"] == "path":
            known = draw(st.booleans()) and _KNOWN.get(one["name"])
            path = path.replace("{" + one["name"] + "}", known or quote(str(given_value), safe="") or "x")
        elif one["in"] == "query" and draw(st.booleans()):
            query += [(one["name"], str(value)) for value in (given_value if isinstance(given_value, list) else [given_value])]
    body = operation.get("requestBody")
    document = (
        None if body is None else draw(values(body["content"]["application/json"]["schema"]) | st.recursive(_TEXT, st.lists, max_leaves=3))
    )
    return f"{path}?{urlencode(query, errors='replace')}" if query else path, document


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_whatever_is_sent_is_answered_in_a_sentence_or_as_the_schema_says(desk, method, path):
    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
    @given(requests(method, path))
    def tried(request):
        where, document = request
        status, told, headers = desk.ask(method.upper(), where, document)
        assert status < 500, (where, document, told)
        if status >= 400:
            assert headers["content-type"] == "application/problem+json"
            assert told["detail"]

    tried()


def test_many_readers_at_once_see_what_one_sees(desk, thorough):
    readers, times = (32, 100) if thorough else (8, 13)
    paths = [f"/features/{SAE}/{i}" for i in range(8)] + ["/features?sort=density", "/search?q=sport", "/saes", "/about", "/lists"]
    expected = {path: desk.get(path) for path in paths}

    def one(reader: int) -> int:
        return sum(desk.get(path) != expected[path] for path in (paths[(reader + i) % len(paths)] for i in range(times)))

    with ThreadPoolExecutor(readers) as pool:
        assert sum(pool.map(one, range(readers))) == 0


def test_a_server_killed_while_it_writes_loses_no_note_that_it_acknowledged(tmp_path):
    atlas = planted.write(tmp_path / "atlas.sqlite")
    command = [
        sys.executable,
        "-c",
        "from hooke.cli import main; main()",
        "serve",
        "--no-open",
        "--port",
        "0",
        "--model",
        "none",
        "--atlas",
        str(atlas),
    ]
    environment = os.environ | {"HOOKE_HOME": str(tmp_path / "home")}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        address, _, token = server.stdout.readline().strip().partition("#k=")
        one = Desk(Session(int(address.rsplit(":", 1)[1].strip("/")), token), None, None)  # type: ignore[arg-type]
        kept: list[int] = []

        def write() -> None:
            for i in range(10_000):
                try:
                    if one.ask("PUT", f"{API}/notes/{SAE}/{i % tiny.D_SAE}", {"note": json.dumps(i)})[0] == 200:
                        kept.append(i)
                except (OSError, ValueError):
                    return

        writer = threading.Thread(target=write)
        writer.start()
        while len(kept) < 20:
            assert server.poll() is None
            writer.join(0.01)
        server.send_signal(signal.SIGKILL)
        writer.join()
    notes = Notes(tmp_path / "home" / "notes.sqlite")
    written = notes.of(Atlas(atlas).saes[SAE])
    last = {i % tiny.D_SAE: i for i in kept}
    for index, i in last.items():  # what came after may have been written, too, and not have been acknowledged
        assert int(written[index].note) in (i, i + tiny.D_SAE)
    notes.close()
