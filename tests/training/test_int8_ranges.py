"""From a checkpoint without ranges to a file that is enhanced in int8."""

import json
import shutil

import numpy as np
import pytest
import soundfile
import yaml
from conftest import ROOT, noise

from speech_enhance import cli
from training.int8_ranges import main


@pytest.fixture
def config(corpus, tmp_path):
    tiny = yaml.safe_load((ROOT / "training" / "configs" / "tiny.yaml").read_text())
    tiny |= {"speech": [{"path": str(corpus / "speech")}], "noise": [{"path": str(corpus / "noise-*.parquet")}]}
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(tiny))
    return str(path)


def test_the_command_enhances_in_int8_after_it(config, tiny_model, tmp_path, capsys):
    pytest.importorskip("onnxruntime")
    model = tmp_path / "model"
    shutil.copytree(tiny_model, model)
    soundfile.write(tmp_path / "in.wav", 0.1 * noise(16000), 16000, subtype="FLOAT")

    def enhanced(precision):
        target = tmp_path / f"{precision}.wav"
        arguments = [str(tmp_path / "in.wav"), str(target), "--model", str(model), "--precision", precision]
        return cli.main(arguments), soundfile.read(target)[0] if target.exists() else None

    status, nothing = enhanced("int8")
    assert (status, nothing) == (2, None)
    assert "--precision int8: this checkpoint has no ranges for int8" in capsys.readouterr().err

    weights, before = sorted(model.glob("unet/*.safetensors")), json.loads((model / "unet/config.json").read_text())
    weights = {path: path.read_bytes() for path in weights}
    main([str(model), "--config", config, "--number", "2"])
    assert "mixtures" in capsys.readouterr().out
    after = json.loads((model / "unet/config.json").read_text())
    ranges = after.pop("_int8_ranges")
    assert after == before
    assert all(low <= 0 <= high for values in ranges.values() for low, high in (values[:2], values[2:]))
    assert all(path.read_bytes() == content for path, content in weights.items())

    exact, rounded = enhanced("float32")[1], enhanced("int8")[1]
    assert 0 < np.abs(exact - rounded).max() < 0.05 * np.abs(exact).max()
    assert cli.main(["in.wav", "out.wav", "--model", str(model), "--precision", "int8", "--device", "cuda"]) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere: is no pipeline folder"),
        (["{model}", "--number", "0"], "--number must be at least 1, got 0"),
    ],
)
def test_mistakes_get_one_line(config, tiny_model, capsys, arguments, message):
    with pytest.raises(SystemExit) as stop:
        main([argument.format(model=tiny_model) for argument in arguments] + ["--config", config])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
