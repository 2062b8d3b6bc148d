"""Live sound between a device's callback and the network: delay, gaps, bypass, a machine that is too slow."""

import time

import numpy as np
import pytest
from conftest import TINY_LAYOUT, TINY_UNET, OracleUNet, make_tiny_pipeline, noise, quiet

from speech_enhance import LiveTiming, SpeechEnhancementPipeline
from speech_enhance.jobs.file import UserError
from speech_enhance.live.devices import choose_devices, list_devices, open_streams
from speech_enhance.live.session import MOST_SURPLUS_SECONDS, LiveSession, Passage, RingBuffer
from speech_enhance.live.terminal import meter
from speech_enhance.models.schedulers import training_scheduler

SHORT = LiveTiming(look_ahead_ms=32, interval_ms=64, window_ms=512)
BLOCK = 160


@pytest.fixture
def oracle():
    return quiet(SpeechEnhancementPipeline(OracleUNet(**TINY_UNET), training_scheduler(), **TINY_LAYOUT))


def drive(session: LiveSession, audio: np.ndarray, work=lambda number: True) -> np.ndarray:
    """Play `audio (channels, samples)` to the session as a device does, the worker working in between where `work` says
    so."""
    outputs = []
    for number, start in enumerate(range(0, audio.shape[1], BLOCK)):
        block = audio[:, start : start + BLOCK]
        output = np.full((block.shape[1], session._num_outputs), np.nan, np.float32)
        session.take(block.T, block.shape[1])
        session.give(output, block.shape[1])
        outputs.append(output.T)
        while work(number) and session.work_once():
            pass
    return np.concatenate(outputs, axis=1)


def test_a_ring_gives_back_what_it_got_in_order():
    ring, audio = RingBuffer(2, 100), noise(1000, channels=2)
    got = []
    for start in range(0, 1000, 40):
        assert ring.write(audio[:, start : start + 40]) == 40
        got.append(ring.read(33 if start % 80 else 47))
    got.append(ring.read(1000))
    np.testing.assert_array_equal(np.concatenate(got, axis=1), audio)
    assert ring.write(audio[:, :130]) == 100
    assert ring.write(audio[:, :1]) == 0


@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (2, 2), (1, 2), (2, 1)])
def test_sound_arrives_after_the_delay_that_is_told(oracle, inputs, outputs):
    session = LiveSession(oracle.live(16000, SHORT), inputs, outputs, reserve=400, record=True)
    delay = session.delay
    audio = noise(16000, channels=inputs)
    output = drive(session, audio)
    expected = audio if inputs == outputs else np.broadcast_to(audio.mean(axis=0), (outputs, 16000))
    np.testing.assert_allclose(output[:, delay:], expected[:, :-delay], atol=1e-4)
    recorded = session.recorded()
    np.testing.assert_array_equal(recorded[:, : 15000 - session._reserve], output[:, session._reserve : 15000])
    assert (session.meters.gaps, session.meters.lost, session.meters.num_overloads) == (0, 0, 0)
    assert session.meters.peak_in == pytest.approx(np.abs(audio).max())


def delay_at_end(output: np.ndarray, audio: np.ndarray) -> int:
    """Delay of the last 0.2 s of `output`, which must be the same sound."""
    last = output[0, -3200:]
    starts = np.flatnonzero(np.abs(audio[0, :-3199] - last[0]) < 1e-3)
    (found,) = [start for start in starts if np.abs(audio[0, start : start + 3200] - last).max() < 1e-3]
    return audio.shape[1] - 3200 - int(found)


@pytest.mark.slow
@pytest.mark.parametrize("pause", [range(50, 70), range(50, 500)])
def test_after_a_gap_the_delay_returns(oracle, pause, monkeypatch):
    """The worker sleeps for 0.2 s, or for 4.5 s, for which there is no room. After calm seconds it is as before."""
    monkeypatch.setattr("speech_enhance.live.session.CALM_SECONDS", 1)
    session = LiveSession(oracle.live(16000, SHORT), 1, 1, reserve=400)
    delay, audio = session.delay, noise(8 * 16000, channels=1)
    output = drive(session, audio, lambda number: number not in pause)
    assert (session.meters.lost > 0) == (len(pause) > 400)
    assert delay - 400 <= delay_at_end(output, audio) <= delay + 400


