import json

import numpy as np
import pytest
import torch
import yaml
from conftest import ROOT, noise

from training.diagnose import error_parts, main, mended, true_mel
from training.validation import Pair


@pytest.fixture
def pair():
    clean = noise(16000) * (np.arange(16000, dtype=np.float32) % 8000 < 5000)
    return Pair("p", clean + 0.3 * noise(16000, seed=1), clean, {})


def test_every_part_is_nearer_to_the_truth(tiny_pipeline, pair):
    config = tiny_pipeline.mel_config
    true, noisy = true_mel(pair, config)
    assert (true <= noisy).all()
    generated = torch.minimum(true * 0.5 + 0.2, noisy)
    parts = dict(mended(generated, true, config))
    error = {name: float((mel - true).abs().sum()) for name, mel in parts.items() if "smeared" not in name}
    whole = error.pop("as generated")
    assert error.pop("true") == 0
    assert all(0 < value < whole for value in error.values())
    for complements in (
        ["true where there is speech", "true where there is none"],
        ["no noise left over", "no speech lost"],
    ):
        assert sum(error[name] for name in complements) == pytest.approx(whole, rel=1e-4)
    in_bands = [value for name, value in error.items() if name.endswith("Hz")]
    assert sum(whole - value for value in in_bands) == pytest.approx(whole, rel=1e-4)


def test_with_the_true_mel_the_sound_is_nearer_too(tiny_pipeline, pair):
    scores = {name: rows[0]["si_sdr"] for name, rows in error_parts(tiny_pipeline, [pair]).items()}
    assert scores["true"] == max(scores.values())
    assert scores["true"] > scores["as generated"] + 1


@pytest.mark.slow
def test_report(corpus, tiny_pipeline, tmp_path, capsys):
    tiny_pipeline.save_pretrained(tmp_path / "model")
    config = {"output_dir": str(tmp_path / "run"), "noise": [{"path": str(corpus / "noise-*.parquet")}]}
    config["speech"] = [{"path": str(corpus / "speech")}]
    tiny = yaml.safe_load((ROOT / "training" / "configs" / "tiny.yaml").read_text())
    config |= {"unet": tiny["unet"], "pipeline": tiny["pipeline"]}  # a config must describe a network that can be made
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    options = ["--config", str(tmp_path / "config.yaml"), "--only", "corpus=a", "--number", "2"]
    options += ["--speech", str(corpus / "speech"), "--noise", str(corpus / "noise-*.parquet")]
    options += ["--model", str(tmp_path / "model"), "--pairs", str(corpus / "pairs.parquet")]
    main([*options, "--output", str(tmp_path / "r")])
    report = (tmp_path / "r.md").read_text()
    results = json.loads((tmp_path / "r.json").read_text())
    assert [len(rows["after"]) for rows in results["sides"].values()] == [2] * 4
    seen, unseen = (results["sides"][f"{side} talkers, seen noises"]["before"] for side in ("seen", "unseen"))
    assert seen != unseen  # the two recordings of `a` and the other two
    assert "| unseen talkers, unseen noises | (" in report
    assert "| no noise left over | " in report
    with pytest.raises(SystemExit):
        main([*options, "--only", "corpus=z"])
    assert "no recordings left" in capsys.readouterr().err


def test_wrong_options_are_named(tmp_path, capsys):
    for options, message in [
        (["--only", "corpus"], "--only: expected COLUMN=VALUE, got corpus"),
        (["--number", "0"], "--number must be at least 1, got 0"),
    ]:
        with pytest.raises(SystemExit) as error:
            main(["--config", str(tmp_path / "none.yaml"), *options])
        assert error.value.code == 2
        assert message in capsys.readouterr().err
