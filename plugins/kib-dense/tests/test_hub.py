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

HUB = "kib-tests/tiny"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
ASK = """
import json, sys
from kib.errors import InputError
from kib.testing import make_plugin
from kib_dense.dense import Dense

retriever = make_plugin(Dense, json.loads(sys.argv[1]))
try:
    print(json.dumps([retriever.fingerprint(), retriever.encoder.passages(["red lever"]).tolist()]))
except InputError as error:
    print(json.dumps(f"InputError: {error}"))
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

    def files(self) -> dict[str, Path]:
        found = (path for path in sorted(self.folder.rglob("*")) if path.is_file())
        return {path.relative_to(self.folder).as_posix(): path for path in found}


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path, files = unquote(urlsplit(self.path).path), self.server.files()
        self.server.asked.append(path)
        name = path.partition(f"/resolve/{COMMIT}/")[2]
        if self.server.refusal:
            status, code = self.server.refusal
            self.answer(status, b"", {"X-Error-Code": code})
        elif path.startswith(f"/api/models/{HUB}/tree/"):
            tree = [{"type": "file", "path": n, "size": f.stat().st_size, "oid": etag(f)} for n, f in files.items()]
            self.answer(200, json.dumps(tree).encode())
        elif path.startswith(f"/api/models/{HUB}"):
            info = {"id": HUB, "sha": COMMIT, "siblings": [{"rfilename": name} for name in files]}
            self.answer(200, json.dumps(info).encode())
        elif name in files:
            self.answer(200, files[name].read_bytes(), {"ETag": f'"{etag(files[name])}"', "X-Repo-Commit": COMMIT})
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
def hub(tiny_encoder: Path, tmp_path: Path) -> Iterator[Hub]:
    folder = Path(shutil.copytree(tiny_encoder, tmp_path / "served"))
    (folder / "pytorch_model.bin").write_bytes(b"never wanted")
    (folder / "onnx").mkdir()
    (folder / "onnx" / "config.json").write_text("{}")
    with Hub(folder) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask(home: Path, address: str = "", **options: Any) -> Any:
    """Fingerprint and a vector from a fresh process whose hub is at `address`, or out of reach; or its error."""
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    environment |= {"HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    environment |= {"HF_ENDPOINT": address} if address else {"HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", ASK, json.dumps({"hub": HUB, "device": "cpu", **options})]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_download_once(hub: Hub, tiny_encoder: Path, tmp_path: Path) -> None:
    """A branch is the commit that the hub names, its modules are downloaded whole, and then no network is needed."""
    from kib_dense.encoder import Encoder, EncoderOptions

    options = EncoderOptions.model_validate_json(json.dumps({"path": str(tiny_encoder), "device": "cpu"}))
    expected = [COMMIT, Encoder(options).passages(["red lever"]).tolist()]
    assert ask(tmp_path / "home", hub.address) == expected
    taken = {path.partition("/resolve/")[2].partition("/")[2] for path in hub.asked if "/resolve/" in path}
    assert {"modules.json", "1_Pooling/config.json", "2_Dense/model.safetensors", "model.safetensors"} <= taken
    assert not {name for name in taken if name.startswith("onnx") or name.endswith(".bin")}
    hub.asked.clear()
    assert ask(tmp_path / "home", hub.address, revision=COMMIT) == expected
    assert hub.asked == []
    assert ask(tmp_path / "home", revision=COMMIT) == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (404, "RepoNotFound", "no such model on the hub, or it is private and needs `hf auth login`"),
        (403, "GatedRepo", "the hub wants its conditions accepted and a token (`hf auth login`)"),
        (500, "", f"`{COMMIT}` is not on this machine and the hub is out of reach (Server error '500 "),
    ],
)
def test_refused(hub: Hub, tmp_path: Path, status: int, code: str, message: str) -> None:
    """A refusal of the hub is told in a sentence."""
    hub.refusal = (status, code)
    assert ask(tmp_path / "home", hub.address, revision=COMMIT).startswith(f"InputError: {HUB}: {message}")


@pytest.mark.slow
def test_no_safetensors(hub: Hub, tmp_path: Path) -> None:
    """A model of the hub without safetensors is refused."""
    (hub.folder / "model.safetensors").unlink()
    (hub.folder / "2_Dense" / "model.safetensors").unlink()
    found = ask(tmp_path / "home", hub.address, revision=COMMIT)
    assert found.startswith(f"InputError: {HUB}: ")
    assert "no weights in it; expected model.safetensors" in found
