"""The web demo as a visitor meets it, in a browser."""

import io
import re
import time

import numpy as np
import psutil
import pytest
import soundfile
import torch
from conftest import ROOT, noise
from demo import browse, screenshot, serve, visit, wait_for

from speech_enhance import DEFAULT_CHECKPOINT, SpeechEnhancementPipeline
from speech_enhance.mel import active_level

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    # one thread computes: threads that wait for each other would burn the time that a test below counts
    with serve(tmp_path_factory.mktemp("demo"), OMP_NUM_THREADS="1") as server:
        yield server


@pytest.fixture(scope="module")
def browser():
    with browse() as browser:
        yield browser


@pytest.fixture
def page(browser, server):
    with visit(browser, server) as page:
        yield page


def upload(page, path) -> None:
    with page.expect_response(re.compile("/upload")):
        page.locator("#recording input[type=file]").first.set_input_files(path)
    page.locator("#recording").get_by_test_id("waveform-controls").wait_for()


def status(page, kind: str, prefix: str = "") -> str:
    """The sentence of the page, once there is one of this kind."""
    message = page.locator(f"#{prefix}status .message.{kind}")
    message.wait_for(timeout=240000)  # on a busy machine
    return message.inner_text()


def play_state(page, prefix: str = "") -> dict:
    return page.evaluate(
        """(selector) => { const audios = [...document.querySelectorAll(selector + ' audio')]; return {
        times: audios.map((a) => a.currentTime), muted: audios.map((a) => a.muted), paused: audios.map((a) => a.paused),
        durations: audios.map((a) => a.duration) } }""",
        f"#{prefix}player",
    )


def test_upload_enhance_download(page, tmp_path):
    noisy, rate = soundfile.read(ROOT / "samples" / "noisy.wav", dtype="float32")
    noisy = np.tile(noisy, 3)  # long enough to see the progress
    soundfile.write(tmp_path / "noisy.wav", noisy, rate)
    upload(page, tmp_path / "noisy.wav")
    page.get_by_text("Best (12 evaluations)").click()
    page.get_by_role("button", name="Enhance", exact=True).click()
    progress = page.locator("#status").get_by_text(re.compile(r"Enhancing - \d+"))
    progress.wait_for()
    screenshot(page, "progress")
    assert "Done: 23.0 s of audio" in status(page, "done")
    wait_for(page.get_by_role("button", name="Enhance", exact=True).is_enabled)
    wait_for(page.locator("#cancel").is_disabled)
    facts = page.locator("#facts").inner_text()
    for text in ("23.0 s, 16 kHz, mono", "ddim, steps: 1, estimates: 12", "12 per window", "times real time"):
        assert text in facts
    with page.expect_download() as started:
        page.get_by_role("button", name="Download noisy-enhanced.wav").click()
    started.value.save_as(tmp_path / "enhanced.wav")
    enhanced, rate = soundfile.read(tmp_path / "enhanced.wav", dtype="float32")
    assert soundfile.info(tmp_path / "enhanced.wav").subtype == "PCM_16"
    expected = SpeechEnhancementPipeline.from_pretrained(DEFAULT_CHECKPOINT)(noisy, rate, 1, 12).audios
    np.testing.assert_allclose(enhanced, expected, atol=1e-3)


def test_example_at_a_click(page):
    page.get_by_role("button", name="street").click()
    assert "6.1 s of audio" in status(page, "done")
    assert "44.1 kHz, stereo" in page.locator("#facts").inner_text()
    page.get_by_role("button", name="Download street-enhanced.flac").wait_for()
    picture = page.locator("#player img")
    assert picture.evaluate("(image) => image.decode().then(() => image.naturalWidth)") > 800
    assert "gain" in picture.get_attribute("alt")
    page.wait_for_timeout(700)
    screenshot(page, "enhanced")


