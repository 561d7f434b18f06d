"""Tests of downloads from a local mock of the Hugging Face Hub, without any network access."""

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from kib.records import Weights
from kib.testing import make_plugin
from kib_hf.trainers import Lora

HUB = "kib-tests/tiny"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
PROGRAM = """
import json, sys
from kib.errors import InputError
from kib.testing import make_plugin
from kib_hf import HF

def call(model, method):
    try:
        found = getattr(model, method)()
        return {"tokens": lambda: found("a"), "load": lambda: found.max_length}.get(method, lambda: str(found))()
    except InputError as error:
        return f"InputError: {error}"

given = json.loads(sys.argv[1])
models = [make_plugin(HF, options) for options in given["options"]]
print(json.dumps([{method: call(model, method) for method in given["methods"]} for model in models]))
"""


class Hub(ThreadingHTTPServer):
    """A request handler that mocks the Hugging Face Hub for one model."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.paths: list[str] = []
        self.refuses = False

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.paths.append(path)
        files = sorted(path for path in self.server.folder.iterdir())
        if self.server.refuses:
            status, code, _ = REFUSALS[path.rpartition("/")[2]]
            self.answer(status, b"", {"X-Error-Code": code})
        elif path.startswith(f"/api/models/{HUB}/tree/"):
            tree = [{"type": "file", "path": f.name, "size": f.stat().st_size, "oid": etag(f)} for f in files]
            self.answer(200, json.dumps(tree).encode())
        elif path.startswith(f"/api/models/{HUB}"):
            info = {"id": HUB, "sha": COMMIT, "siblings": [{"rfilename": f.name} for f in files]}
            self.answer(200, json.dumps(info).encode())
        elif (file := self.server.folder / path.rpartition("/")[2]).is_file():
            self.answer(200, file.read_bytes(), {"ETag": f'"{etag(file)}"', "X-Repo-Commit": COMMIT})
        else:
            self.answer(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Suppress the log output of the HTTP server."""


def etag(file: Path) -> str:
    """Return the object id that git and the hub assign to a file."""
    data = file.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


@pytest.fixture
def hub(tiny: Path, tmp_path: Path) -> Iterator[Hub]:
    folder = Path(shutil.copytree(tiny, tmp_path / "served"))
    (folder / "pytorch_model.bin").write_bytes(b"never wanted")
    with Hub(folder) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask(home: Path, *methods: str, address: str = "", **options: Any) -> dict[str, Any]:
    """Call a model's methods in a new process; the hub is at `address`, or unreachable if no address is given."""
    return ask_each(home, methods, [options], address)[0]


def ask_each(
    home: Path, methods: Sequence[str], options: Sequence[dict[str, Any]], address: str = ""
) -> list[dict[str, Any]]:
    """Call a model's methods in one process for each set of options."""
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    environment |= {"HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    environment |= {"HF_ENDPOINT": address} if address else {"HF_HUB_OFFLINE": "1"}
    given = {"methods": methods, "options": [{"hub": HUB, "device": "cpu", **one} for one in options]}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(given)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers: list[dict[str, Any]] = json.loads(done.stdout)
    return answers


def fill_cache(home: Path, folder: Path, revision: str = "main") -> Path:
    """Put a model into the local hub cache, as a download would."""
    cached = home / "hub" / f"models--{HUB.replace('/', '--')}"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / revision).write_text(COMMIT)
    return Path(shutil.copytree(folder, cached / "snapshots" / COMMIT))


def test_downloaded(hub: Hub, tmp_path: Path) -> None:
    """Only safetensors weights are downloaded, only if needed, and a fully downloaded model needs no hub access."""
    home = tmp_path / "home"
    first = ask(home, "fingerprint", "described", address=hub.address)
    assert first["fingerprint"] == COMMIT
    described = Path(first["described"].split("'")[1])
    make_plugin(Lora, {"device": "cpu"}).check(Weights(described), validation=False)
    assert not any(path.endswith(".safetensors") for path in hub.paths)
    second = ask(home, "weights", address=hub.address, revision=COMMIT)
    assert sorted(path.name for path in Path(second["weights"].split("'")[1]).iterdir()) == sorted(
        path.name for path in hub.folder.iterdir() if path.name != "pytorch_model.bin"
    )
    hub.paths.clear()
    third = ask(home, "fingerprint", "weights", address=hub.address, revision=COMMIT)
    assert third == second | {"fingerprint": COMMIT}
    assert not hub.paths


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_a_damaged_download(hub: Hub, tmp_path: Path, name: str) -> None:
    """A modified cached file is downloaded again, or counts as missing if the hub cannot be reached."""
    home = tmp_path / "home"
    whole = ask(home, "weights", address=hub.address, revision=COMMIT)
    stored = Path(whole["weights"].split("'")[1]) / name
    content = stored.read_bytes()
    stored.resolve().write_bytes(bytes(len(content)))
    assert ask(home, "weights", address=hub.address, revision=COMMIT) == whole
    assert stored.read_bytes() == content
    stored.resolve().write_bytes(content[:100])
    assert ask(home, "weights", revision=COMMIT)["weights"].startswith(f"InputError: {HUB}: ")


