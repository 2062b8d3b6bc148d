"""What the server of the web demo accepts, refuses, keeps and deletes, asked as a program asks it."""

import http.server
import json
import os
import re
import subprocess
import threading
import urllib.error
import urllib.request
from contextlib import suppress

import httpx
import numpy as np
import pytest
import soundfile
from conftest import ROOT, noise
from demo import browse, screenshot, serve, visit, wait_for
from fuzz_api import PARAMETERS

from speech_enhance import SpeechEnhancementPipeline

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),  # sockets of Gradio's client
]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Folder of a tiny pipeline."""
    import torch
    from conftest import TINY_UNET

    from speech_enhance import ConditionalUNet2DModel
    from speech_enhance.models.schedulers import training_scheduler

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    SpeechEnhancementPipeline(ConditionalUNet2DModel(**TINY_UNET), training_scheduler()).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory, model):
    limits = {"MAX_SECONDS": "20", "MAX_FILE_MB": "2", "MAX_CHANNELS": "2", "DELETE_AFTER_SECONDS": "5"}
    limits |= {"CONCURRENT_RUNS": "1", "MAX_QUEUE": "4"}
    with serve(tmp_path_factory.mktemp("demo"), MODEL_ID=str(model), **limits) as server:
        yield server


@pytest.fixture
def client(server):
    from gradio_client import Client

    client = Client(server.url, verbose=False)
    yield client
    client.close()


def ask(client, path, **arguments):
    from gradio_client import handle_file

    return client.predict(audio=handle_file(path), api_name="/enhance", **arguments)


def test_the_interface_for_programs(client, model, tmp_path):
    audio = noise(12000, channels=2)
    soundfile.write(tmp_path / "talk.flac", audio.T, 24000, subtype="PCM_24")
    path, facts = ask(client, tmp_path / "talk.flac", scheduler="heun", num_inference_steps=2, seed=3, mix=0.5)
    assert path.endswith("talk-enhanced.flac")
    assert soundfile.info(path).subtype == "PCM_24"
    enhanced, rate = soundfile.read(path, dtype="float32")
    assert rate == 24000
    import torch

    from speech_enhance import PRESETS, make_scheduler

    pipeline = SpeechEnhancementPipeline.from_pretrained(model)
    pipeline.scheduler = make_scheduler("heun", pipeline.scheduler.config)
    noisy = soundfile.read(tmp_path / "talk.flac", dtype="float32")[0].T
    num_estimates = PRESETS["balanced"].num_estimates
    expected = pipeline(noisy, rate, 2, num_estimates, torch.Generator().manual_seed(3), mix=0.5).audios
    np.testing.assert_allclose(enhanced.T, expected, atol=1e-5)
    assert facts | {"seconds": 0} == {
        "duration": 0.5,
        "sampling_rate": 24000,
        "channels": 2,
        "scheduler": "heun",
        "num_inference_steps": 2,
        "num_estimates": num_estimates,
        "evaluations": 3 * num_estimates,
        "seconds": 0,
    }


def test_only_one_function_is_offered(client):
    named = client.view_api(return_format="dict")["named_endpoints"]
    assert list(named) == ["/enhance"]
    parameters = [item["parameter_name"] for item in named["/enhance"]["parameters"]]
    assert parameters == list(PARAMETERS)
    assert [item["label"] for item in named["/enhance"]["returns"]] == ["enhanced", "facts"]


def bad_uploads(folder):
    """`(name, sentence)` of files nobody can enhance."""
    (folder / "notes.wav").write_text("these are my notes")
    (folder / "empty.wav").write_bytes(b"")
    (folder / "pack.zip").write_bytes(b"PK\x03\x04" + bytes(500))
    soundfile.write(folder / "silence.wav", np.zeros(16000), 16000)
    soundfile.write(folder / "wide.wav", np.ones((100, 64)) * 0.1, 16000)
    with soundfile.SoundFile(folder / "day.flac", "w", 8000, 1, "PCM_16") as file:
        for _ in range(600):
            file.write(np.zeros(8000 * 60, np.int16))
    return {
        "notes.wav": "“notes.wav” cannot be read as audio. This page takes",
        "empty.wav": "“empty.wav” is empty",
        "pack.zip": "“pack.zip” cannot be read as audio",
        "silence.wav": "nothing but digital silence",
        "wide.wav": "64 channels; the limit of this page is 2",
        "day.flac": "10 h long; the limit of this page is 20 s",
    }


def test_bad_files_are_refused_with_a_sentence(client, server, tmp_path):
    from gradio_client.exceptions import AppError

    for name, sentence in bad_uploads(tmp_path).items():
        with pytest.raises(AppError, match=sentence):
            ask(client, tmp_path / name)
    assert "Traceback" not in server.printed
    soundfile.write(tmp_path / "good.wav", noise(8000), 16000)
    for arguments, sentence in [
        ({"num_inference_steps": 999}, "Steps must be a number from 1 to"),
        ({"scheduler": "magic"}, "magic"),
        ({"seed": -1}, "Seed must be a whole number"),
    ]:
        with pytest.raises(AppError, match=sentence):
            ask(client, tmp_path / "good.wav", **arguments)
    assert ask(client, tmp_path / "good.wav")[1]["duration"] == 0.5


def test_bad_files_are_refused_in_the_page(server, tmp_path):
    sentences = bad_uploads(tmp_path) | {
        "big.wav": "has 3 MB; the limit of this page is",
        "pack.zip": "is no sound file",
    }
    (tmp_path / "big.wav").write_bytes(bytes(3_000_000))
    with browse() as browser, visit(browser, server) as page:
        for name, sentence in sentences.items():
            files = page.locator("#recording input[type=file]").first
            if name in ("big.wav", "pack.zip"):
                files.set_input_files(tmp_path / name)  # which the page does not send
            else:
                with page.expect_response(re.compile("/upload")):
                    files.set_input_files(tmp_path / name)
                page.get_by_role("button", name="Enhance", exact=True).click()
            page.locator("body", has_text=re.compile(sentence)).wait_for()
            assert "Traceback" not in page.locator("body").inner_text()
            screenshot(page, f"refused-{name.split('.')[0]}")
            page.reload()
            page.get_by_role("button", name="Enhance", exact=True).wait_for()


@pytest.mark.parametrize("path", ["/etc/passwd", str(ROOT / "spaces" / "app.py"), "app.py", "../../pyproject.toml"])
def test_no_file_of_the_server_can_be_read(server, path):
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"{server.url}/gradio_api/file={path}")
    assert caught.value.code in (403, 404)
    body = {"data": [{"path": path, "meta": {"_type": "gradio.FileData"}}, "ddim", 1, 1, 0, 60, 1, 0]}
    event = httpx.post(f"{server.url}/gradio_api/call/enhance", json=body).json()["event_id"]
    answer = httpx.get(f"{server.url}/gradio_api/call/enhance/{event}", timeout=60).text
    assert "event: error" in answer
    assert "root:" not in answer


def test_no_address_is_fetched(server):
    """Neither for an argument that is a file nor for another, nor to pass it on."""
    asked, printed = [], len(server.printed)

    class Internal(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Internal) as internal:
        threading.Thread(target=internal.serve_forever, daemon=True).start()
        own = f"http://127.0.0.1:{internal.server_port}/secret.wav"
        for address in (own, "https://huggingface.co/user/model/resolve/main/secret.wav"):
            file = {"path": address, "meta": {"_type": "gradio.FileData"}}
            for data in ([file, "ddim", 1, 1, 0, 60, 1, 0], [None, file, 1, 1, 0, 60, 1, 0]):
                event = httpx.post(f"{server.url}/gradio_api/call/enhance", json={"data": data}).json()["event_id"]
                answer = httpx.get(f"{server.url}/gradio_api/call/enhance/{event}", timeout=60).text
                assert ("Addresses are not fetched here" if data[0] else "must be one of ddim") in answer
            for way in ("file", "proxy"):
                assert httpx.get(f"{server.url}/gradio_api/{way}={address}").status_code == 403
        internal.shutdown()
    assert asked == []
    assert "Traceback" not in server.printed[printed:]


def test_what_is_too_large_is_refused_before_it_is_kept(server):
    """Whether the request tells its length or not, and however many files it has."""
    files = [("files", (f"{index}.wav", bytes(900_000))) for index in range(5)]
    answer = httpx.post(f"{server.url}/gradio_api/upload", files=files)
    assert (answer.status_code, answer.text) == (413, "A request may have at most 3 MB.")
    request = httpx.Request("POST", server.url, files=files)
    body, kind = request.read(), request.headers["Content-Type"]
    chunks = (body[start : start + 100_000] for start in range(0, len(body), 100_000))
    with suppress(httpx.HTTPError):  # the server may hang up
        answer = httpx.post(f"{server.url}/gradio_api/upload", content=chunks, headers={"Content-Type": kind})
        assert answer.status_code >= 400
    wait_for(lambda: not server.files_left(), 30)


def test_visitors_do_not_meet(server, tmp_path):
    """Requests at the same time, each with a level of its own: everyone gets the own recording back."""
    from gradio_client import Client

    results = {}

    def work(index: int) -> None:
        folder = tmp_path / str(index)
        folder.mkdir()
        soundfile.write(folder / "same-name.wav", noise(8000 + 100 * index, seed=index), 16000, subtype="FLOAT")
        client = Client(server.url, verbose=False, download_files=str(folder))
        for _ in range(3):
            results.setdefault(index, []).append(soundfile.read(ask(client, folder / "same-name.wav", mix=0)[0])[0])
        client.close()

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index in range(4):
        for audio in results[index]:
            np.testing.assert_allclose(audio, noise(8000 + 100 * index, seed=index), atol=1e-6)


def test_a_full_queue_turns_further_requests_away(client, tmp_path):
    from gradio_client import handle_file

    soundfile.write(tmp_path / "long.wav", noise(16000 * 10), 16000)
    audio = handle_file(tmp_path / "long.wav")
    jobs = [client.submit(audio=audio, num_inference_steps=20, api_name="/enhance") for _ in range(10)]
    refusals = [str(error) for error in (job.exception(timeout=120) for job in jobs) if error]
    full = [text for text in refusals if "Queue is full" in text]  # the client's words: more than four of one visitor
    assert 1 <= len(full) <= 5
    # this server deletes after seconds, also what waits: that is told too
    assert all("deleted after a while" in text for text in refusals if text not in full)


def test_files_are_deleted_in_time(client, server, tmp_path):
    soundfile.write(tmp_path / "private.wav", noise(8000), 16000)
    ask(client, tmp_path / "private.wav")
    assert [path for path in server.files_left() if "private" in path.name]
    wait_for(lambda: not server.files_left(), 30)
    assert not [name for _, folders, _ in os.walk(server.files) for name in folders if "private" in name]


def test_what_a_stopped_run_leaves_is_deleted(client, server, tmp_path):
    """Gradio knows only of files that it has given out."""
    soundfile.write(tmp_path / "private.wav", noise(16000 * 15), 16000)
    from gradio_client import handle_file

    job = client.submit(audio=handle_file(tmp_path / "private.wav"), num_inference_steps=50, api_name="/enhance")
    wait_for(lambda: job.status().progress_data, 60)
    job.cancel()
    (next(server.files.glob("speech-enhance-*")) / "half-an-upload").write_bytes(b"x")
    wait_for(lambda: not server.files_left(), 60)


def test_load(tmp_path, model):
    """All answers right and memory flat, as far as so few requests tell: `MAX_GROWTH` is for the whole load test."""
    import sys

    command = [
        sys.executable,
        "spaces/load_test.py",
        "--requests",
        "10",
        "--visitors",
        "2",
        "--output",
        tmp_path / "report",
    ]
    subprocess.run(command, cwd=ROOT, env=os.environ | {"MODEL_ID": str(model)}, check=False, timeout=1800)
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["failures"] == []
    assert report["requests"] == 10
    assert report["memory_mb"][-1] < report["memory_mb"][3] + 30


def test_wrong_settings_of_the_server(tmp_path):
    for variables, sentence in [
        ({"MAX_QUEUE": "many"}, "MAX_QUEUE must be a whole number"),
        ({"MODEL_ID": str(tmp_path)}, "is no pipeline folder"),
    ]:
        with (
            pytest.raises(AssertionError, match=sentence) as caught,
            serve(tmp_path / next(iter(variables)), **variables),
        ):
            pass
        assert "Traceback" not in str(caught.value)
