"""Output channel k holds input channel k alone, and the layout keeps its name or the writer says that it does not."""

import os

import numpy as np
import pytest
import soundfile
from ffmpeg_files import copy, decoded_by_ffmpeg, heard_tones, write_tones

from speech_enhance import AudioFileError, AudioWriter, read_audio
from speech_enhance.audio import ffmpeg
from speech_enhance.audio.channel_layouts import mask_of, name_of, read_wav_mask

pytestmark = pytest.mark.skipif(
    not ffmpeg.installed() and not os.environ.get("CI"), reason="ffmpeg and ffprobe are not installed"
)


def check_order(path, num_channels: int) -> None:
    expected = [[number] for number in range(num_channels)]
    assert heard_tones(read_audio(path).audio) == expected
    assert heard_tones(decoded_by_ffmpeg(path, num_channels)) == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layout", "num_channels", "extension", "codec", "becomes"),
    [
        ("3.0", 3, "m4a", "aac", None),
        ("5.0", 5, "webm", "vorbis", None),  # libopus in ffmpeg 5.1 mixes these channels up
        ("5.1(side)", 6, "mkv", "flac", None),
        ("6.1", 7, "m4a", "alac", "6.1(back)"),
        ("", 12, "mka", "vorbis", None),
    ],
)
def test_channels_stay_apart_through_ffmpeg(tmp_path, layout, num_channels, extension, codec, becomes):
    source, target = tmp_path / "in.wav", tmp_path / f"out.{extension}"
    if layout:
        write_tones(source, layout, num_channels)
    else:
        write_tones(tmp_path / "raw.w64", "", num_channels)
        soundfile.write(source, soundfile.read(tmp_path / "raw.w64")[0], 48000, format="WAV")
    notes = copy(source, target)
    sound = ffmpeg.probe(target)
    assert sound.codec == codec
    if layout:
        assert sound.layout == (becomes or layout)
        assert any("layout" in note for note in notes if "became" in note) == bool(becomes)
    check_order(target, num_channels)
    if layout:
        copy(target, tmp_path / "back.wav")
        assert name_of(read_wav_mask(tmp_path / "back.wav")) == sound.layout


@pytest.mark.parametrize(
    ("layout", "num_channels"),
    [("2.1", 3), ("quad(side)", 4), ("5.0(side)", 5), ("5.1(side)", 6), ("7.0", 7), ("7.1", 8)],
)
def test_the_mask_of_a_wav_file_stays(tmp_path, layout, num_channels):
    write_tones(tmp_path / "in.wav", layout, num_channels)
    for name in ("out.wav", "out.rf64"):
        assert copy(tmp_path / "in.wav", tmp_path / name) == []
        assert read_wav_mask(tmp_path / name) == mask_of(layout)
    assert copy(tmp_path / "in.wav", tmp_path / "out.aiff") == [
        f"the channel layout {layout} became one without a name"
    ]


def test_a_wav_file_without_a_mask_gets_none(tmp_path):
    soundfile.write(tmp_path / "in.wav", np.zeros((100, 8)), 16000, format="WAV")
    assert copy(tmp_path / "in.wav", tmp_path / "out.wav") == []
    assert read_wav_mask(tmp_path / "out.wav") is None
    assert copy(tmp_path / "in.wav", tmp_path / "out.rf64") == []
    assert not read_wav_mask(tmp_path / "out.rf64")


@pytest.mark.slow
@pytest.mark.parametrize(("layout", "num_channels"), [("5.1", 6), ("7.1", 8)])
@pytest.mark.parametrize("extension", ["ogg", "opus"])
def test_ogg_files_have_their_channels_in_another_order(tmp_path, layout, num_channels, extension):
    write_tones(tmp_path / "in.wav", layout, num_channels)
    assert copy(tmp_path / "in.wav", tmp_path / f"out.{extension}") == []
    check_order(tmp_path / f"out.{extension}", num_channels)
    copy(tmp_path / f"out.{extension}", tmp_path / "back.wav")
    check_order(tmp_path / "back.wav", num_channels)
    assert name_of(read_wav_mask(tmp_path / "back.wav")) == layout


def test_too_many_channels_are_named(tmp_path):
    with pytest.raises(AudioFileError, match="MP3 has 2 channels at most, not 3"):
        AudioWriter(tmp_path / "out.mp3", 48000, 3)
    with (
        pytest.raises(AudioFileError, match="WAV has no GSM610 with 2 channels at 8000 Hz"),
        AudioWriter(tmp_path / "out.wav", 8000, 2, subtype="GSM610"),
    ):
        pass
