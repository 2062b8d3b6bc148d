from dataclasses import fields, replace

import pytest
import torch

from speech_enhance import MelConfig
from training.config import load_config
from training.mixtures.degradation import DegradationConfig, degrade, degrade_batch, keep_cepstrum, smear

NONE = DegradationConfig(**{field.name: 0.0 for field in fields(DegradationConfig) if field.name.endswith("_share")})
DECIBEL = 0.01


@pytest.fixture
def mel() -> torch.Tensor:
    """`(80, 200)` with fine structure over time and frequency, between 0.3 and 0.9."""
    return 0.6 + 0.1 * torch.randn(80, 200, generator=torch.Generator().manual_seed(5)).clamp(-3, 3)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_without_any_share_a_mel_is_untouched(mel):
    torch.testing.assert_close(degrade(mel, NONE, DECIBEL, generator()), mel)
    assert torch.equal(degrade(mel, replace(DegradationConfig(), untouched_share=1.0), DECIBEL, generator()), mel)


@pytest.mark.parametrize("share", ["smooth_share", "shrink_share", "cepstrum_share", "hole_share"])
def test_what_takes_detail_lowers_the_variance(mel, share):
    degraded = degrade(mel, replace(NONE, **{share: 1.0}), DECIBEL, generator(1))
    assert degraded.shape == mel.shape
    assert degraded.var(dim=-1).mean() < 0.99 * mel.var(dim=-1).mean()
    assert degraded.mean().item() == pytest.approx(mel.mean().item(), abs=0.01), "the level stays"


def test_quantised_values_lie_on_few_steps(mel):
    config = replace(NONE, quantise_share=1.0, quantise_db=(6.0, 6.0))
    degraded = degrade(mel, config, DECIBEL, generator())
    assert (degraded - mel).abs().max() <= 3.001 * DECIBEL
    assert len(degraded.unique()) < 0.7 / 0.06 + 2


def test_wobble_has_its_deviation(mel):
    degraded = degrade(mel, replace(NONE, wobble_share=1.0, wobble_db=(2.0, 2.0)), DECIBEL, generator())
    assert (degraded - mel).std().item() == pytest.approx(2 * DECIBEL, rel=0.01)


def test_smearing_keeps_means_and_edges():
    steady = torch.linspace(0.2, 0.8, 80)[:, None].expand(80, 40)
    torch.testing.assert_close(smear(steady, 0.5, 2.0)[2:-2], steady[2:-2], atol=1e-3, rtol=0)
    impulse = torch.zeros(80, 101)
    impulse[40, 50] = 1
    assert smear(impulse, 1.0, 2.0).sum().item() == pytest.approx(1, abs=1e-4)


def test_all_coefficients_give_the_frames_back(mel):
    torch.testing.assert_close(keep_cepstrum(mel, 80), mel, atol=1e-5, rtol=0)
    assert keep_cepstrum(mel, 1).std(dim=0).max() < 1e-5


def test_a_batch_depends_on_seed_and_numbers_alone(mel):
    config, inner = replace(DegradationConfig(), untouched_share=0.0), MelConfig(compression="log10", mel_scale=0.2)
    batch = degrade_batch(torch.stack([mel, mel]), config, inner, 3, [7, 8])
    torch.testing.assert_close(degrade_batch(mel[None], config, inner, 3, [8])[0], batch[1])
    assert not torch.equal(batch[0], batch[1])
    assert not torch.equal(degrade_batch(mel[None], config, inner, 4, [8])[0], batch[1])
    assert batch.min() >= 0


def test_wrong_settings_are_named(tmp_path):
    with pytest.raises(ValueError, match="hole_share must be from 0 to 1"):
        DegradationConfig(hole_share=2.0)
    with pytest.raises(ValueError, match="wobble_db must be two numbers"):
        DegradationConfig(wobble_db=(3.0, 1.0))
    (tmp_path / "run.yaml").write_text(
        "output_dir: x\nspeech: [{path: a}]\nnoise: [{path: b}]\ndegradation: {}\npipeline: {compression: power}\n"
    )
    with pytest.raises(ValueError, match="degradation: needs pipeline: compression: log10, got 'power'"):
        load_config(tmp_path / "run.yaml")