@pytest.mark.slow
def test_where_the_worker_stalls_again_and_again_the_delay_stays_longer(oracle):
    """Four stalls of 0.1 s make one gap."""
    session = LiveSession(oracle.live(16000, SHORT), 1, 1, reserve=400)
    delay, audio = session.delay, noise(8 * 16000, channels=1)
    output = drive(session, audio, lambda number: number % 200 < 150 or number % 200 >= 160)
    assert session.meters.gaps == 1
    assert delay + 800 < delay_at_end(output, audio) <= delay + 2400


@pytest.mark.parametrize("speed", [0.98, 1.02])
def test_clocks_that_differ_change_the_delay_little(oracle, speed):
    session = LiveSession(oracle.live(16000, SHORT), 1, 1, reserve=800)
    delay, audio, given, outputs = session.delay, noise(5 * 16000, channels=1), 0, []
    for start in range(0, audio.shape[1], BLOCK):
        session.take(audio[:, start : start + BLOCK].T, BLOCK)
        while session.work_once():
            pass
        count = round(speed * (start + BLOCK)) - given
        output, given = np.zeros((count, 1), np.float32), given + count
        session.give(output, count)
        outputs.append(output.T)
        assert session.delay < delay + 1600 + MOST_SURPLUS_SECONDS * 16000
    assert (session.meters.gaps > 0) == (speed > 1)
    assert session.meters.gaps <= 6
    assert np.abs(np.concatenate(outputs, axis=1)[:, -16000:]).mean() > 0.06


def test_a_gap_does_not_click():
    """A constant sound, of which the fades alone may make steps."""
    session = LiveSession(quiet(make_tiny_pipeline()).live(16000, SHORT), 1, 1, reserve=400)
    session.bypass = True
    output = drive(session, np.full((1, 3 * 16000), 0.5, np.float32), lambda number: not 200 <= number < 230)
    assert session.meters.gaps > 0
    assert (output[0, 2 * 16000 :] == 0).any()
    assert np.abs(np.diff(output[0, 16000:])).max() < 0.02


def test_bypass_gives_the_sound_as_it_is_with_the_same_delay():
    pipeline = quiet(make_tiny_pipeline())
    session = LiveSession(pipeline.live(16000, SHORT), 1, 1, reserve=400)
    delay, audio = session.delay, noise(16000, channels=1)
    drive(session, audio)
    session.bypass = True
    output = drive(session, audio)
    np.testing.assert_allclose(output[:, 8000:], audio[:, 8000 - delay : -delay], atol=1e-6)
    session.bypass = False
    output = drive(session, audio)
    assert np.abs(output[:, 8000:] - audio[:, 8000 - delay : -delay]).max() > 0.01
    assert session.meters.gaps == 0


def test_changes_fade(oracle):
    oracle.unet.share = 0.0
    passage = Passage(oracle.live(16000, SHORT), 1)
    tone = np.full((1, 16000), 0.5, np.float32)
    outputs = [
        passage.process(block, bypass) for bypass in (False, True, False) for block in np.split(tone, 100, axis=1)
    ]
    output = np.concatenate(outputs, axis=1)[0, 4000:]
    assert np.abs(np.diff(output)).max() < 0.01


def test_a_machine_that_is_too_slow_passes_sound_on(oracle):
    """It gets 50 ms done in 80 ms, and everything while the network rests."""
    oracle.unet.share = 0.0
    session = LiveSession(oracle.live(16000, SHORT), 1, 1, reserve=400)
    audio, outputs = noise(16000 * 6, channels=1), []
    for number, start in enumerate(range(0, audio.shape[1], BLOCK)):
        session.take(audio[:, start : start + BLOCK].T, BLOCK)
        output = np.zeros((BLOCK, 1), np.float32)
        session.give(output, BLOCK)
        outputs.append(output.T)
        while (session.overloaded or number % 8 == 0) and session.work_once() and session.overloaded:
            pass
    assert session.meters.num_overloads == 1
    assert session.overloaded
    assert delay_at_end(np.concatenate(outputs, axis=1), audio) <= session.delay + BLOCK


