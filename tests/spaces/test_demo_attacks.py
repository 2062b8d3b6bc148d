"""What hostile visitors of the web demo try: each is refused in one line, the log stays free of tracebacks, and others
are served all the while."""

import io
import json
import os
import re
import socket
import threading
import time

import numpy as np
import psutil
import pytest
import soundfile
from conftest import flac, noise
from demo import call, send, serve, start_call, upload, wait_for

pytestmark = pytest.mark.slow
GOOD = ["ddim", 1, 1, 0, 60, 1, 0]
FILE = {"_type": "gradio.FileData"}


@pytest.fixture(scope="module")
def server(tmp_path_factory, tiny_model):
    limits = {"MAX_SECONDS": "20", "MAX_FILE_MB": "2", "MAX_CHANNELS": "2", "MAX_WORK": "400", "MAX_QUEUE": "8"}
    limits |= {"MAX_VISITOR_MB": "6", "MAX_TOTAL_MB": "40", "STOP_UNHEARD_AFTER_SECONDS": "2"}
    hosts = {"ALLOWED_HOSTS": "demo.example, Other.example", "SPACE_HOST": "user-demo.hf.space"}
    with serve(
        tmp_path_factory.mktemp("demo"), MODEL_ID=str(tiny_model), OMP_NUM_THREADS="1", **limits, **hosts
    ) as server:
        yield server


@pytest.fixture(autouse=True)
def log_stays_clean(server):
    printed = len(server.printed)
    yield
    assert one_line_each(server.printed[printed:])
    visitor = f"192.0.2.{200 + len(server.printed) % 50}"
    assert call(server, [upload(server, flac(noise(1600)), visitor=visitor), *GOOD], visitor)[0] == "complete"


def one_line_each(printed: str) -> bool:
    """Whether the log has no more than a short line for every request."""
    return not re.search(r"Traceback|^\s|.{300}", printed, re.MULTILINE)


@pytest.mark.parametrize(
    "name",
    [
        "evil.example",
        "evil.example:80",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "demo.example.evil.example",
        "demo.example@evil.example",
        "[::1",
        "",
        "x" * 300,
    ],
)
def test_a_foreign_name_is_not_answered(server, name):
    """A page of evil.example whose name leads to 127.0.0.1 is of the same origin for a browser."""
    for headers in ({"Host": name}, {"X-Forwarded-Host": name}):
        for origin in ({}, {"Origin": f"http://{name}"}):
            answer = send(server, "GET", "/config", headers=headers | origin)
            assert answer.status_code == 403
            assert "ALLOWED_HOSTS" in answer.text


@pytest.mark.parametrize(
    "name",
    [
        "127.0.0.1:7860",
        "localhost",
        "[::1]:7860",
        "192.168.1.5",
        "demo.example",
        "DEMO.example:8000",
        "other.example",
        "user-demo.hf.space",
    ],
)
def test_own_names_are_answered(server, name):
    assert send(server, "GET", "/config", headers={"Host": name}).status_code == 200


def test_a_page_of_another_site_cannot_use_a_server_at_home(server):
    body = {"data": [None, *GOOD]}
    for origin, status in [
        ("https://evil.example", 403),
        ("null", 403),
        (server.url, 200),
        ("http://localhost:3", 200),
    ]:
        answer = send(server, "POST", "/gradio_api/call/enhance", headers={"Origin": origin}, json=body)
        assert answer.status_code == status
    headers = {"Origin": "https://elsewhere.example", "Host": "user-demo.hf.space"}
    assert send(server, "POST", "/gradio_api/call/enhance", headers=headers, json=body).status_code == 200
    request = b"GET / HTTP/1.0\r\nOrigin: http://evil.example\r\n\r\n"
    assert b" 403 " in raw(server, request)


def raw(server, request: bytes) -> bytes:
    """The answer to a request that no client would send."""
    with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])), 10) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while part := connection.recv(2**16):
            answer += part
        return answer


