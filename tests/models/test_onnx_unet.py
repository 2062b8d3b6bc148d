import numpy as np
import pytest
import torch
from conftest import noise

from speech_enhance import OnnxUNet, make_scheduler


def test_it_answers_as_the_network_it_was_made_from(tiny_unet):
    replacement = OnnxUNet(tiny_unet, num_frames=64)
    for batch in (1, 3):
        sample, condition = torch.randn(batch, 1, 80, 64), torch.randn(batch, 3, 80, 64)
        for timestep in (999, torch.tensor(12.5), torch.randint(1000, (batch,))):
            with torch.no_grad():
                expected = tiny_unet(sample, timestep, condition).sample
            torch.testing.assert_close(replacement(sample, timestep, condition).sample, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", ["ddim", "lcm", "kdpm2"])
def test_a_pipeline_runs_with_it(tiny_pipeline, scheduler):
    audio = noise(9000)
    tiny_pipeline.scheduler = make_scheduler(scheduler, tiny_pipeline.scheduler.config)
    expected = tiny_pipeline(audio, 16000, 3).audios
    tiny_pipeline.unet = OnnxUNet(tiny_pipeline.unet, tiny_pipeline.config.window_frames)
    np.testing.assert_allclose(tiny_pipeline(audio, 16000, 3).audios, expected, atol=1e-5)


@pytest.mark.slow
def test_a_mel_of_other_bands(tiny_unet):
    sample, condition = torch.randn(1, 1, 128, 64), torch.randn(1, 3, 128, 64)
    with torch.no_grad():
        expected = tiny_unet(sample, 999, condition).sample
    output = OnnxUNet(tiny_unet, num_frames=64, num_bands=128)(sample, 999, condition).sample
    torch.testing.assert_close(output, expected, atol=1e-5, rtol=1e-4)
