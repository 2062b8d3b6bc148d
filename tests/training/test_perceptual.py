import numpy as np
import pytest
import torch
from conftest import noise
from scipy.stats import pearsonr

from speech_enhance.mel.spectrogram import MelConfig, stft
from training.perceptual import perceptual_disturbance


def power(audio: np.ndarray) -> torch.Tensor:
    return stft(torch.from_numpy(np.float32(audio))[None], MelConfig()).abs().square()


def disturbance(enhanced: np.ndarray, clean: np.ndarray) -> float:
    return perceptual_disturbance(power(enhanced), power(clean), MelConfig()).item()


@pytest.mark.slow
def test_it_follows_pesq(sample_pair):
    """Over noise at several levels, in parts of the band, and speech with holes."""
    pesq = pytest.importorskip("pesq")
    _, clean = sample_pair
    clean = clean[: 16000 * 6]
    hiss = noise(len(clean)) * np.sqrt(np.square(clean).mean())
    rumble = np.convolve(hiss, np.ones(32) / 32, "same")
    shapes = [hiss, hiss - rumble, rumble, hiss * (np.arange(len(clean)) % 8000 < 2000)]
    worse = [clean + 10 ** (-snr / 20) * shape for shape in shapes for snr in (0, 5, 10, 15, 20, 30)]
    worse += [clean * (np.arange(len(clean)) % 4000 >= hole) for hole in (200, 500, 1000)]
    theirs = [pesq.pesq(16000, clean, audio, "wb") for audio in worse]
    opinion = [4.5 - disturbance(audio, clean) for audio in worse]
    ours = [0.999 + 4 / (1 + np.exp(-1.3669 * raw + 3.8224)) for raw in opinion]  # ITU-T P.862.2
    assert pearsonr(ours, theirs).statistic > 0.9


def test_what_it_leaves_out(sample_pair):
    _, clean = sample_pair
    assert disturbance(clean, clean) < 0.01
    assert disturbance(0.1 * clean, clean) < 0.01, "level"
    tilted = np.convolve(clean, [1, 0.5], "same")
    assert disturbance(tilted, clean) < 0.2 < disturbance(clean + 0.01 * noise(len(clean)), clean), "colour"


def test_gradients_are_finite_where_there_is_no_sound():
    clean = torch.rand(3, 257, 120, generator=torch.Generator().manual_seed(0))
    clean[0] = 0
    clean[1, :, 60:] = 0
    gain = torch.full_like(clean, 0.5)
    gain[1, :, 30:] = 0
    gain[2] = 0
    gain.requires_grad_()
    lost = perceptual_disturbance(gain.square(), clean, MelConfig())
    assert lost[0] == 0, "nothing to be like"
    lost.sum().backward()
    assert gain.grad.isfinite().all()
    assert gain.grad[1].abs().sum() > 0
