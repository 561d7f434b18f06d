"""Tests against a local mock of the Hugging Face Hub, without any network access.

The Hugging Face libraries read the hub's address and the cache folder from environment variables at import, so a
single worker process reads the data sets for all tests. Each test uses a separate data set.
"""

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LINE = b'{"id": "a", "text": "one"}\n'

WORKER = """
import json, sys
from kib.errors import InputError
from kib.testing import make_plugin
from kib_datasets.corpus import HuggingFace

for line in sys.stdin:
    corpus = make_plugin(HuggingFace, json.loads(line))
    try:
        answer = {"fingerprint": corpus.fingerprint(), "ids": [document.id for document in corpus.documents()]}
    except InputError as error:
        answer = {"error": str(error)}
    print(json.dumps(answer), flush=True)
"""

Read = Callable[..., dict[str, Any]]


def sha1(data: bytes) -> str:
    """Return the object id that git and the hub assign to a file with this content."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


@dataclass
class DataSet:
    """A data set on the mock hub, the requests for the data set, and the error responses to send next."""

    name: str
    files: dict[str, bytes] = field(
        default_factory=lambda: {"README.md": b"---\nlicense: cc0-1.0\n---\n", "data/train.jsonl": LINE}
    )
    requests: list[str] = field(default_factory=list)
    error: tuple[int, str] | None = None
    """The status and error code of every response; the status 0 closes the connection without a response."""


class Hub(ThreadingHTTPServer):
    """A mock server that answers requests for a few data sets as the Hugging Face Hub does."""

    def __init__(self, cache: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.cache = cache
        self.data_sets: dict[str, DataSet] = {}

    def add(self, name: str) -> DataSet:
        """Add a data set with one row."""
        return self.data_sets.setdefault(f"kib-tests/{name}", DataSet(f"kib-tests/{name}"))


class Handler(BaseHTTPRequestHandler):
    """The handler for requests to the mock hub."""

    server: Hub

    def do_HEAD(self) -> None:
        """Send the same response headers as for a GET request."""
        self.do_GET()

    def do_GET(self) -> None:
        """Answer a request for the commit, the list of files, or a file of a data set."""
        data_set, rest = self.find_data_set()
        if data_set is None:
            self.answer(404)
        elif data_set.error is not None:
            self.fail(*data_set.error)
        elif rest.startswith("tree/"):
            folder = rest.partition("/")[2].partition("/")[2]
            inside = sorted(name for name in data_set.files if name.startswith(f"{folder}/" if folder else ""))
            parents = sorted({name.rpartition("/")[0] for name in inside} - {"", folder})
            self.answer_json([describe(data_set, name) for name in [*parents, *inside]])
        elif rest.startswith("resolve/"):
            self.answer_file(data_set, rest.removeprefix(f"resolve/{COMMIT}/"))
        else:
            siblings = [{"rfilename": name} for name in data_set.files]
            self.answer_json({"id": data_set.name, "sha": COMMIT, "siblings": siblings})

    def do_POST(self) -> None:
        """Answer a request for the descriptions of the given paths."""
        data_set, _ = self.find_data_set()
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        paths = json.loads(body)["paths"] if body.startswith("{") else parse_qs(body)["paths"]
        files = data_set.files if data_set else {}
        existing = [path for path in paths if any(f"{name}/".startswith(f"{path}/") for name in files)]
        self.answer_json([describe(data_set, path) for path in existing if data_set])

    def find_data_set(self) -> tuple[DataSet | None, str]:
        """Return the data set named in the request path and the rest of the path, and record the request."""
        path = unquote(urlsplit(self.path).path).removeprefix("/api")
        for name, data_set in self.server.data_sets.items():
            if path.startswith(f"/datasets/{name}"):
                data_set.requests.append(path)
                return data_set, path.removeprefix(f"/datasets/{name}").lstrip("/")
        return None, ""

    def fail(self, status: int, code: str) -> None:
        """Answer with an error, or close the connection if the status is 0."""
        if status:
            self.answer(status, headers={"X-Error-Code": code})
        else:
            self.close_connection = True

    def answer_file(self, data_set: DataSet, name: str) -> None:
        """Answer with the content of a file, or with the hub's error for a missing file."""
        data = data_set.files.get(name)
        if data is None:
            self.answer(404, headers={"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
        else:
            self.answer(200, data, {"ETag": f'"{sha1(data)}"', "X-Repo-Commit": COMMIT})

    def answer_json(self, value: Any) -> None:
        """Answer with a JSON value."""
        self.answer(200, json.dumps(value).encode())

    def answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        """Send a response, omitting the body after a HEAD request."""
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Suppress the log output of the HTTP server."""


def describe(data_set: DataSet, path: str) -> dict[str, Any]:
    """Return the description of a file or folder in the hub's format."""
    data = data_set.files.get(path)
    if data is None:
        return {"type": "directory", "path": path, "oid": sha1(path.encode())}
    return {"type": "file", "path": path, "size": len(data), "oid": sha1(data)}


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """Start the mock hub."""
    with Hub(tmp_path_factory.mktemp("cache")) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def read(hub: Hub) -> Iterator[Read]:
    """Start the worker process, and return a function that reads a data set in the worker process."""
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    environment |= {"HF_HOME": str(hub.cache), "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    environment |= {"HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}", "HF_HUB_OFFLINE": "0"}
    with subprocess.Popen(
        [sys.executable, "-c", WORKER], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def send(data_set: DataSet, **options: Any) -> dict[str, Any]:
            process.stdin.write(json.dumps({"hub": data_set.name, **options}) + "\n")
            process.stdin.flush()
            answer: dict[str, Any] = json.loads(process.stdout.readline())
            return answer

        yield send
        process.kill()  # a regular exit takes another second


def test_download(hub: Hub, read: Read) -> None:
    """A data set on the hub is identified by its commit, and its files are downloaded only once."""
    data_set = hub.add("facts")
    assert read(data_set) == {"fingerprint": COMMIT, "ids": ["a"]}
    assert f"/datasets/{data_set.name}/resolve/{COMMIT}/data/train.jsonl" in data_set.requests
    data_set.requests.clear()
    assert read(data_set, revision=COMMIT) == {"fingerprint": COMMIT, "ids": ["a"]}
    assert data_set.requests == []


def test_a_damaged_download(hub: Hub, read: Read) -> None:
    """A cached file whose content has changed is downloaded again."""
    data_set = hub.add("damaged")
    assert read(data_set) == {"fingerprint": COMMIT, "ids": ["a"]}
    [stored] = (hub.cache / "hub").glob("datasets--kib-tests--damaged/snapshots/*/data/train.jsonl")
    stored.resolve().write_bytes(LINE.replace(b'"a"', b'"b"'))
    assert read(data_set) == {"fingerprint": COMMIT, "ids": ["a"]}
    stored.resolve().write_bytes(LINE.replace(b'"a"', b'"b"'))
    data_set.error = (0, "")
    assert "the hub cannot be reached" in read(data_set, revision=COMMIT)["error"]


def test_download_of_some_files(hub: Hub, read: Read) -> None:
    """If the option `files` contains a pattern, only the matching files are downloaded."""
    data_set = hub.add("some-files")
    data_set.files["data/test.jsonl"] = LINE
    assert read(data_set, files=["data/train*"])["ids"] == ["a"]
    assert f"/datasets/{data_set.name}/resolve/{COMMIT}/data/test.jsonl" not in data_set.requests


def test_incomplete_download(hub: Hub, read: Read) -> None:
    """An interrupted download of a data set is completed before the data set is read."""
    data_set = hub.add("incomplete")
    folder = hub.cache / "hub" / f"datasets--{data_set.name.replace('/', '--')}" / "snapshots" / COMMIT / "data"
    folder.mkdir(parents=True)
    (folder / "train.jsonl").write_bytes(LINE)
    data_set.files["data/train-2.jsonl"] = LINE.replace(b"a", b"b", 1)
    data_set.error = (500, "")
    assert "error" in read(data_set, revision=COMMIT)
    data_set.error = None
    assert read(data_set, revision=COMMIT)["ids"] == ["b", "a"]


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (401, "GatedRepo", "access to this repository is restricted; accept the conditions on the hub"),
        (404, "RepoNotFound", "no such data set on the hub, or the data set is private"),
        (404, "RevisionNotFound", "this repository has no revision `v2` on the hub"),
        (500, "", "the hub cannot resolve `v2`"),
        (0, "", "the revision `v2` is not on this machine, and the hub cannot be reached ("),
    ],
)
def test_hub_error(hub: Hub, read: Read, status: int, code: str, message: str) -> None:
    """An error response from the hub raises a one-sentence error that suggests a remedy."""
    data_set = hub.add(f"error-{status}{code}")
    data_set.error = (status, code)
    assert read(data_set, revision="v2")["error"].startswith(f"{data_set.name}: {message}")


def test_streaming(hub: Hub, read: Read) -> None:
    """A streamed data set is read without storing its files."""
    data_set = hub.add("streamed")
    assert read(data_set, streaming=True) == {"fingerprint": COMMIT, "ids": ["a"]}
    assert not list(hub.cache.rglob(f"*{data_set.name.partition('/')[2]}*/**/*.jsonl"))
