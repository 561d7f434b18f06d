"""Tests of model downloads from a local mock of the Hugging Face Hub."""

import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from kib.errors import InputError
from kib_dense.encoder import Encoder, EncoderOptions

HUB = "kib-tests/tiny"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """The request handler of a mock Hugging Face Hub with one model."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.requests: list[str] = []
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
        self.server.requests.append(path)
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
        """Suppress the log output of the HTTP server."""


def etag(file: Path) -> str:
    """Return the object id that git and the hub assign to a file."""
    data = file.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


@pytest.fixture
def hub(tiny_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A mock hub that serves the tiny encoder to this process, which uses an empty cache."""
    from huggingface_hub import constants

    folder = Path(shutil.copytree(tiny_encoder, tmp_path / "served"))
    (folder / "pytorch_model.bin").write_bytes(b"never downloaded")
    (folder / "onnx").mkdir()
    (folder / "onnx" / "config.json").write_text("{}")
    with Hub(folder) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        for name, value in {
            "ENDPOINT": server.address,
            "HUGGINGFACE_CO_URL_TEMPLATE": f"{server.address}/{{repo_id}}/resolve/{{revision}}/{{filename}}",
            "HF_HUB_CACHE": str(tmp_path / "cache"),
            "HF_HUB_OFFLINE": False,
            "HF_HUB_DISABLE_XET": True,
            "HF_HUB_DISABLE_TELEMETRY": True,
        }.items():
            monkeypatch.setattr(constants, name, value)
        for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
            monkeypatch.delenv(name)
        yield server
        server.shutdown()
        thread.join()


def encoder(**options: str) -> Encoder:
    text = json.dumps({"hub": HUB, "device": "cpu", **options})
    return Encoder(EncoderOptions.model_validate_json(text))


def test_download_once(hub: Hub, tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A branch is resolved to a commit, all modules are downloaded, and no network is needed after the download."""
    from huggingface_hub import constants

    options = EncoderOptions.model_validate_json(json.dumps({"path": str(tiny_encoder), "device": "cpu"}))
    expected = Encoder(options).passages(["red lever"])
    branch = encoder()
    assert branch.fingerprint() == COMMIT
    assert branch.passages(["red lever"]) == pytest.approx(expected, rel=1e-3, abs=1e-4)
    paths = {path.partition("/resolve/")[2].partition("/")[2] for path in hub.requests if "/resolve/" in path}
    assert {"modules.json", "1_Pooling/config.json", "2_Dense/model.safetensors", "model.safetensors"} <= paths
    assert not {path for path in paths if path.startswith("onnx") or path.endswith(".bin")}
    hub.requests.clear()
    for offline in (False, True):
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
        pinned = encoder(revision=COMMIT)
        assert pinned.fingerprint() == COMMIT
        assert pinned.passages(["red lever"]) == pytest.approx(expected, rel=1e-3, abs=1e-4)
    assert hub.requests == []


def test_a_damaged_download(hub: Hub, tmp_path: Path) -> None:
    """A cached file whose content has changed is downloaded again."""
    expected = encoder(revision=COMMIT).passages(["red lever"])
    [stored] = (tmp_path / "cache").glob("*/snapshots/*/2_Dense/model.safetensors")
    content = stored.read_bytes()
    stored.resolve().write_bytes(bytes(len(content)))
    assert (encoder(revision=COMMIT).passages(["red lever"]) == expected).all()
    assert stored.read_bytes() == content


@pytest.mark.parametrize(("status", "code"), [(404, "RepoNotFound"), (403, "GatedRepo"), (500, "")])
def test_refused(hub: Hub, monkeypatch: pytest.MonkeyPatch, status: int, code: str) -> None:
    """An error response from the hub raises an error that names the model."""
    monkeypatch.setattr(time, "sleep", lambda _: None)  # between the hub client's own retries
    hub.refusal = (status, code)
    with pytest.raises(InputError, match=rf"^{HUB}: [^\n]*$"):
        encoder(revision=COMMIT).passages(["red lever"])


def test_no_safetensors(hub: Hub) -> None:
    """A model on the hub without safetensors raises an error that names the model."""
    (hub.folder / "model.safetensors").unlink()
    (hub.folder / "2_Dense" / "model.safetensors").unlink()
    with pytest.raises(InputError, match=rf"^{HUB}: .*contains no weights; expected model\.safetensors"):
        encoder(revision=COMMIT).passages(["red lever"])
