"""Files that appear whole or not at all, on file systems that can do less than usual."""

import errno
import os
import stat

import pytest

from speech_enhance.audio.pending_file import PendingFile


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