def test_only_what_the_page_needs_is_served(server):
    for path in (
        "/gradio_api/run/enhance",
        "/gradio_api/api/enhance",
        "/gradio_api/call/show_enhanced",
        "/gradio_api/component_server",
        "/gradio_api/process_recording",
        "/gradio_api/vibe-edit",
        "/gradio_api/undo-vibe-edit",
        "/gradio_api/vibe-code",
        "/gradio_api/run-history/connect",
        "/login",
        "/gradio_api/stream/x/y",
        "/gradio_api/UPLOAD",
    ):
        assert send(server, "POST", path, json={"data": []}).status_code == 403, path
    for path in (
        "/monitoring",
        "/monitoring/summary",
        "/gradio_api/deep_link?session_hash=x",
        "/gradio_api/dev/reload",
        "/gradio_api/token",
        "/gradio_api/user",
        "/gradio_api/vibe-code",
        "/gradio_api/run-history/buckets",
        "/gradio_api/runs",
        "/gradio_api/upload_progress?upload_id=x",
        "/gradio_api/stream/a/b/1/playlist.m3u8",
        "/gradio_api/custom_component/1/client/component/x",
        "/gradio_api/proxy=http://127.0.0.1/",
        "/gradio_api/FILE=HTTP://127.0.0.1/",
        "/gradio_api/file//etc/passwd",
        "/docs",
        "/pwa_icon",
    ):
        assert send(server, "GET", path).status_code == 403, path
    for path in (
        f"/assets/{'x' * 300}",
        "/static/..%2f..%2f..%2fetc/passwd",
        "/assets/../../../etc/passwd",
        "/gradio_api/file=..%2f..%2fetc/passwd",
        "/gradio_api/file=%00",
        "/gradio_api/file=a%0ab",
        f"/gradio_api/file={'x' * 5000}",
        "/gradio_api/file=\\\\host\\share",
        "/gradio_api/queue/data",
        "/gradio_api/queue/data?session_hash=%00",
        "/gradio_api/heartbeat/%0a",
    ):
        answer = send(server, "GET", path)
        assert 400 <= answer.status_code < 500, (path, answer.status_code)
        assert "root:" not in answer.text
    assert send(server, "GET", "/?deep_link=../../../etc").status_code == 200


def test_long_headers_and_many_requests(server):
    assert send(server, "GET", "/config", headers={"X": "x" * 20000}).status_code == 431
    visitor = "192.0.2.99"
    port = int(server.url.rpartition(":")[2])
    connections = []
    try:
        for index in range(101):
            connection = socket.create_connection(("127.0.0.1", port), 10)
            connections.append(connection)
            request = (
                f"GET /gradio_api/heartbeat/s{index} HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: {visitor}\r\n\r\n"
            )
            connection.sendall(request.encode())
            first = connection.recv(100)
            assert (b" 200 " in first) == (index < 100), first
        assert send(server, "GET", "/config", visitor).status_code == 429
        assert send(server, "GET", "/config", "192.0.2.98").status_code == 200
    finally:
        for connection in connections:
            connection.close()
    wait_for(lambda: send(server, "GET", "/config", visitor).status_code == 200)


WRONG = [
    None,
    True,
    -1,
    2.5,
    1e300,
    10**30,
    float("nan"),
    float("-inf"),
    "",
    "ddim",
    "x" * 3000,
    "\n",
    [],
    [[]],
    ["ddim", {}],
    {},
    {"a": 1},
    {"path": 1, "meta": FILE},
    {"path": "/etc/passwd", "meta": FILE},
    {"path": "\0", "meta": FILE},
    {"path": "a.wav"},
    {"path": "../" * 500, "meta": FILE},
    {"path": "", "meta": FILE},
    {"path": "x" * 5000, "meta": FILE},
    {"path": "http://127.0.0.1/", "meta": FILE},
]


def test_wrong_values_are_refused_in_one_line(server):
    good = upload(server, flac(noise(800)))
    refused = 0
    for index in range(8):
        for value in WRONG:
            data = [good, *GOOD]
            data[index] = value
            event, answer = call(server, data)
            if event != "complete":
                refused += 1
                assert event == "error", answer
                assert len(answer["error"]) < 400, answer
                assert "\n" not in answer["error"]
                assert answer["error"].rstrip().endswith("."), answer
                assert str(server.files) not in answer["error"]
    assert refused > 160
    for data in ([], [good], [good, *GOOD, 1]):
        assert "8 arguments" in call(server, data)[1]["error"]


