import pytest
import torch

from speech_enhance.mel.targets import MelTarget


@pytest.mark.parametrize("kind", ["gain", "residual"])
@pytest.mark.parametrize("gain_power", [0.5, 1.0, 2.0])
def test_decode_undoes_encode(kind, gain_power):
    target = MelTarget(kind, gain_power)
    noisy_mel = torch.rand(2, 80, 50) + 0.1
    clean_mel = torch.rand(2, 80, 50) * noisy_mel
    sample = target.encode(clean_mel, noisy_mel)
    torch.testing.assert_close(target.decode(sample, noisy_mel), clean_mel, atol=2e-3, rtol=1e-3)


def test_a_gain_runs_from_minus_one_for_noise_to_one_for_speech():
    target = MelTarget("gain", gain_power=2.0)
    noisy_mel = torch.full((1, 80, 4), 0.5)
    torch.testing.assert_close(target.encode(0 * noisy_mel, noisy_mel), -torch.ones(1, 80, 4))
    torch.testing.assert_close(target.encode(noisy_mel, noisy_mel), torch.ones(1, 80, 4))
    assert target.encode(2 * noisy_mel, noisy_mel).max() == 1, "where clean and noise cancel nothing is to be added"


def test_silence_in_is_silence_out():
    """Whatever the network says of a band without sound, a gain cannot make any."""
    silence = torch.zeros(1, 80, 4)
    assert not MelTarget("gain").decode(torch.randn(1, 80, 4), silence).any()
    assert MelTarget("gain").encode(silence, silence).isfinite().all()


def test_samples_out_of_range_are_bounded():
    noisy_mel = torch.rand(1, 80, 4)
    for kind in ("gain", "residual"):
        decoded = MelTarget(kind, gain_power=0.5).decode(10 * torch.randn(1, 80, 4), noisy_mel)
        assert decoded.min() >= 0
        assert decoded.isfinite().all()
    assert (MelTarget("gain").decode(torch.full((1, 80, 4), 7.0), noisy_mel) <= noisy_mel).all()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"kind": "clean"}, 'must be "gain" or "residual", got .clean'),
        ({"gain_power": 0.0}, "gain_power"),
        ({"residual_scale": -1.0}, "residual_scale"),
    ],
)
def test_a_wrong_setting_is_named(arguments, named):
    with pytest.raises(ValueError, match=named):
        MelTarget(**arguments)
