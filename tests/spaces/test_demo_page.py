"""The web demo as a visitor meets it, in a browser."""

import io
import re
import shutil
import subprocess
import time

import numpy as np
import psutil
import pytest
import soundfile
import torch
from conftest import ROOT, noise
from demo import CONTRASTS, browse, open_accordion, screenshot, serve, visit, wait_for

from speech_enhance import DEFAULT_CHECKPOINT, SpeechEnhancementPipeline
from speech_enhance.mel.spectrogram import active_level

pytestmark = pytest.mark.slow
PROGRESS = re.compile(r"Enhancing.* - \d+")


@pytest.fixture(scope="module")
def server(tmp_path_factory, tiny_model):
    """A page with a second model that has no dial for reverberation."""
    # one thread computes: threads that wait for each other would burn the time that a test below counts
    with serve(tmp_path_factory.mktemp("demo"), OMP_NUM_THREADS="1", LARGE_MODEL_ID=str(tiny_model)) as server:
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


def open_advanced(page) -> None:
    open_accordion(page, "Advanced", "number input for Estimates")


def ask_for_estimates(page, number: int) -> None:
    """Set the number of estimates, so that the computing takes a while."""
    open_advanced(page)
    page.get_by_label("number input for Estimates").fill(str(number))
    page.get_by_label("number input for Estimates").press("Tab")
    page.get_by_role("button", name="Advanced").click()


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
    soundfile.write(tmp_path / "noisy.wav", noisy, rate)
    upload(page, tmp_path / "noisy.wav")
    ask_for_estimates(page, 12)
    page.get_by_role("button", name="Enhance", exact=True).click()
    progress = page.locator("#status").get_by_text(PROGRESS)
    progress.wait_for()
    screenshot(page, "progress")
    assert "Done: 7.7 s of audio" in status(page, "done")
    wait_for(page.get_by_role("button", name="Enhance", exact=True).is_enabled)
    wait_for(page.locator("#cancel").is_disabled)
    facts = page.locator("#facts").text_content()
    for text in ("7.7 s, 16 kHz, mono", "ddim, steps: 1, estimates: 12", "12 per window", "times real time"):
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
    assert "44.1 kHz, stereo" in page.locator("#facts").text_content()
    page.get_by_role("button", name="Download street-enhanced.flac").wait_for()
    picture = page.locator("#player img")
    assert picture.evaluate("(image) => image.decode().then(() => image.naturalWidth)") > 800
    assert "gain" in picture.get_attribute("alt")
    names = ["Original", "Enhanced", "Removed"]
    assert [
        choice.get_attribute("aria-label")
        for choice in page.get_by_role("radio").all()
        if choice.locator("xpath=ancestor::section").count()
    ] == names
    assert page.locator("#player .lane span").all_inner_texts() == names
    heights = page.locator("#player .lane").evaluate_all("(lanes) => lanes.map((lane) => lane.offsetHeight)")
    assert len(set(heights)) == 1
    for label, wave in zip(*(page.locator(f"#player .lane {part}").all() for part in ("span", "svg")), strict=True):
        box = label.bounding_box()
        assert box["y"] + box["height"] <= wave.bounding_box()["y"] + 1, "a name hides no sound"
    page.wait_for_timeout(700)
    screenshot(page, "enhanced")


def test_switching_keeps_the_position_and_the_loudness(page):
    page.get_by_role("button", name="workshop").click()
    status(page, "done")
    original, enhanced = (page.get_by_role("radio", name=name, exact=True) for name in ("Original", "Enhanced"))
    assert enhanced.get_attribute("aria-checked") == "true"
    page.locator("#player .play").click()
    wait_for(lambda: play_state(page)["times"][1] > 0.7)
    state = play_state(page)
    assert state["muted"] == [True, False, True]
    assert max(state["times"]) - min(state["times"]) < 0.3
    original.click()
    after = play_state(page)
    assert after["muted"] == [False, True, True]
    assert after["paused"] == [False, False, False]
    assert after["times"][0] > state["times"][1] - 0.1
    assert max(after["times"]) - min(after["times"]) < 0.3
    assert original.get_attribute("aria-checked") == "true"
    page.locator("#player .play").click()
    assert play_state(page)["paused"] == [True, True, True]
    left = page.locator("#player .playhead").evaluate("(line) => line.offsetLeft")
    page.get_by_label("Position in seconds").fill("5")
    assert play_state(page)["times"] == [5, 5, 5]
    assert page.locator("#player .playhead").evaluate("(line) => line.offsetLeft") > left + 200
    lane = page.locator("#player .lane").nth(2)
    width = lane.bounding_box()["width"]
    lane.click(position={"x": width / 2, "y": 20})  # a click into a waveform seeks and switches
    state = play_state(page)
    assert state["muted"] == [True, True, False]
    assert state["times"] == pytest.approx([state["durations"][0] / 2] * 3, abs=0.1)

    urls = page.evaluate("() => [...document.querySelectorAll('#player audio')].map((audio) => audio.src)")
    levels = [active_level_db(page.request.get(url).body()) for url in urls]
    assert levels[0] == pytest.approx(levels[1], abs=0.1)