def test_a_number_out_of_its_range_is_refused_by_name(server):
    """Nothing is rounded, and the sentence says which of the arguments it is about."""
    good = upload(server, flac(noise(800)))
    for index, value, sentence in [
        (2, 0, "Steps must be a number from 1 to 50, got 0."),
        (2, float("nan"), "Steps must be a number from 1 to 50, got nan."),
        (3, 17, "Estimates must be a number from 1 to 16, got 17."),
        (4, -1, "Seed must be a whole number of at least 0, got -1."),
        (4, 1.5, "Seed must be a whole number of at least 0, got 1.5."),
        (5, 61, "Attenuation limit (dB) must be a number from 0 to 60, got 61."),
        (6, -0.1, "Wet/dry must be a number from 0 to 1, got -0.1."),
        (7, 2, "Less reverberation must be a number from 0 to 1, got 2."),
    ]:
        data = [good, *GOOD]
        data[index] = value
        assert call(server, data)[1].get("error") == sentence
    assert call(server, [good, "ddim", 1.0, 1.0, 3.0, 59.5, 0.5, 0])[0] == "complete"


def test_wrong_calls_are_refused_in_one_line(server):
    bodies = [
        b"",
        b"{",
        b"[]",
        b"null",
        b"1" * 5000,
        b"[" * 50000,
        b'{"data": 1}',
        b'{"data": {"a": 1}}',
        b'{"data": ["\\ud800"]}',
        b"\xff",
    ]
    bodies += [
        json.dumps({"data": [], "fn_index": index, "session_hash": "s"}).encode()
        for index in (None, -1, 999, "1", 1.5, True, [], 10**30)
    ]
    bodies += [
        json.dumps({"data": [], "fn_index": 2, "session_hash": name, "event_id": name}).encode()
        for name in (None, 1, "", "a b", "x" * 65, "../x", [])
    ]
    for path in ("queue/join", "run/predict", "cancel"):
        for body in bodies:
            answer = send(server, "POST", f"/gradio_api/{path}", content=body)
            assert answer.status_code == 400, (path, body[:80], answer.text)
            assert len(answer.json()["detail"]) < 200
            assert "\n" not in answer.json()["detail"]
    for path in ("call/enhance", "call/v2/enhance", "reset"):
        for body in bodies[:10]:
            assert send(server, "POST", f"/gradio_api/{path}", content=body).status_code == 400
    assert send(server, "POST", "/gradio_api/queue/join", content=bytes(70000)).status_code == 413
    answer = send(server, "POST", "/gradio_api/call/v2/enhance", json={"audio": None, "magic": 1})
    assert "There is no argument 'magic'" in answer.json()["detail"]
    answer = send(server, "POST", "/gradio_api/call/v2/enhance", json={"seed": 1})
    assert "'audio' is missing" in answer.json()["detail"]


def functions(server, num_inputs: int) -> list[int]:
    """Numbers of the page's functions with so many arguments."""
    config = send(server, "GET", "/config").json()
    return [item["id"] for item in config["dependencies"] if len(item["inputs"]) == num_inputs and item["backend_fn"]]


def join(server, index: int, data: list, session: str) -> str:
    """Everything that is told about a call as the page makes it."""
    body = {"fn_index": index, "data": data, "session_hash": session, "event_data": {}, "trigger_id": 1}
    assert send(server, "POST", "/gradio_api/queue/join", json=body).status_code == 200
    return send(server, "GET", f"/gradio_api/queue/data?session_hash={session}").text


