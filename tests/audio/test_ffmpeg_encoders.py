"""Sampling rate, bits of a sample and codec stay, or the writer refuses or says what became of them."""

import os

import pytest
from ffmpeg_files import copy, run, write_tones

from speech_enhance import AudioFileError, open_audio, read_audio
from speech_enhance.audio import ffmpeg

pytestmark = pytest.mark.skipif(
    not ffmpeg.installed() and not os.environ.get("CI"), reason="ffmpeg and ffprobe are not installed"
)


def make(path, rate: int, *options) -> None:
    run("-f", "lavfi", "-i", f"sine=r={rate}:d=0.5", "-ac", "2", *options, path)


@pytest.mark.parametrize(
    ("rate", "extension", "codec", "why"),
    [
        (44056, "m4a", "alac", "aac has no 44056 Hz"),
        (44100, "webm", "vorbis", "opus has no 44100 Hz"),
        (48000, "webm", "opus", None),
    ],
)
def test_the_sampling_rate_stays(tmp_path, rate, extension, codec, why):
    make(tmp_path / "in.wav", rate)
    notes = copy(tmp_path / "in.wav", tmp_path / f"out.{extension}")
    assert notes == ([f"the sound is {codec} ({why})"] if why else [])
    sound = ffmpeg.probe(tmp_path / f"out.{extension}")
    assert (sound.sampling_rate, sound.codec) == (rate, codec)


def test_a_rate_that_no_encoder_has_is_refused_with_the_cause(tmp_path):
    make(tmp_path / "in.wav", 192000)
    with pytest.raises(AudioFileError, match=r"wmav2: sample rate is too high: 192000 > 48kHz\)$") as error:
        copy(tmp_path / "in.wav", tmp_path / "out.wma")
    assert "\n" not in str(error.value)
    with pytest.raises(AudioFileError, match=r"cannot be written \(MPEG-1/2/2.5 only supports sample rates of 8000"):
        copy(tmp_path / "in.wav", tmp_path / "out.mp3")
    assert [path.name for path in tmp_path.iterdir()] == ["in.wav"]


@pytest.mark.parametrize(
    ("name", "options", "bits"),
    [
        ("in.m4a", ["-c:a", "alac", "-sample_fmt", "s16p"], 16),
        ("in.m4a", ["-c:a", "alac", "-sample_fmt", "s32p"], 24),
        ("in.mov", ["-c:a", "pcm_s24be"], 24),
    ],
)
def test_the_bits_of_a_sample_stay(tmp_path, name, options, bits):
    make(tmp_path / name, 48000, *options)
    target = tmp_path / name.replace("in", "out")
    assert copy(tmp_path / name, target) == []
    assert ffmpeg.probe(target).sample_bits == bits
    assert ffmpeg.probe(target).codec == options[1]


@pytest.mark.slow
@pytest.mark.parametrize(("encoder", "name", "codec"), [("dca", "dts", "aac"), ("truehd", "truehd", "flac")])
def test_a_codec_that_cannot_be_encoded_becomes_another(tmp_path, encoder, name, codec):
    make(tmp_path / "in.mkv", 48000, "-c:a", encoder, "-strict", "-2")
    notes = copy(tmp_path / "in.mkv", tmp_path / "out.mkv")
    assert notes == [f"the sound is {codec} (ffmpeg's encoder of {name} is experimental)"]
    assert ffmpeg.probe(tmp_path / "out.mkv").codec == codec


@pytest.mark.slow
def test_the_bit_rate_of_other_codecs_is_not_asked_for(tmp_path):
    make(tmp_path / "in.wav", 48000)  # 1.5 Mbit/s
    copy(tmp_path / "in.wav", tmp_path / "out.wma")
    assert ffmpeg.probe(tmp_path / "out.wma").bit_rate == 192000
    copy(tmp_path / "out.wma", tmp_path / "again.wma")
    assert ffmpeg.probe(tmp_path / "again.wma").bit_rate == 192000


@pytest.mark.parametrize(
    ("name", "options", "target", "subtype"),
    [
        ("in.m4a", ["-c:a", "alac", "-sample_fmt", "s32p"], "out.wav", "PCM_24"),
        ("in.m4a", ["-c:a", "alac", "-sample_fmt", "s16p"], "out.flac", "PCM_16"),
        ("in.mka", ["-c:a", "flac", "-sample_fmt", "s32"], "out.flac", "PCM_24"),
        ("in.wv", ["-c:a", "wavpack", "-sample_fmt", "fltp"], "out.wav", "FLOAT"),
    ],
)
def test_a_lossless_codec_keeps_its_bits_as_plain_samples(tmp_path, name, options, target, subtype):
    make(tmp_path / name, 48000, *options)
    assert copy(tmp_path / name, tmp_path / target) == []
    assert open_audio(tmp_path / target).subtype == read_audio(tmp_path / name).subtype == subtype


def test_another_codec_in_the_same_format_is_told(tmp_path):
    make(tmp_path / "in.oga", 48000, "-c:a", "flac")
    assert copy(tmp_path / "in.oga", tmp_path / "out.oga") == ["written as VORBIS instead of flac"]
    make(tmp_path / "in.opus", 48000, "-c:a", "libopus")
    assert copy(tmp_path / "in.opus", tmp_path / "out.opus") == []


@pytest.mark.slow
def test_the_reason_against_an_encoder_is_about_the_layout_that_was_wanted(tmp_path):
    write_tones(tmp_path / "in.wav", "3.0(back)", 3)
    (note,) = copy(tmp_path / "in.wav", tmp_path / "out.mka")
    assert note.startswith("the sound is flac (")
    assert "3.0(back)" in note
