"""The requests that a loopback Hub answers, one method each."""

import base64
import hashlib
import json
import re
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, unquote, urlsplit

from hub_store import File, Refused, Repository, benchmark_errors, is_large, metadata_errors

TOKEN = "hf_loopbacktoken"
USER = "user"
REPO = r"(?P<repo>[\w.\-]+/[\w.\-]+)"
API = rf"/api/(?P<kind>model|dataset|space)s/{REPO}"
PREFIX = r"/(?:(?P<kind>dataset|space)s/)?"
ROUTES = [
    ("GET", r"/api/whoami-v2", "whoami"),
    ("POST", r"/api/repos/create", "create"),
    ("POST", r"/api/validate-yaml", "validate"),
    ("POST", rf"{API}/preupload/(?P<revision>[^/]+)", "preupload"),
    ("POST", rf"{API}/commit/(?P<revision>[^/]+)", "commit"),
    ("POST", rf"{API}/branch/(?P<revision>[^/]+)", "branch"),
    ("POST", rf"{API}/paths-info/(?P<revision>[^/]+)", "paths_info"),
    ("GET", rf"{API}/tree/(?P<revision>[^/]+)(?:/(?P<path>.+))?", "tree"),
    ("GET", rf"{API}/refs", "refs"),
    ("GET", rf"{API}(?:/revision/(?P<revision>[^/]+))?", "info"),
    ("POST", rf"{PREFIX}{REPO}\.git/info/lfs/objects/batch", "lfs_batch"),
    ("PUT", r"/lfs/(?P<oid>\w+)", "lfs_put"),
    ("POST", r"/lfs/(?P<oid>\w+)/verify", "lfs_verify"),
    ("GET", r"/lfs/(?P<oid>\w+)", "lfs_get"),
    ("GET", rf"{PREFIX}{REPO}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", "resolve"),
]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub = None  # the LoopbackHub

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        self.respond()

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET

    def respond(self) -> None:
        """Find the route and answer; a refusal carries the Hub's headers."""
        address = urlsplit(self.path)
        method = "GET" if self.command == "HEAD" else self.command
        self.query = parse_qs(address.query)
        self.body = self.read_body()
        self.hub.requests.append((self.command, self.path))
        how = self.hub.failure(self.command, self.path)
        self.cut = how == "cut"
        try:
            if how == "drop":
                raise ConnectionResetError
            if isinstance(how, int):
                raise Refused(how, message="out of order")
            for verb, pattern, name in ROUTES:
                if verb == method and (found := re.fullmatch(pattern, address.path)):
                    groups = {key: unquote(value) if value else value for key, value in found.groupdict().items()}
                    with self.hub.lock:
                        answer = getattr(self, name)(**groups)
                    break
            else:
                raise Refused(404, message=f"no such route: {method} {address.path}")
            if how == "lose":
                raise ConnectionResetError
            self.send(*answer)
        except Refused as refusal:
            headers = {"X-Error-Message": refusal.message} | ({"X-Error-Code": refusal.code} if refusal.code else {})
            errors = getattr(refusal, "errors", [])
            self.send(
                refusal.status, {"error": refusal.message, "errors": [{"message": item} for item in errors]}, headers
            )
        except ConnectionResetError:
            self.close_connection = True
            self.connection.close()

    def read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            body = b""
            while size := int(self.rfile.readline().strip(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def send(self, status: int, content, headers: dict | None = None) -> None:
        kind = "application/octet-stream" if isinstance(content, bytes) else "application/json"
        content = content if isinstance(content, bytes) else json.dumps(content).encode()
        headers = {"Content-Type": kind, "Content-Length": len(content), "X-Request-Id": "loopback"} | (headers or {})
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: len(content) // 2] if self.cut else content)
        if self.cut:
            raise ConnectionResetError

    # Who asks, and for what

    @property
    def known(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def find(self, repo: str, kind: str | None, write: bool = False) -> Repository:
        repository = self.hub.repositories.get((kind or "model", repo))
        if "Authorization" in self.headers and not self.known:
            raise Refused(401, message="Invalid credentials in Authorization header")
        if repository is None or (repository.private and not self.known):
            raise Refused(404 if self.known else 401, "RepoNotFound", "Repository not found")
        if write and not (self.known and repo.startswith(f"{USER}/")):
            raise Refused(403 if self.known else 401, message="You have no right to write here")
        return repository

    def json(self):
        return json.loads(self.body)

    # The routes

    def whoami(self):
        if not self.known:
            raise Refused(401, message="Invalid credentials in Authorization header")
        return 200, {"type": "user", "name": USER, "orgs": [], "auth": {"accessToken": {"role": "write"}}}

    def create(self):
        if not self.known:
            raise Refused(401, message="Invalid username or password.")
        asked = self.json()
        kind, name = asked.get("type", "model"), f"{asked.get('organization') or USER}/{asked['name']}"
        prefix = "" if kind == "model" else f"{kind}s/"
        url = {"url": f"{self.hub.url}/{prefix}{name}"}
        if (kind, name) in self.hub.repositories:
            return 409, {**url, "error": "You already created this repo"}
        private = asked.get("private", False) or asked.get("visibility") == "private"
        self.hub.repositories[kind, name] = Repository(kind, name, private, asked.get("sdk"))
        return 200, url

    def validate(self):
        asked = self.json()
        errors = metadata_errors(asked["content"], asked["repoType"])
        if errors:
            refusal = Refused(400, message="Invalid metadata")
            refusal.errors = errors
            raise refusal
        return 200, {"errors": [], "warnings": []}

    def preupload(self, kind, repo, revision):
        repository = self.find(repo, kind, write=True)
        known = repository.files(revision)
        return 200, {
            "files": [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if is_large(file["path"], file["size"]) else "regular",
                    "shouldIgnore": False,
                    "oid": known[file["path"]].oid if file["path"] in known else None,
                }
                for file in self.json()["files"]
            ]
        }

    def commit(self, kind, repo, revision):
        repository = self.find(repo, kind, write=True)
        files, message = dict(repository.files(revision)), ""
        for line in self.body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "header":
                message = value["summary"]
            elif entry["key"] == "file":
                files[value["path"]] = File(base64.b64decode(value["content"]), False)
            elif entry["key"] == "lfsFile":
                if value["oid"] not in self.hub.large:
                    raise Refused(400, message=f"{value['path']} was not uploaded")
                files[value["path"]] = File(self.hub.large[value["oid"]], True)
            elif entry["key"] == "deletedFile" and value["path"] in files:
                del files[value["path"]]
            elif entry["key"] == "deletedFolder":
                files = {path: file for path, file in files.items() if not path.startswith(value["path"])}
            else:
                raise Refused(400, message=f"cannot do {entry['key']} of {value['path']}")
        for path, file in files.items():
            if errors := benchmark_errors(path, file.content, kind):
                raise Refused(400, message="; ".join(errors))
        sha = repository.commit(revision, message, files)
        return 200, {"success": True, "commitOid": sha, "commitUrl": f"{self.hub.url}/{repo}/commit/{sha}"}

    def branch(self, kind, repo, revision):
        repository = self.find(repo, kind, write=True)
        if revision in repository.branches:
            raise Refused(409, message="Reference already exists")
        repository.branches[revision] = repository.resolve(self.json().get("startingPoint", "main"))
        return 200, {}

    def paths_info(self, kind, repo, revision):
        repository = self.find(repo, kind)
        form = parse_qs(self.body.decode())
        found = {entry["path"]: entry for entry in repository.listing(revision, "", recursive=True)}
        return 200, [found[path] for path in form.get("paths", []) if path in found]

    def tree(self, kind, repo, revision, path):
        recursive = self.query.get("recursive", ["false"])[0].lower() in ("true", "1")
        return 200, self.find(repo, kind).listing(revision, path or "", recursive)

    def refs(self, kind, repo):
        branches = self.find(repo, kind).branches
        return 200, {
            "branches": [
                {"name": name, "ref": f"refs/heads/{name}", "targetCommit": sha} for name, sha in branches.items()
            ],
            "tags": [],
            "converts": [],
        }

    def info(self, kind, repo, revision):
        return 200, self.find(repo, kind).info(revision or "main")

    def lfs_batch(self, kind, repo):
        self.find(repo, kind, write=True)
        objects = []
        for item in self.json()["objects"]:
            entry = {"oid": item["oid"], "size": item["size"]}
            if item["oid"] not in self.hub.large:
                address = f"{self.hub.url}/lfs/{item['oid']}"
                entry["actions"] = {"upload": {"href": address}, "verify": {"href": f"{address}/verify"}}
            objects.append(entry)
        return 200, {"transfer": "basic", "objects": objects}

    def lfs_put(self, oid):
        if hashlib.sha256(self.body).hexdigest() != oid:
            raise Refused(400, message="the content does not have the sha256 it was announced with")
        self.hub.large[oid] = self.body
        return 200, b""

    def lfs_verify(self, oid):
        if len(self.hub.large.get(oid, b"")) != self.json()["size"]:
            raise Refused(404, message="not uploaded")
        return 200, {}

    def lfs_get(self, oid):
        return self.file(self.hub.large[oid], {"ETag": f'"{oid}"'})

    def resolve(self, kind, repo, revision, path):
        repository = self.find(repo, kind)
        sha = repository.resolve(revision)
        commit = {"X-Repo-Commit": sha}
        file = repository.files(sha).get(path)
        if file is None:
            raise Refused(404, "EntryNotFound", "Entry not found")
        if file.large:
            linked = {"X-Linked-Etag": f'"{file.oid}"', "X-Linked-Size": len(file.content)}
            # another host, as the Hub's CDN is: the client follows redirects within a host by itself
            elsewhere = self.hub.url.replace("127.0.0.1", "localhost")
            return 302, b"", commit | linked | {"Location": f"{elsewhere}/lfs/{file.oid}"}
        return self.file(file.content, commit | {"ETag": f'"{file.oid}"'})

    def file(self, content: bytes, headers: dict):
        """All of a file, or the part that a Range header asks for."""
        headers |= {"Accept-Ranges": "bytes"}
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if not found:
            return 200, content, headers
        first, last = int(found[1]), int(found[2] or len(content) - 1)
        part = content[first : last + 1]
        return 206, part, headers | {"Content-Range": f"bytes {first}-{first + len(part) - 1}/{len(content)}"}
