"""What a loopback Hub keeps: repositories with branches, commits, and files, in memory."""

import hashlib
import re
from dataclasses import dataclass, field

import yaml

LARGE = 1024  # bytes from which on a file is stored as the Hub stores large ones
LARGE_SUFFIXES = (".safetensors", ".bin", ".wav", ".png", ".parquet")


class Refused(Exception):
    """An answer other than 200: status, the Hub's code, and a message."""

    def __init__(self, status: int, code: str = "", message: str = ""):
        super().__init__(message or code)
        self.status, self.code, self.message = status, code, message or code


@dataclass(frozen=True)
class File:
    """One file of a commit."""

    content: bytes
    large: bool

    @property
    def oid(self) -> str:
        """sha256 of a large file, git's blob id of another."""
        if self.large:
            return hashlib.sha256(self.content).hexdigest()
        return hashlib.sha1(b"blob %d\0" % len(self.content) + self.content).hexdigest()

    def describe(self, path: str) -> dict:
        """The entry of a listing."""
        blob = hashlib.sha1(self.oid.encode()).hexdigest() if self.large else self.oid
        entry = {"type": "file", "path": path, "size": len(self.content), "oid": blob}
        if self.large:
            entry["lfs"] = {"oid": self.oid, "size": len(self.content), "pointerSize": 130}
        return entry


@dataclass
class Repository:
    """Branches are names of commits; a commit is its message and all its files."""

    kind: str
    name: str
    private: bool
    sdk: str | None = None
    commits: dict[str, tuple[str, dict[str, File]]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    history: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self):
        self.commit("main", "initial commit", {".gitattributes": File(b"*.safetensors filter=lfs\n", False)})

    def commit(self, branch: str, message: str, files: dict[str, File]) -> str:
        """Put a commit on a branch; gives its hash."""
        above = self.branches.get(branch, "")
        tree = "".join(f"{path}{file.oid}" for path, file in sorted(files.items()))
        sha = hashlib.sha1(f"{self.kind}{self.name}{above}{message}{tree}".encode()).hexdigest()
        self.commits[sha], self.branches[branch] = (message, files), sha
        self.history.setdefault(branch, []).append(sha)
        return sha

    def resolve(self, revision: str) -> str:
        """The commit that a branch or hash stands for."""
        sha = self.branches.get(revision, revision)
        if sha not in self.commits:
            raise Refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return sha

    def files(self, revision: str = "main") -> dict[str, File]:
        return self.commits[self.resolve(revision)][1]

    def listing(self, revision: str, under: str, recursive: bool) -> list[dict]:
        """Files and folders, as the Hub lists them."""
        prefix = f"{under}/" if under else ""
        entries = {}
        for path, file in sorted(self.files(revision).items()):
            if not path.startswith(prefix):
                continue
            parts = path[len(prefix) :].split("/")
            for depth in range(1, len(parts)) if recursive else range(1, min(2, len(parts))):
                folder = prefix + "/".join(parts[:depth])
                entries[folder] = {
                    "type": "directory",
                    "path": folder,
                    "size": 0,
                    "oid": hashlib.sha1(folder.encode()).hexdigest(),
                }
            if recursive or len(parts) == 1:
                entries[path] = file.describe(path)
        if under and not entries:
            raise Refused(404, "EntryNotFound", f"{under} does not exist on {revision}")
        return list(entries.values())

    def info(self, revision: str) -> dict:
        sha = self.resolve(revision)
        files = self.files(sha)
        readme = files.get("README.md")
        card = front_matter(readme.content.decode()) if readme else None
        return {
            "id": self.name,
            "modelId": self.name,
            "sha": sha,
            "private": self.private,
            "gated": False,
            "disabled": False,
            "downloads": 0,
            "likes": 0,
            "tags": [],
            "sdk": self.sdk,
            "createdAt": "2026-01-01T00:00:00.000Z",
            "lastModified": "2026-01-01T00:00:00.000Z",
            "cardData": card or {},
            "siblings": [{"rfilename": path} for path in sorted(files)],
            "evalResults": [
                {"filename": path, "data": entry}
                for path, file in sorted(files.items())
                if is_result(path)
                for entry in yaml.safe_load(file.content)
            ],
        }


