import pytest
import torch
from conftest import TINY_UNET

from speech_enhance import ConditionalUNet2DModel, SpeechEnhancementPipeline
from speech_enhance.schedulers import training_scheduler
from training.average_weights import main


def save(folder, seed, **pipeline):
    torch.manual_seed(seed)
    unet = ConditionalUNet2DModel(**TINY_UNET)
    SpeechEnhancementPipeline(unet, training_scheduler(), **pipeline).save_pretrained(folder)
    return unet.state_dict()


def test_weights_are_averaged_and_settings_are_the_last_one_s(tmp_path):
    first, last = save(tmp_path / "a", 0), save(tmp_path / "b", 1, gain_exponent=1.1)
    main([str(tmp_path / "a"), str(tmp_path / "b"), "--output", str(tmp_path / "runs" / "mean")])
    mean = SpeechEnhancementPipeline.from_pretrained(tmp_path / "runs" / "mean")
    assert mean.config.gain_exponent == 1.1
    for name, value in mean.unet.state_dict().items():
        torch.testing.assert_close(value, (first[name] + last[name]) / 2, atol=1e-3, rtol=1e-3)


def test_other_networks_are_refused(tmp_path, capsys):
    save(tmp_path / "a", 0)
    unet = ConditionalUNet2DModel(**TINY_UNET | {"block_out_channels": (16, 16)})
    SpeechEnhancementPipeline(unet, training_scheduler()).save_pretrained(tmp_path / "b")
    with pytest.raises(SystemExit) as error:
        main([str(tmp_path / "a"), str(tmp_path / "b"), "--output", str(tmp_path / "mean")])
    assert error.value.code == 2
    assert "differ in more than their weights" in capsys.readouterr().err
    assert not (tmp_path / "mean").exists()
