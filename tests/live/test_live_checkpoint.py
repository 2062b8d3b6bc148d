"""The bundled checkpoint for live sound: small, quick to answer, and good on the synthetic sample."""

import numpy as np
import pytest
import torch
from conftest import quiet

from speech_enhance import LATENCIES, LIVE_CHECKPOINT, SpeechEnhancementPipeline
from speech_enhance.live.command import build_parser, own_model
from speech_enhance.metrics.reference import estoi, pesq, si_sdr


@pytest.fixture(scope="module")
def pipeline():
    return quiet(SpeechEnhancementPipeline.from_pretrained(LIVE_CHECKPOINT))


def test_it_is_small_and_its_weights_are_finite(pipeline):
    files = [path for path in LIVE_CHECKPOINT.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 10e6
    assert {path.suffix for path in files} == {".json", ".safetensors", ".md"}
    assert sum(parameter.numel() for parameter in pipeline.unet.parameters()) <= 3e6
    assert all(torch.isfinite(parameter).all() for parameter in pipeline.unet.parameters())


@pytest.mark.parametrize(("sampling_rate", "delay_ms"), [(16000, 56), (48000, 60)])
def test_it_answers_within_64_ms(pipeline, sampling_rate, delay_ms):
    live = pipeline.live(sampling_rate, "low")
    assert 1000 * live.latency / sampling_rate == pytest.approx(delay_ms, abs=0.5)
    assert live.interval == 0.016


def test_it_improves_the_sample(pipeline, sample_pair):
    noisy, clean = sample_pair
    live = pipeline.live(16000)
    blocks = [live.process(block) for block in np.split(noisy, range(256, len(noisy), 256))]
    enhanced = np.concatenate([*blocks, live.flush()])[live.latency :]
    assert pesq(enhanced, clean) > pesq(noisy, clean) + 0.1
    assert si_sdr(enhanced, clean) > si_sdr(noisy, clean) + 4
    assert estoi(enhanced, clean) > estoi(noisy, clean)
    pause = slice(0, 6000)
    assert 10 * np.log10(np.mean(noisy[pause] ** 2) / np.mean(enhanced[pause] ** 2)) > 10


def test_the_command_takes_it_where_the_delay_is_to_be_low():
    assert own_model(build_parser().parse_args([]).latency) == str(LIVE_CHECKPOINT)
    assert {name: own_model(name) for name in LATENCIES if name != "low"} == {"quality": None}