def active_level_db(file: bytes) -> float:
    audio, rate = soundfile.read(io.BytesIO(file), dtype="float32")
    return float(20 * np.log10(active_level(torch.from_numpy(audio)[None], rate)))


def test_cancel_stops_the_computing(page, server, tmp_path):
    """Unstopped it would take minutes of the processor."""
    soundfile.write(tmp_path / "long.wav", noise(16000 * 30), 16000)
    upload(page, tmp_path / "long.wav")
    open_advanced(page)
    page.get_by_label("number input for Steps").fill("50")
    page.get_by_role("button", name="Enhance", exact=True).click()
    page.locator("#status").get_by_text(PROGRESS).wait_for()
    page.wait_for_timeout(500)
    at_click = computed(server)
    page.locator("#cancel").click()
    assert "Stopped" in status(page, "hint")
    wait_for(lambda: server_rests(server), 60)
    assert computed(server) - at_click < 5.0
    page.get_by_label("number input for Steps").fill("1")
    page.get_by_role("button", name="Enhance", exact=True).click()
    assert "30.0 s of audio" in status(page, "done")  # the model is free again
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
    """Also for one that comes before our own function runs; the status says what was wrong."""
    open_advanced(page)
    enhance = page.get_by_role("button", name="Enhance", exact=True)

    def refused(seed: str, why: str) -> bool:  # a busy browser may click before it has sent the new number
        page.get_by_label("Seed").first.fill(seed)
        page.keyboard.press("Tab")
        enhance.click()
        return why in status(page, "error")

    wait_for(lambda: refused("1.5", "Seed must be a whole number of at least 0, got 1.5."))
    assert page.locator("#status").get_by_text("Error", exact=True).is_hidden()
    wait_for(enhance.is_enabled)
    assert page.locator("#cancel").is_disabled()
    wait_for(lambda: refused("2", "There is no recording yet"))


def test_the_dial_for_reverberation_comes_with_its_model(page):
    open_advanced(page)
    models, dial = page.locator("#model"), page.locator("#dereverb")
    value = page.get_by_label("number input for Less reverberation")
    dial.wait_for()
    value.fill("0.5")
    page.keyboard.press("Tab")
    models.get_by_role("radio", name="large").check()
    wait_for(dial.is_hidden)
    models.get_by_role("radio", name="standard").check()
    dial.wait_for()
    assert value.input_value() == "0", "what another model lacks is not kept"
    value.fill("1")
    page.keyboard.press("Tab")
    page.get_by_role("button", name="telephone").click()
    assert "s of audio" in status(page, "done")
    screenshot(page, "dereverb")


def test_presets_fill_the_advanced_settings_and_tell_their_seconds(page, tmp_path):
    open_advanced(page)
    estimates = page.get_by_label("number input for Estimates")
    assert estimates.input_value() == "3", "balanced is the default"
    for preset, number in (("Fast", "1"), ("Balanced", "3")):
        page.get_by_role("radio", name=preset).check()
        wait_for(lambda number=number: estimates.input_value() == number)
    for number, marked in (("2", 0), ("1", 1)):  # what no preset has unmarks them
        estimates.fill(number)
        page.keyboard.press("Tab")
        wait_for(lambda marked=marked: page.locator("#preset input:checked").count() == marked)
    assert page.get_by_role("radio", name="Fast").is_checked()
    preset = page.locator("#preset")
    assert "for most" in preset.inner_text(), "there is no recording yet"
    soundfile.write(tmp_path / "minutes.wav", noise(8000 * 150), 8000)
    upload(page, tmp_path / "minutes.wav")
    wait_for(lambda: re.findall(r"(?:about|under) (\d+) (s|min)", preset.inner_text()))
    costs = [
        int(count) * (60 if unit == "min" else 1)
        for count, unit in re.findall(r"(?:about|under) (\d+) (s|min)", preset.inner_text())
    ]
    assert len(costs) == 2
    assert costs[1] > 1.5 * costs[0]
    # what is longer than half a minute has a preview
    page.get_by_label(re.compile("Preview: only the 10 s")).check()
    page.get_by_role("button", name="Enhance", exact=True).click()
    assert "10.0 s of audio" in status(page, "done")
    page.get_by_role("button", name="Download minutes-preview-enhanced.wav").wait_for()


