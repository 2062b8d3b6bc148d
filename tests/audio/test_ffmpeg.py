"""Formats that only ffmpeg knows; the program is there in CI, and a missing one is a failure there."""

import os
import shutil

import numpy as np
import pytest
import soundfile
from conftest import noise
from ffmpeg_files import copy, run, streams

from speech_enhance import AudioFileError, AudioWriter, open_audio, read_audio
from speech_enhance.audio import ffmpeg

pytestmark = pytest.mark.skipif(
    not ffmpeg.installed() and not os.environ.get("CI"), reason="ffmpeg and ffprobe are not installed"
)
TONE = (0.3 * np.sin(2 * np.pi * 440 * np.arange(3 * 48000) / 48000)).astype(np.float32)


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """A silent-film test picture with a tone, and one whose sound begins half a second late, with two tracks and
    subtitles."""
    folder = tmp_path_factory.mktemp("films")
    soundfile.write(folder / "tone.wav", np.stack([TONE, -0.5 * TONE], axis=1), 48000)
    (folder / "words.srt").write_text("1\n00:00:00,500 --> 00:00:01,500\nhello\n")
    picture = ["-f", "lavfi", "-i", "testsrc=size=64x48:rate=10:duration=3"]
    run(
        *picture,
        "-i",
        folder / "tone.wav",
        "-c:v",
        "mpeg4",
        "-c:a",
        "aac",
        "-metadata",
        "title=Grüße",
        folder / "plain.mp4",
    )
    run(
        *picture,
        "-itsoffset",
        "0.5",
        "-i",
        folder / "tone.wav",
        "-i",
        folder / "words.srt",
        "-map",
        "0:v",
        "-map",
        "1:a",
        "-map",
        "1:a",
        "-map",
        "2:s",
        "-c:v",
        "mpeg4",
        "-c:a",
        "flac",
        "-c:s",
        "srt",
        "-metadata:s:a:0",
        "language=deu",
        folder / "late.mkv",
    )
    return folder


@pytest.mark.parametrize("extension", ["m4a", "aac", "mka", "wma"])
def test_sound_goes_through_other_formats(tmp_path, extension):
    with AudioWriter(tmp_path / f"a.{extension}", 48000, 1) as writer:
        for block in np.split(TONE, 8):
            writer.write(block[None])
    reader = open_audio(tmp_path / f"a.{extension}")
    assert (reader.sampling_rate, reader.num_channels, reader.format) == (48000, 1, "ffmpeg")
    audio = read_audio(tmp_path / f"a.{extension}").audio[0]
    assert len(audio) == pytest.approx(len(TONE), abs=4096)
    spectrum = np.abs(np.fft.rfft(audio[20000:116000]))
    assert np.argmax(spectrum) == 440 * 2
    assert np.abs(audio[20000:116000]).max() == pytest.approx(0.3, abs=0.02)


@pytest.mark.slow
def test_the_sound_of_a_film_is_replaced_and_all_else_copied(films, tmp_path):
    copy(films / "plain.mp4", tmp_path / "out.mp4", 0.5)
    before, after = streams(films / "plain.mp4"), streams(tmp_path / "out.mp4")
    assert [item["codec_name"] for item in after] == [item["codec_name"] for item in before] == ["mpeg4", "aac"]
    assert [p["size"] for p in after[0]["packets"]] == [p["size"] for p in before[0]["packets"]]
    assert [p["pts_time"] for p in after[0]["packets"]] == [p["pts_time"] for p in before[0]["packets"]]
    original, halved = (read_audio(path).audio for path in (films / "plain.mp4", tmp_path / "out.mp4"))
    inner = slice(20000, 120000)
    np.testing.assert_allclose(halved[:, inner], 0.5 * original[:, inner], atol=0.02)  # aligned, and left stays left
    assert ffmpeg.probe(tmp_path / "out.mp4").tags["title"] == "Grüße"


