"""The bundled checkpoint and the others of the repository: whole, small enough, and good on the synthetic samples."""

import numpy as np
import pytest
import torch
from conftest import ROOT, noise, quiet

from speech_enhance import DEFAULT_CHECKPOINT, PRESETS, SpeechEnhancementPipeline, preset_settings
from speech_enhance.metrics.reference import estoi, pesq, si_sdr
from training.evaluation.components import component_levels_db
from training.mixtures.channels import dereverberated, reverberate
from training.mixtures.rooms import simulate_room

LARGE_CHECKPOINT = ROOT / "checkpoints" / "large"


@pytest.fixture(scope="module")
def pipeline():
    return quiet(SpeechEnhancementPipeline.from_pretrained(DEFAULT_CHECKPOINT))


@pytest.fixture(scope="module")
def large():
    return quiet(SpeechEnhancementPipeline.from_pretrained(LARGE_CHECKPOINT))


@pytest.mark.parametrize(("folder", "megabytes"), [(DEFAULT_CHECKPOINT, 20), (LARGE_CHECKPOINT, 80)])
def test_weights_are_small_finite_safetensors(folder, megabytes):
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < megabytes * 10**6
    assert {path.suffix for path in files} <= {".json", ".safetensors", ".md"}
    unet = SpeechEnhancementPipeline.from_pretrained(folder).unet
    assert all(torch.isfinite(parameter).all() for parameter in unet.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_improves_the_sample(pipeline, preset, sample_pair):
    noisy, clean = sample_pair
    pipeline.scheduler, settings = preset_settings(preset, pipeline.scheduler.config)
    enhanced = pipeline(noisy, 16000, **settings).audios
    assert pesq(enhanced, clean) > pesq(noisy, clean) + 0.1
    assert si_sdr(enhanced, clean) > si_sdr(noisy, clean) + 6
    assert estoi(enhanced, clean) > estoi(noisy, clean) + 0.03
    pause = slice(0, 6000)
    assert 10 * np.log10(np.mean(noisy[pause] ** 2) / np.mean(enhanced[pause] ** 2)) > 20


@pytest.mark.slow
@pytest.mark.parametrize(("name", "least_si_sdr"), [("pipeline", 12), ("large", 25)])
def test_clean_speech_passes(name, least_si_sdr, sample_pair, request):
    _, clean = sample_pair
    enhanced = request.getfixturevalue(name)(clean, 16000).audios
    assert pesq(enhanced, clean) > 3.6
    assert si_sdr(enhanced, clean) > least_si_sdr


@pytest.mark.slow
def test_the_large_one_is_better_than_the_bundled_one(pipeline, large, sample_pair):
    noisy, clean = sample_pair
    bundled, better = (model(noisy, 16000, 1, num_estimates=1).audios for model in (pipeline, large))
    assert pesq(better, clean) > pesq(bundled, clean)
    assert estoi(better, clean) > estoi(bundled, clean)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "reverberation_time"), [("pipeline", 0.4), ("pipeline", 0.8), ("pipeline", 1.2), ("large", 0.8)]
)
def test_the_dial_leaves_ever_less_of_the_late_sound_of_a_room(name, sample_pair, reverberation_time, request):
    noisy, clean = sample_pair
    pipeline = request.getfixturevalue(name)
    _, response, _ = simulate_room(np.random.default_rng(0), 16000, reverberation_time, 2.0)
    reverberant, early = reverberate(clean, np.stack([response, dereverberated(response, 16000, 1.0)]))
    mixture = reverberant + 0.3 * (noisy - clean)
    enhanced = [pipeline(mixture, 16000, 1, dereverb=dial).audios for dial in (0, 0.25, 0.5, 0.75, 1)]
    late_db = [component_levels_db(audio, [early, reverberant - early])[1] for audio in enhanced]
    assert (np.diff(late_db) < 0).all(), late_db
    assert late_db[-1] < late_db[0] - 2


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pipeline", "large"])
def test_speech_beside_a_loud_event_stays(name, sample_pair, request):
    noisy, clean = sample_pair
    event = 100 * np.sqrt(np.square(clean).mean()) / 0.1 * noise(32000)
    factor = np.float32(0.9 / np.abs(event).max())
    pipeline = request.getfixturevalue(name)
    alone = pipeline(noisy, 16000, 1, num_estimates=1).audios
    beside = pipeline(factor * np.concatenate([event, noisy]), 16000, 1, num_estimates=1).audios[32000:] / factor
    after = slice(1600, None)  # the last windows of the analysis that hold the event are over
    assert si_sdr(beside[after], clean[after]) > si_sdr(alone[after], clean[after]) - 0.4
    assert np.square(beside[32000:40000]).sum() == pytest.approx(np.square(alone[32000:40000]).sum(), rel=0.05)


@pytest.mark.slow
def test_windows_join_without_a_step(pipeline, sample_pair):
    """Stationary noise in: no frame near a window's border is louder than the loudest elsewhere by more than 1 dB."""
    audio = noise(16000 * 12)
    mel = pipeline(audio, 16000, 1, output_type="mel").mels.mean(dim=0)
    borders = torch.zeros(len(mel), dtype=torch.bool)
    for start in range(288, len(mel), 288):
        borders[start - 4 : start + 100] = True
    inner = mel[32:-32]
    borders = borders[32:-32]
    assert inner[borders].max() < inner[~borders].max() * 1.05 + 0.02
