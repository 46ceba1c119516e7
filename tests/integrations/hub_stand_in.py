"""A stand-in for the Hugging Face Hub: the few routes that sharing a model calls, on this machine.

It keeps files in memory, as one commit for each upload, and asks for the token ``TOKEN``.
"""

import base64
import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

TOKEN = "hf_stand_in"
USER = "me"


class HubStandIn(ThreadingHTTPServer):
    """Attributes: repositories by name, each with its visibility, files and commit."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, dict] = {}
        self.large: dict[str, bytes] = {}  # by SHA-256
        self.requests: list[str] = []

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def add(self, name: str, **files: bytes) -> None:
        """Puts a repository there, as a stranger may have done."""
        files = {key.replace("_", "."): content for key, content in files.items()}
        self.repositories[name] = {"visibility": "public", "files": files, "commit": "1" * 40}


@contextlib.contextmanager
def hub_stand_in() -> Iterator[HubStandIn]:
    server = HubStandIn()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HubStandIn

    def log_message(self, *_):
        pass

    def _answer(self, content: object = b"", status: int = 200, **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _path(self) -> list[str]:
        path = unquote(urlsplit(self.path).path)
        self.server.requests.append(f"{self.command} {path}")
        return path.strip("/").split("/")

    @property
    def _is_known(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def do_HEAD(self):
        self._get()

    def do_GET(self):
        self._get()

    def _sees(self, repository: dict | None) -> bool:
        return bool(repository) and (repository["visibility"] == "public" or self._is_known)

    def _get(self):
        match self._path():
            case ["api", "models", user, name, *revision]:
                repository = self.server.repositories.get(f"{user}/{name}")
                if not self._sees(repository):
                    return self._answer(status=401, X_Error_Code="RepoNotFound")
                if revision and revision[1] not in ("main", repository["commit"]):
                    return self._answer(status=404, X_Error_Code="RevisionNotFound")
                files = [
                    {"rfilename": file, "size": len(content)}
                    for file, content in repository["files"].items()
                ]
                info = {"id": f"{user}/{name}", "sha": repository["commit"], "siblings": files}
                return self._answer(info)
            case ["api", "whoami-v2"]:
                if self._is_known:
                    return self._answer({"name": USER})
                return self._answer(status=401, X_Error_Message="Invalid credentials")
            case [user, name, "resolve", revision, *file]:
                repository = self.server.repositories.get(f"{user}/{name}")
                if not self._sees(repository):
                    return self._answer(status=401, X_Error_Code="RepoNotFound")
                if revision not in ("main", repository["commit"]):
                    return self._answer(status=404, X_Error_Code="RevisionNotFound")
                content = repository["files"].get("/".join(file))
                if content is None:
                    return self._answer(status=404, X_Error_Code="EntryNotFound")
                etag = f'"{hashlib.sha256(content).hexdigest()}"'
                return self._answer(content, ETag=etag, X_Repo_Commit=repository["commit"])
        self._answer(status=404)

    def do_PUT(self):
        _, oid = self._path()
        content = self._body()
        assert hashlib.sha256(content).hexdigest() == oid
        self.server.large[oid] = content
        self._answer()

    def do_POST(self):
        path, body = self._path(), self._body()
        if not self._is_known and path != ["api", "validate-yaml"]:
            return self._answer(status=401, X_Error_Message="Invalid credentials")
        match path:
            case ["api", "validate-yaml"]:
                return self._answer({"errors": [], "warnings": []})
            case ["api", "repos", "create"]:
                return self._create(json.loads(body))
            case ["api", "models", user, name, "preupload", "main"]:
                files = json.loads(body)["files"]
                modes = [
                    {
                        "path": x["path"],
                        "uploadMode": "lfs" if x["path"].endswith(".safetensors") else "regular",
                        "shouldIgnore": False,
                        "oid": None,
                    }
                    for x in files
                ]
                return self._answer({"files": modes})
            case [user, name, "info", "lfs", "objects", "batch"]:
                objects = [
                    {**x, "actions": {"upload": {"href": f"{self.server.endpoint}/lfs/{x['oid']}"}}}
                    for x in json.loads(body)["objects"]
                ]
                return self._answer({"transfer": "basic", "objects": objects})
            case ["api", "models", user, name, "commit", "main"]:
                return self._commit(f"{user}/{name}", body)
        self._answer(status=404)

    def _create(self, wanted: dict) -> None:
        name = f"{wanted.get('organization') or USER}/{wanted['name']}"
        url = f"{self.server.endpoint}/{name}"
        if name in self.server.repositories:
            return self._answer({"url": url}, status=409)
        if not name.startswith(f"{USER}/"):
            message = f"You don't have the rights to create a model under the namespace {name}"
            return self._answer({"error": message}, status=403, X_Error_Message=message)
        old_way = "private" if wanted.get("private") else "public"
        visibility = wanted.get("visibility", old_way)
        self.server.repositories[name] = {"visibility": visibility, "files": {}, "commit": ""}
        self._answer({"url": url})

    def _commit(self, name: str, body: bytes) -> None:
        repository = self.server.repositories[name]
        for line in body.splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "file":
                repository["files"][value["path"]] = base64.b64decode(value["content"])
            elif item["key"] == "lfsFile":
                repository["files"][value["path"]] = self.server.large[value["oid"]]
        repository["commit"] = commit = hashlib.sha1(body).hexdigest()
        url = f"{self.server.endpoint}/{name}/commit/{commit}"
        self._answer({"success": True, "commitUrl": url, "commitOid": commit})
