import io
import os
import stat
import struct
import time

import numpy as np
import pytest
import soundfile
from conftest import noise
from sound_files import make

from speech_enhance import AudioFileError, AudioWriter, open_audio, read_audio, write_audio
from speech_enhance.audio import ffmpeg
from speech_enhance.audio import writer as audio_writer
from speech_enhance.audio.writer import FORMATS
from speech_enhance.jobs.file import write_recording


@pytest.mark.parametrize(
    ("name", "subtype", "atol"),
    [
        ("a.wav", "PCM_16", 1e-4),
        ("a.wav", "PCM_24", 1e-6),
        ("a.wav", "FLOAT", 0),
        ("a.flac", "PCM_16", 1e-4),
        ("a.ogg", "VORBIS", 0.02),
        ("a.mp3", None, 0.02),
        ("a.aiff", "PCM_16", 1e-4),
        ("a.opus", None, 0.02),
    ],
)
@pytest.mark.parametrize("channels", [1, 2])
def test_round_trip(tmp_path, name, subtype, atol, channels):
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(48000) / 48000)
    audio = np.stack([tone, -0.5 * tone][:channels]).astype(np.float32)
    assert write_audio(tmp_path / name, audio, 48000, subtype) == 0
    recording = read_audio(tmp_path / name)
    assert recording.sampling_rate == 48000
    assert recording.audio.shape == audio.shape
    assert recording.audio.dtype == np.float32
    assert subtype is None or recording.subtype == subtype
    np.testing.assert_allclose(recording.audio[:, 4800:-4800], audio[:, 4800:-4800], atol=atol)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "FLOAT"])
def test_what_was_read_is_written_back_bit_by_bit(tmp_path, subtype):
    samples = np.random.default_rng(0).uniform(-1, 1, (5000, 2))
    samples[:2] = [[-1, 1], [1, -1]]
    soundfile.write(tmp_path / "a.wav", samples, 16000, subtype=subtype)
    recording = read_audio(tmp_path / "a.wav")
    write_audio(tmp_path / "b.wav", recording.audio, recording.sampling_rate, recording.subtype)
    np.testing.assert_array_equal(read_audio(tmp_path / "b.wav").audio, recording.audio)


@pytest.mark.parametrize(
    ("name", "subtype", "expected"),
    [
        ("a.flac", "FLOAT", "PCM_24"),
        ("a.flac", "PCM_32", "PCM_24"),
        ("a.flac", "PCM_U8", "PCM_S8"),
        ("a.opus", "PCM_24", "OPUS"),
    ],
)
def test_a_subtype_the_format_lacks_becomes_the_nearest(tmp_path, name, subtype, expected):
    write_audio(tmp_path / name, noise(100, channels=1), 16000, subtype)
    assert read_audio(tmp_path / name).subtype == expected


@pytest.mark.parametrize(
    ("name", "format_name"),
    [
        ("a.wav", "WAV"),
        ("a.wav", "WAVEX"),
        ("a.wav", "RF64"),
        ("a.flac", "FLAC"),
        ("a.ogg", "OGG"),
        ("a.aiff", "AIFF"),
        ("a.mp3", "MP3"),
    ],
)
def test_container_and_tags_are_kept(tmp_path, name, format_name):
    spelling = "Grusse" if format_name == "MP3" else "Grüße"
    tags = {"title": spelling, "artist": "Ada", "comment": "one\ntwo"}
    with soundfile.SoundFile(tmp_path / name, "w", 48000, 1, format=format_name) as file:
        for key, value in tags.items():
            setattr(file, key, value)
        file.write(noise(4800))
    reader = open_audio(tmp_path / name)
    target = tmp_path / f"out_{name}"
    with AudioWriter(target, reader.sampling_rate, reader.num_channels, like=reader) as writer:
        for block in reader.blocks():
            writer.write(block)
    assert writer.lost_tags == []
    copy = open_audio(target)
    assert (copy.format, copy.duration) == (format_name, reader.duration)
    assert {key: copy.tags[key] for key in tags} == tags


