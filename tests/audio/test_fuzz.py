"""Bad files, arguments and command lines by the thousand: each ends well, or in one of our own errors.

The rounds here are the same in every run. `FUZZ_FACTOR=20 pytest tests/audio/test_fuzz.py` makes twenty times as many,
others each time; what it finds is kept by Hypothesis and tried first from then on.
"""

import contextlib
import io
import os
import subprocess

import numpy as np
import pytest
import soundfile
import torch
from conftest import noise
from fuzz_reports import fuzz as fuzz_reports
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from speech_enhance import AudioFileError, cli, enhance_file, read_audio
from speech_enhance.audio import ffmpeg
from speech_enhance.jobs.file import UserError

FACTOR = int(os.environ.get("FUZZ_FACTOR", "1"))
FORMATS = {
    "WAV": "PCM_16",
    "WAVEX": "FLOAT",
    "FLAC": "PCM_24",
    "OGG": "VORBIS",
    "MP3": None,
    "AIFF": "PCM_16",
    "AU": "FLOAT",
    "CAF": "ALAC_16",
    "W64": "DOUBLE",
    "RF64": "PCM_U8",
}


def rounds(number: int):
    checks = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(max_examples=number * FACTOR, deadline=None, derandomize=FACTOR == 1, suppress_health_check=checks)


def check_message(error: Exception, start: str = "") -> None:
    """One line, and not an empty one."""
    assert str(error).startswith(start)
    assert str(error).strip()
    assert "Traceback" not in str(error)


def good_file(format_name: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, noise(300, channels=2).T, 16000, FORMATS[format_name], format=format_name)
    return file.getvalue()


GOOD_FILES = {name: good_file(name) for name in FORMATS}


@st.composite
def broken_files(draw) -> bytes:
    """A good file with bytes changed, most of them in the header, cut off or followed by more; or anything."""
    content = bytearray(GOOD_FILES[draw(st.sampled_from(sorted(GOOD_FILES)))])
    for _ in range(draw(st.integers(0, 8))):
        near_start = draw(st.booleans())
        position = draw(st.integers(0, min(100, len(content) - 1) if near_start else len(content) - 1))
        content[position] = draw(st.sampled_from([0, 1, 127, 128, 255]) | st.integers(0, 255))
    content = content[: draw(st.integers(0, len(content)))] if draw(st.booleans()) else content
    return bytes(content) + draw(st.binary(max_size=50))


@pytest.mark.slow
@rounds(1000)
@given(content=broken_files() | st.binary(max_size=300))
@example(content=b"RIFF")
def test_reader(tmp_path, monkeypatch, content):
    monkeypatch.setattr(ffmpeg, "installed", lambda: False)
    path = tmp_path / "in.wav"
    path.write_bytes(content)
    try:
        recording = read_audio(path)
    except AudioFileError as error:
        check_message(error, str(path))
    else:
        assert recording.audio.dtype == np.float32
        assert recording.audio.size > 0
        assert np.isfinite(recording.audio).all()


@pytest.mark.slow
@pytest.mark.skipif(not ffmpeg.installed() and not os.environ.get("CI"), reason="ffmpeg is not installed")
@rounds(60)
@given(content=broken_files())
def test_reader_with_ffmpeg(tmp_path, content):
    path = tmp_path / "in.mp4"
    path.write_bytes(content)
    with contextlib.suppress(AudioFileError):
        assert np.isfinite(read_audio(path).audio).all()


@pytest.mark.slow
@rounds(150)
@given(content=broken_files(), extension=st.sampled_from(["wav", "flac", "ogg", "mp3"]))
def test_from_file_to_file(tmp_path, monkeypatch, tiny_pipeline, content, extension):
    monkeypatch.setattr(ffmpeg, "installed", lambda: False)
    source, target = tmp_path / "in.wav", tmp_path / f"out.{extension}"
    source.write_bytes(content)
    target.unlink(missing_ok=True)
    try:
        report = enhance_file(tiny_pipeline, source, target)
    except ValueError as error:  # AudioFileError is one
        check_message(error)
        assert not target.exists()
    else:
        assert report.target.exists()
        assert np.isfinite(read_audio(target).audio).all()
    assert {path.name for path in tmp_path.iterdir()} <= {"in.wav", target.name} | {
        f"out.{e}" for e in ("wav", "flac", "ogg", "mp3")
    }