def test_switching_keeps_the_position_and_the_loudness(page):
    page.get_by_role("button", name="workshop").click()
    status(page, "done")
    original, enhanced = (page.get_by_role("radio", name=name) for name in ("Original", "Enhanced"))
    assert enhanced.get_attribute("aria-checked") == "true"
    page.locator("#player .play").click()
    wait_for(lambda: play_state(page)["times"][1] > 0.7)
    state = play_state(page)
    assert state["muted"] == [True, False]
    assert abs(state["times"][0] - state["times"][1]) < 0.3
    original.click()
    after = play_state(page)
    assert after["muted"] == [False, True]
    assert after["paused"] == [False, False]
    assert after["times"][0] > state["times"][1] - 0.1
    assert abs(after["times"][0] - after["times"][1]) < 0.3
    assert original.get_attribute("aria-checked") == "true"
    page.locator("#player .play").click()
    assert play_state(page)["paused"] == [True, True]
    left = page.locator("#player .playhead").evaluate("(line) => line.offsetLeft")
    page.get_by_label("Position in seconds").fill("5")
    assert play_state(page)["times"] == [5, 5]
    assert page.locator("#player .playhead").evaluate("(line) => line.offsetLeft") > left + 300

    urls = page.evaluate("() => [...document.querySelectorAll('#player audio')].map((audio) => audio.src)")
    levels = [active_level_db(page.request.get(url).body()) for url in urls]
    assert levels[0] == pytest.approx(levels[1], abs=0.1)


def active_level_db(file: bytes) -> float:
    audio, rate = soundfile.read(io.BytesIO(file), dtype="float32")
    return float(20 * np.log10(active_level(torch.from_numpy(audio)[None], rate)))


def test_cancel_stops_the_computing(page, server, tmp_path):
    """Unstopped it would take minutes of the processor."""
    soundfile.write(tmp_path / "minute.wav", noise(16000 * 60), 16000)
    upload(page, tmp_path / "minute.wav")
    page.get_by_role("button", name="Advanced").click()
    page.get_by_label("number input for Steps").fill("50")
    page.get_by_role("button", name="Enhance", exact=True).click()
    page.locator("#status").get_by_text(re.compile(r"Enhancing - \d+")).wait_for()
    page.wait_for_timeout(500)
    at_click = computed(server)
    page.locator("#cancel").click()
    assert "Stopped" in status(page, "hint")
    wait_for(lambda: server_rests(server), 60)
    assert computed(server) - at_click < 5.0
    page.get_by_label("number input for Steps").fill("1")
    page.get_by_role("button", name="Enhance", exact=True).click()
    assert "60.0 s of audio" in status(page, "done")  # the model is free again
    assert "Traceback" not in server.printed


def computed(server) -> float:
    """Seconds of processor that the server has used."""
    times = psutil.Process(server.process.pid).cpu_times()
    return times.user + times.system


def server_rests(server) -> bool:
    before = computed(server)
    time.sleep(1)
    return computed(server) - before < 0.1


def test_after_a_refusal_the_page_is_ready_again(page):
    """Also for one that comes before our own function runs."""
    page.get_by_role("button", name="Advanced").click()
    page.get_by_label("Seed").first.fill("1.5")
    enhance = page.get_by_role("button", name="Enhance", exact=True)
    enhance.click()
    page.get_by_text("Seed must be a whole number of at least 0, got 1.5.").wait_for()
    wait_for(enhance.is_enabled)
    assert page.locator("#cancel").is_disabled()
    page.get_by_label("Seed").first.fill("2")
    enhance.click()
    assert status(page, "error").startswith("There is no recording yet")


def test_presets_fill_the_advanced_settings(page):
    page.get_by_role("button", name="Advanced").click()
    estimates = page.get_by_label("number input for Estimates")
    assert estimates.input_value() == "3", "balanced is the default"
    page.get_by_text("Best (12 evaluations)").click()
    wait_for(lambda: estimates.input_value() == "12")
    page.get_by_text("Fast (1 evaluation)").click()
    wait_for(lambda: estimates.input_value() == "1")