@pytest.mark.slow
def test_a_cached_model_is_loaded_without_the_hub(tiny: Path, tmp_path: Path) -> None:
    """A cached model is read offline, and the branch is resolved to the cached commit."""
    fill_cache(tmp_path / "home", tiny)
    found = ask(tmp_path / "home", "fingerprint", "tokens", "context_length", "load")
    assert found == {"fingerprint": COMMIT, "tokens": [0, 66], "context_length": "512", "load": 512}


def test_pinned(tmp_path: Path) -> None:
    """A 40-digit commit hash is used as the fingerprint, whether or not the hub is reachable."""
    assert ask(tmp_path, "fingerprint", revision=COMMIT) == {"fingerprint": COMMIT}


def test_missing_offline(tmp_path: Path) -> None:
    """A model that is neither on the local machine nor on a reachable hub raises an error."""
    expected = f"InputError: {HUB}: the revision `main` is not on this machine, and the hub cannot be reached"
    assert ask(tmp_path, "fingerprint")["fingerprint"].startswith(expected)


def test_incomplete_offline(tiny: Path, tmp_path: Path) -> None:
    """A model without downloaded weights can be described offline, but loading its weights raises an error."""
    folder = fill_cache(tmp_path, tiny)
    (folder / "model.safetensors").unlink()
    found = ask(tmp_path, "described", "weights")
    assert found["described"] == repr(Weights(folder))
    assert found["weights"].startswith(f"InputError: {HUB}: ")
    assert found["weights"].endswith(
        "; if the download was interrupted, connect to the network and run the same command again"
    )


def test_no_answer(tmp_path: Path) -> None:
    """If the hub refuses the connection, the error states that the hub cannot be reached."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    found = ask(tmp_path, "fingerprint", address=f"http://127.0.0.1:{port}")["fingerprint"]
    assert found.startswith(
        f"InputError: {HUB}: the revision `main` is not on this machine, and the hub cannot be reached ("
    )


REFUSALS = {
    "repository": (
        404,
        "RepoNotFound",
        "no such model on the hub, or the model is private and requires `hf auth login`",
    ),
    "revision": (404, "RevisionNotFound", "this repository has no revision `revision` on the hub"),
    "gated": (
        403,
        "GatedRepo",
        "access to this repository is restricted; accept the conditions on the hub and log in with `hf auth login`",
    ),
    "other": (400, "", "the hub cannot resolve `other`: "),
}
"""The HTTP status, the hub's error code and the expected message for each requested revision."""


def test_refused(hub: Hub, tmp_path: Path) -> None:
    """A request rejected by the hub raises a one-sentence error."""
    hub.refuses = True
    options = [{"revision": revision} for revision in REFUSALS]
    found = ask_each(tmp_path / "home", ["fingerprint"], options, address=hub.address)
    for answer, (_, _, message) in zip(found, REFUSALS.values(), strict=True):
        assert answer["fingerprint"].startswith(f"InputError: {HUB}: {message}")


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("model.safetensors", "the folder contains no weights; expected model.safetensors"),
        (
            "config.json",
            f"this is not a model in transformers' format, because commit {COMMIT} contains no config.json",
        ),
    ],
)
def test_incomplete_online(hub: Hub, tmp_path: Path, missing: str, message: str) -> None:
    """A model on the hub without safetensors or without a configuration raises an error."""
    (hub.folder / missing).unlink()
    assert message in ask(tmp_path / "home", "weights", address=hub.address, revision=COMMIT)["weights"]