@pytest.mark.slow
def test_sound_that_begins_late_stays_late_and_other_tracks_stay(films, tmp_path):
    original = read_audio(films / "late.mkv").audio
    assert np.abs(original[:, :23000]).max() < 1e-3
    assert np.abs(original[:, 25000:26000]).max() > 0.2
    copy(films / "late.mkv", tmp_path / "out.mkv", 0.5)
    after = streams(tmp_path / "out.mkv")
    assert [item["codec_name"] for item in after] == ["mpeg4", "flac", "flac", "subrip"]
    assert after[1]["tags"]["language"] == "deu"
    np.testing.assert_allclose(read_audio(tmp_path / "out.mkv").audio, 0.5 * original, atol=1e-3)
    run("-i", tmp_path / "out.mkv", "-map", "0:a:1", tmp_path / "second.wav")
    assert np.abs(read_audio(tmp_path / "second.wav").audio).max() == pytest.approx(0.3, abs=0.02)


def test_sound_of_a_film_as_an_audio_file(films, tmp_path):
    copy(films / "plain.mp4", tmp_path / "out.flac")
    assert open_audio(tmp_path / "out.flac").tags["title"] == "Grüße"


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"hello, this is not audio\n" * 100, "cannot be read as audio"), (b"#EXTM3U\n/etc/hostname\n", "cannot be read")],
)
def test_what_is_no_sound_is_named(tmp_path, content, message):
    (tmp_path / "in.mp4").write_bytes(content)
    with pytest.raises(AudioFileError, match=message) as error:
        open_audio(tmp_path / "in.mp4")
    assert "\n" not in str(error.value)


@pytest.mark.slow
@pytest.mark.parametrize("extension", ["mka", "m4a"])
def test_the_delay_of_an_encoder_does_not_add_up(tmp_path, extension):
    """Sample 0 stays time 0, although the encoder's delay begins before it."""
    audio = np.repeat(np.abs(np.sin(np.arange(40) * 1.7)), 1200).astype(np.float32)[None] * noise(48000, channels=1)
    with AudioWriter(tmp_path / f"0.{extension}", 48000, 1) as writer:
        writer.write(audio)
    for index in range(3):
        decoded = read_audio(tmp_path / f"{index}.{extension}").audio
        with AudioWriter(
            tmp_path / f"{index + 1}.{extension}", 48000, 1, like=open_audio(tmp_path / f"{index}.{extension}")
        ) as writer:
            writer.write(decoded)
    decoded = read_audio(tmp_path / f"3.{extension}").audio
    assert abs(decoded.shape[1] - 48000) <= 1024  # a frame of AAC
    spectra = [np.fft.rfft(item[0], 2**17) for item in (decoded, audio)]
    assert np.argmax(np.abs(np.fft.irfft(spectra[0] * np.conj(spectra[1])))) == 0


def test_a_film_without_sound_is_named(tmp_path):
    run("-f", "lavfi", "-i", "testsrc=size=64x48:rate=10:duration=1", "-c:v", "mpeg4", tmp_path / "in.mp4")
    with pytest.raises(AudioFileError, match="no sound track"):
        open_audio(tmp_path / "in.mp4")


def test_a_cut_off_film_is_named(films, tmp_path):
    content = (films / "plain.mp4").read_bytes()
    (tmp_path / "in.mp4").write_bytes(content[: len(content) // 2])
    with pytest.raises(AudioFileError, match=r"in\.mp4: "):
        read_audio(tmp_path / "in.mp4")


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "out.m4a"
    path.write_bytes(b"precious")
    with pytest.raises(AudioFileError, match=r"out\.m4a: cannot be written"), AudioWriter(path, 16001, 33) as writer:
        writer.write(noise(100000, channels=33))
    with pytest.raises(TypeError), AudioWriter(path, 48000, 1) as writer:
        writer.write("what is this?")
    assert path.read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [path]


def test_without_ffmpeg_the_error_says_what_would_help(films, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(AudioFileError, match="with ffmpeg installed"):
        open_audio(films / "plain.mp4")
