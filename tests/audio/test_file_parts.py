"""Files of which libsndfile alone would read a part: joined, without a length, with a wrong one, damaged."""

import io
import os
import struct
import subprocess

import numpy as np
import pytest
import soundfile
from conftest import noise

from speech_enhance import AudioFileError, cli, open_audio, read_audio
from speech_enhance.audio import ffmpeg
from speech_enhance.audio.sndfile import quiet_mpg123

needs_ffmpeg = pytest.mark.skipif(not ffmpeg.installed() and not os.environ.get("CI"), reason="ffmpeg is not installed")
SUBTYPES = {
    "WAV": "PCM_16",
    "RF64": "PCM_16",
    "AIFF": "PCM_16",
    "AU": "PCM_16",
    "CAF": "PCM_16",
    "FLAC": "PCM_16",
    "OGG": "VORBIS",
    "OPUS": "OPUS",
    "MP3": None,
}
MP3_FRAME = 1152  # samples at 48 kHz


@pytest.fixture
def without_ffmpeg(monkeypatch):
    monkeypatch.setattr(ffmpeg, "installed", lambda: False)


def encoded(format_name: str, num_samples: int, sampling_rate: int = 48000, **options) -> bytes:
    file, audio = io.BytesIO(), noise(num_samples, seed=num_samples)
    container = "OGG" if format_name == "OPUS" else format_name
    with soundfile.SoundFile(file, "w", sampling_rate, 1, SUBTYPES[format_name], format=container, **options) as sound:
        sound.write(audio)
    return file.getvalue()


