"""The work behind the web demo's page, without a server."""

import time

import numpy as np
import pytest
import soundfile
from conftest import ROOT, noise

from speech_enhance.serving import Enhancer, Limits, Run, Settings, Stopped, open_upload


@pytest.fixture(autouse=True)
def spaces(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "spaces")


class Clock:
    """A `check` that keeps the longest computing time of its thread between two calls, in seconds."""

    def __init__(self):
        self.longest, self._last = 0.0, time.thread_time()

    def __call__(self):
        now = time.thread_time()
        self.longest, self._last = max(self.longest, now - self._last), now


@pytest.mark.slow
def test_the_longest_recording_can_be_stopped_within_a_second_of_computing_anywhere(tmp_path, tiny_model):
    """Measured in time of the processor, which other programs on the machine do not change much."""
    from handlers import save
    from results import facts, player

    limits, rate = Limits(), 96000
    source = tmp_path / "long.flac"
    soundfile.write(source, noise(limits.max_seconds * rate), rate)
    enhancer, steps = Enhancer(str(tiny_model), "cpu"), []
    clock = Clock()
    recording = open_upload(source, limits, clock)

    def on_step(done, _):
        steps.append(done)
        if done == 20:
            raise Stopped

    with pytest.raises(Stopped):
        enhancer.enhance(recording.audio, rate, Settings("ddim", 10), on_step, clock)
    run = Run(recording.audio * np.float32(0.5), 1, 1.0)
    player({"Original": recording.audio, "Enhanced": run.audio}, rate, tmp_path, "980,light", columns=1, check=clock)
    facts(recording, run, Settings(), clock)
    save(source, recording, run, tmp_path, clock)
    clock()
    assert clock.longest < 1.0


def test_previews_play_in_every_browser(tmp_path):
    from results import write_preview

    for channels, rate, expected in ((1, 16000, (1, 16000)), (2, 96000, (2, 48000)), (6, 4000, (1, 8000))):
        audio = noise(5 * rate + 1, channels=channels)
        write_preview(tmp_path / "a.flac", audio, 0.5, rate, lambda: None)
        info = soundfile.info(tmp_path / "a.flac")
        assert (info.channels, info.samplerate) == expected
        assert info.frames == -(-audio.shape[1] * expected[1] // rate)
    audio = noise(48000, channels=2)
    write_preview(tmp_path / "b.flac", audio, 0.5, 48000, lambda: None)
    np.testing.assert_allclose(soundfile.read(tmp_path / "b.flac")[0].T, 0.5 * audio, atol=1e-4)


def test_versions_are_played_at_equal_loudness():
    from results import loudness_scales

    audio = noise(48000, channels=2)
    scales = loudness_scales([audio, 0.5 * audio, 0.01 * audio, 0 * audio], 16000, lambda: None)
    np.testing.assert_allclose(scales, [1, 2, 4, 1], rtol=1e-3)
    loud = loudness_scales([audio / np.abs(audio).max(), 0.1 * audio], 16000, lambda: None)
    assert loud[0] == pytest.approx(1)
