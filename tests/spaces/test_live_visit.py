"""Live sound in the web demo, without a browser: what the page sends, what it gets back, and what is refused."""

import base64
import gc
import weakref
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
from conftest import noise
from live_tab import LiveHandlers
from live_visit import LiveVisit, Piece, read_piece, write_samples
from models import Models
from serving import Enhancer, Limits, RequestError

from speech_enhance import SpeechEnhancementPipeline


@pytest.fixture(scope="module")
def enhancer(tiny_model):
    return Enhancer(str(tiny_model), "cpu")


def value_of(audio, rate=48000, number=0, **marks) -> dict:
    """A piece as the page's script sends it."""
    return {"audio": write_samples(audio), "rate": rate, "channels": len(audio), "number": number, **marks}


def sound_of(answer: dict, channels: int = 1) -> np.ndarray:
    samples = np.frombuffer(base64.b64decode(answer["audio"]), "<i2")
    return samples.reshape(-1, channels).T / np.float32(32768)


def unhurried(visit: LiveVisit) -> LiveVisit:
    """A visit on a machine of which the load is never too high, however busy it is during the test."""
    visit._watch = lambda *arguments: None
    return visit


@pytest.fixture(autouse=True)
def quick_machine(monkeypatch):
    monkeypatch.setattr("live_visit.expected_load", lambda *arguments: 0.1)


@pytest.mark.slow
@pytest.mark.parametrize(("rate", "channels"), [(44100, 1), (48000, 2), (16000, 1)])
def test_pieces_of_any_size_give_what_the_pipeline_gives(enhancer, tiny_model, rate, channels):
    audio = noise(round(1.3 * rate), channels=channels).reshape(channels, -1)
    visit = unhurried(LiveVisit(enhancer.live, Limits()))
    edges = np.cumsum([0, 0, 1, 517, 9000, 64, rate // 2])
    pieces = np.split(audio, edges, axis=1)
    answers = [visit.hear(read_piece(value_of(piece, rate)), "low") for piece in pieces]
    heard = np.concatenate([sound_of(answer, channels) for answer in answers], axis=1)
    assert heard.shape == audio.shape
    live = SpeechEnhancementPipeline.from_pretrained(tiny_model).live(rate, "low")
    expected = live.process((np.round(audio * 32767) / 32768).astype(np.float32))
    begin = 9518 + rate // 30  # before, the original fades out: there was no enhanced sound for a whole piece
    np.testing.assert_allclose(heard[:, begin:], expected[:, begin:], atol=1e-4)
    assert {answer["delay_ms"] for answer in answers} == {round(1000 * live.latency / rate, 3)}
    assert not any(answer["slow"] or answer["end"] for answer in answers)


def test_16_bit_samples_go_there_and_back_unchanged():
    samples = np.array([[-32767, -1, 0, 1, 32767], [5, 4, 3, 2, 1]], np.int16)
    value = value_of(samples / np.float32(32767))
    assert np.array_equal(np.frombuffer(base64.b64decode(value["audio"]), "<i2").reshape(-1, 2).T, samples)
    assert read_piece(value).audio.shape == (2, 5)
    assert np.abs(read_piece(value_of(np.full((1, 3), 7.0))).audio).max() < 1  # never beyond full scale


def test_the_original_is_heard_with_the_same_delay(enhancer):
    visit, rate = unhurried(LiveVisit(enhancer.live, Limits())), 16000
    audio = noise(rate).reshape(1, -1)
    answer = visit.hear(read_piece(value_of(audio, rate, bypass=True)), "low")
    delay = round(answer["delay_ms"] * rate / 1000)
    np.testing.assert_allclose(sound_of(answer)[0, delay:], audio[0, :-delay], atol=1e-3)


def test_silence_stays_silence(enhancer):
    visit = unhurried(LiveVisit(enhancer.live, Limits()))
    for _ in range(3):
        assert not sound_of(visit.hear(read_piece(value_of(np.zeros((1, 24000)))), "low")).any()


def test_another_rate_or_latency_in_the_middle_begins_another_sound(enhancer):
    visit = unhurried(LiveVisit(enhancer.live, Limits()))
    delays = []
    for rate, channels, latency in [(48000, 1, "low"), (44100, 1, "low"), (44100, 2, "low"), (44100, 2, "quality")]:
        answer = visit.hear(read_piece(value_of(noise(4000, channels=channels).reshape(channels, -1), rate)), latency)
        assert sound_of(answer, channels).shape == (channels, 4000)
        delays.append(answer["delay_ms"])
    assert 140 < delays[0] < 170
    assert 300 < delays[3] < 330


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("sound", "own script"),
        ({}, "samples per second"),
        (value_of(np.zeros((1, 1)), rate=10**9), "1000000000 samples per second; 8000 to 192000"),
        (value_of(np.zeros((1, 1)), rate=48000.0), "8000 to 192000"),
        (value_of(np.zeros((3, 1))), "3 channels; 1 or 2"),
        (value_of(np.zeros((1, 48001))), "at most 1 s"),
        (value_of(np.zeros((1, 1))) | {"audio": "no base64!"}, "damaged"),
        (value_of(np.zeros((1, 1))) | {"audio": None}, "damaged"),
        (value_of(np.zeros((1, 1))) | {"audio": "AAAA"}, "damaged"),  # three bytes
        (value_of(np.zeros((1, 1)), number="one"), "numbered"),
    ],
)
def test_what_is_no_piece_of_sound_is_refused_in_a_sentence(value, sentence):
    with pytest.raises(RequestError, match=sentence):
        read_piece(value)