def test_it_is_tried_again_after_some_seconds(oracle):
    session = LiveSession(oracle.live(16000, SHORT), 1, 1, reserve=400)
    audio = noise(16000 * 8, channels=1)
    session.take(audio[:, :20000].T, 20000)
    session.work_once()
    assert session.overloaded
    drive(session, audio)
    assert not session.overloaded
    assert session.meters.num_overloads == 1


def test_an_error_of_the_network_is_kept_for_those_who_look_on(oracle):
    session = LiveSession(oracle.live(16000, SHORT), 1, 1, reserve=400)
    session.take(np.full((BLOCK, 1), np.nan, np.float32), BLOCK)
    session.start()
    for _ in range(100):
        if session.error is not None:
            break
        time.sleep(0.02)
    session.stop()
    assert "NaN" in str(session.error)


def test_a_meter():
    assert meter(1.0) == "[############]    0 dB"
    assert meter(0.0) == "[............] -100 dB"


class FakeDevices:
    """The part of `sounddevice` that is asked for devices, with a machine of our own choice behind it."""

    class PortAudioError(Exception):
        pass

    def __init__(self, *devices, rates=(48000,)):
        self._devices, self._rates = devices, rates

    def query_devices(self, device=None, kind=None):
        if kind is None:
            return self._devices
        found = [item for item in self._devices if device in (None, item["index"]) or str(device) in item["name"]]
        found = [item for item in found if item[f"max_{kind}_channels"]]
        if not found:
            raise ValueError(f"No {kind} device matching {device!r}")
        return found[0]

    def check_input_settings(self, device, channels, dtype, samplerate):
        if samplerate not in self._rates:
            raise self.PortAudioError("Invalid sample rate [PaErrorCode -9997]")

    check_output_settings = check_input_settings

    def InputStream(self, **options):
        raise self.PortAudioError("Device unavailable [PaErrorCode -9985]")


def device(index: int, name: str, inputs: int, outputs: int) -> dict:
    return {
        "index": index,
        "name": name,
        "max_input_channels": inputs,
        "max_output_channels": outputs,
        "default_samplerate": 44100.0,
    }


def test_devices_are_found_by_name_number_and_default():
    system = FakeDevices(device(0, "Mic", 1, 0), device(1, "Speaker", 0, 8), device(2, "Cable", 2, 2))
    found = choose_devices(system, None, "Cable", None)
    assert (found.input, found.output, found.num_inputs, found.num_outputs, found.sampling_rate) == (0, 2, 1, 2, 48000)
    assert choose_devices(system, "2", "1", 48000).input_name == "Cable"
    assert [choose_devices(system, "Cable", None, None, most).num_inputs for most in (1, 2)] == [1, 2]


@pytest.mark.parametrize(
    ("system", "arguments", "message"),
    [
        (FakeDevices(), (None, None, None), "^no sound device was found$"),
        (FakeDevices(device(0, "Speaker", 0, 2)), (None, None, None), "no default input device; name one with --input"),
        (
            FakeDevices(device(0, "Mic", 1, 0)),
            ("Mic", "Cable", None),
            "--output: no output device 'Cable' .*--list-devices",
        ),
        (FakeDevices(device(0, "Mic", 1, 1)), ("7", None, None), "--input: no input device '7'"),
        (FakeDevices(device(0, "Mic", 1, 1)), (None, None, 8000), "'Mic' refuses 8000 Hz .*; give --rate"),
        (FakeDevices(device(0, "Mic", 1, 1), rates=()), (None, None, None), "refuses 44100 or 48000 or 16000 Hz"),
    ],
)
def test_what_is_wrong_with_devices_is_one_line(system, arguments, message):
    with pytest.raises(UserError, match=message) as caught:
        choose_devices(system, *arguments)
    assert "\n" not in str(caught.value)


def test_a_device_that_is_in_use_and_none_to_list(oracle):
    system = FakeDevices(device(0, "Mic", 1, 1))
    session = LiveSession(oracle.live(48000, SHORT), 1, 1, reserve=400)
    with pytest.raises(UserError, match="cannot open 'Mic': Device unavailable"):
        open_streams(system, choose_devices(system, None, None, None), session, 0.05)
    with pytest.raises(UserError, match="no sound device"):
        list_devices(FakeDevices())
