"""Chooses the other tracks of a recording that a container can hold, and makes the arguments that copy them."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from .process import FfmpegError, run
from .reading import Sound, Track, probe, source_options

SOUND_ONLY = (".aac", ".ac3", ".eac3", ".m4a", ".m4b", ".mka", ".mp2", ".tta", ".wma", ".wv")
"""Extensions of files without moving pictures."""

_SUBTITLES = {"ipod": "mov_text", "matroska": "subrip", "mov": "mov_text", "mp4": "mov_text", "webm": "webvtt"}
"""Codec that subtitles are converted into if they cannot stay as they are, by container."""

_QUICKTIME = ("3g2", "3gp", "ipod", "mov", "mp4")
"""Containers that keep the title of a track in the name of its handler."""

_AVI_FILTERS = {"h264": "h264_mp4toannexb", "hevc": "hevc_mp4toannexb"}
"""ffmpeg's names of the filters that bring pictures from MP4 or Matroska into the form of AVI, by codec."""

_BROADCAST_SUBTITLES = ("dvb_subtitle", "dvb_teletext", "hdmv_pgs_subtitle")
_COVERS = {"mjpeg": ("jpg", "image/jpeg"), "png": ("png", "image/png"), "webp": ("webp", "image/webp")}
_STATISTICS = re.compile(r"(bps|duration|number_of_(bytes|frames)|_statistics_\w+)(-\w+)?")  # facts about the old sound


@dataclass(frozen=True)
class KeptTrack:
    """A track that goes into the new file.

    Args:
        track: Track of the recording.
        codec: Codec that it is encoded with.
        attached: File with its content, if it is attached instead of copied.
    """

    track: Track
    codec: str = "copy"
    attached: Path | None = None


def choose_tracks(
    source: Path, sound: Sound, container: str, is_film: bool, folder: Path
) -> tuple[list[KeptTrack], list[Track]]:
    """All tracks except `sound` that a container can hold, and the tracks that it cannot hold.

    Args:
        source: Path of the recording.
        sound: Result of [`probe`] for the recording.
        container: ffmpeg's name of the container.
        is_film: Whether moving pictures are wanted.
        folder: Folder for covers that are attached.
    """
    moving = [track for track in sound.others if track.kind == "video" and not track.is_cover]
    wanted = [
        track for track in sound.others if (is_film or track not in moving) and not _changes_kind(track, container)
    ]
    copied = [track for track in wanted if not (container == "matroska" and track.is_cover)]
    as_they_are = [KeptTrack(track) for track in copied]
    if not _can_hold(source, sound, container, as_they_are):
        choices = (_keep(source, sound, container, track) for track in copied)
        as_they_are = [choice for choice in choices if choice]
    kept = {item.track.index: item for item in as_they_are}
    for track in wanted:
        if track not in copied and (attached := _extract_cover(source, sound, track, folder)):
            kept[track.index] = KeptTrack(track, attached=attached)
    return list(kept.values()), [track for track in sound.others if track.index not in kept]


def track_options(sound: Sound, kept: list[KeptTrack], container: str) -> list[str]:
    """Arguments that put the sound of input 0 in the place of `sound` in input 1, and copy the other tracks with their
    language, title and flags."""
    in_order = [item for item in in_new_order(sound, kept) if not item.attached]
    options, about = [], []
    for place, item in enumerate(in_order):
        index = item.track.index
        replaced, title = index == sound.track.index, item.track.tags.get("title")
        options += ["-map", "0:a:0" if replaced else f"1:{index}"]
        about += [f"-map_metadata:s:{place}", f"1:s:{index}"]
        about += [f"-disposition:{place}", "+".join(item.track.dispositions) or "0"]
        if title and container in _QUICKTIME:
            about += [f"-metadata:s:{place}", f"handler_name={title}"]
        if replaced:
            stale = [name for name in item.track.tags if _STATISTICS.fullmatch(name)]
            about += [part for name in stale for part in (f"-metadata:s:{place}", f"{name.upper()}=")]
        else:
            about += [f"-c:{place}", item.codec]
            about += [f"-bsf:{place}", _AVI_FILTERS[item.track.codec]] if _needs_filter(item, container) else []
    for place, item in enumerate((item for item in kept if item.attached), len(in_order)):
        extension, kind = _COVERS[item.track.codec]
        options += ["-attach", str(item.attached)]
        about += [f"-metadata:s:{place}", f"mimetype={item.track.tags.get('mimetype', kind)}"]
        about += [f"-metadata:s:{place}", f"filename={item.track.tags.get('filename', f'cover.{extension}')}"]
    return [*options, *about]