def test_sound_from_a_lossy_file_becomes_plain_samples(tmp_path):
    write_audio(tmp_path / "in.mp3", noise(4800, channels=1), 48000)
    with AudioWriter(tmp_path / "out.wav", 48000, 1, like=open_audio(tmp_path / "in.mp3")) as writer:
        writer.write(noise(4800, channels=1))
    assert soundfile.info(tmp_path / "out.wav").subtype == "PCM_16"


def wav_with_title(title: bytes) -> bytes:
    """A WAV file with INFO chunks, which have no encoding of their own."""
    file = io.BytesIO()
    soundfile.write(file, noise(4800), 16000, format="WAV")
    content = file.getvalue()
    items = b"".join(
        name + struct.pack("<I", len(text)) + text + bytes(len(text) % 2)
        for name, text in ((b"INAM", title), (b"IART", b"Ada\0"))
    )
    chunk = b"LIST" + struct.pack("<I", 4 + len(items)) + b"INFO" + items
    return b"RIFF" + struct.pack("<I", len(content) + len(chunk) - 8) + content[8:36] + chunk + content[36:]


def mp3_with_title(title: bytes) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, noise(4800), 16000, format="MP3")
    return file.getvalue() + b"TAG" + title.ljust(30, b"\0") + b"Ada".ljust(95, b"\0")


@pytest.mark.parametrize("make", [wav_with_title, mp3_with_title])
@pytest.mark.parametrize("target", ["out.wav", "out.flac", "out.m4a", "out.wma"])
def test_tags_in_a_local_code_page_are_left_out_and_told(tmp_path, make, target):
    if target.endswith(("m4a", "wma")) and not ffmpeg.installed():
        pytest.skip("needs ffmpeg")
    (tmp_path / "in").write_bytes(make("Grüße".encode("cp1252")))
    reader = open_audio(tmp_path / "in")
    assert (reader.tags["artist"], "title" in reader.tags) == ("Ada", False)
    assert reader.notes == ["tags that are not in Unicode were left out: title"]
    report = write_recording(reader, tmp_path / target, reader.blocks())
    assert report.notes[:1] == reader.notes
    copy = open_audio(tmp_path / target)
    assert (copy.tags.get("artist"), copy.tags.get("title"), copy.notes) == ("Ada", None, [])
    (tmp_path / "in").write_bytes(make("Grüße".encode()))
    assert open_audio(tmp_path / "in").tags["title"] == "Grüße"


BLOCK_ENCODINGS = [
    ("wav", "IMA_ADPCM"),
    ("wav", "MS_ADPCM"),
    ("wav", "GSM610"),
    ("wav", "G721_32"),
    ("wav", "NMS_ADPCM_24"),
    ("w64", "IMA_ADPCM"),
    ("w64", "GSM610"),
    ("au", "G721_32"),
    ("au", "G723_24"),
    ("aiff", "IMA_ADPCM"),
    ("aiff", "PCM_S8"),
    ("aiff", "ULAW"),
    ("caf", "ALAC_16"),
]


@pytest.mark.parametrize(
    ("before", "target", "note"),
    [
        ("PCM_32", "out.flac", "written as PCM_24 instead of PCM_32"),
        ("FLOAT", "out.flac", "written as PCM_24 instead of FLOAT"),
        ("PCM_24", "out.flac", None),
        ("PCM_24", "out.ogg", None),
    ],
)
def test_samples_of_fewer_bits_are_told(tmp_path, before, target, note):
    soundfile.write(tmp_path / "in.wav", noise(800), 8000, before)
    with AudioWriter(tmp_path / target, 8000, 1, like=open_audio(tmp_path / "in.wav"), num_samples=800) as writer:
        writer.write(noise(800, channels=1))
    assert writer.notes == ([note] if note else [])


