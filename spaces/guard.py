"""What is refused before Gradio looks at it: requests that are too large, and those that would make the server fetch
something. Gradio takes an address wherever it takes a file; here whatever is enhanced must be uploaded, so that nobody
uses the server to reach other hosts, those of its own network among them, or to load what no limit has measured."""

import gradio as gr
import httpx
from gradio import processing_utils
from starlette.responses import PlainTextResponse

FETCHED_PATHS = ("/file=http:", "/file=https:", "/proxy=")
UNUSED_PATHS = ("/process_recording",)  # converts films


class NoFetching(httpx.AsyncBaseTransport):
    """In place of the network, for the files that Gradio would fetch."""

    async def handle_async_request(self, request: httpx.Request):
        """Raise `gr.Error` with a sentence for the person who sent an address."""
        raise gr.Error("Addresses are not fetched here: upload the recording itself.", print_exception=False)


def fetch_nothing() -> None:
    """Make Gradio refuse every address in the values of a request."""
    processing_utils.async_transport = NoFetching()


class Guard:
    """ASGI middleware.

    Args:
        app: What is guarded.
        max_body: Bytes that the body of a request may have.
    """

    def __init__(self, app, max_body: int):
        self.app, self.max_body = app, max_body

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] == "http":
            if any(part in scope["path"].lower() for part in FETCHED_PATHS + UNUSED_PATHS):
                await PlainTextResponse("Not served here.", 403)(scope, receive, send)
                return
            length = dict(scope["headers"]).get(b"content-length", b"0")
            if not length.isdigit() or int(length) > self.max_body:
                text = f"A request may have at most {self.max_body / 1e6:g} MB."
                await PlainTextResponse(text, 413)(scope, receive, send)
                return
            receive = self._counted(receive)
        await self.app(scope, receive, send)

    def _counted(self, receive):
        """`receive` for a body whose length nobody has told: as if the client had gone once it is too long."""
        left = self.max_body

        async def counted() -> dict:
            nonlocal left
            event = await receive()
            left -= len(event.get("body", b""))
            return event if left >= 0 else {"type": "http.disconnect"}

        return counted
