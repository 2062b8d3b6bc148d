import json
import math

import pytest
import torch
import yaml
from conftest import ROOT
from transformers import SpeechT5HifiGan

from speech_enhance import MEL_LAYOUTS
from speech_enhance.mel.spectrogram import mel_spectrogram, stft
from training.config import read_config
from training.vocoder.train_vocoder import Crops, VocoderConfig, main, stft_loss

TINY = {"upsample_initial_channel": 16, "resblock_kernel_sizes": [3], "resblock_dilation_sizes": [[1]]}


def write_config(corpus, folder, **changes):
    config = {
        "output_dir": str(folder / "run"),
        "mel_layout": "speecht5",
        "speech": [{"path": str(corpus / "speech")}],
        "vocoder": TINY,
        "frames": 8,
        "batch_size": 2,
        "max_train_steps": 4,
        "log_every": 1,
        "checkpoint_every": 2,
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config | changes))
    return path


def test_a_crops_sound_begins_where_its_first_frame_is_centred(corpus, tmp_path):
    layout = MEL_LAYOUTS["speecht5"]
    crops = Crops(read_config(VocoderConfig, write_config(corpus, tmp_path)), layout)
    mel, sound = crops.batch(3)
    assert mel.shape == (2, 8, 80)
    assert sound.shape == (2, 8 * 256)
    alone = mel_spectrogram(stft(sound, layout).abs(), layout).mT
    torch.testing.assert_close(mel[:, 2:6], alone[:, 2:6], atol=1e-3, rtol=1e-3)
    again = crops.batch(3)
    assert torch.equal(again[1], sound)
    assert not torch.equal(crops.batch(4)[1], sound)


def test_the_loss_is_least_for_the_sound_itself():
    sound = torch.randn(2, 4096)
    assert stft_loss(sound, sound).item() == pytest.approx(0, abs=1e-5)
    assert stft_loss(-sound, sound).item() == pytest.approx(0, abs=1e-5), "a sign is not heard"
    assert stft_loss(0.5 * sound, sound) < stft_loss(torch.randn(2, 4096), sound)


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_to_the_same_losses(corpus, tmp_path):
    (tmp_path / "whole").mkdir()
    main(["--config", str(write_config(corpus, tmp_path / "whole"))])
    losses = [json.loads(line)["loss"] for line in (tmp_path / "whole" / "run" / "log.jsonl").read_text().splitlines()]
    assert len(losses) == 4
    parts = tmp_path / "parts"
    parts.mkdir()
    main(["--config", str(write_config(corpus, parts))])
    state = torch.load(tmp_path / "whole" / "run" / "checkpoint.pt", weights_only=True)
    assert state["global_step"] == 4
    path = write_config(corpus, parts, max_train_steps=6)
    with pytest.raises(SystemExit):
        main(["--config", str(path)])
    main(["--config", str(path), "--resume"])
    resumed = [json.loads(line) for line in (parts / "run" / "log.jsonl").read_text().splitlines()]
    assert [row["loss"] for row in resumed[:4]] == losses
    assert [row["step"] for row in resumed] == [1, 2, 3, 4, 5, 6]
    vocoder = SpeechT5HifiGan.from_pretrained(parts / "run" / "vocoder", use_safetensors=True)
    assert vocoder.dtype == torch.float16
    assert torch.isfinite(vocoder.mean).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "somewhere"}, "either a `model`"),
        ({"mel_layout": None}, "either a `model`"),
        ({"mel_layout": "bark"}, "mel_layout must be one of speecht5"),
        ({"vocoder": TINY | {"upsample_rates": [2, 2], "upsample_kernel_sizes": [4, 4]}}, "must be the hop of 256"),
    ],
)
def test_wrong_configs_are_usage_errors(corpus, tmp_path, capsys, changes, message):
    with pytest.raises(SystemExit):
        main(["--config", str(write_config(corpus, tmp_path, **changes))])
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("name", ["vocoder", "vocoder-own"])
def test_the_repositorys_configs_fit_their_mels(name):
    config = read_config(VocoderConfig, ROOT / "training" / "configs" / f"{name}.yaml")
    assert math.prod(config.vocoder.get("upsample_rates", (4, 4, 4, 4))) == config.layout().hop_length
