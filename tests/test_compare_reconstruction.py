import numpy as np
import pytest
import torch
from conftest import noise

from speech_enhance.mel import analyse, mel_spectrogram, stft
from training.compare_reconstruction import Reconstruction, main, reconstruct


@pytest.mark.parametrize("way", [Reconstruction(), Reconstruction(updates=5), Reconstruction(rounds=3)])
def test_a_mel_that_changes_nothing_gives_the_recording_back(tiny_pipeline, way):
    audio = noise(9000)
    *_, noisy_mel = analyse(torch.from_numpy(audio)[None], tiny_pipeline.mel_config)
    output = reconstruct(audio, noisy_mel[0], tiny_pipeline.mel_config, way)
    np.testing.assert_allclose(output, audio, atol=2e-3)


def test_updates_bring_the_sound_nearer_to_its_mel(tiny_pipeline):
    config = tiny_pipeline.mel_config
    audio = noise(9000)
    scale, _, noisy_mel = analyse(torch.from_numpy(audio)[None], config)
    wanted = noisy_mel[0] * np.linspace(0.4, 0.9, 80, dtype=np.float32)[:, None]
    errors = []
    for updates in (0, 5):
        output = reconstruct(audio, wanted, config, Reconstruction(updates=updates, max_gain=2.0))
        spectrum = stft(torch.from_numpy(output)[None] * scale, config)
        mel = mel_spectrogram(spectrum.abs(), config)[0]
        errors.append(float((mel - wanted).square().mean()))
    assert errors[1] < errors[0]


@pytest.mark.slow
def test_report(corpus, tiny_pipeline, tmp_path):
    tiny_pipeline.save_pretrained(tmp_path / "model")
    main(
        ["--pairs", str(corpus / "pairs.parquet"), "--model", str(tmp_path / "model"), "--output", str(tmp_path / "r")]
    )
    report = (tmp_path / "r.md").read_text()
    assert "| gain, noisy phase |" in report
    assert "| updates 3, rounds 3 |" in report
