"""The work behind the web demo's page, without a server."""

import time

import numpy as np
import pytest
import soundfile
from conftest import ROOT, noise

from speech_enhance.serving import Enhancer, Limits, RequestError, Settings, open_upload


@pytest.fixture(autouse=True)
def spaces(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "spaces")


class Counter:
    """A `check` that counts its calls."""

    def __init__(self):
        self.calls = 0

    def __call__(self):
        self.calls += 1


@pytest.mark.parametrize("rate", [8000, 96000])
def test_every_part_of_a_request_can_be_stopped_every_few_seconds_of_its_recording(tmp_path, tiny_model, rate):
    from handlers import save
    from results import facts, player

    seconds = 30
    source = tmp_path / "long.flac"
    soundfile.write(source, noise(seconds * rate), rate)
    enhancer, checks = Enhancer(str(tiny_model), "cpu"), {}

    def count(part):
        return checks.setdefault(part, Counter())

    recording = open_upload(source, Limits(), count("opening"))
    run = enhancer.enhance(recording.audio, rate, Settings("ddim", 1, 1), None, count("enhancing"))
    versions = {"Original": recording.audio, "Enhanced": run.audio}
    player(versions, rate, tmp_path, "980,light", columns=1, check=count("player"))
    facts(recording, run, Settings(), count("facts"))
    save(source, recording, run, tmp_path, count("saving"))
    assert {part: check.calls for part, check in checks.items() if check.calls < seconds / 10} == {}


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


def test_bytes_of_visitors_are_counted_until_their_files_are_deleted(monkeypatch):
    import visitors

    now = 1000.0
    monkeypatch.setattr(visitors.time, "monotonic", lambda: now)
    disk = visitors.Disk(Limits(max_total_mb=3, max_visitor_mb=2, delete_after_seconds=100))
    with (
        disk.reserve("a", 1_900_000),
        pytest.raises(RequestError, match="Your files take 2 MB"),
        disk.reserve("a", 200_000),
    ):
        pass
    with pytest.raises(RequestError, match="All visitors' files take 3 MB"), disk.reserve("b", 1_500_000):
        pass
    with disk.reserve("b", 1_000_000) as charge:
        charge.size = 0  # an upload that broke off
    for _ in range(14):  # small ones count too
        with disk.reserve("b", 1):
            pass
    with pytest.raises(RequestError), disk.reserve("b", 200_000):
        pass
    now += 161
    with disk.reserve("a", 1_900_000):
        assert list(disk.taken) == ["a"]


def test_who_listens():
    from visitors import Listeners

    listeners = Listeners(0.05)
    with listeners.listening("page"), listeners.listening("page"):
        assert not listeners.gone("page", 0.0)
    assert not listeners.gone("page", 0.0)
    assert not listeners.gone("program", time.monotonic())
    time.sleep(0.1)
    assert listeners.gone("page", 0.0)
    with listeners.listening("other"):
        pass
    assert list(listeners.left) == ["other"]


def test_visitors_are_told_apart_by_their_network():
    from types import SimpleNamespace

    from visitors import visitor_of

    def named(host):
        return visitor_of(SimpleNamespace(host=host))

    assert named("192.0.2.1") == named("::ffff:192.0.2.1") != named("192.0.2.2")
    assert named("2001:db8::1") == named("2001:db8::ffff:2") != named("2001:db8:0:1::1")
    assert visitor_of(None) == named("not a number") == "unknown"