def is_large(path: str, size: int) -> bool:
    return path.endswith(LARGE_SUFFIXES) and size >= LARGE


def front_matter(text: str) -> dict | None:
    """The metadata at the top of a card, `None` without."""
    found = re.match(r"\A\s*---\n(.*?)\n---\s*(\n|\Z)", text, flags=re.DOTALL)
    return yaml.safe_load(found.group(1)) if found else None


def is_result(path: str) -> bool:
    """Whether a file of a model's repository holds results of benchmarks."""
    return re.fullmatch(r"\.eval_results/[^/]+\.yaml", path) is not None


def benchmark_errors(path: str, content: bytes, kind: str) -> list[str]:
    """What the Hub's validation would find wrong in a model's results or in the definition of a benchmark, as far as
    the documentation says."""
    if kind == "model" and is_result(path):
        entries = yaml.safe_load(content)
        for entry in entries if isinstance(entries, list) else [{}]:
            dataset = entry.get("dataset", {})
            if (
                not re.fullmatch(r"[\w.\-]+/[\w.\-]+", str(dataset.get("id")))
                or not dataset.get("task_id")
                or "value" not in entry
            ):
                return [f"{path}: a result needs dataset.id, dataset.task_id and value"]
            if "source" in entry and not entry["source"].get("url", "").startswith("http"):
                return [f"{path}: a source needs a url"]
    if kind == "dataset" and path == "eval.yaml":
        definition = yaml.safe_load(content)
        tasks = definition.get("tasks") or [{}]
        if not all(definition.get(name) for name in ("name", "description", "evaluation_framework")):
            return [f"{path}: a benchmark needs name, description and evaluation_framework"]
        if not all(task.get(name) for task in tasks for name in ("id", "config", "split")):
            return [f"{path}: a task needs id, config and split"]
        if len({task["id"] for task in tasks}) < len(tasks):
            return [f"{path}: two tasks have the same id"]
    return []


def metadata_errors(text: str, kind: str) -> list[str]:
    """What the Hub's validation would find wrong in a card, as far as it is public."""
    try:
        data = front_matter(text)
    except yaml.YAMLError as error:
        return [f"no valid YAML: {error}"]
    if data is None:
        return []
    if not isinstance(data, dict):
        return ["metadata must be an object"]
    errors = []
    languages = data.get("language") or []
    for language in [languages] if isinstance(languages, str) else languages:
        if not re.fullmatch(r"[a-z]{2,3}|code|multilingual", str(language)):
            errors.append(f'"language" must be ISO codes, got {language!r}')
    if "license" in data and not re.fullmatch(r"[a-z0-9.\-]+", str(data["license"])):
        errors.append(f'"license" must be an identifier, got {data["license"]!r}')
    for model in data.get("model-index") or []:
        if not model.get("name") or not model.get("results"):
            errors.append('"model-index" needs a name and results')
        for result in model.get("results") or []:
            if not all(result.get(name, {}).get("type") for name in ("task", "dataset")) or not result.get("metrics"):
                errors.append('"model-index" results need task, dataset and metrics')
    if kind == "space":
        if data.get("sdk") not in ("gradio", "docker", "static"):
            errors.append(f'"sdk" must be one of gradio, docker, static, got {data.get("sdk")!r}')
        if len(data.get("short_description", "")) > 60:
            errors.append('"short_description" must have at most 60 characters')
        colours = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
        errors += [
            f'"{name}" must be one of {sorted(colours)}'
            for name in ("colorFrom", "colorTo")
            if data.get(name, "red") not in colours
        ]
    return errors
