"""Files and folders that appear whole or not at all, on file systems that can do less than usual."""

import errno
import os
import stat

import pytest

from speech_enhance.pending_files import PendingFile, pending_folder, remove_abandoned, write_text


def refuse(monkeypatch, name: str, number: int) -> None:
    """Have a function of `os` fail as some file systems do."""

    def fail(*arguments, **options):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, name, fail)


def write(path, content: bytes = b"new") -> None:
    with PendingFile(path) as pending:
        os.write(pending.descriptor, content)


@pytest.mark.parametrize("nameless", [True, False])
@pytest.mark.parametrize(
    "refusals",
    [
        {},
        {"fchmod": errno.EPERM},
        {"fchmod": errno.EOPNOTSUPP},
        {"fsync": errno.EINVAL},
        {"link": errno.EPERM},
        {"link": errno.EOPNOTSUPP, "fchmod": errno.EPERM, "fsync": errno.ENOSYS},
    ],
)
def test_what_a_file_system_lacks_is_done_without(tmp_path, monkeypatch, refusals, nameless):
    path = tmp_path / "out.wav"
    path.write_bytes(b"old")
    path.chmod(0o640)
    for name, number in refusals.items():
        refuse(monkeypatch, name, number)
    if not nameless:
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    write(path, b"new" * 10**6)
    assert path.read_bytes() == b"new" * 10**6
    assert os.listdir(tmp_path) == ["out.wav"]
    assert stat.S_IMODE(path.stat().st_mode) == (0o600 if "fchmod" in refusals else 0o640)


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_content_that_does_not_reach_the_disk_is_an_error(tmp_path, monkeypatch, number):
    (tmp_path / "out.wav").write_bytes(b"old")
    refuse(monkeypatch, "fsync", number)
    with pytest.raises(OSError, match=os.strerror(number)):
        write(tmp_path / "out.wav")
    assert (tmp_path / "out.wav").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["out.wav"]


@pytest.mark.skipif(not hasattr(os, "O_TMPFILE"), reason="files are never nameless here")
def test_no_room_for_the_copy_leaves_the_old_file(tmp_path, monkeypatch):
    (tmp_path / "out.wav").write_bytes(b"old")
    refuse(monkeypatch, "link", errno.EPERM)

    def fail(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("shutil.copyfileobj", fail)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        write(tmp_path / "out.wav")
    assert (tmp_path / "out.wav").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["out.wav"]


def test_a_text_replaces_the_old_one(tmp_path):
    (tmp_path / "report.md").write_text("old and longer")
    write_text(tmp_path / "report.md", "−0.3\n")
    assert (tmp_path / "report.md").read_bytes() == "−0.3\n".encode()


def test_a_folder_appears_when_all_is_written(tmp_path):
    with pending_folder(tmp_path / "new" / "out") as folder:
        (folder / "a").write_text("a")
        assert not (tmp_path / "new" / "out").exists()
    assert os.listdir(tmp_path / "new") == ["out"]
    assert (tmp_path / "new" / "out" / "a").read_text() == "a"


def test_a_folder_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError), pending_folder(tmp_path / "out") as folder:
        (folder / "a").write_text(str(1 / 0))
    assert os.listdir(tmp_path) == []


def test_a_folder_that_is_there_already_stays(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a").write_text("old")
    with pytest.raises(FileExistsError, match="out"), pending_folder(tmp_path / "out") as folder:
        (folder / "a").write_text("new")
    assert os.listdir(tmp_path) == ["out"]
    assert (tmp_path / "out" / "a").read_text() == "old"


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path):
    for name in (".out.0a1b.partial", ".other.0a1b.partial", "out"):
        (tmp_path / name).mkdir()
    remove_abandoned(tmp_path / "out")
    assert sorted(os.listdir(tmp_path)) == [".other.0a1b.partial", "out"]