def test_wrong_values_from_the_page(server):
    """Functions that programs are not shown can be called all the same."""
    good = upload(server, flac(noise(800)))
    compare, show = functions(server, 9)[0], functions(server, 11)[-1]
    none = [good, None, []]  # no preset
    for index, data in [
        (compare, [*none, "ddim", [1], [1], [0], 0, ""]),
        (compare, [*none, ["ddim"] * 5000, [1] * 5000, [1] * 5000, [0] * 5000, 0, ""]),
        (compare, [*none, ["ddim", ["ddim"]], [1, True, "1"], [1], [0], 0, ""]),
        (compare, [*none, ["ddim"], [1, 4], [1, 1.5], [0], 0, ""]),
        (compare, [*none, ["ddim"], [1, 4], [1], [0], 0, {"a": "b"}]),
        (compare, [*none, ["ddim"], [1, 4], [1], [0], 0, "x" * 5000]),
        (compare, [good, None, ["worst", "fast"], ["ddim"], [1, 4], [1], [0], 0, ""]),
        (compare, [good, "../../model", ["fast", "balanced"], [], [], [], [0], 0, ""]),
        (compare, [good, None, ["fast"], [], [], [], [0, 2], 0, ""]),
        (compare, [good, None, ["fast"], [], [], [], [0, "1"], 0, ""]),
        (show, [good, None, *GOOD, False, []]),
        (show, [good, "user/model", *GOOD, False, ""]),
        (show, [good, None, *GOOD, "yes", ""]),
    ]:
        answer = join(server, index, data, "page")
        assert '"success":false' in answer
        assert "Traceback" not in answer
    assert "at least two settings" in join(server, compare, [*none, ["ddim"], [1], [1], [], 0, "980,dark"], "page")


def test_uploads_that_are_none(server):
    def parts(*headers: str) -> bytes:
        return (
            b"".join(
                b"--x\r\nContent-Disposition: form-data; " + header.encode() + b"\r\n\r\nabc\r\n" for header in headers
            )
            + b"--x--\r\n"
        )

    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    for body in (
        parts('name="files"; filename=""'),
        parts('name="files"; filename="???"'),
        parts('name="files"; filename=".."'),
        parts('name="files"'),
        parts('name="other"; filename="a.wav"'),
        parts('filename="a.wav"'),
        parts('name="files"; filename="a.wav"', 'name="files"; filename="b.wav"'),
        parts(f'name="files"; filename="{"a" * 9000}"'),
        b"--x\r\n\r\n",
        b"",
        bytes(1000),
    ):
        answer = send(server, "POST", "/gradio_api/upload", content=body, headers=kind)
        assert answer.status_code in (400, 413) or answer.json() == [], (body, answer.text)
        assert "\n" not in answer.text
    for content_type in ("multipart/form-data", "text/plain", "multipart/form-data; boundary=x; charset=none"):
        answer = send(server, "POST", "/gradio_api/upload", content=b"abc", headers={"Content-Type": content_type})
        assert answer.status_code == 400
    for length in ("-1", "x", "9" * 30):
        request = f"POST /gradio_api/upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n"
        assert b" 413 " in (answer := raw(server, request.encode())) or b" 400 " in answer


@pytest.mark.parametrize(
    "name",
    [
        "../../x.wav",
        "/etc/x.wav",
        "..\\x.wav",
        "a\0.wav",
        "\u202e.wav.exe",
        "~root.wav",
        "-rf",
        "con.wav",
        "a" * 400 + ".wav",
        "%2e%2e%2fx.wav",
        "é" * 200 + ".wav",
    ],
)
def test_names_of_uploads(server, name):
    """Whatever it is called, a file lies in a folder of its own below the demo's."""
    content = flac(noise(800, seed=len(name)))
    answer = send(server, "POST", "/gradio_api/upload", files={"files": (name, content)})
    assert answer.status_code in (200, 400)
    if answer.status_code == 200:
        path = answer.json()[0]
        inside = os.path.relpath(path, next(server.files.glob("speech-enhance-*")))
        assert os.path.realpath(path) == path
        assert not inside.startswith("..")
        assert inside.count(os.sep) == 1
        assert call(server, [{"path": path, "meta": FILE}, *GOOD])[0] in ("complete", "error")


def test_the_disk_cannot_be_filled(server):
    """Neither by uploads of one visitor or of many, nor by results that nobody needs."""
    visitor = "192.0.2.20"
    for _ in range(3):
        upload(server, os.urandom(1_900_000), visitor=visitor)
    answer = send(server, "POST", "/gradio_api/upload", visitor, files={"files": ("a.wav", os.urandom(1_900_000))})
    assert (answer.status_code, answer.text) == (
        507,
        "Your files take 6 MB on this server, which is the limit; wait until the oldest are deleted.",
    )
    chunks = iter([b"x" * 1000] * 10)
    assert send(server, "POST", "/gradio_api/upload", visitor, content=chunks).status_code == 507
    other = "2001:db8::1"
    recording = upload(server, wav(noise(16000 * 15)), visitor=other)
    events = [call(server, [recording, *GOOD], other) for _ in range(14)]
    assert events[0][0] == "complete"
    assert "Your files take 6 MB" in events[-1][1]["error"]
    answer = send(server, "POST", "/gradio_api/upload", "2001:db8::2", files={"files": ("a.wav", bytes(1_900_000))})
    assert answer.status_code == 507, "the same network"
    size = sum(path.stat().st_size for path in server.files_left())
    assert size < 40e6