def test_compare_schedulers(page):
    page.get_by_role("button", name="telephone").click()
    status(page, "done")
    page.get_by_role("tab", name="Compare schedulers").click()
    page.get_by_role("button", name="Compare").click()
    assert "3 settings" in status(page, "done", "compare-")
    rows = page.locator("#compare-table tr").all_inner_texts()
    assert [row.split("\t")[:2] for row in rows[1:]] == [["any scheduler, 1 step", "1"], ["ddim, 4 steps", "4"], ["euler-ancestral, 4 steps", "4"]]  # fmt: skip
    assert page.locator("#compare-player").get_by_role("radio").all_inner_texts() == ["Original", "any scheduler, 1 step", "ddim, 4 steps", "euler-ancestral, 4 steps"]  # fmt: skip
    assert len(play_state(page, "compare-")["times"]) == 4
    page.wait_for_timeout(700)
    screenshot(page, "compare")
    for box in ("ddim", "euler-ancestral"):
        page.get_by_label(box, exact=True).uncheck()
    page.get_by_role("button", name="Compare").click()
    assert "at least two settings" in status(page, "error", "compare-")


def test_recording_from_the_microphone(page):
    page.get_by_label("Record audio").click()
    page.get_by_role("button", name="Record", exact=True).click()
    page.wait_for_timeout(2500)
    with page.expect_response(re.compile("/upload")):
        page.get_by_role("button", name="Stop").first.click()
    page.wait_for_timeout(500)
    page.get_by_role("button", name="Enhance", exact=True).click()
    assert "s of audio" in status(page, "done")
    page.get_by_role("button", name=re.compile(r"Download .*\.wav")).wait_for()


def test_without_a_recording(page):
    page.get_by_role("button", name="Enhance", exact=True).click()
    assert "There is no recording yet" in status(page, "error")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone(browser, server, scheme):
    options = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "color_scheme": scheme}
    with visit(browser, server, **options, has_touch=True, is_mobile=True) as page:
        page.get_by_role("button", name="street").tap()
        status(page, "done")
        page.get_by_role("radio", name="Original").tap()
        page.wait_for_timeout(700)
        assert page.evaluate("() => document.documentElement.scrollWidth") <= 390
        assert page.get_by_role("radio", name="Original").get_attribute("aria-checked") == "true"
        colour = "(element) => getComputedStyle(element).backgroundColor"
        assert page.get_by_role("radio", name="Original").evaluate(colour) == page.locator("#enhance").evaluate(colour)
        for button in page.locator("#player button, #enhance, #cancel").all():
            assert button.bounding_box()["height"] >= 40
        screenshot(page, f"phone-{scheme}")
        page.get_by_role("tab", name="Compare schedulers").tap()
        page.get_by_role("button", name="Compare").tap()
        status(page, "done", "compare-")
        assert page.evaluate("() => document.documentElement.scrollWidth") <= 390
        page.wait_for_timeout(700)
        screenshot(page, f"phone-compare-{scheme}")


def test_by_keyboard_alone(page):
    def focused() -> str:
        return page.evaluate("() => document.activeElement.innerText || document.activeElement.ariaLabel || ''")

    def tab_to(text: str) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            if text in focused():
                return
        raise AssertionError(f"{text!r} cannot be reached by Tab")

    tab_to("workshop")
    page.keyboard.press("Enter")
    status(page, "done")
    tab_to("Enhanced")
    outline = page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    page.keyboard.press("ArrowLeft")
    assert focused() == "Original"
    assert play_state(page)["muted"] == [False, True]
    page.keyboard.press("2")
    assert play_state(page)["muted"] == [True, False]
    tab_to("Play")
    page.keyboard.press("Space")
    wait_for(lambda: play_state(page)["times"][1] > 0.2)
    page.keyboard.press("Space")
    assert play_state(page)["paused"] == [True, True]
    tab_to("Position")
    page.keyboard.press("Home")
    assert play_state(page)["times"] == [0, 0]
    tab_to("Download")


def test_about_holds_the_model_card(page):
    page.get_by_role("tab", name="About").click()
    page.get_by_role("heading", name="Limits").first.wait_for()
    page.get_by_role("heading", name="Training").wait_for()
