import subprocess
import threading
import time

import numpy as np
import pytest
import soundfile
from conftest import noise
from levels import level_change_db
from serving import Enhancer, Limits, RequestError, Settings, Stopped, delete_old_files, open_upload

from speech_enhance.audio import ffmpeg
from speech_enhance.audio.files import BLOCK_SAMPLES


@pytest.fixture
def enhancer(tiny_pipeline, tmp_path) -> Enhancer:
    tiny_pipeline.save_pretrained(tmp_path / "model")
    return Enhancer(str(tmp_path / "model"), "cpu")


def write(path, audio, sampling_rate=16000, **options):
    soundfile.write(path, audio.T, sampling_rate, **options)
    return path


def test_limits_come_from_the_environment():
    limits = Limits.from_environment({"MAX_SECONDS": "7", "HOME": "x"})
    assert limits.max_seconds == 7
    assert limits.max_file_mb == Limits().max_file_mb
    for text in ("0", "-1", "1.5", "many", ""):
        with pytest.raises(ValueError, match="MAX_QUEUE must be a whole number"):
            Limits.from_environment({"MAX_QUEUE": text})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scheduler": "magic"}, "no scheduler 'magic'"),
        ({"scheduler": []}, r"no scheduler \[\]"),
        ({"num_estimates": True}, "Estimates.*True"),
        ({"seed": 10**300}, r"seed.*got 1000.{0,40}\.$"),
        ({"num_inference_steps": 51}, "Steps.*1 to 50, got 51"),
        ({"num_inference_steps": 1.5}, "Steps.*1.5"),
        ({"num_estimates": 0}, "Estimates.*got 0"),
        ({"seed": None}, "seed.*None"),
        ({"seed": -1}, "seed.*-1"),
        ({"mix": 2}, "mix.*2"),
        ({"mix": None}, "mix.*None"),
        ({"mix": float("nan")}, "mix.*nan"),
        ({"dereverb": 1.5}, "reverberation.*1.5"),
        ({"attenuation_limit_db": -1}, "attenuation limit.*-1"),
    ],
)
def test_settings_out_of_range_are_named(arguments, message):
    Settings().check(Limits())
    with pytest.raises(RequestError, match=message):
        Settings(**arguments).check(Limits())


def test_an_upload_is_decoded(tmp_path):
    audio = noise(8000, channels=2)
    recording = open_upload(write(tmp_path / "a.flac", audio, 44100), Limits())
    assert recording.sampling_rate == 44100
    np.testing.assert_allclose(recording.audio, audio, atol=1e-4)