def in_new_order(sound: Sound, kept: list[KeptTrack]) -> list[KeptTrack]:
    """All tracks of the new file. Attached ones stand at the end."""
    return sorted([*kept, KeptTrack(sound.track)], key=lambda item: (item.attached is not None, item.track.index))


def name_lost(tracks: list[Track], extension: str) -> str:
    """A sentence about tracks that a file of this extension cannot hold."""
    return f"tracks that {extension} cannot hold were left out: {', '.join(map(str, tracks))}"


def compare_tracks(sound: Sound, kept: list[KeptTrack], target: Path, extension: str) -> list[str]:
    """Sentences about what the tracks of a new file lack, compared with the tracks that should be in it."""
    expected = [item.track for item in in_new_order(sound, kept)]
    written = probe(target)
    found = {track.index: track for track in (written.track, *written.others)}
    lost = [track for place, track in enumerate(expected) if place not in found or found[place].kind != track.kind]
    unnamed = [
        str(track)
        for place, track in enumerate(expected)
        if track not in lost and not _names(track) <= _names(found[place]) | set(found[place].tags.values())
    ]
    notes = [name_lost(lost, extension)] if lost else []
    if unnamed:
        notes.append(f"{extension} cannot hold language and title of all tracks: {', '.join(unnamed)}")
    return notes


def _needs_filter(item: KeptTrack, container: str) -> bool:
    return container == "avi" and item.codec == "copy" and item.track.codec in _AVI_FILTERS


def _names(track: Track) -> set[str]:
    return {track.tags[name] for name in ("language", "title") if track.tags.get(name, "und") != "und"}


def _changes_kind(track: Track, container: str) -> bool:
    """Whether ffmpeg would turn a track into another kind in a container."""
    if track.is_cover:
        return container not in ("matroska", *_QUICKTIME)
    if track.kind == "attachment":
        return container != "matroska"
    return track.kind == "subtitle" and container == "mpegts" and track.codec not in _BROADCAST_SUBTITLES


def _keep(source: Path, sound: Sound, container: str, track: Track) -> KeptTrack | None:
    """A track in a form that the container can hold, or `None`."""
    codecs = ["copy"]
    if track.kind == "subtitle" and container in _SUBTITLES:
        codecs.append(_SUBTITLES[container])
    for codec in codecs:
        if _can_hold(source, sound, container, [KeptTrack(track, codec)]):
            return KeptTrack(track, codec)
    return None


def _can_hold(source: Path, sound: Sound, container: str, kept: list[KeptTrack]) -> bool:
    """Whether ffmpeg writes the header of a file with these tracks."""
    if not kept:
        return True
    command = ["ffmpeg", "-v", "error", "-nostdin", "-y", *source_options(source, sound)]
    for place, item in enumerate(kept):
        command += ["-map", f"0:{item.track.index}", f"-c:{place}", item.codec]
    try:
        run([*command, "-fs", "1", "-f", container, os.devnull])
    except FfmpegError:
        return False
    return True


def _extract_cover(source: Path, sound: Sound, track: Track, folder: Path) -> Path | None:
    """A file with the unchanged picture of a cover; `None` for kinds of pictures that Matroska has no name for."""
    if track.codec not in _COVERS:
        return None
    path = folder / f"{track.index}.{_COVERS[track.codec][0]}"
    command = ["ffmpeg", "-v", "error", "-nostdin", *source_options(source, sound), "-map", f"0:{track.index}"]
    try:
        run([*command, "-c", "copy", "-frames:v", "1", "-f", "image2pipe", str(path)])
    except FfmpegError:
        return None
    return path
