"""The command `speech-enhance live` without a sound card: its errors, and a session whose devices are made up."""

import sys
import threading
import time

import numpy as np
import pytest
import soundfile
from conftest import noise
from test_live_session import FakeDevices, device

from speech_enhance.cli import main


def last_line(capsys) -> str:
    return capsys.readouterr().err.splitlines()[-1]


def test_a_file_of_that_name_is_reached_by_its_path(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["./live", "out.wav"]) == 2
    assert "live" in last_line(capsys)
    assert main(["live", "out.wav"]) == 2
    assert "unrecognized arguments: out.wav" in last_line(capsys)


def test_without_the_package(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    assert main(["live"]) == 2
    assert (
        last_line(capsys) == "speech-enhance: error: live sound needs the package sounddevice: pip install sounddevice"
    )


def test_without_portaudio(tmp_path, monkeypatch, capsys):
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')")
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    assert main(["live", "--list-devices"]) == 2
    assert "needs the library PortAudio, which was not found" in last_line(capsys)


class FakeSystem(FakeDevices):
    """Devices that run: a clock of 10 ms gives noise to the input and takes the output, for `seconds`; then it stands
    still."""

    def __init__(self, seconds: float = 60.0):
        super().__init__(device(0, "Mic", 1, 0), device(1, "Cable", 0, 2), rates=(16000,))
        self.unplugged, self._seconds, self._calls, self.heard = False, seconds, [], []

    def InputStream(self, **options):
        return FakeStream(self, options, lambda call: call(noise(160, channels=1).T, 160, None, None))

    def OutputStream(self, **options):
        return FakeStream(self, options, self._listen)

    def _listen(self, call):
        block = np.zeros((160, 2), np.float32)
        call(block, 160, None, None)
        self.heard.append(block)


class FakeStream:
    latency = 0.05

    def __init__(self, system, options, tick):
        self._system, self._call, self._tick, self._closed = system, options["callback"], tick, False

    def start(self):
        threading.Thread(target=self._run, daemon=True).start()

    @property
    def active(self):
        return not self._system.unplugged

    def _run(self):
        for _ in range(round(self._system._seconds * 100)):
            if self._closed:
                return
            self._tick(self._call)
            time.sleep(0.01)
        self._system.unplugged = True

    def close(self, ignore_errors):
        self._closed = True


def test_a_session_ends_by_itself_and_keeps_what_went_out(tmp_path, tiny_model, monkeypatch, capsys):
    system = FakeSystem()
    monkeypatch.setitem(sys.modules, "sounddevice", system)
    kept = tmp_path / "kept.wav"
    assert (
        main(["live", "--model", str(tiny_model), "--seconds", "1.5", "--record", str(kept), "--latency", "quality"])
        == 0
    )
    audio, rate = soundfile.read(kept)
    assert rate == 16000
    assert audio.shape[1] == 2
    assert len(audio) > 4000
    assert "from 'Mic' to 'Cable' at 16000 Hz" in (told := capsys.readouterr().err)
    assert "samples lost" in told.splitlines()[-1]
    assert all(block.shape == (160, 2) for block in system.heard)


def test_an_unplugged_device_is_one_line_and_the_record_is_kept(tmp_path, tiny_model, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "sounddevice", FakeSystem(seconds=0.7))
    kept = tmp_path / "kept.wav"
    assert main(["live", "--model", str(tiny_model), "--record", str(kept)]) == 2
    assert last_line(capsys) == "speech-enhance: error: 'Mic' is gone: was it unplugged?"
    assert soundfile.info(kept).frames > 0


@pytest.mark.parametrize("wrong", [["--latency", "soon"], ["--rate", "5"], ["--seed", "-1"], ["--buffer", "0"]])
def test_wrong_options_are_one_line(wrong, capsys):
    assert main(["live", *wrong]) == 2
    assert wrong[0] in last_line(capsys)