@pytest.mark.parametrize(("extension", "subtype"), BLOCK_ENCODINGS)
@pytest.mark.parametrize("num_samples", [1, 3001, 12715])
def test_encodings_in_blocks_add_no_samples(tmp_path, extension, subtype, num_samples):
    """A whole number of blocks keeps its encoding; other lengths become plain samples, which is told."""
    with soundfile.SoundFile(
        tmp_path / f"in.{extension}", "w", 8000, 1, subtype, format=FORMATS[f".{extension}"][0]
    ) as file:
        file.write(noise(num_samples))
    whole = open_audio(tmp_path / f"in.{extension}")
    for length in (num_samples, round(whole.duration * 8000)):
        target = tmp_path / f"out.{extension}"
        with AudioWriter(target, 8000, 1, like=whole, num_samples=length) as writer:
            writer.write(noise(length, channels=1))
        written = open_audio(target)
        assert written.duration * 8000 == length
        assert sum(block.shape[1] for block in written.blocks()) == length
        if written.subtype == subtype:
            assert writer.notes == []
        else:
            assert writer.notes == [f"written as PCM_16 instead of {subtype}, which would change the number of samples"]
    if "ADPCM" in subtype or subtype == "ALAC_16":
        assert written.subtype == subtype


def test_an_encoding_in_blocks_whose_number_of_samples_was_wrong_is_refused(tmp_path):
    path = tmp_path / "out.wav"
    with (
        pytest.raises(AudioFileError, match="IMA_ADPCM would change the number of samples"),
        AudioWriter(path, 8000, 1, subtype="IMA_ADPCM", num_samples=5050) as writer,
    ):
        writer.write(noise(5051, channels=1))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("extension", ["wav", "aiff", "au"])
def test_more_than_4_gb_of_unknown_length_are_refused(tmp_path, monkeypatch, extension):
    monkeypatch.setattr(audio_writer, "_SMALL_BYTES", 2**17)
    with (
        pytest.raises(AudioFileError, match=r"4 GB at most; write .*w64"),
        AudioWriter(tmp_path / f"out.{extension}", 48000, 2, subtype="PCM_16") as writer,
    ):
        writer.write(noise(40000, channels=2))
    assert list(tmp_path.iterdir()) == []


def test_tags_that_cannot_be_kept_are_told(tmp_path):
    with soundfile.SoundFile(tmp_path / "in.wav", "w", 48000, 1) as file:
        file.title = "Ada"
        file.write(noise(4800))
    with AudioWriter(tmp_path / "out.au", 48000, 1, like=open_audio(tmp_path / "in.wav")) as writer:
        writer.write(noise(4800, channels=1))
    assert writer.lost_tags == ["title"]


def test_reading_in_blocks_equals_reading_at_once(tmp_path):
    write_audio(tmp_path / "a.flac", noise(200001, channels=2), 44100)
    reader = open_audio(tmp_path / "a.flac")
    for _ in range(2):
        blocks = list(reader.blocks())
        assert len(blocks) > 2
        np.testing.assert_array_equal(np.concatenate(blocks, axis=1), read_audio(tmp_path / "a.flac").audio)


def test_a_rate_at_which_the_library_would_crash_is_refused(tmp_path):
    write_audio(tmp_path / "a.ogg", noise(1000, channels=1), 192000)
    with pytest.raises(AudioFileError, match="no 300000 Hz"):
        write_audio(tmp_path / "b.ogg", noise(1000, channels=1), 300000)


def test_wav_beyond_4_gb_becomes_rf64(tmp_path):
    """Only the header is written: what decides is how many samples are announced."""
    for num_samples, format_name in ((2**29, "WAV"), (2**30, "RF64")):
        with AudioWriter(tmp_path / "a.wav", 48000, 2, subtype="PCM_16", num_samples=num_samples) as writer:
            writer.write(noise(10, channels=2))
        assert soundfile.info(tmp_path / "a.wav").format == format_name


