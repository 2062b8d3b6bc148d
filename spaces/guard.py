"""What is refused before Gradio looks at it: requests for another host, for what the page does not need, that are too
large or too many, and those that would make the server fetch something. Gradio takes an address wherever it takes a
file; here whatever is enhanced must be uploaded, so that nobody uses the server to reach other hosts, those of its own
network among them, or to load what no limit has measured."""

import ipaddress
import re
import sys
from collections import Counter
from collections.abc import Collection
from contextlib import ExitStack, nullcontext
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import gradio as gr
import httpx
from calls import MAX_BODY, MAX_SOUND, PREFIX, SESSION, CallError, Calls
from gradio import processing_utils, route_utils, routes
from serving import RequestError
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from visitors import Disk, Listeners, visitor_of

READ = re.compile(
    r"/|/config/?|/theme\.css|/favicon\.ico|/robots\.txt|/manifest\.json|/(static|assets|svelte)/.+"
    rf"|{PREFIX}/(info/?|openapi\.json|startup-events|app_id/?|theme\.css|queue/(data|status)|heartbeat/{SESSION}"
    rf"|call/(v2/)?enhance/{SESSION}|file=(?!https?:).+)",
    re.IGNORECASE,
)
CALLED = re.compile(rf"{PREFIX}/(queue/join|call/(v2/)?enhance/?|run/predict|cancel|reset/?|stream/{SESSION}(/close)?)")
SOUND = re.compile(rf"{PREFIX}/stream/{SESSION}")
UPLOAD = f"{PREFIX}/upload"
HEARD = re.compile(rf"{PREFIX}/call/(?:v2/)?enhance/({SESSION})")
MAX_HEADERS = 2**14  # bytes
MAX_OPEN = 100  # requests of one visitor that are not answered to their end; a page has two or three
MAX_OPEN_IN_ALL = 1000


class NoFetching(httpx.AsyncBaseTransport):
    """In place of the network, for the files that Gradio would fetch."""

    async def handle_async_request(self, request: httpx.Request):
        """Raise `gr.Error` with a sentence for the person who sent an address."""
        raise gr.Error("Addresses are not fetched here: upload the recording itself.", print_exception=False)


