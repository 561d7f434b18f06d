"""Tests against a local server that answers as the Hugging Face Hub does.

The Hugging Face libraries read the address of the hub from environment variables at import, so a worker process reads
the set.
"""

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from kib.testing import make_plugin
from kib_sets.popqa import PopqaTask

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OPTIONS = {"hub": "kib-tests/popqa", "files": {"test": "test.tsv"}}

WORKER = """
import json, sys
from kib.errors import InputError
from kib.testing import make_plugin
from kib_sets.popqa import PopqaTask

for line in sys.stdin:
    task = make_plugin(PopqaTask, json.loads(line))
    try:
        answer = {"fingerprint": task.fingerprint(), "ids": [question.id for question in task.questions("test")]}
    except InputError as error:
        answer = {"error": str(error)}
    print(json.dumps(answer), flush=True)
"""

Write = Callable[..., Path]
Read = Callable[..., dict[str, object]]


class Hub(ThreadingHTTPServer):
    """A server with one data set, which contains one file."""

    def __init__(self, data: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.data = data
        self.downloads = 0


class Handler(BaseHTTPRequestHandler):
    """Answers requests for the commit and for files."""

    server: Hub

    def do_HEAD(self) -> None:
        """Answer with the headers of a file."""
        self.do_GET()

    def do_GET(self) -> None:
        """Answer with the commit, a file, or the hub's error for a missing file."""
        data, headers, status = self.server.data, {"X-Repo-Commit": COMMIT}, 200
        if "/resolve/" not in self.path:
            data = json.dumps({"id": OPTIONS["hub"], "sha": COMMIT}).encode()
        elif self.path.endswith("/test.tsv"):
            sha = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
            headers["ETag"] = f'"{sha}"'
            self.server.downloads += self.command == "GET"
        else:
            data, status = b"", 404
            headers["X-Error-Code"] = "EntryNotFound"
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Suppress the log output of the server."""


@pytest.fixture
def hub(write: Write) -> Iterator[Hub]:
    """Start the server."""
    with Hub(write("popqa").read_bytes()) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def read(hub: Hub, tmp_path: Path) -> Iterator[Read]:
    """Start the worker process, and return a function that reads the set in the worker process."""
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    environment |= {"HF_HOME": str(tmp_path), "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    environment |= {"HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}", "HF_HUB_OFFLINE": "0"}
    with subprocess.Popen(
        [sys.executable, "-c", WORKER], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def send(**options: object) -> dict[str, object]:
            process.stdin.write(json.dumps({**OPTIONS, **options}) + "\n")
            process.stdin.flush()
            answer: dict[str, object] = json.loads(process.stdout.readline())
            return answer

        yield send
        process.kill()


def test_download(hub: Hub, read: Read, tmp_path: Path) -> None:
    """A set on the hub is identified by its commit, and its file is downloaded once, and again only if damaged."""
    first = read()
    assert first["ids"] == ["4222362", "1"]
    assert read(revision=COMMIT) == first
    assert hub.downloads == 1
    [stored] = tmp_path.glob("hub/datasets--kib-tests--popqa/snapshots/*/test.tsv")
    stored.resolve().write_bytes(hub.data.replace(b"miller", b"pilot"))
    assert read(revision=COMMIT) == first
    assert hub.downloads == 2
    assert read(revision=COMMIT, files={"test": "dev.tsv"}) == {
        "error": f"kib-tests/popqa: the data set has no file dev.tsv at revision `{COMMIT}`"
    }


def test_online(write: Write) -> None:
    """A set on the hub needs network access, but local files do not."""
    [sentence] = make_plugin(PopqaTask, OPTIONS).online()
    assert sentence == "test.tsv of the data set kib-tests/popqa on the hub at revision `main`"
    assert make_plugin(PopqaTask, {"path": write("popqa")}).online() == []
