import numpy as np
import pytest
import torch
from conftest import noise

from speech_enhance import MelConfig
from speech_enhance.mel.spectrogram import (
    active_level,
    compress,
    decompress,
    istft,
    level_scale,
    mel_filters,
    mel_spectrogram,
    stft,
)

CONFIG = MelConfig()


@pytest.mark.parametrize("num_samples", [1, 127, 128, 129, 511, 16000, 165920])
@pytest.mark.parametrize("hop_length", [128, 256])
def test_istft_inverts_stft_at_any_length(num_samples, hop_length):
    config = MelConfig(hop_length=hop_length)
    waveform = torch.from_numpy(noise(num_samples, channels=2))
    spectrum = stft(waveform, config)
    assert spectrum.shape == (2, 257, config.num_frames(num_samples))
    restored = istft(spectrum, num_samples, config)
    assert restored.shape == waveform.shape
    torch.testing.assert_close(restored, waveform, atol=2e-6, rtol=0)


def test_silence_is_zero_and_compression_inverts():
    assert mel_spectrogram(torch.zeros(1, 257, 3), CONFIG).abs().max() == 0
    magnitude = torch.tensor([0.0, 1e-4, 0.1, 1.0, 50.0])
    torch.testing.assert_close(decompress(compress(magnitude, CONFIG), CONFIG), magnitude)
    assert decompress(torch.tensor([-1.0]), CONFIG) == 0


def test_filters_are_means_and_agree_with_a_tone():
    filters = mel_filters(CONFIG)
    torch.testing.assert_close(filters.sum(dim=0), torch.ones(80))
    tone = torch.sin(2 * torch.pi * 1000 * torch.arange(16000) / 16000)[None]
    loudest = mel_spectrogram(stft(tone, CONFIG).abs(), CONFIG)[0, :, 60].argmax()
    assert abs(filters[:, loudest].argmax() * 16000 / 512 - 1000) <= 32


def test_mel_does_not_depend_on_the_recordings_level():
    waveform = torch.from_numpy(noise(16000, channels=1))

    def normalised(audio):
        return mel_spectrogram(stft(audio * level_scale(active_level(audio, 16000), CONFIG), CONFIG).abs(), CONFIG)

    torch.testing.assert_close(normalised(waveform), normalised(waveform * 1e-3), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(normalised(waveform), normalised(waveform * 30), atol=1e-4, rtol=1e-4)


def test_level_ignores_pauses_and_clicks():
    speech = torch.from_numpy(noise(32000, channels=1))
    level = active_level(speech, 16000)
    assert level.item() == pytest.approx(0.1, rel=0.05)
    with_pause = torch.cat([speech, torch.zeros(1, 320000)], dim=-1)
    assert active_level(with_pause, 16000).item() == pytest.approx(level.item(), rel=0.05)
    clicked = speech.clone()
    clicked[0, 5000:5020] = 30.0
    assert active_level(clicked, 16000).item() == pytest.approx(level.item(), rel=0.05)


def test_level_of_silence_and_of_one_sample():
    assert active_level(torch.zeros(1, 100), 16000) == 0
    assert level_scale(torch.tensor(0.0), CONFIG) == 1
    assert active_level(torch.tensor([[0.5]]), 16000).item() == pytest.approx(0.5)


def test_level_of_two_channels_does_not_cancel():
    left = torch.from_numpy(noise(16000))
    level = active_level(torch.stack([left, -left]), 16000)
    assert level.item() == pytest.approx(active_level(left[None], 16000).item(), rel=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"hop_length": 300}, "hop_length"),
        ({"win_length": 1024}, "win_length"),
        ({"num_mel_bins": 0}, "num_mel_bins"),
        ({"mel_power": 0.0}, "mel_power"),
    ],
)
def test_config_refuses_what_cannot_be_inverted(arguments, message):
    with pytest.raises(ValueError, match=message):
        MelConfig(**arguments)


def test_too_many_bands_are_refused():
    with pytest.raises(ValueError, match="without a frequency bin"):
        mel_filters(MelConfig(num_mel_bins=400))


def test_filters_match_librosas_formula():
    """Slaney's scale: linear below 1 kHz at 200/3 Hz per mel, then logarithmic, 27 mels to a factor of 6.4."""
    top = 15 + 27 * np.log(8) / np.log(6.4)
    mels = np.linspace(0, top, 82)
    hertz = np.where(mels < 15, mels * 200 / 3, 1000 * 6.4 ** ((mels - 15) / 27))
    bins = np.arange(257) * 16000 / 512
    rising = (bins[:, None] - hertz[:-2]) / np.diff(hertz)[:-1]
    falling = (hertz[2:] - bins[:, None]) / np.diff(hertz)[1:]
    expected = np.maximum(0, np.minimum(rising, falling))
    np.testing.assert_allclose(mel_filters(CONFIG).numpy(), expected / expected.sum(axis=0), atol=1e-6)