class OneFile(route_utils.GradioMultiPartParser):
    """Gradio's reader of uploads, for one file with a name."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options | {"max_files": 1, "max_fields": 0})

    def on_headers_finished(self) -> None:
        super().on_headers_finished()
        part = self._current_part
        name = part.file.filename if part.file else None
        if part.field_name != "files" or not re.search(r"\w", name or ""):
            raise MultiPartException("An upload is one file, in the field `files`, with a name.")


def tame_gradio(folder: Path) -> None:
    """Make Gradio refuse every address in the values of a request, take one file in an upload, and write below `folder`
    what it would write where GRADIO_TEMP_DIR led when it was imported."""
    processing_utils.async_transport = NoFetching()
    route_utils.GradioMultiPartParser = OneFile
    routes.DEFAULT_TEMP_DIR = str(folder)


class Refused(Exception):
    """A request that is not answered: status and sentence."""

    def __init__(self, status: int, text: str):
        super().__init__(text)
        self.status = status


class Guard:
    """ASGI middleware.

    Args:
        app: What is guarded.
        max_body: Bytes that the body of an upload may have.
        hosts: Names under which the server may be asked, besides numbers and `localhost`; `*` for any.
        calls: What functions may be called, and how.
        disk: What may be uploaded.
        listeners: Told who waits for results.
    """

    def __init__(self, app, *, max_body: int, hosts: Collection[str], calls: Calls, disk: Disk, listeners: Listeners):
        self.app, self.max_body, self.hosts = app, max_body, set(hosts)
        self.calls, self.disk, self.listeners = calls, disk, listeners
        self.open: Counter[str] = Counter()

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return  # no web sockets
        visitor, started = visitor_of(Request(scope).client), False

        async def sent(event: dict) -> None:
            nonlocal started
            started = True
            await send(event)

        self.open[visitor] += 1
        try:
            self.check(scope, visitor)
            with ExitStack() as stack:
                receive = await self.prepared(scope, receive, visitor, stack)
                await self.app(scope, receive, sent)
        except Refused as refused:
            if not started:
                await answer(scope, refused)(scope, receive, send)
        except Exception as error:
            if not isinstance(error.__cause__, HTTPException):  # Gradio's "not found" once an answer has begun
                log(scope, error)
            if started:
                await send({"type": "http.response.body", "body": b""})
            else:
                await answer(scope, Refused(500, "This request failed."))(scope, receive, send)
        finally:
            self.open[visitor] -= 1
            if not self.open[visitor]:
                del self.open[visitor]

    def check(self, scope, visitor: str) -> None:
        """Raise [`Refused`] for what is no request of the page or of a program, by all but its body."""
        if self.open[visitor] > MAX_OPEN or self.open.total() > MAX_OPEN_IN_ALL:
            raise Refused(429, "Too many requests are open; close some pages.")
        if sum(len(name) + len(value) for name, value in scope["headers"]) > MAX_HEADERS:
            raise Refused(431, "The header of this request is too long.")
        self.check_host(scope)
        method, path = scope["method"], scope["path"]
        if method == "OPTIONS":
            return
        reading = method in ("GET", "HEAD") and READ.fullmatch(path) and is_path(path)
        if not reading and not (method == "POST" and (path == UPLOAD or CALLED.fullmatch(path))):
            raise Refused(403, "Not served here.")
        if path in ("/", "/config", "/config/", UPLOAD) and scope["query_string"]:
            scope["query_string"] = b""  # of the page's own script; Gradio would look for files or keep it

    def check_host(self, scope) -> None:
        """Refuse names that are not ours: a page of another site whose name is made to lead here (DNS rebinding) would
        be taken for ours by a browser, and read what only its visitor may. Numbers cannot be made to lead elsewhere."""
        asked = [value.decode("latin-1") for name, value in scope["headers"] if name in (b"host", b"x-forwarded-host")]
        if not asked or not all(self.is_ours(name) for name in asked):
            raise Refused(403, "This name is not one of this server's; its owner can add it to ALLOWED_HOSTS.")
        origins = [value.decode("latin-1") for name, value in scope["headers"] if name == b"origin"]
        # a published demo may be used by other pages, as every API; one at home is not for them
        if (
            scope["method"] == "POST"
            and is_number(asked[0])
            and not all(
                origin.startswith(("http://", "https://")) and self.is_ours(origin.partition("//")[2])
                for origin in origins
            )
        ):
            raise Refused(403, "Pages of other sites may not use this server.")

    def is_ours(self, host: str) -> bool:
        return "*" in self.hosts or is_number(host) or hostname(host) in self.hosts

    async def prepared(self, scope, receive, visitor: str, stack: ExitStack):
        """What Gradio gets in place of `receive`; `stack` gets what must be ended with the request."""
        scope["headers"] = [
            (name, value)
            for name, value in scope["headers"]
            if name != b"x-forwarded-proto" or value in (b"http", b"https")
        ]
        if scope["method"] != "POST":
            session = listened_to(scope)
            stack.enter_context(self.listeners.listening(session) if session else nullcontext())
            return receive
        length = dict(scope["headers"]).get(b"content-length", b"").decode("latin-1")
        max_body = self.max_body if scope["path"] == UPLOAD else MAX_BODY
        if SOUND.fullmatch(scope["path"]):
            max_body = MAX_SOUND
        size = int(length) if length.isdecimal() and len(length) < 19 else None if not length else max_body + 1
        if size is not None and size > max_body:
            raise Refused(413, f"A request may have at most {max_body / 1e6:g} MB.")
        if scope["path"] == UPLOAD:
            try:
                charge = stack.enter_context(self.disk.reserve(visitor, max_body if size is None else size))
            except RequestError as error:
                raise Refused(507, str(error)) from error
            return counted(receive, charge, max_body)
        try:
            body = self.calls.checked(scope["path"], await whole(receive, max_body))
        except CallError as error:
            raise Refused(400, str(error)) from error
        scope["headers"] = [
            header
            for header in scope["headers"]
            if header[0] not in (b"content-length", b"transfer-encoding", b"content-type")
        ]
        scope["headers"] += [(b"content-length", str(len(body)).encode()), (b"content-type", b"application/json")]
        return replayed(body, receive)


def is_path(path: str) -> bool:
    """Whether a file system may be asked for it: no part is longer than a name can be, and none has control
    characters."""
    return not re.search(r"[\x00-\x1f\x7f]", path) and all(len(part.encode()) < 256 for part in path.split("/"))


def log(scope, error: Exception) -> None:
    """A line about what a request should not have been able to do."""
    request = f"{scope['method']} {ascii(scope['path'])[:200]}"
    print(f"{request}: {type(error).__name__}: {ascii(str(error))[:200]}", file=sys.stderr)


def hostname(host: str) -> str:
    """The name in a `Host` or what follows `//` in an address, without its port; empty if there is none."""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def is_number(host: str) -> bool:
    """Whether a `Host` is `localhost` or a number, not a name that somebody could make lead here."""
    name = hostname(host)
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name == "localhost"
    return True


def listened_to(scope) -> str | None:
    """The session, or the call, whose results the request waits for."""
    if scope["path"] == f"{PREFIX}/queue/data":
        session = parse_qs(scope["query_string"].decode("latin-1")).get("session_hash", [""])[0]
        if not re.fullmatch(SESSION, session):
            raise Refused(400, "The session is missing.")
        return session
    call = HEARD.fullmatch(scope["path"])
    return call[1] if call else None


def answer(scope, refused: Refused):
    """The sentence in the form in which Gradio's page and clients look for it."""
    if scope["path"] == UPLOAD or scope["method"] != "POST":
        return PlainTextResponse(str(refused), refused.status)
    return JSONResponse({"detail": str(refused)}, refused.status)


async def whole(receive, max_body: int) -> bytes:
    """The body of a request."""
    body, more = b"", True
    while more:
        event = await receive()
        if event["type"] == "http.disconnect":
            raise Refused(400, "The request ended too early.")
        body += event.get("body", b"")
        more = event.get("more_body", False)
        if len(body) > max_body:
            raise Refused(413, f"A request may have at most {max_body / 1e6:g} MB.")
    return body


def replayed(body: bytes, receive):
    """`receive` for a body that has been read."""
    events = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def next_event() -> dict:
        return next(events, None) or await receive()

    return next_event


def counted(receive, charge, max_body: int):
    """`receive` that counts into `charge`; for a body whose length nobody has told as if the client had gone once it is
    too long."""
    charge.size = 0

    async def next_event() -> dict:
        event = await receive()
        charge.size += len(event.get("body", b""))
        return event if charge.size <= max_body else {"type": "http.disconnect"}

    return next_event
