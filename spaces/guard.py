"""Refuses requests before Gradio sees them: requests for another host, for things that the page does not need, too
large or too many requests, and requests that would make the server fetch something. Gradio accepts an address wherever
it accepts a file. Here every recording must be uploaded. So nobody can use the server to reach other hosts, such as
those of its own network, or to load files that no limit has measured."""

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
MAX_OPEN = 100  # unfinished requests of one visitor; a page has two or three
MAX_OPEN_IN_ALL = 1000


class NoFetching(httpx.AsyncBaseTransport):
    """Replaces the network for files that Gradio would fetch, and refuses every request."""

    async def handle_async_request(self, request: httpx.Request):
        """Raise `gr.Error` with a sentence for the visitor who sent an address."""
        raise gr.Error("Addresses are not fetched here: upload the recording itself.", print_exception=False)


class OneFile(route_utils.GradioMultiPartParser):
    """Gradio's reader of uploads, which accepts only one file with a name."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options | {"max_files": 1, "max_fields": 0})

    def on_headers_finished(self) -> None:
        super().on_headers_finished()
        part = self._current_part
        name = part.file.filename if part.file else None
        if part.field_name != "files" or not re.search(r"\w", name or ""):
            raise MultiPartException("An upload is one file, in the field `files`, with a name.")


def tame_gradio(folder: Path) -> None:
    """Make Gradio refuse every address in the values of a request and accept only one file in an upload. Also make it
    write its temporary files below `folder`; it would use the GRADIO_TEMP_DIR of the time when it was imported."""
    processing_utils.async_transport = NoFetching()
    route_utils.GradioMultiPartParser = OneFile
    routes.DEFAULT_TEMP_DIR = str(folder)


class Refused(Exception):
    """A refused request, with the status and the sentence of the answer."""

    def __init__(self, status: int, text: str):
        super().__init__(text)
        self.status = status


class Guard:
    """ASGI middleware that checks every request.

    Args:
        app: Application to guard.
        max_body: Most bytes in the body of an upload.
        hosts: Names by which the server may be addressed, besides numbers and `localhost`; `*` for any.
        calls: Check of calls of functions.
        disk: Count of the space that uploads may take.
        listeners: Record of who waits for results.
    """

    def __init__(self, app, *, max_body: int, hosts: Collection[str], calls: Calls, disk: Disk, listeners: Listeners):
        self.app, self.max_body, self.hosts = app, max_body, set(hosts)
        self.calls, self.disk, self.listeners = calls, disk, listeners
        self.open: Counter[str] = Counter()

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return  # web sockets are not served
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
            if not isinstance(error.__cause__, HTTPException):  # Gradio's "not found" after the answer began
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
        """Raise [`Refused`] for a request that neither the page nor a program makes. The body is not checked here."""
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
            scope["query_string"] = b""  # it is for the page's own script; Gradio would look for files or keep it

    def check_host(self, scope) -> None:
        """Refuse host names that are not ours. Another site could make its name lead here (DNS rebinding). A browser
        would then take that site's page for ours, and the page could read what only its visitor may read. A number
        cannot be made to lead elsewhere."""
        asked = [value.decode("latin-1") for name, value in scope["headers"] if name in (b"host", b"x-forwarded-host")]
        if not asked or not all(self.is_ours(name) for name in asked):
            raise Refused(403, "This name is not one of this server's; its owner can add it to ALLOWED_HOSTS.")
        origins = [value.decode("latin-1") for name, value in scope["headers"] if name == b"origin"]
        # other pages may use a published demo, like any API, but not a demo on somebody's own machine
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
        """Return Gradio's replacement for `receive`, and put contexts that end with the request into `stack`."""
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
    """Return whether a file system can be asked for `path`: no part is longer than a file's name can be, and no part
    has control characters."""
    return not re.search(r"[\x00-\x1f\x7f]", path) and all(len(part.encode()) < 256 for part in path.split("/"))


def log(scope, error: Exception) -> None:
    """Log a line about an error that no request should be able to cause."""
    request = f"{scope['method']} {ascii(scope['path'])[:200]}"
    print(f"{request}: {type(error).__name__}: {ascii(str(error))[:200]}", file=sys.stderr)


def hostname(host: str) -> str:
    """Return the name without its port in a `Host` or in the part of an address after `//`; empty if there is none."""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def is_number(host: str) -> bool:
    """Return whether a `Host` is `localhost` or a number, and not a name that somebody could make lead here."""
    name = hostname(host)
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name == "localhost"
    return True


def listened_to(scope) -> str | None:
    """Return the session or the call whose results the request waits for."""
    if scope["path"] == f"{PREFIX}/queue/data":
        session = parse_qs(scope["query_string"].decode("latin-1")).get("session_hash", [""])[0]
        if not re.fullmatch(SESSION, session):
            raise Refused(400, "The session is missing.")
        return session
    call = HEARD.fullmatch(scope["path"])
    return call[1] if call else None


def answer(scope, refused: Refused):
    """Return the refusal as a response in the form that Gradio's page and clients expect."""
    if scope["path"] == UPLOAD or scope["method"] != "POST":
        return PlainTextResponse(str(refused), refused.status)
    return JSONResponse({"detail": str(refused)}, refused.status)


async def whole(receive, max_body: int) -> bytes:
    """Read the whole body of a request."""
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
    """Return a `receive` for a body that has already been read."""
    events = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def next_event() -> dict:
        return next(events, None) or await receive()

    return next_event


def counted(receive, charge, max_body: int):
    """Return a `receive` that counts the bytes in `charge`. If a body of unknown length becomes too long, `receive`
    behaves as if the client had disconnected."""
    charge.size = 0

    async def next_event() -> dict:
        event = await receive()
        charge.size += len(event.get("body", b""))
        return event if charge.size <= max_body else {"type": "http.disconnect"}

    return next_event