def test_peaks_over_full_scale_are_limited_and_counted(tmp_path):
    audio = np.array([[0.5, 1.5, -2.0]], np.float32)
    assert write_audio(tmp_path / "a.wav", audio, 16000, "PCM_16") == 2
    np.testing.assert_allclose(read_audio(tmp_path / "a.wav").audio, [[0.5, 1.0, -1.0]], atol=1e-4)
    assert write_audio(tmp_path / "b.wav", audio, 16000, "FLOAT") == 0
    np.testing.assert_array_equal(read_audio(tmp_path / "b.wav").audio, audio)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "no such file"),
        ("folder", "is a folder"),
        ("empty", "is empty"),
        ("text", "cannot be read as audio"),
        ("random", "cannot be read as audio"),
        ("header only", "no audio samples"),
        ("nan", "NaN or infinite"),
        ("fifo", "not a regular file"),
    ],
)
def test_what_is_no_recording_is_named(tmp_path, kind, message):
    path = tmp_path / "in.wav"
    make(path, kind)
    with pytest.raises(AudioFileError, match=message) as error:
        read_audio(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("out", "unknown output format ''"),
        ("out.xyz", "known are .*wav"),
        ("no/out.wav", "does not exist"),
        (".", "is a folder"),
    ],
)
def test_where_nothing_can_be_written_is_named(tmp_path, name, message):
    with pytest.raises(AudioFileError, match=message):
        write_audio(tmp_path / name, noise(10, channels=1), 16000)


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "out.mp3"
    path.write_bytes(b"precious")
    with pytest.raises(AudioFileError, match="cannot be written"):
        write_audio(path, noise(10, channels=1), 16001)  # MP3 has no such rate
    assert path.read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_while_writing_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "out.wav"
    path.write_bytes(b"precious")
    with pytest.raises(TypeError), AudioWriter(path, 16000, 1) as writer:
        writer.write("what is this?")
    assert path.read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [path]


def test_without_nameless_files_it_works_too(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    path = tmp_path / "out.wav"
    write_audio(path, noise(1000, channels=1), 16000)
    assert read_audio(path).audio.shape == (1, 1000)
    with pytest.raises(TypeError), AudioWriter(path, 16000, 1) as writer:
        writer.write("what is this?")
    assert list(tmp_path.iterdir()) == [path]


def test_permissions_of_a_new_file_are_the_usual(tmp_path):
    write_audio(tmp_path / "out.wav", noise(10, channels=1), 16000)
    (tmp_path / "plain").touch()
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("out.wav", "plain")}
    assert len(modes) == 1


@pytest.mark.parametrize("name", ["a.wav", "a.aiff", "a.rf64", "a.flac", "a.mp3"])
def test_the_time_of_writing_is_not_in_the_file(tmp_path, name):
    audio = noise(1000, channels=2)
    subtype = "FLOAT" if name in ("a.wav", "a.aiff", "a.rf64") else None
    with AudioWriter(tmp_path / name, 16000, 2, subtype=subtype) as writer:
        writer.write(audio)
    before = (tmp_path / name).read_bytes()
    time.sleep(1.1)  # libsndfile notes seconds
    write_audio(tmp_path / name, audio, 16000, subtype)
    assert (tmp_path / name).read_bytes() == before


def test_chunks_that_are_not_copied_are_named(tmp_path):
    """Broadcast and cue chunks, of which libsndfile says nothing; tags and fillers are no loss."""
    path = tmp_path / "a.wav"
    with soundfile.SoundFile(path, "w", 16000, 1) as file:
        file.title = "Title"
        file.write(noise(1000))
    assert open_audio(path).notes == []
    data = path.read_bytes()
    extras = b"".join(
        name + struct.pack("<I", len(body)) + body
        for name, body in ((b"bext", bytes(602)), (b"cue ", bytes(4)), (b"LIST", b"adtl"), (b"JUNK", b"xxxx"))
    )
    data = data[:4] + struct.pack("<I", len(data) + len(extras) - 8) + data[8:] + extras
    path.write_bytes(data)
    reader = open_audio(path)
    assert reader.notes == ["what is not copied: chunks bext, cue, adtl"]
    assert sum(block.shape[1] for block in reader.blocks()) == 1000
