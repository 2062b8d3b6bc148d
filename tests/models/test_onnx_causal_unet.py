import numpy as np
import pytest
import torch
from causal import make_network, make_pipeline
from conftest import noise

from speech_enhance import OnnxCausalUNet


@torch.no_grad()
def test_it_answers_as_the_network_it_was_made_from():
    """For any batch, and for frames in any parts."""
    network = make_network()
    replacement = OnnxCausalUNet(network)
    for batch, lengths in ((1, (2, 2, 2)), (3, (1, 5, 40))):
        state = expected_state = None
        for length in lengths:
            sample, condition = torch.randn(batch, 1, 80, length), torch.randn(batch, 2, 80, length + 2)
            for timestep in (999, torch.randint(1000, (batch,)), network.modulations(300, batch)):
                expected, expected_state = network.step(sample, timestep, condition, expected_state)
                answer, state = replacement.step(sample, timestep, condition, state)
                torch.testing.assert_close(answer, expected, atol=1e-5, rtol=1e-4)
    sample, condition = torch.randn(2, 1, 80, 30), torch.randn(2, 2, 80, 30)
    expected = network(sample, 999, condition).sample
    torch.testing.assert_close(replacement(sample, 999, condition).sample, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"num_inference_steps": 2, "num_estimates": 2}])
def test_live_sound_and_a_file_come_out_as_before(settings):
    pipeline, audio = make_pipeline(), noise(9000)
    before = pipeline.live(16000, **settings).process(audio), pipeline(audio, 16000).audios
    pipeline.unet = OnnxCausalUNet(pipeline.unet)
    after = pipeline.live(16000, **settings).process(audio), pipeline(audio, 16000).audios
    for one, other in zip(before, after, strict=True):
        np.testing.assert_allclose(other, one, atol=1e-5)


def test_other_networks_and_shapes_are_refused(tiny_unet):
    with pytest.raises(ValueError, match="OnnxCausalUNet is for a CausalUNet2DModel, got a ConditionalUNet2DModel"):
        OnnxCausalUNet(tiny_unet)
    with pytest.raises(ValueError, match=r"`sample` must be \(batch, 1, 80, frames\)"):
        OnnxCausalUNet(make_network()).step(torch.zeros(1, 1, 79, 2), 999, torch.zeros(1, 2, 79, 4))
