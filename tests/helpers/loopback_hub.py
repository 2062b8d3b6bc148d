"""A Hub on loopback that speaks the protocol of huggingface.co to the unmodified `huggingface_hub` client, without Xet
(`HF_HUB_DISABLE_XET=1`): making repositories, branches and commits, listings, large files, downloads by range, private
repositories, and failures on demand."""

import os
import re
import threading
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path

from hub_routes import Handler
from hub_store import File, Repository, is_large


class LoopbackHub:
    """The server and what it keeps. `requests` lists `(method, path)` of all that came in."""

    def __init__(self):
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.large: dict[str, bytes] = {}
        self.requests: list[tuple[str, str]] = []
        self.failures: list[list] = []
        self.lock = threading.Lock()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Handler,), {"hub": self}))
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def environment(self, home: Path, token: str | None = None) -> dict[str, str]:
        """Environment of a client process with caches of its own under `home`."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
        own = {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }
        quiet = {
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_DISABLE_UPDATE_CHECK": "1",
            "NO_PROXY": "127.0.0.1,localhost",
        }
        return inherited | own | quiet | ({"HF_TOKEN": token} if token else {})

    def repository(self, name: str, kind: str = "model") -> Repository:
        return self.repositories[kind, name]

    def put(self, name: str, folder: Path, kind: str = "model", revision: str = "main", private: bool = False) -> None:
        """Commit a folder as it is, whatever it holds, past every check."""
        repository = self.repositories.setdefault((kind, name), Repository(kind, name, private))
        files = {}
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            content, relative = path.read_bytes(), path.relative_to(folder).as_posix()
            files[relative] = File(content, is_large(relative, len(content)))
            self.large |= {files[relative].oid: content} if files[relative].large else {}
        repository.commit(revision, "put", files)

    def fail(self, method: str, pattern: str, how: int | str, times: int = 1) -> None:
        """Let the next `times` matching requests fail: with a status, or `drop` the connection before (`drop`) or after
        (`lose`) the request took effect, or in the middle of the answer (`cut`)."""
        self.failures.append([method, pattern, how, times])

    def failure(self, method: str, path: str) -> int | str | None:
        with self.lock:
            for failure in self.failures:
                if failure[3] and failure[0] == method and re.search(failure[1], path):
                    failure[3] -= 1
                    return failure[2]
        return None

    @contextmanager
    def recorded(self):
        """The requests made within, as a list that fills."""
        first, seen = len(self.requests), []
        yield seen
        seen += self.requests[first:]
