"""What was published stays what it was: a checkpoint of generation one gives the sound that it gave."""

import numpy as np
import pytest
import torch
from conftest import ROOT, noise, quiet
from safetensors.numpy import load_file

from speech_enhance import SpeechEnhancementPipeline, make_scheduler

FOLDER = ROOT / "tests" / "generation_one"


@pytest.fixture(scope="module")
def pipeline() -> SpeechEnhancementPipeline:
    return quiet(SpeechEnhancementPipeline.from_pretrained(FOLDER))


@pytest.fixture(scope="module")
def audio() -> np.ndarray:
    return noise(9000, seed=4) * np.linspace(0.1, 1, 9000, dtype=np.float32)


@pytest.mark.parametrize(
    ("name", "scheduler", "num_samples", "settings"),
    [
        ("ddim_1", "ddim", 9000, {"num_inference_steps": 1, "num_estimates": 3}),
        ("euler_ancestral_4", "euler-ancestral", 3000, {"num_inference_steps": 4, "num_estimates": 1}),
        ("mel", "ddim", 9000, {"num_inference_steps": 2, "num_estimates": 1, "output_type": "mel"}),
    ],
)
def test_generation_one_gives_its_stored_output(pipeline, audio, name, scheduler, num_samples, settings):
    """The outputs are stored in half precision, which the tolerance covers."""
    pipeline.scheduler = make_scheduler(scheduler, pipeline.scheduler.config)
    output = pipeline(audio[:num_samples], 16000, **settings)
    actual = output.mels if name == "mel" else output.audios
    expected = load_file(FOLDER / "outputs.safetensors")[name].astype(np.float32)
    torch.testing.assert_close(torch.as_tensor(actual), torch.from_numpy(expected), rtol=1e-3, atol=1e-4)
