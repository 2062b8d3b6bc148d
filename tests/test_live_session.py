"""Live sound between a device's callback and the network: delay, gaps, bypass, a machine that is too slow."""

import time

import numpy as np
import pytest
from conftest import TINY_LAYOUT, TINY_UNET, OracleUNet, make_tiny_pipeline, noise, quiet

from speech_enhance import LiveTiming, SpeechEnhancementPipeline
from speech_enhance.file_enhancement import UserError
from speech_enhance.live_devices import choose_devices, list_devices, open_stream
from speech_enhance.live_session import LiveSession, Passage, RingBuffer
from speech_enhance.live_terminal import meter
from speech_enhance.schedulers import training_scheduler

SHORT = LiveTiming(look_ahead_ms=32, interval_ms=64, window_ms=512)
BLOCK = 160


class SlowUNet(OracleUNet):
    """A perfect network that takes `seconds`, of which the interval has 0.064."""

    seconds = 0.1

    def forward(self, sample, timestep, condition, return_dict=True):
        time.sleep(self.seconds)
        return super().forward(sample, timestep, condition, return_dict)


@pytest.fixture
def oracle():
    return quiet(SpeechEnhancementPipeline(OracleUNet(**TINY_UNET), training_scheduler(), **TINY_LAYOUT))


def drive(session: LiveSession, audio: np.ndarray, work=lambda number: True) -> np.ndarray:
    """Play `audio (channels, samples)` to the session as a device does, the worker working in between where `work` says so."""
    outputs = []
    for number, start in enumerate(range(0, audio.shape[1], BLOCK)):
        block = audio[:, start : start + BLOCK]
        output = np.full((block.shape[1], session._num_outputs), np.nan, np.float32)
        session.callback(block.T, output, block.shape[1], None, None)
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
    audio = noise(16000, channels=inputs)
    output = drive(session, audio)
    expected = audio if inputs == outputs else np.broadcast_to(audio.mean(axis=0), (outputs, 16000))
    np.testing.assert_allclose(output[:, session.delay :], expected[:, : -session.delay], atol=1e-4)
    recorded = session.recorded()
    np.testing.assert_array_equal(recorded[:, : 15000 - session._reserve], output[:, session._reserve : 15000])
    assert (session.meters.gaps, session.meters.lost, session.meters.num_overloads) == (0, 0, 0)
    assert session.meters.peak_in == pytest.approx(np.abs(audio).max())


def test_a_gap_leaves_the_delay_as_it_was(oracle):
    """The worker sleeps for 0.2 s; what went missing is silence, and nothing after it is late."""
    session = LiveSession(oracle.live(16000, SHORT), 1, 1, reserve=400)
    audio = noise(32000, channels=1)
    output = drive(session, audio, lambda number: not 50 <= number < 70)
    assert session.meters.gaps > 10
    np.testing.assert_allclose(output[:, 20000:], audio[:, 20000 - session.delay : -session.delay], atol=1e-4)
    assert session.meters.num_overloads == 0


def test_what_finds_no_room_leaves_the_delay_as_it_was(oracle):
    session = LiveSession(oracle.live(16000, SHORT), 1, 1, reserve=400)
    audio = noise(6 * 16000, channels=1)
    output = drive(session, audio, lambda number: not 50 <= number < 500)
    assert session.meters.lost > 0
    np.testing.assert_allclose(output[:, 90000:], audio[:, 90000 - session.delay : -session.delay], atol=1e-4)


def test_bypass_gives_the_sound_as_it_is_with_the_same_delay():
    pipeline = quiet(make_tiny_pipeline())
    session = LiveSession(pipeline.live(16000, SHORT), 1, 1, reserve=400)
    audio = noise(16000, channels=1)
    drive(session, audio)
    session.bypass = True
    output = drive(session, audio)
    np.testing.assert_allclose(output[:, 8000:], audio[:, 8000 - session.delay : -session.delay], atol=1e-6)
    session.bypass = False
    output = drive(session, audio)
    assert np.abs(output[:, 8000:] - audio[:, 8000 - session.delay : -session.delay]).max() > 0.01
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


def test_a_machine_that_is_too_slow_passes_sound_on():
    unet = SlowUNet(**TINY_UNET)
    pipeline = quiet(SpeechEnhancementPipeline(unet, training_scheduler(), **TINY_LAYOUT))
    session = LiveSession(pipeline.live(16000, SHORT), 1, 1, reserve=1600)
    audio = noise(16000 * 3, channels=1)
    session.start()
    output, started = [], time.perf_counter()
    for number, start in enumerate(range(0, audio.shape[1], BLOCK)):
        block = np.zeros((BLOCK, 1), np.float32)
        session.callback(audio[:, start : start + BLOCK].T, block, BLOCK, None, None)
        output.append(block.T)
        time.sleep(max(started + (number + 1) * BLOCK / 16000 - time.perf_counter(), 0))
    assert session.meters.num_overloads == 1
    assert session.overloaded
    output = np.concatenate(output, axis=1)
    assert session.meters.load < 0.5
    np.testing.assert_allclose(output[:, -8000:], audio[:, -8000 - session.delay : -session.delay], atol=1e-6)
    session.stop()
    assert session.error is None


def test_an_error_of_the_network_is_kept_for_those_who_look_on(oracle):
    session = LiveSession(oracle.live(16000, SHORT), 1, 1, reserve=400)
    session.callback(np.full((BLOCK, 1), np.nan, np.float32), np.zeros((BLOCK, 1), np.float32), BLOCK, None, None)
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

    def Stream(self, **options):
        raise self.PortAudioError("Illegal combination of I/O devices [PaErrorCode -9993]")


def device(index: int, name: str, inputs: int, outputs: int) -> dict:
    return {
        "index": index, "name": name, "max_input_channels": inputs, "max_output_channels": outputs, "default_samplerate": 44100.0,
    }  # fmt: skip


def test_devices_are_found_by_name_number_and_default():
    system = FakeDevices(device(0, "Mic", 1, 0), device(1, "Speaker", 0, 8), device(2, "Cable", 2, 2))
    found = choose_devices(system, None, "Cable", None)
    assert (found.input, found.output, found.num_inputs, found.num_outputs, found.sampling_rate) == (0, 2, 1, 2, 48000)
    assert choose_devices(system, "2", "1", 48000).input_name == "Cable"


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


def test_devices_that_do_not_go_together_and_none_to_list():
    system = FakeDevices(device(0, "Mic", 1, 1))
    with pytest.raises(UserError, match="cannot open 'Mic' and 'Mic' together: Illegal combination"):
        open_stream(system, choose_devices(system, None, None, None), None)
    with pytest.raises(UserError, match="no sound device"):
        list_devices(FakeDevices())
