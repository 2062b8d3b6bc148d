"""The command `speech-enhance live` from end to end: PulseAudio's null sink in the place of a sound card."""

import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from conftest import noise

from training.evaluation.measure_live_stream import RATE, Told, best_lag, through_command
from training.evaluation.pulse_audio import PROGRAMS, NoPulseAudio, sound_card

MISSING = [name for name in PROGRAMS if shutil.which(name) is None]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)} (apt install pulseaudio libasound2-plugins)"),
]


@pytest.fixture
def pulse(tmp_path_factory):
    """The environment of a PulseAudio of our own. Where it does not start, or PortAudio is missing, the test is
    skipped."""
    try:
        import sounddevice  # noqa: F401 - an OSError without the library PortAudio
    except (ImportError, OSError) as error:
        pytest.skip(f"needs sounddevice and libportaudio2: {error}")
    try:
        with sound_card(tmp_path_factory.mktemp("pulse"), RATE) as environment:
            yield environment
    except NoPulseAudio as error:
        pytest.skip(str(error))


def test_what_is_played_at_one_end_arrives_at_the_other(pulse, tiny_model, tmp_path):
    """With --attenuation-limit 0 the sound is the same; delay and gaps are as the command says."""
    options = ["--buffer", "100", "--model", str(tiny_model), "--attenuation-limit", "0"]
    printed, before, after = through_command(
        pulse, tmp_path, noise(6 * RATE), [*options, "--record", str(tmp_path / "kept.wav")]
    )
    told = Told.of(printed)
    lag, likeness = best_lag(before, after)
    steady = not told.gaps and not told.times_too_slow  # else the delay has changed on the way
    assert likeness > (0.9 if steady else 0.3), printed
    expected = told.delay_ms + told.devices_ms
    assert lag / RATE * 1000 == pytest.approx(expected, abs=200 if steady else 1500), printed
    kept, rate = soundfile.read(tmp_path / "kept.wav")
    assert rate == RATE
    assert np.abs(kept).max() > 0.1


def test_an_unknown_device_is_one_line(pulse):
    command = [sys.executable, "-m", "speech_enhance", "live", "--input", "nonsense"]
    run = subprocess.run(command, env=pulse, capture_output=True, text=True, timeout=60)
    assert run.returncode == 2
    assert re.fullmatch(
        r"speech-enhance: error: --input: no input device 'nonsense' .*\n", run.stderr.splitlines(True)[-1]
    )