def test_what_cannot_be_served_is_told_in_a_sentence(tmp_path):
    limits = Limits(max_seconds=2, max_file_mb=2, max_channels=2)
    cases = {
        "notes.wav": (b"these are my notes\n", "cannot be read as audio. This page takes WAV"),
        "empty.wav": (b"", "is empty"),
        "pack.zip": (b"PK\x03\x04" + bytes(500), "cannot be read as audio"),
        "big.wav": (bytes(2_100_000), "2 MB; the limit"),
        "silence.wav": (np.zeros((1, 8000)), "nothing but digital silence"),
        "none.wav": (np.zeros((1, 0)), "holds no audio samples"),
        "wide.wav": (noise(800, channels=3), "3 channels; the limit of this page is 2"),
        "long.wav": (noise(40000), "2.5 s long; the limit of this page is 2 s"),
        "fast.wav": (noise(190000, channels=2), "too many samples"),
        "nan.wav": (np.full((1, 10), np.nan), "NaN"),
    }
    for name, (content, message) in cases.items():
        path = tmp_path / "server" / name
        path.parent.mkdir(exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            write(path, content, 96000 if name == "fast.wav" else 16000, subtype="FLOAT")
        with pytest.raises(RequestError, match=message) as caught:
            open_upload(path, limits)
        assert name in str(caught.value)
        assert str(tmp_path) not in str(caught.value)
    for missing in (None, "", tmp_path / "gone.wav"):
        with pytest.raises(RequestError, match=r"[Uu]pload"):
            open_upload(missing, limits)


def test_length_is_judged_before_anything_is_decoded(tmp_path):
    """Ten hours of FLAC silence are a small file, and 144 MB decoded even at 1,000 Hz."""
    path = tmp_path / "day.flac"
    with soundfile.SoundFile(path, "w", 1000, 1, "PCM_16") as file:
        for _ in range(600):
            file.write(np.zeros(1000 * 60, np.int16))
    assert path.stat().st_size < 10**7
    with pytest.raises(RequestError, match=r"10 h long; the limit of this page is 5 min"):
        open_upload(path, Limits())


@pytest.mark.parametrize(
    ("seconds", "limit", "told"),
    [
        (303, 300, "5 min 3 s"),
        (300.02, 300, "5 min 0.02 s"),
        (2.002, 2, "2.002 s"),
        (7203, 7200, "2 h 3 s"),
        (90, 60, "90 s"),
        (3660, 300, "1 h 1 min"),
        (120.6, 120, "2 min 1 s"),
    ],
)
def test_a_length_differs_from_the_limit_that_it_exceeds(tmp_path, seconds, limit, told):
    """“5 min long; the limit is 5 min” says nothing."""
    path = write(tmp_path / "a.wav", np.full((1, round(seconds * 1000)), 0.1), 1000, subtype="PCM_U8")
    with pytest.raises(RequestError, match=f" is {told} long; the limit of this page is "):
        open_upload(path, Limits(max_seconds=limit))


@pytest.mark.skipif(not ffmpeg.installed(), reason="needs ffmpeg")
def test_a_voice_memo_is_read_by_ffmpeg_and_nothing_else_is(tmp_path, monkeypatch):
    """M4A is known by its content. Its length is limited as that of every file, and a broken one is refused."""
    write(tmp_path / "a.wav", 0.1 * noise(16000 * 3, channels=1))
    for name in ("memo.m4a", "track.mka", "list.m4a"):
        command = ["ffmpeg", "-v", "error", "-i", tmp_path / "a.wav", "-c:a", "aac"]
        subprocess.run([*command, "-f", "matroska" if name == "track.mka" else "mp4", tmp_path / name], check=True)
    assert open_upload(tmp_path / "memo.m4a", Limits()).audio.shape[1] == pytest.approx(48000, abs=2048)
    with pytest.raises(RequestError, match=r"“memo\.m4a” is 3.* s long; the limit of this page is 2 s"):
        open_upload(tmp_path / "memo.m4a", Limits(max_seconds=2))
    content = (tmp_path / "memo.m4a").read_bytes()
    (tmp_path / "broken.m4a").write_bytes(content[: len(content) // 2])
    (tmp_path / "list.m4a").write_text("#EXTM3U\n#EXTINF:3,\nmemo.m4a\n")
    for name in ("broken.m4a", "list.m4a", "track.mka"):
        with pytest.raises(RequestError, match=f"“{name}”:? cannot be read as audio") as caught:
            open_upload(tmp_path / name, Limits())
        assert str(tmp_path) not in str(caught.value)
        assert "\n" not in str(caught.value)
    monkeypatch.setattr(ffmpeg, "installed", lambda: False)
    with pytest.raises(RequestError, match="This page takes WAV, FLAC, Ogg, Opus, MP3 and AIFF;"):
        open_upload(tmp_path / "memo.m4a", Limits())


def test_a_length_that_no_header_tells_is_limited_while_reading(tmp_path, monkeypatch):
    """FLAC out of a pipe; and nothing is given to ffmpeg, which reads more formats than the page promises."""
    path = tmp_path / "pipe.flac"
    with soundfile.SoundFile(path, "w", 16000, 1, "PCM_16") as file:
        for _ in range(40):
            file.write(np.full(16000 * 60, 1000, np.int16))
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    path.write_bytes(content)
    blocks = []
    with pytest.raises(RequestError, match="the limit of this page is 5 min"):
        open_upload(path, Limits(), lambda: blocks.append(1))
    assert 16000 * 300 < len(blocks) * BLOCK_SAMPLES < 16000 * 310
    monkeypatch.setattr(ffmpeg, "probe", pytest.fail)
    write(path, noise(200000, channels=1), subtype="PCM_16")
    path.write_bytes(path.read_bytes()[:-100000])
    with pytest.raises(RequestError, match="cannot be read as audio"):
        open_upload(path, Limits())


def test_settings_are_those_of_the_pipeline(enhancer):
    from torch import Generator

    from speech_enhance import make_scheduler

    audio = noise(20000, channels=2)
    pipeline = enhancer.pipeline
    own = pipeline.scheduler
    run = enhancer.enhance(audio, 16000, Settings("heun", 3, 2, seed=5, attenuation_limit_db=9.0, mix=0.5))
    assert pipeline.scheduler is own
    pipeline.scheduler = make_scheduler("heun", own.config)
    arguments = {"attenuation_limit_db": 9.0, "mix": 0.5, "generator": Generator().manual_seed(5)}
    expected = pipeline(audio, 16000, num_inference_steps=3, num_estimates=2, **arguments).audios
    np.testing.assert_allclose(run.audio, expected, atol=1e-4)  # windows come in other batches
    assert run.evaluations == 5 * 2
    assert run.seconds > 0


def test_the_dial_for_reverberation_is_for_models_that_have_it(enhancer, dial_model, tiny_model, tmp_path):
    from models import Models

    audio = noise(20000, channels=1)
    with pytest.raises(RequestError, match="not trained to remove reverberation"):
        enhancer.enhance(audio, 16000, Settings(dereverb=1.0))
    assert Models(str(tiny_model)).with_dereverb == []
    models = Models(str(dial_model), large=str(tiny_model))
    assert models.with_dereverb == ["standard"]
    assert Models(str(tiny_model), large=str(dial_model)).with_dereverb == ["large"]
    assert Models(str(tiny_model), large=str(tmp_path / "none")).with_dereverb == []
    runs = [models.get(None).enhance(audio, 16000, Settings(dereverb=dial)) for dial in (0.0, 1.0)]
    assert np.abs(runs[0].audio - runs[1].audio).max() > 1e-3


@pytest.mark.parametrize(
    ("sampling_rate", "num_samples"), [(16000, 100), (16000, 50000), (44100, 90001), (8000, 30000)]
)
def test_progress_counts_to_the_end(enhancer, sampling_rate, num_samples):
    seen = []
    enhancer.enhance(noise(num_samples, channels=1), sampling_rate, Settings("ddim", 3, 3), lambda *at: seen.append(at))
    done, totals = zip(*seen, strict=True)
    assert set(totals) == {len(seen)}
    assert list(done) == list(range(1, len(seen) + 1))


def test_a_run_can_be_stopped(enhancer):
    seen = []

    def on_step(done, total):
        seen.append(done)
        if done == 2:
            raise Stopped

    with pytest.raises(Stopped):
        enhancer.enhance(noise(50000, channels=1), 16000, Settings("ddim", 9), on_step)
    assert seen == [1, 2]


def test_a_run_can_be_stopped_while_it_reads(enhancer, tmp_path):
    """Nothing waits for the network to be asked: reading the file and measuring its level end as well."""
    path = write(tmp_path / "minute.wav", noise(16000 * 60, channels=1))

    def stop_at(count):
        left = iter(range(count))

        def check():
            if next(left, None) is None:
                raise Stopped

        return check

    with pytest.raises(Stopped):
        open_upload(path, Limits(), stop_at(3))
    steps = []
    with pytest.raises(Stopped):
        enhancer.enhance(noise(16000 * 60, channels=1), 16000, Settings(), lambda *at: steps.append(at), stop_at(20))
    assert steps == []


def test_work_without_end_is_refused(enhancer):
    enhancer.check_work(300, [Settings("ddim", 1, 12)], Limits())
    enhancer.check_work(60, [Settings("ddim", 50, 3)], Limits())
    with pytest.raises(
        RequestError, match=r"5 min of sound, 800 times through the network, is too much.* 10000 s in all"
    ):
        enhancer.check_work(300, [Settings("ddim", 50, 16)], Limits())
    with pytest.raises(RequestError, match="99 times"):  # heun evaluates twice in every step but the last
        enhancer.check_work(300, [Settings("heun", 50, 1)], Limits())
    with pytest.raises(RequestError, match="30 times"):
        enhancer.check_work(15, [Settings("ddim", 10, 1)] * 3, Limits(max_work=449))


def test_links_are_not_followed_when_old_files_are_deleted(tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    (own / "mine.wav").write_bytes(b"x")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "link").symlink_to(own, target_is_directory=True)
    delete_old_files(folder, -1)
    assert list(folder.iterdir()) == []
    assert (own / "mine.wav").exists()


def test_old_files_are_deleted(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "voice.wav").write_bytes(b"x")
    delete_old_files(tmp_path, 60)
    assert (tmp_path / "a" / "b" / "voice.wav").exists()
    time.sleep(0.1)
    delete_old_files(tmp_path, 0.05)
    delete_old_files(tmp_path, -1)  # folders are as young as what was last deleted from them
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_requests_at_the_same_time_do_not_meet(enhancer):
    """Each thread must get what it would get alone: another scheduler, other steps, another recording."""
    jobs = [
        (noise(20000 + 999 * i, channels=1, seed=i), Settings(name, i + 1, seed=i))
        for i, name in enumerate(["ddim", "dpmsolver++", "euler", "lcm"])
    ]
    alone = [enhancer.enhance(audio, 16000, settings).audio for audio, settings in jobs]
    together = [None] * len(jobs)

    def work(index):
        together[index] = enhancer.enhance(jobs[index][0], 16000, jobs[index][1]).audio

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_level_change():
    loud = np.repeat([0.01, 1.0], 16000)[None] * noise(32000, channels=1)
    gain = np.repeat([0.1, 0.5], 16000)[None]
    pauses, speech = level_change_db(loud, gain * loud, 16000)
    assert pauses == pytest.approx(-20, abs=0.1)
    assert speech == pytest.approx(-6.02, abs=0.1)
    assert np.isnan(level_change_db(loud[:, :100], loud[:, :100], 16000)).all()