def wav(audio: np.ndarray) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, audio, 16000, format="WAV")
    return file.getvalue()


def test_work_without_end_is_refused(server):
    recording = upload(server, flac(noise(16000 * 10)), visitor="192.0.2.30")
    event, answer = call(server, [recording, "ddim", 50, 16, 0, 60, 1, 0], "192.0.2.30")
    assert event == "error"
    assert answer["error"].startswith("10 s of sound, 800 times through the network, is too much for this page")
    event, answer = call(server, [recording, "heun", 50, 1, 0, 60, 1, 0], "192.0.2.30")
    assert "99 times" in answer["error"], "twice in every step"
    compare = [recording, None, [], ["ddim", "heun"], [8, 16], [1], [0], 0, ""]
    answer = join(server, functions(server, 9)[0], compare, "much")
    assert "is too much for this page" in answer


def long_call(server, visitor: str):
    """A call that computes for seconds."""
    return [upload(server, flac(noise(16000 * 2)), visitor=visitor), "ddim", 40, 1, 0, 60, 1, 0]


def test_nothing_is_computed_for_nobody(server):
    data = long_call(server, "192.0.2.40")
    for _ in range(4):
        assert start_call(server, data, "192.0.2.40").status_code == 200
    process = psutil.Process(server.process.pid)
    wait_for(lambda: send(server, "GET", "/gradio_api/queue/status").json()["queue_size"] == 0)

    def rests() -> bool:
        before = process.cpu_times().user
        time.sleep(1)
        return process.cpu_times().user - before < 0.2

    wait_for(rests, 30)
    left = [path for path in server.files_left() if path.suffix == ".stop"]
    assert left == []


def test_visitors_take_turns(server):
    """One with many requests lets the others through, and may not let endlessly many wait."""
    greedy, patient = "192.0.2.50", "192.0.2.51"
    data = long_call(server, greedy)
    ended, refused = [], []

    def work() -> None:
        event, answer = call(server, data, greedy)
        (ended if event == "complete" else refused).append(answer)

    threads = [threading.Thread(target=work) for _ in range(7)]
    for thread in threads:
        thread.start()
    wait_for(lambda: send(server, "GET", "/gradio_api/queue/status").json()["queue_size"] >= 4)
    recording = upload(server, flac(noise(1600)), visitor=patient)
    for _ in range(3):
        assert call(server, [recording, *GOOD], patient)[0] == "complete"
    assert len(ended) <= 2, "of seven; the others were waiting"
    for thread in threads:
        thread.join()
    assert refused
    assert set(refused) == {"4 requests of yours wait already; let one of them end first."}


def test_a_folder_that_was_there_is_not_emptied(tmp_path, tiny_model):
    """Neither by age, nor when the demo ends: it deletes in a folder of its own."""
    own = tmp_path / "recordings"
    (own / "empty").mkdir(parents=True)
    (own / "mine.wav").write_bytes(b"of years")
    time.sleep(0.1)
    with serve(
        tmp_path / "work", MODEL_ID=str(tiny_model), GRADIO_TEMP_DIR=str(own), DELETE_AFTER_SECONDS="1"
    ) as server:
        upload(server, flac(noise(1600)))
        made = [path for path in own.iterdir() if path.name.startswith("speech-enhance-")]
        assert len(made) == 1
        assert made[0].stat().st_mode & 0o077 == 0
        wait_for(lambda: not any(made[0].rglob("*.wav")), 30)
        time.sleep(1.5)
        assert (own / "mine.wav").read_bytes() == b"of years"
    assert {path.name for path in own.iterdir()} == {"empty", "mine.wav"}
    with (
        pytest.raises(AssertionError, match="cannot make a folder for temporary files") as caught,
        serve(tmp_path / "other", GRADIO_TEMP_DIR=str(own / "mine.wav")),
    ):
        pass
    assert "Traceback" not in str(caught.value)