def test_a_session_ends_in_time_and_another_may_begin(enhancer, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("live_visit.time", SimpleNamespace(monotonic=lambda: now[0]))
    visit, piece = LiveVisit(enhancer.live, Limits(live_seconds=60)), read_piece(value_of(noise(4800).reshape(1, -1)))
    assert visit.hear(piece, "low")["end"] == ""
    now[0] += 61
    assert visit.hear(piece, "low") == {"number": 0, "audio": "", "end": "60 s are over; press Start to go on."}
    with pytest.raises(RequestError, match="has ended"):
        visit.hear(piece, "low")
    assert visit.hear(Piece(piece.audio, 48000, first=True), "low")["end"] == ""
    assert visit.hear(Piece(piece.audio, 48000, last=True), "low")["end"] == "Stopped."


def test_nobody_can_send_more_sound_than_time_passes(enhancer, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("live_visit.time", SimpleNamespace(monotonic=lambda: now[0]))
    visit, second = LiveVisit(enhancer.live, Limits()), read_piece(value_of(np.zeros((1, 16000)), 16000))
    for _ in range(5):
        visit.hear(second, "low")
    with pytest.raises(RequestError, match="More sound came than time has passed"):
        visit.hear(Piece(second.audio, 16000, first=True), "low")


def test_a_machine_that_is_too_slow_passes_the_original_on_and_tries_again(enhancer, monkeypatch):
    seconds_of_call = [1.0]
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr("live_visit.time", SimpleNamespace(monotonic=lambda: clock.now))
    visit, rate = LiveVisit(enhancer.live, Limits()), 16000
    piece = read_piece(value_of(noise(rate // 2).reshape(1, -1), rate))

    def hear() -> bool:
        clock.now += 0.5
        passage, _ = visit._find_passage(piece, "low")
        process = type(passage).process

        def slowly(block, bypass):
            clock.now += 0 if passage.resting else seconds_of_call[0]
            return process(passage, block, bypass)

        monkeypatch.setattr(passage, "process", slowly)
        return visit.hear(piece, "low")["slow"]

    slow = [hear() for _ in range(4)]
    assert slow[-1], "twice as long as the sound"
    seconds_of_call[0] = 0.05
    slow = [hear() for _ in range(14)]
    assert slow[0]
    assert not slow[-1]


def test_a_hopeless_machine_says_so_at_once(enhancer, monkeypatch):
    monkeypatch.setattr("live_visit.expected_load", lambda *arguments: 3.0)
    answer = LiveVisit(enhancer.live, Limits()).hear(read_piece(value_of(np.zeros((1, 0)), first=True)), "low")
    assert answer["slow"]


@pytest.fixture
def handlers(tiny_model):
    return LiveHandlers(Models(str(tiny_model)), Limits())


def test_visitors_share_nothing_but_the_network(handlers):
    one, two = (SimpleNamespace(session_hash=name) for name in ("one", "two"))
    loud, quiet = (value_of(level * noise(9600).reshape(1, -1)) for level in (1.0, 0.01))
    _, first = handlers.hear(loud, "low", None, one)
    _, second = handlers.hear(quiet, "low", None, two)
    assert first is not second
    alone = LiveVisit(handlers.models.get(None).live, Limits())
    for _ in range(3):
        handlers.hear(loud, "low", first, one)
        answer, _ = handlers.hear(quiet, "low", second, two)
    for _ in range(4):
        expected = alone.hear(read_piece(quiet), "low")
    np.testing.assert_allclose(sound_of(answer), sound_of(expected), atol=1e-4)


def test_what_belongs_to_a_visitor_is_freed_when_the_visitor_leaves(handlers):
    request = SimpleNamespace(session_hash="one")
    _, visit = handlers.hear(value_of(noise(9600).reshape(1, -1)), "low", None, request)
    live = weakref.ref(visit._passage._live)
    handlers.stop_session("another")
    assert live() is not None
    handlers.stop_session("one")
    gc.collect()
    assert live() is None
    with pytest.raises(gr.Error, match="has ended"):
        handlers.hear(value_of(noise(9600).reshape(1, -1)), "low", visit, request)
    del visit
    gc.collect()
    assert not handlers.visits


def test_a_refusal_is_a_sentence_for_the_page(handlers):
    with pytest.raises(gr.Error, match="damaged"):
        handlers.hear(value_of(np.zeros((1, 1))) | {"audio": "?"}, "low", None, SimpleNamespace(session_hash="one"))


def test_the_bundled_models_have_one_of_their_own_for_a_short_delay(tiny_model):
    delays, _ = LiveHandlers(models := Models(None), Limits()).latencies()
    assert delays["low"] < 64 < delays["quality"]
    assert models.choices == ["standard"]
    assert Models(str(tiny_model)).live(48000, "low").latency > 0.1 * 48000


def test_the_labels_tell_the_delay_of_the_model(handlers):
    delays, chosen = handlers.latencies()
    live = handlers.models.live
    assert delays == {name: live(48000, name).latency / 48 for name in ("low", "quality")}
    assert chosen in delays
