"""The hub is played by a small server on this machine, the cache by a folder: nothing leaves the machine."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
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
ASK = """
import json, sys
from kib.errors import InputError
from kib.testing import make_plugin
from kib_hf import HF

given = json.loads(sys.argv[1])
model = make_plugin(HF, given["options"])
answers = {}
for name in given["ask"]:
    try:
        found = getattr(model, name)()
        answers[name] = {"tokens": lambda: found("a"), "load": lambda: found.max_length}.get(name, lambda: str(found))()
    except InputError as error:
        answers[name] = f"InputError: {error}"
print(json.dumps(answers))
"""


class Hub(ThreadingHTTPServer):
    """Answers as the Hugging Face Hub does for one model."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
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
        files = sorted(path for path in self.server.folder.iterdir())
        if self.server.refusal:
            status, code = self.server.refusal
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
        """Nothing on the screen."""


def etag(file: Path) -> str:
    return hashlib.sha1(file.read_bytes(), usedforsecurity=False).hexdigest()


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


def ask(home: Path, *names: str, address: str = "", **options: Any) -> dict[str, Any]:
    """What a model answers in a fresh process whose hub is at `address`, or out of reach."""
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    environment |= {"HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    environment |= {"HF_ENDPOINT": address} if address else {"HF_HUB_OFFLINE": "1"}
    given = json.dumps({"options": {"hub": HUB, "device": "cpu", **options}, "ask": names})
    done = subprocess.run(
        [sys.executable, "-c", ASK, given], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    answers: dict[str, Any] = json.loads(done.stdout)
    return answers


def fill_cache(home: Path, folder: Path, revision: str = "main") -> Path:
    """Lay a model into the hub's cache, as a download leaves it."""
    place = home / "hub" / f"models--{HUB.replace('/', '--')}"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / revision).write_text(COMMIT)
    return Path(shutil.copytree(folder, place / "snapshots" / COMMIT))


@pytest.mark.slow
def test_downloaded(hub: Hub, tmp_path: Path) -> None:
    """A model is fetched once, safetensors alone and weights only when they are needed, then read without the hub."""
    home = tmp_path / "home"
    first = ask(home, "fingerprint", "tokens", "context_length", address=hub.address)
    assert first == {"fingerprint": COMMIT, "tokens": [0, 66], "context_length": "512"}
    described = Path(ask(home, "described", address=hub.address)["described"].split("'")[1])
    make_plugin(Lora, {"device": "cpu"}).check(Weights(described), validation=False)
    assert not any(path.endswith(".safetensors") for path in hub.asked)
    second = ask(home, "weights", address=hub.address, revision=COMMIT)
    assert sorted(path.name for path in Path(second["weights"].split("'")[1]).iterdir()) == sorted(
        path.name for path in hub.folder.iterdir() if path.name != "pytorch_model.bin"
    )
    before = len(hub.asked)
    third = ask(home, "fingerprint", "load", address=hub.address, revision=COMMIT)
    assert third == {"fingerprint": COMMIT, "load": 512}
    assert len(hub.asked) == before


@pytest.mark.slow
def test_cached(tiny: Path, tmp_path: Path) -> None:
    """A model in the hub's cache needs no hub: a branch is the commit that was downloaded."""
    folder = fill_cache(tmp_path / "home", tiny)
    found = ask(tmp_path / "home", "fingerprint", "tokens", "weights", "load")
    assert found == {
        "fingerprint": COMMIT,
        "tokens": [0, 66],
        "weights": f"Weights(folder={folder!r}, adapter=None)",
        "load": 512,
    }


def test_pinned(tmp_path: Path) -> None:
    """A commit of 40 digits is its own fingerprint, with or without a hub."""
    assert ask(tmp_path, "fingerprint", revision=COMMIT) == {"fingerprint": COMMIT}


@pytest.mark.slow
def test_out_of_reach(tiny: Path, tmp_path: Path) -> None:
    """What is neither here nor can be asked for is an error that says what to do, half a model included."""
    said = f"InputError: {HUB}: `main` is not on this machine and the hub is out of reach; go online, or give a folder"
    assert ask(tmp_path / "none", "fingerprint")["fingerprint"].startswith(said)
    (fill_cache(tmp_path / "half", tiny) / "model.safetensors").unlink()
    found = ask(tmp_path / "half", "tokens", "load")
    assert found["tokens"] == [0, 66]
    assert found["load"].startswith(f"InputError: {HUB}: ")
    assert found["load"].endswith("with its parts; if its download was cut off, go online and run again")


@pytest.mark.parametrize("address", ["http://127.0.0.1:9", "http://hub.invalid"])
def test_a_hub_that_nobody_answers_for(tmp_path: Path, address: str) -> None:
    """A hub that refuses the connection, or has no address, is out of reach as well, and said to be so."""
    found = ask(tmp_path, "fingerprint", address=address)["fingerprint"]
    assert found.startswith(f"InputError: {HUB}: `main` is not on this machine and the hub is out of reach (")
    assert "go online, or give a folder" in found


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (404, "RepoNotFound", "no such model on the hub, or it is private and needs `hf auth login`"),
        (404, "RevisionNotFound", "the hub knows no revision `v2` of it"),
        (403, "GatedRepo", "the hub wants its conditions accepted and a token (`hf auth login`)"),
        (400, "", "the hub cannot be asked for `v2`: "),
    ],
)
def test_refused(hub: Hub, tmp_path: Path, status: int, code: str, message: str) -> None:
    """A refusal of the hub is told in a sentence."""
    hub.refusal = (status, code)
    found = ask(tmp_path / "home", "fingerprint", address=hub.address, revision="v2")["fingerprint"]
    assert found.startswith(f"InputError: {HUB}: {message}")


@pytest.mark.slow
def test_no_safetensors(hub: Hub, tmp_path: Path) -> None:
    """A model of the hub without safetensors is refused."""
    (hub.folder / "model.safetensors").unlink()
    found = ask(tmp_path / "home", "load", address=hub.address, revision=COMMIT)["load"]
    assert "no weights in it; expected model.safetensors" in found
