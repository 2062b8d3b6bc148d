"""What of a film or an album's file is beside its sound: it stays, or the writer names it."""

import os

import pytest
from ffmpeg_files import copy, run, streams

from speech_enhance.audio import ffmpeg

pytestmark = pytest.mark.skipif(
    not ffmpeg.installed() and not os.environ.get("CI"), reason="ffmpeg and ffprobe are not installed"
)
TONE = ["-f", "lavfi", "-i", "sine=440:d=1"]
PICTURE = ["-f", "lavfi", "-i", "testsrc=size=64x48:rate=25:d=1"]


@pytest.fixture(scope="module")
def rich(tmp_path_factory):
    """A film with two sound tracks, subtitles, a font and a cover; one with a track of time codes; a song with a
    cover."""
    folder = tmp_path_factory.mktemp("rich")
    (folder / "words.srt").write_text("1\n00:00:00,100 --> 00:00:00,900\nhello\n")
    (folder / "letters.ttf").write_bytes(bytes(range(256)))
    run(*PICTURE, "-frames:v", "1", folder / "cover.jpg")
    run(
        *PICTURE,
        *TONE,
        "-i",
        folder / "words.srt",
        "-map",
        "0",
        "-map",
        "1",
        "-map",
        "1",
        "-map",
        "2",
        "-c:v",
        "mpeg4",
        "-c:a",
        "aac",
        "-c:s",
        "srt",
        "-metadata:s:a:0",
        "language=deu",
        "-metadata:s:a:0",
        "title=Deutsch",
        "-metadata:s:a:1",
        "language=eng",
        "-metadata:s:a:1",
        "title=Commentary",
        "-metadata:s:s:0",
        "language=fre",
        "-disposition:a:1",
        "comment",
        "-attach",
        folder / "letters.ttf",
        "-metadata:s:t:0",
        "mimetype=application/x-truetype-font",
        "-attach",
        folder / "cover.jpg",
        "-metadata:s:t:1",
        "mimetype=image/jpeg",
        "-metadata:s:t:1",
        "filename=front.jpg",
        folder / "film.mkv",
    )
    run(*PICTURE, *TONE, "-c:v", "mpeg4", "-c:a", "aac", "-timecode", "01:00:00:00", folder / "timed.mov")
    cover = ["-c:a", "aac", "-c:v", "copy", "-disposition:v", "attached_pic"]
    run(*TONE, "-i", folder / "cover.jpg", "-map", "0", "-map", "1", *cover, folder / "song.m4a")
    return folder


def named_tracks(path) -> list[tuple]:
    """Kind, codec, language, title, name and whether it is a comment or a cover, of each track."""
    tags, flags = ("language", "title", "filename"), ("comment", "attached_pic")
    return [
        (
            item["codec_type"],
            item.get("codec_name"),
            *(item.get("tags", {}).get(tag) for tag in tags),
            *(item["disposition"][flag] for flag in flags),
        )
        for item in streams(path)
    ]


@pytest.mark.slow
def test_all_tracks_of_a_film_stay_as_they_are(rich, tmp_path):
    assert copy(rich / "film.mkv", tmp_path / "out.mkv") == []
    assert named_tracks(tmp_path / "out.mkv") == named_tracks(rich / "film.mkv")
    assert named_tracks(tmp_path / "out.mkv")[2][1:6] == ("aac", "eng", "Commentary", None, 1)
    assert named_tracks(tmp_path / "out.mkv")[5] == ("video", "mjpeg", None, None, "front.jpg", 0, 1)
    for index in (0, 2, 3):
        sizes = [
            [packet["size"] for packet in streams(path)[index]["packets"]]
            for path in (rich / "film.mkv", tmp_path / "out.mkv")
        ]
        assert sizes[0] == sizes[1]
    run("-dump_attachment:t:0", tmp_path / "letters", "-i", tmp_path / "out.mkv", "-t", "0", tmp_path / "none.wav")
    assert (tmp_path / "letters").read_bytes() == bytes(range(256))


@pytest.mark.slow
def test_another_container_has_what_it_can_hold_and_the_rest_is_named(rich, tmp_path):
    notes = copy(rich / "film.mkv", tmp_path / "out.mp4")
    assert notes == ["tracks that .mp4 cannot hold were left out: attachment ttf (letters.ttf)"]
    found = streams(tmp_path / "out.mp4")
    assert [item["codec_name"] for item in found] == ["mpeg4", "aac", "aac", "mov_text", "mjpeg"]
    assert [item["tags"]["language"] for item in found[1:4]] == ["deu", "eng", "fre"]
    assert [item["tags"]["handler_name"] for item in found[1:3]] == ["Deutsch", "Commentary"]
    assert copy(tmp_path / "out.mp4", tmp_path / "again.mp4") == []
    assert named_tracks(tmp_path / "again.mp4") == named_tracks(tmp_path / "out.mp4")


@pytest.mark.slow
def test_a_file_of_sound_alone_names_the_tracks_that_are_left_out(rich, tmp_path):
    lost = (
        "picture mpeg4, sound aac (eng, Commentary), subtitle subrip (fre), attachment ttf (letters.ttf), cover mjpeg"
    )
    (note,) = copy(rich / "film.mkv", tmp_path / "out.wav")
    assert note == f"tracks that .wav cannot hold were left out: {lost} (front.jpg)"
    notes = copy(rich / "film.mkv", tmp_path / "out.avi")
    assert "subtitle subrip (fre), attachment ttf (letters.ttf), cover mjpeg (front.jpg)" in notes[0]
    assert (
        notes[1]
        == ".avi cannot hold language and title of all tracks: sound aac (deu, Deutsch), sound aac (eng, Commentary)"
    )


@pytest.mark.slow
def test_data_tracks_and_covers(rich, tmp_path):
    assert copy(rich / "timed.mov", tmp_path / "out.mov") == []
    assert [item["codec_type"] for item in streams(tmp_path / "out.mov")] == ["video", "audio", "data"]
    assert copy(rich / "timed.mov", tmp_path / "out.mkv")[0].startswith(
        "tracks that .mkv cannot hold were left out: data"
    )
    assert copy(rich / "song.m4a", tmp_path / "out.m4a") == []
    assert named_tracks(tmp_path / "out.m4a") == named_tracks(rich / "song.m4a")
    run("-i", rich / "song.m4a", "-c:v", "copy", "-disposition:v", "attached_pic", tmp_path / "song.flac")
    assert copy(tmp_path / "song.flac", tmp_path / "out.flac") == [
        "tracks that .flac cannot hold were left out: cover mjpeg"
    ]
    assert copy(rich / "song.m4a", tmp_path / "out.wma") == ["tracks that .wma cannot hold were left out: cover mjpeg"]


@pytest.mark.slow
def test_h264_from_a_matroska_film_goes_into_avi(tmp_path):
    run(*PICTURE, *TONE, "-c:v", "libx264", "-c:a", "aac", tmp_path / "film.mkv")
    assert copy(tmp_path / "film.mkv", tmp_path / "film.avi") == []
    assert [track[:2] for track in named_tracks(tmp_path / "film.avi")] == [("video", "h264"), ("audio", "mp3")]
