"""The tab Live as a visitor meets it: a browser whose microphone hears a recording of noisy speech."""

import base64
import json
import threading

import httpx
import numpy as np
import pytest
from conftest import ROOT, noise
from demo import CONTRASTS, browse, screenshot, send, serve, visit, wait_for

from speech_enhance import DEFAULT_CHECKPOINT, SpeechEnhancementPipeline

pytestmark = pytest.mark.slow

# What the microphone gives and what the page plays, in the same instants: one recorder hears both, in the thread of the
# sound, so a page that is busy loses nothing.
RECORDER = """
const MODULE = `registerProcessor("recorder", class extends AudioWorkletProcessor {
  process([{ 0: input = new Float32Array(128) }, { 0: output = new Float32Array(128) }]) {
    this.port.postMessage({ input, output });
    return true;
  }
})`;
const { addModule } = AudioWorklet.prototype, { connect } = AudioNode.prototype, recorders = new Map();
window.recorded = { input: [], output: [] };
AudioWorklet.prototype.addModule = async function (...rest) {
  await addModule.call(this, URL.createObjectURL(new Blob([MODULE], { type: "text/javascript" })));
  return addModule.apply(this, rest);
};
function recorderOf(context) {
  if (!recorders.has(context)) {
    const options = { numberOfInputs: 2, channelCount: 1, channelCountMode: "explicit" };
    const recorder = new AudioWorkletNode(context, "recorder", options);
    recorder.port.onmessage = ({ data: { input, output } }) => {
      window.recorded.input.push(input);
      window.recorded.output.push(output);
    };
    connect.call(recorder, context.destination);
    recorders.set(context, recorder);
  }
  return recorders.get(context);
}
AudioNode.prototype.connect = function (to, ...rest) {
  if (to === this.context.destination) connect.call(this, recorderOf(this.context), 0, 1);
  if (this instanceof MediaStreamAudioSourceNode) connect.call(this, recorderOf(this.context), 0, 0);
  return connect.call(this, to, ...rest);
};
window.taken = () => {
  const text = (blocks) => {
    const samples = new Int16Array(blocks.flatMap((block) => Array.from(block, (value) => Math.round(value * 32767))));
    return new Promise((resolve) => {
      const reader = new FileReader();
      reader.onload = () => resolve(reader.result.split(",")[1]);
      reader.readAsDataURL(new Blob([samples]));
    });
  };
  const { input, output } = window.recorded;
  window.recorded = { input: [], output: [] };
  return Promise.all([text(input), text(output)]);
};
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory, tiny_model):
    """A server that a busy machine can keep going: what it makes of the sound does not matter to most tests."""
    with serve(tmp_path_factory.mktemp("demo"), MODEL_ID=str(tiny_model), MAX_LIVE="1") as server:
        yield server


@pytest.fixture(scope="module")
def browser():
    with browse(f"--use-file-for-fake-audio-capture={ROOT / 'samples' / 'noisy.wav'}") as browser:
        yield browser


def open_tab(page) -> None:
    page.get_by_role("tab", name="Live").click()
    page.locator("#live .live-start").wait_for()


def says(page, text: str) -> None:
    page.locator("#live .live-status", has_text=text).wait_for()


def facts(page) -> dict:
    return json.loads(page.locator("#live [data-facts], #live[data-facts]").first.get_attribute("data-facts") or "{}")


def taken(page) -> tuple[np.ndarray, np.ndarray]:
    """What went in and out since the last call."""
    return tuple(np.frombuffer(base64.b64decode(text), "<i2") / 32768 for text in page.evaluate("window.taken()"))


def levels(audio: np.ndarray, rate: int) -> np.ndarray:
    """Level of every 20 ms in dB."""
    frames = audio[: len(audio) // (rate // 50) * (rate // 50)].reshape(-1, rate // 50)
    return 10 * np.log10(np.mean(frames**2, axis=1) + 1e-10)


def delay_between(one: np.ndarray, two: np.ndarray) -> int:
    """Samples by which `two` is later than `one`."""
    length = 2 ** int(np.ceil(np.log2(len(one) + len(two))))
    match = np.fft.irfft(np.fft.rfft(two, length) * np.conj(np.fft.rfft(one, length)))
    return int(np.argmax(match[: len(two)]))


def stretch(page, milliseconds: int) -> tuple[np.ndarray, np.ndarray, dict]:
    """What goes in and out while the delay stays the same, and the facts after it. A busy machine may never get there:
    the delay grows at each gap, and falls again where the stock was too large."""
    for _ in range(4):
        page.wait_for_timeout(1500)
        begin, _ = facts(page), taken(page)
        page.wait_for_timeout(milliseconds)
        sound, played = taken(page)
        page.wait_for_timeout(500)  # the page shows its facts every 400 ms
        shown = facts(page)
        if page.locator("#live .live-status.error").count():
            break
        if shown["gaps"] == begin["gaps"] and shown["way_ms"] == pytest.approx(begin["way_ms"], abs=0.01):
            return sound, played, shown
    pytest.skip(f"this machine is too busy for live sound: {shown}")


def test_speech_comes_back_with_less_noise_and_the_delay_that_is_shown(browser, tmp_path):
    with serve(tmp_path) as server, visit(browser, server) as page:
        page.add_init_script(RECORDER)
        page.reload()
        open_tab(page)
        page.get_by_role("radio", name="Quality").check()
        rate = page.evaluate("new AudioContext().sampleRate")
        delay = (
            1000 * SpeechEnhancementPipeline.from_pretrained(DEFAULT_CHECKPOINT).live(rate, "quality").latency / rate
        )
        assert f"Quality: {delay:.0f} ms" in page.locator("#live-latency").inner_text()
        page.locator("#live .live-start").click()
        says(page, "Speak: you hear yourself")
        wait_for(lambda: page.locator("#live .live-sum").inner_text() != "–")
        sound, played, shown = stretch(page, 8000)  # the recording has 7.7 s
        screenshot(page, "live")
        assert shown["delay_ms"] == pytest.approx(delay, abs=0.01)
        assert page.locator("#live .live-model").inner_text() == f"{delay:.0f} ms"
        measured = 1000 * delay_between(sound, played) / rate
        print(f"measured {measured:.0f} ms, shown {shown}")
        assert measured == pytest.approx(shown["delay_ms"] + shown["way_ms"], abs=40)
        before, after = levels(sound, rate), levels(played, rate)
        assert np.percentile(after, 10) < np.percentile(before, 10) - 8, "the noise in the pauses"
        assert np.percentile(after, 95) == pytest.approx(np.percentile(before, 95), abs=3), "the speech"

        page.get_by_label("Hear the original").check()
        says(page, "You hear the original")
        page.wait_for_timeout(int(measured))
        sound, played, _ = stretch(page, 2500)
        shift = delay_between(sound, played)
        assert np.corrcoef(sound[: len(sound) - shift], played[shift:])[0, 1] > 0.95
        page.locator("#live .live-start").click()
        says(page, "Stopped.")
        assert "Traceback" not in server.printed
        assert not server.files_left(), "nothing is stored"


class Caller:
    """A visitor's page without a browser: the same requests, from the address `visitor`."""

    def __init__(self, server, session: str, visitor: str):
        self.server, self.session, self.visitor = server, session, visitor
        self.messages, self.listening = [], True
        functions = send(server, "GET", "/config", visitor).json()["dependencies"]
        self.function = next(item["id"] for item in functions if [event for _, event in item["targets"]] == ["stream"])

    def post(self, path: str, **piece):
        piece = {"audio": "", "rate": 48000, "channels": 1, "number": len(self.messages)} | piece
        call = {"fn_index": self.function, "session_hash": self.session, "data": [piece, "low", None]}
        return send(self.server, "POST", f"/gradio_api/{path}", self.visitor, json=call)

    def start(self) -> str:
        """Begin a session; returns what the server refuses it with, else an empty text."""
        answer = self.post("queue/join", first=True)
        if answer.status_code != 200:
            return answer.json()["detail"]
        self.event, self.listening = answer.json()["event_id"], True
        threading.Thread(target=self.listen, daemon=True).start()
        return ""

    def listen(self) -> None:
        with httpx.stream(
            "GET",
            f"{self.server.url}/gradio_api/queue/data?session_hash={self.session}",
            headers={"X-Forwarded-For": self.visitor},
            timeout=60,
        ) as stream:
            for line in stream.iter_lines():
                if line.startswith("data:"):
                    self.messages.append(json.loads(line[5:]))
                if not self.listening:
                    return

    def answers(self) -> list[dict]:
        return [message["output"]["data"][0] for message in self.messages if message["msg"] == "process_streaming"]


