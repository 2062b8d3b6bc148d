"""The work behind the web demo's page, without a server."""

import subprocess
import time

import numpy as np
import pytest
import soundfile
from conftest import ROOT, noise
from serving import Enhancer, Limits, RequestError, Run, Settings, open_upload

from speech_enhance.audio import ffmpeg


class Counter:
    """A `check` that counts its calls."""

    def __init__(self):
        self.calls = 0

    def __call__(self):
        self.calls += 1


@pytest.mark.slow
@pytest.mark.parametrize("rate", [8000, 96000])
def test_every_part_of_a_request_can_be_stopped_every_few_seconds_of_its_recording(tmp_path, tiny_model, rate):
    from files import preview_of, save
    from results import facts, player

    seconds = 30
    source = tmp_path / "long.flac"
    soundfile.write(source, noise(seconds * rate), rate)
    enhancer, checks = Enhancer(str(tiny_model), "cpu"), {}

    def count(part):
        return checks.setdefault(part, Counter())

    recording = open_upload(source, Limits(), count("opening"))
    run = enhancer.enhance(recording.audio, rate, Settings("ddim", 1, 1), None, count("enhancing"))
    versions = {"Original": recording.audio, "Enhanced": run.audio, "Removed": recording.audio - run.audio}
    preview_of(recording, count("preview"))
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
    """What was removed is as loud as it is in the original."""
    from results import loudness_scales

    audio = noise(48000, channels=2)
    versions = {"Original": audio, "a": 0.5 * audio, "b": 0.01 * audio, "silent": 0 * audio, "Removed": 0.3 * audio}
    scales = loudness_scales(versions, 16000, lambda: None)
    np.testing.assert_allclose(list(scales.values()), [1, 2, 4, 1, 1], rtol=1e-3)
    loud = loudness_scales({"Original": audio / np.abs(audio).max(), "a": 0.1 * audio}, 16000, lambda: None)
    assert loud["Original"] == pytest.approx(1)


def test_everything_that_a_preset_is_made_of_can_be_compared():
    from comparisons import comparisons

    named = comparisons(
        ["fast", "balanced"], ["ddim", "euler-ancestral"], [1, 4], [1, 6], [0], 5, Limits(max_comparisons=7)
    )
    assert list(named) == [
        "Fast",
        "Balanced",
        "1 step, 6 estimates",
        "ddim, 4 steps, 1 estimate",
        "euler-ancestral, 4 steps, 1 estimate",
        "ddim, 4 steps, 6 estimates",
        "euler-ancestral, 4 steps, 6 estimates",
    ]
    assert named["euler-ancestral, 4 steps, 6 estimates"] == Settings("euler-ancestral", 4, 6, 5)
    with pytest.raises(RequestError, match="These are 7 settings; at most 6"):
        comparisons(["fast", "balanced"], ["ddim", "euler-ancestral"], [1, 4], [1, 6], None, 0, Limits())
    for arguments in ([["fast"], ["ddim", "heun"], [1], [1]], [None, None, None, None], [["balanced"], [], [4], [1]]):
        with pytest.raises(RequestError, match="at least two settings that differ"):
            comparisons(*arguments, [], 0, Limits())


def test_values_of_the_dial_can_be_compared():
    from comparisons import comparisons

    named = comparisons(["fast"], ["ddim"], [4], [1], [1, 0], 0, Limits())
    assert {name: settings.dereverb for name, settings in named.items()} == {
        "Fast": 0,
        "Fast, less reverberation 1": 1,
        "ddim, 4 steps, 1 estimate": 0,
        "ddim, 4 steps, 1 estimate, less reverberation 1": 1,
    }
    with pytest.raises(RequestError, match=r"reverberation.*must be between 0 and 1, got 2"):
        comparisons(["fast"], [], [], [], [0, 2], 0, Limits())


def test_a_preview_hears_where_most_speech_is(tmp_path):
    """A long pause with one thump, then talk."""
    from files import preview_of

    audio = 1e-3 * noise(40 * 8000)
    audio[5 * 8000 : 5 * 8000 + 400] = 0.9
    audio[22 * 8000 : 31 * 8000] = 0.3 * noise(9 * 8000, seed=1)
    soundfile.write(tmp_path / "a.wav", audio, 8000)
    recording = open_upload(tmp_path / "a.wav", Limits())
    preview, start = preview_of(recording, lambda: None)
    assert preview.audio.shape == (1, 10 * 8000)
    assert 20.9 < start < 22.1
    np.testing.assert_array_equal(preview.audio[0], recording.audio[0, round(start * 8000) :][: 10 * 8000])
    short = open_upload(ROOT / "samples" / "noisy.wav", Limits())
    np.testing.assert_array_equal(preview_of(short, lambda: None)[0].audio, short.audio)


@pytest.mark.slow
def test_a_second_model_is_loaded_when_it_is_asked_for(tiny_model, tmp_path, capsys):
    from models import Models

    models = Models(str(tiny_model), str(tmp_path / "gone"))
    assert list(models.loaded) == ["standard"]
    models.measure()
    assert models.speeds["standard"] > 0
    with pytest.raises(RequestError, match="large model cannot be loaded"):
        models.get("large")
    assert "Traceback" not in capsys.readouterr().err
    models = Models(str(tiny_model), str(tiny_model))
    assert models.get("large") is models.get("large") is not models.get(None)
    assert list(Models(str(tiny_model)).sources) == ["standard"]


@pytest.mark.slow
def test_the_ready_made_result_is_that_of_the_bundled_model():
    """Repeat `python spaces/make_examples.py --ready` when the model has changed."""
    from results import ready_value

    folder = ROOT / "spaces" / "examples"
    value = ready_value(folder / "ready")
    assert [track["label"] for track in value["tracks"]] == ["Original", "Enhanced", "Removed"]
    urls = [track["file"]["url"] for track in value["tracks"]] + [item["url"] for item in value["pictures"].values()]
    assert len(urls) == 7
    assert all((folder / "ready" / url.rpartition("/")[2]).is_file() for url in urls)
    recording = open_upload(folder / "workshop.flac", Limits())
    run = Enhancer(device="cpu").enhance(recording.audio, recording.sampling_rate, Settings())
    stored = soundfile.read(folder / "ready" / "1.flac", dtype="float32")[0]
    scale = np.abs(stored).max() / np.abs(run.audio).max()  # equal loudness
    np.testing.assert_allclose(stored, scale * run.audio[0], atol=2e-3)


@pytest.mark.slow
@pytest.mark.skipif(not ffmpeg.installed(), reason="needs ffmpeg")
def test_a_voice_memo_comes_back_as_one(tmp_path):
    from files import save

    soundfile.write(tmp_path / "a.wav", 0.1 * noise(16000), 16000)
    for name, result in (
        ("memo.m4a", "memo-enhanced.m4a"),
        ("video.mp4", "video-enhanced.m4a"),
        ("memo.xyz", "memo-enhanced.wav"),
    ):
        source = tmp_path / name
        command = ["ffmpeg", "-v", "error", "-i", str(tmp_path / "a.wav"), "-c:a", "aac", "-f", "mp4", str(source)]
        subprocess.run(command, check=True)
        recording = open_upload(source, Limits())
        assert recording.sampling_rate == 16000
        target = save(source, recording, Run(recording.audio, 1, 1.0), tmp_path, lambda: None)
        assert target.name == result
        assert open_upload(target, Limits()).audio.shape == recording.audio.shape


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