def test_a_file_that_is_no_sound_is_refused_in_one_sentence(page):
    message = page.locator("#intake-message")
    files = page.locator("#recording input[type=file]").first
    files.set_input_files({"name": "notes.txt", "mimeType": "text/plain", "buffer": b"my notes"})
    message.wait_for()
    assert message.inner_text().startswith("“notes.txt” is no sound file. This page takes WAV, FLAC, Ogg")
    assert "audio/" not in page.locator("body").inner_text()
    with page.expect_response(re.compile("/upload")):  # browsers call a video what may be a voice memo
        files.set_input_files({"name": "memo.m4a", "mimeType": "video/mp4", "buffer": b"no sound"})
    assert message.is_hidden()


@pytest.mark.parametrize("size", [(1280, 800), (390, 844)])
def test_everything_that_is_needed_is_in_sight(browser, server, tmp_path, size):
    """The progress stands beside the button, and an example plays at once; on a desk the result is on the same
    screen."""
    width, height = size
    phone = {"has_touch": True, "is_mobile": True} if width < 600 else {}
    with visit(browser, server, viewport={"width": width, "height": height}, **phone) as page:
        page.get_by_role("button", name="Hear an example").click()
        wait_for(lambda: max(play_state(page)["times"]) > 0.1, 5)
        assert play_state(page)["muted"] == [False, True, True]
        page.get_by_label("Position in seconds").fill("5")
        wait_for(lambda: play_state(page)["muted"] == [True, False, True], 5)
        page.locator("#player .play").click()
        assert page.locator("#player kbd").first.is_visible() == (width > 600)
        if width > 600:
            assert page.evaluate("() => document.documentElement.scrollHeight") <= height
        soundfile.write(tmp_path / "a.wav", noise(16000 * 20), 16000)
        upload(page, tmp_path / "a.wav")
        ask_for_estimates(page, 12)
        page.get_by_role("button", name="Enhance", exact=True).click()
        progress = page.locator("#status").get_by_text(PROGRESS)
        progress.wait_for()
        box, button = progress.bounding_box(), page.locator("#enhance").bounding_box()
        assert button["y"] < box["y"] < button["y"] + button["height"] + 60
        assert 0 <= box["y"] < height - 20
        page.locator("#cancel").click()
        status(page, "hint")
        assert page.evaluate("() => document.documentElement.scrollWidth") <= width


def test_a_call_of_the_api_can_be_copied(browser, server):
    with visit(browser, server, permissions=["clipboard-read", "clipboard-write"]) as page:
        page.get_by_role("tab", name="API").click()
        page.get_by_role("button", name="Copy").nth(1).click()
        wait_for(lambda: page.get_by_text("Copied").is_visible())
        text = page.evaluate("() => navigator.clipboard.readText()")
        assert text.startswith(f"server={server.url}/gradio_api\n")
        page.get_by_role("button", name="Copy").first.click()
        wait_for(lambda: f'Client("{server.url}")' in page.evaluate("() => navigator.clipboard.readText()"))
    if shutil.which("bash") and shutil.which("curl"):
        folder = server.files.parent
        shutil.copy(ROOT / "samples" / "noisy.wav", folder / "noisy.wav")
        subprocess.run(["bash", "-c", text], cwd=folder, check=True, timeout=120)
        assert soundfile.info(folder / "enhanced.wav").frames == soundfile.info(folder / "noisy.wav").frames