def test_one_place_for_one_visitor_after_the_other(server):
    first, tab = Caller(server, "first", "192.0.2.1"), Caller(server, "tab", "192.0.2.1")
    second = Caller(server, "second", "192.0.2.2")
    assert first.start() == ""
    wait_for(first.answers)
    assert "You have a live session already" in tab.start()
    assert "All places for live sound are taken" in second.start()
    sound = base64.b64encode(noise(4800).astype("<i2").tobytes()).decode()
    assert first.post(f"stream/{first.event}", audio=sound).status_code == 200
    wait_for(lambda: len(first.answers()) == 2)
    assert len(first.answers()[1]["audio"]) == len(sound)
    first.post(f"stream/{first.event}/close")
    wait_for(lambda: second.start() == "")
    wait_for(second.answers)
    second.post(f"stream/{second.event}", audio="?")  # a refusal ends the session
    wait_for(lambda: any("damaged" in json.dumps(message) for message in second.messages))
    wait_for(lambda: first.start() == "")
    first.listening = False  # gone without a word
    first.post(f"stream/{first.event}")
    wait_for(lambda: second.start() == "", 60)
    second.post(f"stream/{second.event}/close")
    assert send(server, "POST", f"/gradio_api/stream/{second.event}", json={"data": "x" * 2**20}).status_code == 413
    assert "Traceback" not in server.printed