JOINABLE = {
    "WAV": "PCM_16",
    "FLAC": "PCM_16",
    "OGG": "VORBIS",
    "OPUS": "OPUS",
    "MP3": None,
    "AIFF": "PCM_24",
    "AU": "PCM_16",
    "CAF": "PCM_16",
    "RF64": "FLOAT",
    "W64": "PCM_16",
}
LENGTHS = (300, 5001, 30000)
SIZE_PLACES = {
    "WAV": (b"data", 4, 4),
    "RF64": (b"ds64", 16, 8),
    "AIFF": (b"SSND", 4, 4),
    "AU": (b".snd", 8, 4),
    "CAF": (b"data", 4, 8),
    "W64": (b"data", 16, 8),
    "FLAC": (b"fLaC", 22, 4),
}


def file_of_length(format_name: str, num_samples: int) -> bytes:
    file, options = io.BytesIO(), {"bitrate_mode": "VARIABLE"} if format_name == "MP3" else {}
    container = "OGG" if format_name == "OPUS" else format_name
    with soundfile.SoundFile(file, "w", 16000, 1, JOINABLE[format_name], format=container, **options) as sound:
        sound.write(noise(num_samples) * np.linspace(0, 1, num_samples))
    return file.getvalue()


FILES_OF_LENGTH = {(name, length): file_of_length(name, length) for name in JOINABLE for length in LENGTHS}


@st.composite
def joined_files(draw) -> tuple[str, bytes, int]:
    """Files of one format joined, with lengths missing or wrong, tags, holes and an end cut off; with the name of the
    format and how many samples are in the files that are whole."""
    name = draw(st.sampled_from(sorted(JOINABLE)))
    lengths = draw(st.lists(st.sampled_from(LENGTHS), min_size=1, max_size=3))
    files = [bytearray(FILES_OF_LENGTH[name, length]) for length in lengths]
    if name == "MP3":
        if draw(st.booleans()):
            files = [file[file.index(file[:2], 4) :] for file in files]  # without the frame that tells the length
        if draw(st.booleans()):
            files = [bytearray(b"ID3\3\0\0\0\0\0\x14") + bytes(20) + file + b"TAG" + bytes(125) for file in files]
    if name in SIZE_PLACES and len(files) == 1 and draw(st.booleans()):
        mark, offset, size = SIZE_PLACES[name]
        place = files[0].index(mark) + offset
        files[0][place : place + size] = size * draw(st.sampled_from([b"\0", b"\xff"]))
        if name == "FLAC":
            files[0][21] &= 0xF0
    num_whole = len(files)
    if draw(st.booleans()):
        files[-1] = files[-1][: draw(st.integers(0, len(files[-1])))]
        num_whole -= 1
    if draw(st.integers(0, 3)) == 0:
        place = draw(st.integers(0, len(files[-1])))
        hole = min(draw(st.sampled_from([4, 500, 4096])), len(files[-1]) - place)
        files[-1][place : place + hole] = bytes(hole)
        num_whole = min(num_whole, len(files) - 1)
    return name, b"".join(files), sum(lengths[:num_whole])


def check_length(path, content: bytes, expected: int, tolerance: int) -> None:
    path.write_bytes(content)
    try:
        num_samples = read_audio(path).audio.shape[1]
    except AudioFileError as error:
        check_message(error, str(path))
    else:
        assert num_samples >= expected - tolerance


@pytest.mark.slow
@rounds(250)
@given(file=joined_files())
def test_all_files_that_were_joined_are_read(tmp_path, monkeypatch, capfd, file):
    """Or refused; and nothing but our own words is written."""
    monkeypatch.setattr(ffmpeg, "installed", lambda: False)
    name, content, num_whole = file
    frame = 1152 * 3 if name == "MP3" else 0  # of each file the delay of decoder and encoder may be gone
    check_length(tmp_path / "in", content or b"x", num_whole, frame)
    assert capfd.readouterr().err == ""


