"""The hub is played by a small server on this machine: nothing leaves the machine."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

HUB = "kib-tests/facts"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
LINE = b'{"id": "a", "text": "one"}\n'
ASK = """
import json, sys
from kib.errors import InputError
from kib.testing import make_plugin
from kib_datasets.corpus import HuggingFace

corpus = make_plugin(HuggingFace, json.loads(sys.argv[1]))
try:
    print(json.dumps({"fingerprint": corpus.fingerprint(), "ids": [one.id for one in corpus.documents()]}))
except InputError as error:
    print(json.dumps({"error": str(error)}))
"""


class Hub(ThreadingHTTPServer):
    """Answers as the Hugging Face Hub does for one data set."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = {"README.md": b"---\nlicense: cc0-1.0\n---\n", "data/train.jsonl": LINE}
        self.asked: list[str] = []
        self.refusal: tuple[int, str] | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.asked.append(path)
        name = path.partition(f"/datasets/{HUB}/resolve/{COMMIT}/")[2]
        if self.server.refusal:
            status, code = self.server.refusal
            self.answer(status, b"", {"X-Error-Code": code})
        elif path.startswith(f"/api/datasets/{HUB}/tree/"):
            folder = path.partition("/tree/")[2].partition("/")[2]
            inside = sorted(name for name in self.server.files if name.startswith(f"{folder}/" if folder else ""))
            parents = sorted({name.rpartition("/")[0] for name in inside} - {"", folder})
            self.answer(200, json.dumps([self.entry(name) for name in [*parents, *inside]]).encode())
        elif path.startswith(f"/api/datasets/{HUB}"):
            info = {"id": HUB, "sha": COMMIT, "siblings": [{"rfilename": name} for name in self.server.files]}
            self.answer(200, json.dumps(info).encode())
        elif name in self.server.files:
            data = self.server.files[name]
            self.answer(200, data, {"ETag": f'"{etag(data)}"', "X-Repo-Commit": COMMIT})
        else:
            self.answer(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})

    def do_POST(self) -> None:
        """What files of these names there are."""
        length = int(self.headers["Content-Length"])
        sent = self.rfile.read(length).decode()
        self.server.asked.append(self.path)
        asked = json.loads(sent)["paths"] if sent.startswith("{") else parse_qs(sent)["paths"]
        there = [name for name in asked if any(f"{file}/".startswith(f"{name}/") for file in self.server.files)]
        self.answer(200, json.dumps(list(map(self.entry, there))).encode())

    def entry(self, name: str) -> dict[str, Any]:
        data = self.server.files.get(name)
        if data is None:
            return {"type": "directory", "path": name, "oid": etag(name.encode())}
        return {"type": "file", "path": name, "size": len(data), "oid": etag(data)}

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing on the screen."""


def etag(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask(home: Path, address: str = "", **options: Any) -> dict[str, Any]:
    """What a corpus answers in a fresh process whose hub is at `address`, or out of reach."""
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    environment |= {"HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    environment |= {"HF_ENDPOINT": address} if address else {"HF_HUB_OFFLINE": "1"}
    given = json.dumps({"hub": HUB, **options})
    done = subprocess.run(
        [sys.executable, "-c", ASK, given], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    answers: dict[str, Any] = json.loads(done.stdout)
    return answers


@pytest.mark.slow
def test_downloaded(hub: Hub, tmp_path: Path) -> None:
    """A data set is known by its commit, fetched once, and then read without the hub."""
    assert ask(tmp_path, hub.address) == {"fingerprint": COMMIT, "ids": ["a"]}
    assert f"/datasets/{HUB}/resolve/{COMMIT}/data/train.jsonl" in hub.asked
    before = len(hub.asked)
    assert ask(tmp_path, hub.address, revision=COMMIT) == {"fingerprint": COMMIT, "ids": ["a"]}
    assert len(hub.asked) == before
    assert ask(tmp_path, revision=COMMIT) == {"fingerprint": COMMIT, "ids": ["a"]}


@pytest.mark.slow
def test_half_a_download(hub: Hub, tmp_path: Path) -> None:
    """What a broken download left behind is not taken for the data set."""
    folder = tmp_path / "hub" / f"datasets--{HUB.replace('/', '--')}" / "snapshots" / COMMIT / "data"
    folder.mkdir(parents=True)
    (folder / "train.jsonl").write_bytes(LINE)
    assert "is not on this machine and the hub is out of reach" in ask(tmp_path, revision=COMMIT)["error"]
    hub.files["data/train-2.jsonl"] = LINE.replace(b"a", b"b", 1)
    assert ask(tmp_path, hub.address)["ids"] == ["b", "a"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (401, "GatedRepo", "the hub wants its conditions accepted and a token"),
        (404, "RepoNotFound", "no such data set on the hub, or it is private"),
        (404, "RevisionNotFound", "the hub knows no revision `v2` of it"),
        (500, "", "the hub cannot be asked for `v2`"),
    ],
)
def test_refused(hub: Hub, tmp_path: Path, status: int, code: str, message: str) -> None:
    """A refusal of the hub is one sentence that says what would help."""
    hub.refusal = (status, code)
    assert ask(tmp_path, hub.address, revision="v2")["error"].startswith(f"{HUB}: {message}")


@pytest.mark.slow
def test_nothing_listens(tmp_path: Path) -> None:
    """Without a network a data set of the hub is out of reach, which is no fault of the plugin."""
    found = ask(tmp_path, "http://127.0.0.1:9", revision="v2")["error"]
    assert found.startswith(f"{HUB}: `v2` is not on this machine and the hub is out of reach (")


@pytest.mark.slow
def test_streamed(hub: Hub, tmp_path: Path) -> None:
    """A data set may be read from the hub as needed, and nothing of it is kept."""
    assert ask(tmp_path, hub.address, streaming=True) == {"fingerprint": COMMIT, "ids": ["a"]}
    assert not list(tmp_path.rglob("*.jsonl"))
