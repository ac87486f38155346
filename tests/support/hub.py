"""A stand-in of the Hugging Face hub on loopback: the few requests that sharing plans needs."""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest


class Hub:
    """What is on the hub: for each repository its files, and how often it was committed to.

    ``requests`` has the method and the path of each request; ``meanwhile``, where set, is called before the
    next commit is looked at.
    """

    def __init__(self) -> None:
        self.files: dict[str, dict[str, bytes]] = {}
        self.commits: dict[str, int] = {}
        self.sizes: dict[str, int] = {}
        self.requests: list[tuple[str, str]] = []
        self.private: list[str] = []
        self.meanwhile: Any = None

    def put(self, repo: str, name: str, content: bytes) -> None:
        self.files.setdefault(repo, {})[name] = content
        self.commits[repo] = self.commits.get(repo, 0) + 1

    def head(self, repo: str) -> str:
        return hashlib.sha1(f"{repo} {self.commits.get(repo, 0)}".encode()).hexdigest()


@contextmanager
def hub(patch: pytest.MonkeyPatch, cache: Path) -> Iterator[Hub]:
    """A hub of the test's own, which huggingface_hub asks instead of the real one."""
    from huggingface_hub import constants, file_download

    made = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": made}))
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    patch.setattr(constants, "ENDPOINT", address)
    rest = "/{repo_id}/resolve/{revision}/{filename}"
    for module in (constants, file_download):  # Until 1.0 the second had the name too, for itself.
        patch.setattr(module, "HUGGINGFACE_CO_URL_TEMPLATE", address + rest, raising=False)
    patch.setattr(constants, "HF_HUB_CACHE", str(cache))
    patch.setattr(constants, "HF_HUB_OFFLINE", False)
    patch.setenv("HF_TOKEN", "hf_of_a_test")
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()


class Handler(BaseHTTPRequestHandler):
    """Answers as the hub does."""

    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._read(with_body=True)

    def do_HEAD(self) -> None:
        self._read(with_body=False)

    def do_POST(self) -> None:
        path = self._path()
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if "Bearer " not in self.headers.get("Authorization", ""):
            self._answer(401, {"error": "Invalid username or password."})
        elif path == "/api/repos/create":
            self._create(json.loads(body))
        elif path == "/api/validate-yaml":
            self._answer(200, {"errors": [], "warnings": []})
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/preupload/main", path):
            names = [one["path"] for one in json.loads(body)["files"]]
            modes = [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in names]
            self._answer(200, {"files": modes})
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/main", path):
            self._commit(found[1], [json.loads(line) for line in body.splitlines()])
        else:
            self._answer(404, {"error": "no such request"})

    def _path(self) -> str:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((self.command, path))
        return path

    def _create(self, asked: dict[str, Any]) -> None:
        repo = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else asked["name"]
        url = f"http://{self.headers['Host']}/{repo}"
        if repo in self.hub.files:
            self._answer(409, {"error": "You already created this model repo", "url": url})
            return
        self.hub.put(repo, ".gitattributes", b"")
        self.hub.private += [repo] * bool(asked.get("private") or asked.get("visibility") == "private")
        self._answer(200, {"url": url})

    def _commit(self, repo: str, lines: list[dict[str, Any]]) -> None:
        if self.hub.meanwhile:
            self.hub.meanwhile()
        head, *operations = lines
        if head["value"].get("parentCommit") not in (None, self.hub.head(repo)):
            self._answer(412, {"error": "A commit has happened since. Please refresh and try again."})
            return
        for one in operations:
            self.hub.put(repo, one["value"]["path"], base64.b64decode(one["value"]["content"]))
        oid = self.hub.head(repo)
        url = f"http://{self.headers['Host']}/{repo}/commit/{oid}"
        self._answer(200, {"success": True, "commitOid": oid, "commitUrl": url})

    def _read(self, with_body: bool) -> None:
        path = self._path()
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(/revision/[^/]+)?", path):
            self._describe(found[1])
        elif found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/[^/]+/(.+)", path):
            self._file(found[1], found[2], with_body)
        else:
            self._answer(404, {"error": "no such request"})

    def _describe(self, repo: str) -> None:
        if repo not in self.hub.files:
            self._answer(*self._none("Repo"))
            return
        files = [
            {"rfilename": name, "size": self.hub.sizes.get(name, len(content))}
            for name, content in self.hub.files[repo].items()
        ]
        self._answer(200, {"id": repo, "sha": self.hub.head(repo), "siblings": files})

    def _file(self, repo: str, name: str, with_body: bool) -> None:
        content = self.hub.files.get(repo, {}).get(name)
        if content is None:
            self._answer(*self._none("Entry" if repo in self.hub.files else "Repo"))
            return
        etag = f'"{hashlib.sha1(content).hexdigest()}"'
        self._send(200, content, {"ETag": etag, "X-Repo-Commit": self.hub.head(repo)}, with_body)

    def _none(self, what: str) -> tuple[int, Any, dict[str, str]]:
        return 404, {"error": f"{what} not found"}, {"X-Error-Code": f"{what}NotFound"}

    def _answer(self, code: int, content: Any, headers: dict[str, str] | None = None) -> None:
        self._send(code, json.dumps(content).encode(), headers or {}, self.command != "HEAD")

    def _send(self, code: int, body: bytes, headers: dict[str, str], with_body: bool) -> None:
        self.send_response(code)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Requests are kept, not printed."""