@pytest.mark.slow
@pytest.mark.skipif(not ffmpeg.installed() and not os.environ.get("CI"), reason="ffmpeg is not installed")
@rounds(40)
@given(file=joined_files())
def test_no_less_is_read_than_ffmpeg_decodes(tmp_path, file):
    """But for frames of MP3 and Ogg, and for headers and damaged frames that ffmpeg takes for sound."""
    name, content, _ = file
    path = tmp_path / "in"
    path.write_bytes(content or b"x")
    command = [
        "ffmpeg",
        "-v",
        "quiet",
        "-nostdin",
        "-i",
        path,
        "-map",
        "0:a:0",
        "-ac",
        "1",
        "-ar",
        "16000",
        "-f",
        "s16le",
        "-",
    ]
    expected = len(subprocess.run(command, capture_output=True, check=False).stdout) // 2
    # of three MP3 files the delays; of Ogg a page that was cut, which may hold all of a short file
    tolerance = dict.fromkeys(("OPUS", "FLAC", "AU"), 4000) | {"MP3": 3 * 2400, "OGG": 6000}
    check_length(path, content or b"x", expected, tolerance.get(name, 0))


ANYTHING = (
    st.none()
    | st.booleans()
    | st.integers(-3, 2000)
    | st.floats()
    | st.text(max_size=3)
    | st.lists(st.floats(), max_size=2)
)


@st.composite
def recordings(draw):
    shape = [*draw(st.lists(st.integers(0, 3), max_size=2)), draw(st.integers(0, 3000))]
    dtype = draw(st.sampled_from([np.float32, np.float64, np.float16, np.int16, np.complex64, bool]))
    audio = np.random.default_rng(draw(st.integers(0, 9))).uniform(-1, 1, shape)
    audio *= draw(st.sampled_from([0, 1e-40, 1e-8, 1, 1e8, 1e30]))
    if audio.size and draw(st.integers(0, 9)) == 0:
        audio.flat[0] = draw(st.sampled_from([np.nan, np.inf, -np.inf]))
    with np.errstate(all="ignore"):
        audio = audio.astype(dtype)
    return torch.from_numpy(audio) if draw(st.booleans()) else audio


@pytest.mark.slow
@rounds(600)
@given(
    audio=recordings() | st.lists(recordings(), max_size=2) | ANYTHING,
    sampling_rate=st.sampled_from([8000, 16000, 44100, 1000, 768000]) | ANYTHING,
    arguments=st.dictionaries(
        st.sampled_from(
            [
                "num_inference_steps",
                "num_estimates",
                "generator",
                "attenuation_limit_db",
                "mix",
                "max_gain",
                "independent_channels",
                "window_batch_size",
                "output_type",
                "return_dict",
            ]
        ),
        ANYTHING,
        max_size=2,
    ),
)
def test_arguments_of_the_pipeline(tiny_pipeline, audio, sampling_rate, arguments):
    for name in ("num_inference_steps", "num_estimates"):  # hours of work are no finding
        if isinstance(arguments.get(name), int):
            arguments[name] = min(arguments[name], 3)
    try:
        output = tiny_pipeline(audio, sampling_rate, **arguments)
    except (ValueError, TypeError) as error:
        check_message(error)
        return
    result = output[0]
    for item in result if isinstance(result, list) else [result]:
        assert np.isfinite(np.asarray(item)).all()


@pytest.mark.slow
def test_reports_that_a_folder_job_goes_on_from():
    fuzz_reports(0, 1500 * FACTOR)


WORDS = [
    "--preset",
    "balanced",
    "--quiet",
    "--preview",
    "--save-removed",
    "--scheduler",
    "lcm",
    "--steps",
    "2",
    "0",
    "--estimates",
    "--seed",
    "-1",
    "1e9",
    "--mix",
    "nan",
    "--attenuation-limit",
    "--model",
    "--device",
    "cpu",
    "--workers",
    "--format",
    "flac",
    "--plot",
    "x.png",
    "--",
    "-",
    "in.wav",
    "out.wav",
    ".",
    "/dev/null",
    "",
    "\n",
    "--no",
]


@pytest.mark.slow
@rounds(1000)
@given(words=st.lists(st.sampled_from(WORDS) | st.text(max_size=5), max_size=8))
def test_command_lines(words):
    """Up to the point where files are touched."""
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            options = cli.parse(words)
        except UserError as error:
            check_message(error)
        except SystemExit:  # --help, --version
            pass
        else:
            assert options.input is not None
