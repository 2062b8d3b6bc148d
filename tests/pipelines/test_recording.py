import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch
from conftest import noise

from speech_enhance.audio.buffers import SlidingBuffer
from speech_enhance.audio.resampling import RateRestorer, Resampler, num_resampled, resample
from speech_enhance.mel.spectrogram import MelConfig, active_level, level_scale
from speech_enhance.pipelines.survey import OffsetMeter, survey


def in_blocks(audio: np.ndarray, longest: int, seed: int = 0):
    """`audio (channels, samples)` in blocks of random lengths, each an array of its own."""
    lengths = np.random.default_rng(seed).integers(0, longest + 1, size=2 * audio.shape[1] // longest + 9)
    return lambda: (item.copy() for item in np.split(audio, np.cumsum(lengths).clip(max=audio.shape[1]), axis=1))


@pytest.mark.parametrize("block", [np.zeros((1, 4)), torch.zeros(1, 4)], ids=["array", "tensor"])
def test_sliding_buffer_is_addressed_absolutely(block):
    buffer = SlidingBuffer(start=-2)
    buffer.append(block + 1)
    buffer.append(block + 2)
    assert buffer.end == 6
    assert buffer.get(1, 4).tolist() == [[1, 2, 2]]
    buffer.forget(3)
    assert (buffer.start, buffer.end) == (3, 6)
    buffer.forget(0)
    assert buffer.get(3, 6).shape == (1, 3)
    with pytest.raises(IndexError, match="2 to 4 asked for, 3 to 6 held"):
        buffer.get(2, 4)
    with pytest.raises(IndexError):
        buffer.get(5, 7)
    buffer.forget(100)
    assert (buffer.start, buffer.end) == (6, 6)


@pytest.mark.parametrize("rates", [(48000, 16000), (44100, 16000), (16000, 11025), (8000, 16000), (16000, 16000)])
def test_resampling_in_blocks_equals_resampling_at_once(rates):
    audio = noise(60001, channels=2)
    num_samples = num_resampled(60001, *rates)
    resampler = Resampler(*rates, 2)
    parts = [resampler.push(block) for block in in_blocks(audio, 9000)()]
    together = np.concatenate([*parts, resampler.finish(num_samples)], axis=1)
    assert together.shape == (2, num_samples)
    np.testing.assert_array_equal(together, resample(audio, *rates, num_samples))


SURVEY_OF_HALF_AN_HOUR = """
import re
from pathlib import Path
import soundfile
from speech_enhance.mel.spectrogram import MelConfig
from speech_enhance.pipelines.survey import survey

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) // 1024
def blocks():
    for _ in range(900):
        yield from (block.T for block in soundfile.blocks(path, 96000, dtype="float32", always_2d=True))
before = peak()
assert survey(blocks, 48000, MelConfig(), False, "running", True).num_samples == 900 * 96000
print(peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells the peak of memory")
def test_a_survey_takes_no_memory_for_the_length_of_a_recording(tmp_path):
    soundfile.write(tmp_path / "a.wav", noise(96000, channels=2).T * 0.1, 48000)
    program = f"path = {str(tmp_path / 'a.wav')!r}\n{SURVEY_OF_HALF_AN_HOUR}"
    grown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert int(grown) < 100, "MB; half an hour of stereo is 690"


@pytest.mark.parametrize("sampling_rate", [8000, 16000, 44100])
@pytest.mark.parametrize("independent", [False, True])
def test_survey_measures_what_the_whole_recording_shows(sampling_rate, independent):
    config = MelConfig()
    audio = noise(50000, channels=2) * np.array([[1], [0.2]], np.float32)
    audio[:, :20000] *= 0.01
    found = survey(in_blocks(audio, 7000), sampling_rate, config, independent)
    assert (found.num_channels, found.num_samples) == (2, 50000)
    num_samples = num_resampled(50000, sampling_rate, 16000)
    waveform = torch.from_numpy(resample(audio, sampling_rate, 16000, num_samples))
    groups = waveform[:, None] if independent else waveform[None]
    expected = level_scale(active_level(groups, 16000), config)
    torch.testing.assert_close(found.scale(0, 1, config)[:, 0], expected)


@pytest.mark.parametrize("num_samples", [1, 99, 100, 150, 250, 1000, 1033])
def test_offset_is_the_median_of_the_means_of_half_seconds(num_samples):
    audio = noise(num_samples, channels=3) + np.float32([[1], [2], [-3]])
    meter = OffsetMeter(200)
    for block in in_blocks(audio, 170)():
        meter.push(block)
    ends = [*range(100, num_samples - 99, 100), num_samples]
    parts = [part.mean(axis=1) for part in np.split(audio.astype(np.float64), ends[:-1], axis=1)]
    np.testing.assert_allclose(meter.offset(), np.median(parts, axis=0), atol=1e-7)


def test_a_loud_event_gives_no_offset():
    audio = 0.01 * noise(6 * 16000) + np.float32(0.02)
    audio[8000:40000] += 0.3
    meter = OffsetMeter(16000)
    meter.push(audio[None])
    assert meter.offset() == pytest.approx(0.02, abs=1e-4)


@pytest.mark.parametrize("num_samples", [1, 3000, 70001])
@pytest.mark.parametrize("sampling_rate", [16000, 44100])
@pytest.mark.parametrize("longest", [500, 100000])
def test_stream_equals_the_call(tiny_pipeline, num_samples, sampling_rate, longest):
    audio = noise(num_samples, channels=2)
    settings = {"num_estimates": 2, "mix": 0.9, "attenuation_limit_db": 20.0, "generator": torch.Generator()}
    expected = tiny_pipeline(audio, sampling_rate, **settings).audios
    settings["generator"] = torch.Generator()
    blocks = list(tiny_pipeline.stream(in_blocks(audio, longest), sampling_rate, window_batch_size=3, **settings))
    np.testing.assert_allclose(np.concatenate(blocks, axis=1), expected, atol=1e-5)
    assert num_samples < 70000 or len(blocks) > 3


@pytest.mark.slow
def test_a_stream_reads_no_further_than_it_must(tiny_pipeline):
    """Output follows input at a distance that does not grow: this is what keeps memory flat."""
    audio, position = noise(800000, channels=1), [0]

    def open_blocks():
        for start in range(0, 800000, 4000):
            position[0] = start + 4000
            yield audio[:, start : start + 4000]

    made, distances = 0, []
    for block in tiny_pipeline.stream(open_blocks, 16000, window_batch_size=1):
        made += block.shape[1]
        distances.append(position[0] - made)
    assert made == 800000
    layout = tiny_pipeline.config
    assert max(distances) < 128 * (2 * layout.window_frames + layout.noise_floor_span) + 4000


def test_independent_channels_are_recordings_of_their_own(tiny_pipeline):
    audio = np.stack([noise(30000), 0.1 * noise(30000, seed=1)])
    audio[0, :15000] *= 0.01
    apart = tiny_pipeline(audio, 16000, 1, 1, independent_channels=True).audios
    for channel, output in zip(audio, apart, strict=True):
        np.testing.assert_allclose(output, tiny_pipeline(channel, 16000, 1, 1).audios, atol=1e-5)
    together = tiny_pipeline(audio, 16000, 1, 1).audios
    assert np.abs(apart - together).max() > 0.05 * np.abs(together).max()
    mels = tiny_pipeline(audio, 16000, independent_channels=True, output_type="mel").mels
    assert mels.shape == (2, 80, tiny_pipeline.mel_config.num_frames(30000))


def test_independent_channels_at_another_rate(oracle_pipeline):
    audio = np.stack([noise(30000), 0.01 * noise(30000, seed=1)])
    output = oracle_pipeline(audio, 44100, independent_channels=True).audios
    np.testing.assert_allclose(output, audio, atol=1e-4)


def restored_tone(gain: np.ndarray, density: np.ndarray, **options) -> tuple[np.ndarray, np.ndarray]:
    """3 s of a tone at 15 kHz, with silence in the model's band, and what is made of it in two blocks."""
    audio = np.sin(2 * np.pi * 15000 / 48000 * np.arange(3 * 48000), dtype=np.float32)[None]
    recording = SlidingBuffer()
    recording.append(audio)
    restorer = RateRestorer(48000, 16000, 128, 1, 3 * 48000, **options)
    silence = np.zeros((1, 48000), np.float32)
    model = [silence[:, :20000]] * 2, [silence[:, :28000]] * 2
    parts = [restorer.push(recording, *model[0], gain[:, :200], density[:, :200], last=False)]
    parts.append(restorer.push(recording, *model[1], gain[:, 200:], density[:, 200:], last=True))
    output = np.concatenate(parts, axis=1)
    assert output.shape == audio.shape
    return audio, output


def test_the_gain_above_the_models_band_follows_the_model():
    """A band the model does not see is turned down when the upper bands are, within 60 ms."""
    gain = np.ones((1, 376), np.float32)  # frames of 3 s
    gain[:, 150:250] = 0
    audio, output = restored_tone(gain, np.ones_like(gain))
    np.testing.assert_allclose(output[:, : 147 * 384], audio[:, : 147 * 384], atol=1e-4)
    np.testing.assert_allclose(output[:, 153 * 384 : 246 * 384], 0, atol=1e-4)
    np.testing.assert_allclose(output[:, 253 * 384 :], audio[:, 253 * 384 :], atol=1e-4)


@pytest.mark.parametrize("min_gain", [0.0, 0.25])
def test_above_the_models_band_only_what_fits_to_the_upper_bands_stays(min_gain):
    """The tone stays where the upper bands are as dense, and falls to 6 dB over their density where they are not."""
    density = np.full((1, 376), 0.5 / 16800)  # the tone's power, over 7.2 to 24 kHz
    density[:, 150:250] *= 0.01
    audio, output = restored_tone(np.ones((1, 376), np.float32), density, min_gain=min_gain)
    np.testing.assert_allclose(output[:, : 147 * 384], audio[:, : 147 * 384], atol=1e-4)
    inside = slice(153 * 384, 246 * 384)
    np.testing.assert_allclose(output[:, inside], max(0.2, min_gain) * audio[:, inside], atol=1e-3)
    np.testing.assert_allclose(output[:, 253 * 384 :], audio[:, 253 * 384 :], atol=1e-4)


def test_a_recording_that_changes_between_readings_is_an_error(tiny_pipeline):
    for second in (4000, 6000):
        lengths = iter([5000, second])
        with pytest.raises(ValueError, match=f"5000 samples the first time, {second} the second"):
            list(tiny_pipeline.stream(lambda lengths=lengths: [noise(next(lengths), channels=1)], 16000))


@pytest.mark.parametrize(
    ("blocks", "error", "message"),
    [
        ([], ValueError, "is empty"),
        ([np.zeros((1, 0), np.float32)], ValueError, "is empty"),
        ([np.zeros(9, np.float32)], TypeError, r"\(channels, samples\), got ndarray \(9,\)"),
        ([np.zeros((1, 9))], TypeError, "float32"),
        ([np.zeros((65, 9), np.float32)], ValueError, "65 channels, expected 1 to 64"),
        ([np.zeros((1, 9), np.float32), np.zeros((2, 9), np.float32)], ValueError, "2 channels, expected 1, as before"),
        ([np.full((1, 9), np.nan, np.float32)], ValueError, "NaN"),
    ],
)
def test_wrong_blocks_are_named(tiny_pipeline, blocks, error, message):
    with pytest.raises(error, match=message):
        list(tiny_pipeline.stream(lambda: blocks, 16000))


def test_wrong_settings_of_a_stream_are_named(tiny_pipeline):
    with pytest.raises(ValueError, match="`mix`"):
        list(tiny_pipeline.stream(in_blocks(noise(9, channels=1), 9), 16000, mix=2.0))
    with pytest.raises(TypeError, match="no_such"):
        list(tiny_pipeline.stream(in_blocks(noise(9, channels=1), 9), 16000, no_such=2.0))