def varying_mp3(num_samples: int = 200000) -> bytes:
    """An MP3 file of a bit rate that varies much: silence in its first half."""
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", 48000, 1, format="MP3", bitrate_mode="VARIABLE") as sound:
        sound.write(np.concatenate([np.zeros(num_samples // 2), 0.3 * noise(num_samples - num_samples // 2)]))
    return file.getvalue()


def without_facts(mp3: bytes) -> bytes:
    """An MP3 stream without its first frame, which tells the length."""
    return mp3[mp3.index(mp3[:2], 4) :]


def read(path, content: bytes) -> np.ndarray:
    path.write_bytes(content)
    return read_audio(path).audio[0]


@pytest.mark.parametrize("format_name", SUBTYPES)
def test_joined_files_are_read_to_their_end(tmp_path, without_ffmpeg, format_name):
    contents = [encoded(format_name, number) for number in (30001, 90000, 20000)]
    apart = [read(tmp_path / "apart", content) for content in contents]
    together = read(tmp_path / "together", b"".join(contents))
    assert len(together) == 140001
    np.testing.assert_array_equal(together, np.concatenate(apart))
    reader = open_audio(tmp_path / "together")
    assert (round(reader.duration * 48000), reader.notes) == (140001, [])


def test_joined_files_of_different_kinds_are_refused(tmp_path):
    (tmp_path / "in.mp3").write_bytes(encoded("MP3", 30000) + encoded("MP3", 30000, 44100))
    with pytest.raises(AudioFileError, match=r"joins recordings of 48000 Hz .* and 44100 Hz .*; split it"):
        open_audio(tmp_path / "in.mp3")


def test_of_joined_files_the_last_may_be_cut_off(tmp_path, without_ffmpeg):
    (tmp_path / "in.ogg").write_bytes(encoded("OGG", 30000) + encoded("OGG", 30000)[:100])
    reader = open_audio(tmp_path / "in.ogg")
    assert sum(block.shape[1] for block in reader.blocks()) == 30000
    assert reader.notes == ["the recording is damaged; the last of the 2 that it joins cannot be read"]


@pytest.mark.parametrize("tags", [False, True])
@pytest.mark.parametrize("copies", [1, 2])
def test_mp3_without_a_header_is_read_to_its_end(tmp_path, without_ffmpeg, tags, copies):
    """Its length is estimated from the bit rate of the first frames."""
    content = without_facts(varying_mp3())
    if tags:
        content = b"ID3\3\0\0\0\0\0\x14" + bytes(20) + content + b"TAG" + b"Title".ljust(125, b"\0")
    (tmp_path / "in.mp3").write_bytes(copies * content)
    reader = open_audio(tmp_path / "in.mp3")
    audio = np.concatenate(list(reader.blocks()), axis=1)[0]
    assert copies * 200000 - MP3_FRAME <= len(audio) <= copies * (200000 + 3 * MP3_FRAME)
    assert np.abs(audio[-30000:]).mean() > 0.01
    assert reader.duration * 48000 == pytest.approx(len(audio))
    assert reader.notes == []
    assert reader.tags.get("title") == ("Title" if tags else None)


@pytest.mark.parametrize("format_name", ["MP3", "OGG", "FLAC", "WAV"])
def test_blocks_join_without_a_seam(tmp_path, format_name):
    """Seeking between blocks, as soundfile does, resets the decoder of MP3."""
    (tmp_path / "in").write_bytes(encoded(format_name, 200000, 44100))
    expected, _ = soundfile.read(tmp_path / "in", dtype="float32")
    np.testing.assert_allclose(read_audio(tmp_path / "in").audio[0], expected, atol=1e-6)


def with_size(format_name: str, name: bytes, form: str, *values: int, offset: int = 4) -> bytes:
    """A file with the size of a chunk, or the numbers of a header, changed."""
    content = bytearray(encoded(format_name, 5001))
    struct.pack_into(form, content, content.index(name) + offset, *values)
    return bytes(content)


def flac_without_length() -> bytes:
    content = bytearray(encoded("FLAC", 70001))
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "num_samples"),
    [
        (with_size("WAV", b"data", "<I", 0), 5001),
        (with_size("WAV", b"data", "<I", 2**32 - 1), 5001),
        (with_size("WAV", b"data", "<I", 2**31 - 2**16), 5001),
        (with_size("RF64", b"ds64", "<QQQ", 0, 0, 0, offset=8), 5001),
        (with_size("AU", b".snd", ">I", 0, offset=8), 5001),
        (with_size("AU", b".snd", ">I", 2**32 - 1, offset=8), 5001),
        (with_size("CAF", b"data", ">Q", 2**64 - 1), 5001),
        (with_size("AIFF", b"SSND", ">I", 0), 5001),
        (flac_without_length(), 70001),
        (2 * flac_without_length(), 140002),
    ],
    ids=["WAV 0", "WAV -1", "WAV 2 GB", "RF64 0", "AU 0", "AU -1", "CAF -1", "AIFF 0", "FLAC 0", "FLAC 0 twice"],
)
def test_headers_without_a_length(tmp_path, without_ffmpeg, content, num_samples):
    """As programs write them into a pipe, and recorders that lose their power."""
    (tmp_path / "in").write_bytes(content)
    reader = open_audio(tmp_path / "in")
    audio = np.concatenate(list(reader.blocks()), axis=1)[0]
    assert (len(audio), reader.notes) == (num_samples, [])
    length = min(num_samples, 70001)
    expected = noise(length, seed=length)
    np.testing.assert_allclose(audio[: len(expected)], expected, atol=1e-4)


@pytest.mark.parametrize("behind", [b"", b"LIST\4\0\0\0INFO"])
def test_a_wav_file_without_samples_stays_one(tmp_path, behind):
    file = io.BytesIO()
    soundfile.write(file, np.zeros((0, 1)), 16000, format="WAV")
    (tmp_path / "in.wav").write_bytes(file.getvalue() + behind)
    with pytest.raises(AudioFileError, match="holds no audio samples"):
        open_audio(tmp_path / "in.wav")


@pytest.mark.parametrize("format_name", ["WAV", "AIFF", "AU", "CAF", "RF64"])
def test_a_cut_off_file_is_said_to_be_one(tmp_path, without_ffmpeg, format_name):
    (tmp_path / "in").write_bytes(encoded(format_name, 30000)[:-20000])
    reader = open_audio(tmp_path / "in")
    num_samples = sum(block.shape[1] for block in reader.blocks())
    assert num_samples == 20000
    (note,) = reader.notes
    assert "it is cut off: it holds 400" in note


def with_hole(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes(4096) + content[middle + 4096 :]


@pytest.mark.slow
def test_a_damaged_mp3_file_is_read_on_and_told_in_one_line(tmp_path, tiny_model, without_ffmpeg, capfd):
    """libmpg123 gives up at 1,024 bytes that are no frame, and writes four lines about it."""
    content = encoded("MP3", 400000, bitrate_mode="CONSTANT", compression_level=0.5)
    (tmp_path / "in.mp3").write_bytes(with_hole(content))
    assert cli.main(["--model", str(tiny_model), str(tmp_path / "in.mp3"), str(tmp_path / "out.wav")]) == 0
    note, _ = capfd.readouterr().err.splitlines()
    assert note.startswith("speech-enhance: the recording is damaged; ")
    lost = 400000 * 4096 / len(content)
    assert abs(400000 - soundfile.info(tmp_path / "out.wav").frames - lost) < 4 * MP3_FRAME
    (tmp_path / "cut.mp3").write_bytes(content[: len(content) // 2])
    assert open_audio(tmp_path / "cut.mp3").notes[0].startswith("the recording is damaged; it is cut off: its last ")
    assert capfd.readouterr().err == ""


def test_frames_that_cannot_be_decoded_are_told_in_our_words(tmp_path, capfd):
    content = bytearray(encoded("MP3", 300000))
    for start in range(len(content) // 2, len(content) - 500, 97):
        content[start : start + 8] = np.random.default_rng(start).bytes(8).replace(b"\xff", b"\0")
    (tmp_path / "in.mp3").write_bytes(content)
    reader = open_audio(tmp_path / "in.mp3")
    assert sum(block.shape[1] for block in reader.blocks()) > 150000
    assert reader.notes
    assert capfd.readouterr().err == ""


def test_only_what_libmpg123_writes_is_kept_back(capfd):
    with quiet_mpg123() as errors:
        os.write(2, b"[src/libmpg123/layer3.c:1] error: oh\nhello\nNote: Trying to resync...\nworld\n")
    assert capfd.readouterr().err == "hello\nworld\n"
    assert len(errors) == 1


@pytest.mark.parametrize("damage", [with_hole, lambda content: content[: len(content) // 2]])
def test_ffmpeg_reads_on_where_libsndfile_gives_up(tmp_path, monkeypatch, damage):
    (tmp_path / "in.flac").write_bytes(damage(encoded("FLAC", 200000)))
    reader = open_audio(tmp_path / "in.flac")
    with monkeypatch.context() as context:
        context.setattr(ffmpeg, "installed", lambda: False)
        with pytest.raises(AudioFileError, match="cannot be read as audio"):
            list(reader.blocks())
    if not ffmpeg.installed():
        pytest.skip("needs ffmpeg")
    decoded = ["ffmpeg", "-v", "quiet", "-i", tmp_path / "in.flac", "-f", "s16le", "-"]
    expected = len(subprocess.run(decoded, capture_output=True, check=False).stdout) // 2
    audio = np.concatenate(list(reader.blocks()), axis=1)[0]
    assert len(audio) >= expected > 90000
    np.testing.assert_allclose(audio[:60000], noise(200000, seed=200000)[:60000], atol=1e-4)
    (note,) = reader.notes
    assert note.startswith("the recording is damaged; ffmpeg read on where libsndfile gave up")


@needs_ffmpeg
def test_a_flac_stream_from_a_pipe(tmp_path, tiny_model):
    (tmp_path / "in.wav").write_bytes(encoded("WAV", 70000))
    pipe = subprocess.run(
        ["ffmpeg", "-v", "error", "-i", tmp_path / "in.wav", "-f", "flac", "-"], capture_output=True, check=True
    )
    (tmp_path / "in.flac").write_bytes(pipe.stdout)
    assert cli.main(["--model", str(tiny_model), str(tmp_path / "in.flac"), str(tmp_path / "out.flac")]) == 0
    assert soundfile.info(tmp_path / "out.flac").frames == 70000


def test_a_flac_file_that_lost_its_header_behind_another_is_refused(tmp_path):
    first, second = encoded("FLAC", 30000), encoded("FLAC", 30000)
    (tmp_path / "in.flac").write_bytes(first + b"\0\0\0\0" + second[4:])
    with pytest.raises(AudioFileError, match="it joins recordings, of which one has lost its header"):
        open_audio(tmp_path / "in.flac")