def test_who_finds_no_place_is_told_so(browser, server):
    """In the page, of which the next session then begins as if nothing had been."""
    other = Caller(server, "other", "192.0.2.3")
    with visit(browser, server) as page:
        open_tab(page)
        wait_for(lambda: other.start() == "", 60)
        page.locator("#live .live-start").click()
        says(page, "All places for live sound are taken at the moment. Try again in a few minutes.")
        assert page.locator("#live .live-start").inner_text() == "Start"
        other.post(f"stream/{other.event}/close")
        for _ in range(2):
            page.locator("#live .live-start").click()
            says(page, "ou hear")
            page.locator("#live .live-start").click()
            says(page, "Stopped.")
        page.locator("#live .live-start").click()
        says(page, "ou hear")
    wait_for(lambda: other.start() == "", 60)  # the page was closed without a word
    other.post(f"stream/{other.event}/close")


def test_a_microphone_that_is_refused_or_vanishes(browser, server):
    with visit(browser, server) as page:
        open_tab(page)
        page.evaluate(
            """() => { const real = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
            window.giveMicrophone = () => (navigator.mediaDevices.getUserMedia = async (wanted) => {
              window.microphone = await real(wanted); return window.microphone; });
            navigator.mediaDevices.getUserMedia = async () => { throw new DOMException("no", "NotAllowedError"); }; }"""
        )
        start = page.locator("#live .live-start")
        start.click()
        says(page, "The microphone was refused. Allow it for this page in the browser")
        assert start.inner_text() == "Start"
        page.evaluate("() => void window.giveMicrophone()")
        start.click()
        says(page, "ou hear")
        page.evaluate("microphone.getAudioTracks()[0].dispatchEvent(new Event('ended'))")
        says(page, "The microphone has gone. Plug it in")
        assert start.inner_text() == "Start"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone(browser, server, scheme):
    options = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "color_scheme": scheme}
    with visit(browser, server, **options, has_touch=True, is_mobile=True) as page:
        open_tab(page)
        assert page.evaluate("() => document.documentElement.scrollWidth") <= 390
        assert page.locator("#live .live-start").bounding_box()["height"] >= 40
        assert page.evaluate(CONTRASTS) == []
        screenshot(page, f"phone-live-{scheme}")
