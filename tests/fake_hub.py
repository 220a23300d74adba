"""A small Hugging Face hub on loopback: what huggingface_hub asks of one to download a model, and its ways to fail.

Large files live on a "CDN", another host name of the same server, behind a redirect, as on the real hub.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "c0ffee" + "0" * 34
LARGE = 1024  # bytes, from which a file is kept by LFS
TOKEN = "hf_secret_of_the_test"


@dataclass
class Model:
    """One repository."""

    files: Mapping[str, bytes]
    sizes: Mapping[str, int] = field(default_factory=dict)  # sizes that are listed in place of the true ones
    gated: bool = False
    private: bool = False


@dataclass
class Hub:
    """What it serves and how it fails; and what was asked of it."""

    models: dict[str, Model]
    url: str = ""
    break_after: int | None = None  # bytes of each large file, after which its connection ends and all else is HTTP 503
    broken: bool = False
    ranges: list[tuple[str, str]] = field(default_factory=list)  # (file, Range header) of large files
    sent: dict[str, int] = field(default_factory=dict)  # bytes of content by file
    cdn_saw_token: bool = False

    def heal(self) -> None:
        self.break_after, self.broken = None, False
        self.ranges.clear()
        self.sent.clear()


@contextmanager
def serving(models: dict[str, Model]) -> Iterator[Hub]:
    """The hub, at `hub.url`, until the block ends."""
    hub = Hub(models)

    class Handler(_Handler):
        of = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    of: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if self.of.broken:
            self.answer(503)
        elif path.startswith("/api/models/"):
            self.describe(path.removeprefix("/api/models/").partition("/revision/")[0])
        elif path.startswith("/cdn/"):
            self.of.cdn_saw_token |= "authorization" in self.headers
            owner, name, file = path.removeprefix("/cdn/").split("/", 2)
            self.content(self.of.models[f"{owner}/{name}"].files[file], file)
        else:
            repository, _, place = path.strip("/").partition("/resolve/")
            self.resolve(repository, place.partition("/")[2])

    def refused(self, repository: str) -> bool:
        """Whether it has been told off: as the real hub does it, with an error code beside the status."""
        token = self.headers.get("authorization", "").removeprefix("Bearer ")
        model = self.of.models.get(repository)
        if token and token != TOKEN:
            self.answer(401, {"X-Error-Message": "Invalid credentials in Authorization header"})
        elif model is None or (model.private and not token):
            self.answer(404 if token else 401, {"X-Error-Code": "RepoNotFound"})
        elif model.gated and not token and "/resolve/" in self.path:
            self.answer(401, {"X-Error-Code": "GatedRepo"})
        else:
            return False
        return True

    def describe(self, repository: str) -> None:
        if self.refused(repository):
            return
        model = self.of.models[repository]
        siblings = []
        for name, content in model.files.items():
            size = model.sizes.get(name, len(content))
            lfs = {"sha256": _etag(content), "size": size, "pointerSize": 134} if len(content) >= LARGE else None
            siblings.append({"rfilename": name, "size": size, "blobId": _git(content), "lfs": lfs})
        body = json.dumps({"id": repository, "sha": COMMIT, "siblings": siblings}).encode()
        self.answer(200, {"Content-Type": "application/json"}, body)

    def resolve(self, repository: str, file: str) -> None:
        if self.refused(repository):
            return
        content = self.of.models[repository].files.get(file)
        if content is None:
            self.answer(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
            return
        about = {"X-Repo-Commit": COMMIT, "ETag": f'"{_etag(content)}"'}
        if len(content) < LARGE:
            self.answer(200, about, content)
            return
        port = self.server.server_address[1]
        about |= {"X-Linked-ETag": f'"{_etag(content)}"', "X-Linked-Size": str(len(content))}
        self.answer(302, about | {"Location": f"http://localhost:{port}/cdn/{repository}/{file}"})

    def content(self, content: bytes, file: str) -> None:
        asked = self.headers.get("range", "")
        self.of.ranges.append((file, asked))
        first = int(asked.removeprefix("bytes=").rstrip("-") or 0)
        rest = content[first:]
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        if self.of.break_after is not None:
            rest = rest[: self.of.break_after]
            self.of.broken = self.close_connection = True
        self.of.sent[file] = self.of.sent.get(file, 0) + len(rest)  # before it is read, or a later heal() would miss it
        self.wfile.write(rest)

    def answer(self, status: int, headers: Mapping[str, str] | None = None, body: bytes = b"") -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _etag(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest() if len(content) >= LARGE else _git(content)


def _git(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