def test_compare(page):
    page.get_by_role("button", name="telephone").click()
    status(page, "done")
    page.get_by_role("tab", name="Compare").click()
    page.get_by_role("button", name="Compare", exact=True).click()
    assert "3 settings" in status(page, "done", "compare-")
    rows = page.locator("#compare-table tr").all_inner_texts()
    names = ["Fast", "Balanced", "euler-ancestral, 4 steps, 1 estimate"]
    assert [row.split("\t")[:2] for row in rows[1:]] == [[names[0], "1"], [names[1], "3"], [names[2], "4"]]
    choices = page.locator("#compare-player").get_by_role("radio").all()
    assert [choice.get_attribute("aria-label") for choice in choices] == ["Original", *names]
    assert len(play_state(page, "compare-")["times"]) == 4
    page.wait_for_timeout(700)
    screenshot(page, "compare")
    open_accordion(page, "Schedulers, steps and estimates", "euler-ancestral")
    page.get_by_label("euler-ancestral", exact=True).uncheck()
    page.locator("#compare-presets").get_by_label("Balanced").uncheck()
    page.get_by_role("button", name="Compare", exact=True).click()
    assert "at least two settings" in status(page, "error", "compare-")
    page.locator("#compare-dereverb").get_by_label("1", exact=True).check()
    page.get_by_role("button", name="Compare", exact=True).click()
    assert "2 settings" in status(page, "done", "compare-")
    rows = page.locator("#compare-table tr").all_inner_texts()
    assert [row.split("\t")[0] for row in rows[1:]] == ["Fast", "Fast, less reverberation 1"]
    screenshot(page, "compare-dereverb")


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
        page.get_by_role("radio", name="Original", exact=True).tap()
        page.wait_for_timeout(700)
        assert page.evaluate("() => document.documentElement.scrollWidth") <= 390
        assert page.get_by_role("radio", name="Original", exact=True).get_attribute("aria-checked") == "true"
        colour = "(element) => getComputedStyle(element).backgroundColor"
        assert page.get_by_role("radio", name="Original", exact=True).evaluate(colour) == page.locator(
            "#enhance"
        ).evaluate(colour)
        for button in page.locator("#player button, #enhance, #cancel").all():
            assert button.bounding_box()["height"] >= 40
        screenshot(page, f"phone-{scheme}")
        if scheme == "dark":  # only colours differ
            return
        page.get_by_role("tab", name="Compare").tap()
        page.locator("#compare").tap()
        status(page, "done", "compare-")
        assert page.evaluate("() => document.documentElement.scrollWidth") <= 390
        table = page.locator("#compare-table").bounding_box()
        for cell in page.locator("#compare-table td").all():
            assert cell.bounding_box()["x"] + cell.bounding_box()["width"] <= table["x"] + table["width"]
        page.wait_for_timeout(700)
        screenshot(page, "phone-compare")


def test_by_keyboard_alone(page):
    def focused() -> str:
        return page.evaluate("() => document.activeElement.innerText || document.activeElement.ariaLabel || ''")

    def tab_to(text: str) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            if focused().startswith(text):
                return
        raise AssertionError(f"{text!r} cannot be reached by Tab")

    tab_to("Workshop")
    page.keyboard.press("Enter")
    status(page, "done")
    tab_to("Enhanced")
    outline = page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    page.keyboard.press("ArrowLeft")
    assert focused().startswith("Original")
    assert play_state(page)["muted"] == [False, True, True]
    page.keyboard.press("2")
    assert play_state(page)["muted"] == [True, False, True]
    page.keyboard.press("Shift+Tab")
    assert "Play" in focused()
    page.keyboard.press("Space")
    wait_for(lambda: play_state(page)["times"][1] > 0.2)
    page.keyboard.press("Space")
    assert play_state(page)["paused"] == [True, True, True]
    tab_to("Position")
    page.keyboard.press("Home")
    assert play_state(page)["times"] == [0, 0, 0]
    tab_to("Download")


def test_about_is_for_a_visitor(page):
    """A screen of text, without a broken link."""
    page.get_by_role("tab", name="About").click()
    page.get_by_role("heading", name="What it does not do").wait_for()
    article = page.locator(".about:visible")
    assert article.bounding_box()["height"] < 900
    assert "mel spectrogram" in article.locator("svg[role=img]").get_attribute("aria-label")
    assert all(link.get_attribute("href").startswith("https://") for link in article.locator("a").all())


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(browser, server, scheme):
    """At least 4.5 to 1, as WCAG AA asks for."""
    with visit(browser, server, color_scheme=scheme) as page:
        page.wait_for_timeout(300)
        assert page.evaluate(CONTRASTS) == []
