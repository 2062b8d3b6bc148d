"""Files that would make ffmpeg open others, or run without end; and all formats that are opened all the same."""

import json
import os
import stat
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from ffmpeg_files import run

from speech_enhance import AudioFileError, AudioWriter, open_audio
from speech_enhance.audio import ffmpeg
from speech_enhance.audio.ffmpeg import process as ffmpeg_process
from speech_enhance.audio.ffmpeg.process import cause

pytestmark = pytest.mark.skipif(
    not ffmpeg.installed() and not os.environ.get("CI"), reason="ffmpeg and ffprobe are not installed"
)
LIST = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{}\n"
HOSTILE = {
    "playlist.m4a": LIST.format("{secret}") + "#EXT-X-ENDLIST\n",
    "address.m4a": LIST.format("file://{secret}") + "#EXT-X-ENDLIST\n",
    "relative.mp3": LIST.format("../secret/secret.m4a") + "#EXT-X-ENDLIST\n",
    "live.m4a": LIST.format("{secret}"),
    "joined.mkv": "ffconcat version 1.0\nfile secret.m4a\n",
    "session.mp4": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
    "dash.mpd": '<?xml version="1.0"?><MPD type="static" profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"><Period>'
    '<AdaptationSet mimeType="audio/mp4"><Representation id="1"><BaseURL>secret.m4a</BaseURL></Representation>'
    "</AdaptationSet></Period></MPD>",
    "redirect.mov": "RTSPtext\r\nrtsp://127.0.0.1/x",
    "words.idx": "# VobSub index file, v7\n",
    "picture%03d.jpg": "\xff\xd8\xff",
}
SCRIPT = """
import json, resource, sys
from speech_enhance import AudioFileError, open_audio
def used():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss
for path in sys.argv[1:]:
    before = used()
    try:
        message = repr(open_audio(path))
    except AudioFileError as error:
        message = str(error)
    print(json.dumps([message, used()[0] - before[0], used()[1]]))
"""


@pytest.mark.slow
def test_what_names_other_files_is_refused_at_once(tmp_path):
    (tmp_path / "secret").mkdir()
    secret = tmp_path / "secret" / "secret.m4a"
    run("-f", "lavfi", "-i", "sine=d=1", secret)
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "secret.m4a").write_bytes(secret.read_bytes())
    (folder / "picture001.jpg").write_bytes(b"\xff\xd8\xff")
    for name, content in HOSTILE.items():
        (folder / name).write_text(content.replace("{secret}", str(secret)), encoding="latin-1")
    paths = [folder / name for name in HOSTILE]
    result = subprocess.run([sys.executable, "-c", SCRIPT, *paths], capture_output=True, text=True, timeout=100)
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    for path, (message, seconds, kilobytes) in zip(paths, lines, strict=True):
        assert message.startswith(f"{path}: cannot be read as audio ("), message
        assert "\n" not in message
        assert seconds < 2
        assert kilobytes < 300e3
    for index, name in ((0, "hls"), (3, "hls"), (4, "concat"), (5, "sdp")):
        assert f"({name} is no format that is opened; a playlist could name other files)" in lines[index][0]


MADE_BY_FFMPEG = (
    "3gp aac ac3 aiff au avi caf eac3 flac flv m2ts m4a m4b m4v mka mkv mov mp2 mp3 mp4 mpg mxf nut oga ogg opus "
    "spx ts tta "
    "voc w64 wav webm wma wv"
)


@pytest.mark.slow
def test_every_format_that_holds_its_sound_is_opened(tmp_path):
    special = {
        "3gp": ["-c:a", "aac"],
        "mxf": ["-f", "mxf_opatom", "-c:a", "pcm_s16le"],
        "oga": ["-c:a", "libvorbis"],
        "spx": ["-c:a", "libvorbis", "-f", "ogg"],
    }
    names = [f"a.{extension}" for extension in MADE_BY_FFMPEG.split()]
    outputs = [part for name in names for part in (*special.get(name[2:], []), "-map", "0", str(tmp_path / name))]
    run("-f", "lavfi", "-i", "sine=r=48000:d=0.3", *outputs)
    for name, format_name in (("a.sph", "NIST"), ("a.rf64", "RF64"), ("a.wave", "WAV"), ("a.snd", "AU")):
        soundfile.write(tmp_path / name, np.zeros(4800), 48000, format=format_name)
        names.append(name)
    for name in names:
        assert ffmpeg.probe(tmp_path / name).sampling_rate == 48000, name


@pytest.mark.slow
def test_a_program_that_makes_no_progress_is_stopped(tmp_path, monkeypatch):
    with AudioWriter(tmp_path / "in.m4a", 48000, 1) as writer:
        writer.write(np.zeros((1, 48000), np.float32))
    reader = open_audio(tmp_path / "in.m4a")
    os.mkfifo(tmp_path / "fifo")
    monkeypatch.setattr(ffmpeg_process, "STALL_SECONDS", 2.0)
    with pytest.raises(ffmpeg.FfmpegError, match=r"^ffprobe made no progress for 2 s and was stopped$"):
        ffmpeg.probe(tmp_path / "fifo")
    encoder = ffmpeg.Encoder(str(tmp_path / "fifo"), ".m4a", 48000, 1, None)
    with pytest.raises(ffmpeg.FfmpegError, match="ffmpeg made no progress"):
        encoder.write(np.zeros((10**6, 1), np.float32))
    encoder.abort()
    (tmp_path / "ffmpeg").write_text("#!/bin/sh\nexec sleep 60\n")  # a decoder that is stuck
    (tmp_path / "ffmpeg").chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(AudioFileError, match=r"in.m4a: cannot be read as audio \(ffmpeg made no progress"):
        list(reader.blocks())


@pytest.mark.slow
def test_a_slow_reader_is_not_taken_for_a_stuck_program(tmp_path, monkeypatch):
    import time

    with AudioWriter(tmp_path / "in.m4a", 48000, 2) as writer:
        writer.write(np.zeros((2, 10 * 48000), np.float32))
    monkeypatch.setattr(ffmpeg_process, "STALL_SECONDS", 2.0)
    num_samples = 0
    for number, block in enumerate(open_audio(tmp_path / "in.m4a").blocks()):
        time.sleep(3 if number == 0 else 0)
        num_samples += block.shape[1]
    assert num_samples >= 10 * 48000


def test_the_cause_of_a_failure_is_told_without_what_follows_from_it():
    said = (
        b'[aac @ 0x55] Unsupported channel layout "9 channels"\n'
        b"Error initializing output stream 0:1 -- Error while opening encoder for output stream #0:1 - maybe incorrect "
        b"parameters such as bit_rate, rate, width or height\n"
        b"Conversion failed!\n"
    )
    assert cause(said, None) == 'Unsupported channel layout "9 channels"'
    assert cause(b"Conversion failed!\n", None) == "Conversion failed!"
    assert cause(b"", None) == "ffmpeg failed"
