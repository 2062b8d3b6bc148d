"""The web demo for tests: the real server on loopback, a real browser in front of it."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from conftest import ROOT
from processes import Process

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SCREENSHOTS = ROOT / ".ci" / "work" / "screenshots"
CLIENT = httpx.Client(timeout=60)
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update "
    "--disable-sync --use-fake-device-for-media-stream --use-fake-ui-for-media-stream"
)


# a script that gives the texts of the page whose contrast is below 4.5
CONTRASTS = """() => {
  const parse = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = (rgb) => {
    const [r, g, b] = rgb.map((v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const ground = (element) => { for (let at = element; at; at = at.parentElement) {
    const [r, g, b, a = 1] = parse(getComputedStyle(at).backgroundColor);
    if (a === 1) return [r, g, b]; } return [255, 255, 255]; };
  const low = [];
  for (const element of document.querySelectorAll("#intro *, #input *, #output *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.checkVisibility() || element.closest(":disabled, svg, style")) continue;
    const text = light(parse(getComputedStyle(element).color).slice(0, 3));
    const [one, two] = [text, light(ground(element))].sort((a, b) => b - a);
    const contrast = (one + 0.05) / (two + 0.05);
    if (contrast < 4.5)
      low.push(`${element.className} ${element.textContent.trim().slice(0, 30)}: ${contrast.toFixed(1)}`);
  }
  return low;
}"""


@dataclass
class Server:
    """A running demo: its address, the folder of its temporary files, its process, and all that it printed so far."""

    url: str
    files: Path
    process: subprocess.Popen
    log: Path

    @property
    def printed(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def files_left(self) -> list[Path]:
        """Temporary files; `.ses` is one that ONNX Runtime writes when it is imported. Folders may go meanwhile."""
        return [Path(folder, name) for folder, _, names in os.walk(self.files) for name in names if name != ".ses"]


@contextmanager
def serve(work: Path, folder: Path = ROOT / "spaces", python: str = sys.executable, **environment: str):
    """Run `app.py` of `folder` as Spaces does, from that folder, with variables of the environment added; afterwards
    nothing may be left of its temporary files."""
    work.mkdir(parents=True, exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GRADIO_", "MAX_"))}
    files = work / "files"
    files.mkdir()
    variables = kept | {"GRADIO_SERVER_PORT": str(port), "TMPDIR": str(files), "HF_HUB_OFFLINE": "1"}
    if python == sys.executable:
        variables["PYTHONPATH"] = str(ROOT)
    server = Server(f"http://127.0.0.1:{port}", files, None, work / "log.txt")
    with open(server.log, "wb") as log:
        server.process = Process(
            [python, "app.py"], cwd=folder, env=variables | environment, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        wait_for(lambda: answers(server.url) or server.process.poll() is not None, 180)
        assert server.process.poll() is None, server.printed
        yield server
    finally:
        server.process.terminate()
        try:
            server.process.wait(30)
        except subprocess.TimeoutExpired:
            server.process.kill()
            raise
    assert not server.files_left(), server.files_left()


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False


def wait_for(condition, seconds: float = 60.0):
    """Poll until `condition()` is true; returns its value."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.05)
    return value


@contextmanager
def browse(*flags: str):
    """A headless browser with further `flags`; without one the test is skipped, in CI it fails."""
    program = next((path for path in map(shutil.which, BROWSERS) if path), None)
    if program is None:
        if os.environ.get("CI"):
            pytest.fail(f"no browser: none of {', '.join(BROWSERS)} is installed")
        pytest.skip(f"needs one of {', '.join(BROWSERS)}")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, headless=True, args=[*FLAGS.split(), *flags])
        yield browser
        browser.close()


@contextmanager
def visit(browser, server: Server, **options):
    """A page of a new visitor; afterwards nothing may have been asked of another host and no script have failed."""
    context = browser.new_context(**({"viewport": {"width": 1200, "height": 900}} | options))
    context.set_default_timeout(60000)
    page = context.new_page()
    asked, errors = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("websocket", lambda socket: asked.append(socket.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(server.url)
    page.get_by_role("button", name="Enhance", exact=True).wait_for()
    yield page
    context.close()
    assert any(url.startswith(server.url) for url in asked)
    assert [url for url in asked if not url.startswith((server.url, "data:", "blob:"))] == []
    assert errors == []


def open_accordion(page, name: str, control: str) -> None:
    """Open the accordion `name`, which holds a control labelled `control`, and wait until its controls can be used.

    Gradio builds them when an accordion is opened for the first time, and sets their first values once more at the
    next frame that the browser draws. A value that is typed before that is lost.
    """
    page.get_by_role("button", name=name).click()
    page.get_by_label(control).first.wait_for()
    frame = "new Promise((drawn) => requestAnimationFrame(drawn))"
    page.evaluate(f"{frame}.then(() => {frame})")


def screenshot(page, name: str) -> None:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)


def send(server: Server, method: str, path: str, visitor: str = "192.0.2.1", **options) -> httpx.Response:
    """A request as that of a visitor with the address `visitor`, whom a proxy on loopback names."""
    headers = {"X-Forwarded-For": visitor} | options.pop("headers", {})
    return CLIENT.request(method, server.url + path, headers=headers, **options)


def upload(server: Server, content: bytes, name: str = "a.wav", visitor: str = "192.0.2.1") -> dict:
    """Upload a file; returns the value that an argument gets for it."""
    answer = send(server, "POST", "/gradio_api/upload", visitor, files={"files": (name, content)})
    assert answer.status_code == 200, answer.text
    return {"path": answer.json()[0], "meta": {"_type": "gradio.FileData"}}


def start_call(server: Server, data: list, visitor: str = "192.0.2.1") -> httpx.Response:
    return send(server, "POST", "/gradio_api/call/enhance", visitor, content=json.dumps({"data": data}))  # NaN too


def call(server: Server, data: list, visitor: str = "192.0.2.1") -> tuple[str, object]:
    """Call `/enhance` as a program without Gradio's client does; returns the last event and its value."""
    started = start_call(server, data, visitor)
    if started.status_code != 200:
        return f"status {started.status_code}", started.json()["detail"]
    path = f"/gradio_api/call/enhance/{started.json()['event_id']}"
    lines = send(server, "GET", path, visitor).text.strip().splitlines()
    return lines[-2].removeprefix("event: "), json.loads(lines[-1].removeprefix("data: "))
