import json

import numpy as np
import pytest
import torch
from conftest import noise
from mel_stages import make_stage, make_vocoder

from speech_enhance import ConditionalUNet2DModel
from training.vocoder.evaluate_mel_stage import (
    KINDS,
    SPEECHT5,
    degraded_mel,
    log_spectral_distance,
    main,
    markdown,
    mel_error,
    true_mel,
    variance_ratio,
)


def test_errors_are_those_of_their_definition():
    truth = torch.linspace(-6, 0, 80)[:, None].expand(80, 50).clone()
    shifted = truth + 0.1
    assert mel_error(shifted, truth) == pytest.approx(2.0, rel=1e-4)
    shifted[0] += 9  # more than 60 dB below the loudest: not heard
    assert mel_error(shifted, truth) == pytest.approx(2.0, rel=1e-4)
    sound = torch.from_numpy(noise(8000))
    assert log_spectral_distance(sound, sound) == 0
    assert log_spectral_distance(2 * sound, sound) == pytest.approx(6.02, abs=0.05)
    mel = torch.randn(80, 400)
    assert variance_ratio(0.5 * mel, mel) == pytest.approx(0.25, rel=1e-4)


def test_every_kind_of_degradation_but_the_last_changes_the_mel(sample_pair):
    speech, stage = sample_pair[1][:32000], make_stage()
    truth = true_mel(speech)
    for kind in KINDS:
        mel = degraded_mel(kind, speech, [noise(9000)], 1, stage)
        assert mel.shape == truth.shape
        assert (mel_error(mel, truth) < 0.01) == (kind == "untouched"), kind
    assert torch.equal(degraded_mel("wobble", speech, [], 1, stage), degraded_mel("wobble", speech, [], 1, stage))


def test_only_sure_gains_are_bold():
    rows = [{"id": str(i), "mel_error": 2.0 + 0.01 * i, "lsd": 1.0, "variance": 1.0} for i in range(20)]
    better = [row | {"mel_error": row["mel_error"] - 0.5, "variance": 0.5} for row in rows]
    lines = markdown({"smeared": {"nothing": rows, "1 step": better}}, 20, "speech").splitlines()
    cells = [line for line in lines if line.startswith("| smeared")]
    assert cells == ["| smeared | 2.09 | **1.60** |", "| smeared | 1.00 | 1.00 |", "| smeared | 1.00 | 0.50 |"]


@pytest.mark.slow
def test_a_report_and_a_picture_are_written(corpus, tmp_path):
    make_stage(make_vocoder(), ConditionalUNet2DModel).save_pretrained(tmp_path / "model")
    main(
        [
            "--speech",
            str(corpus / "speech"),
            "--limit",
            "1",
            "--model",
            str(tmp_path / "model"),
            "--kinds",
            "smeared",
            "--output",
            str(tmp_path / "report"),
            "--picture",
            str(tmp_path / "mels.png"),
        ]
    )
    report = json.loads((tmp_path / "report.json").read_text())
    assert np.isfinite(report["smeared"]["1 step"][0]["lsd"])
    assert "Made by `" in (tmp_path / "report.md").read_text()
    assert (tmp_path / "mels.png").stat().st_size > 1000
    assert SPEECHT5.num_mel_bins == 80


def test_a_model_of_another_mel_is_refused(corpus, tiny_model, capsys):
    with pytest.raises(SystemExit):
        main(["--speech", str(corpus / "speech"), "--limit", "1", "--model", str(tiny_model)])
    assert "needs mel_layout 'speecht5' and a vocoder" in capsys.readouterr().err
