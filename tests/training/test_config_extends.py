import pytest
import yaml

from model_cards.publish import whole_config
from training.config import load_config, read_yaml


@pytest.fixture
def base(tmp_path):
    path = tmp_path / "base.yaml"
    path.write_text("seed: 0\nspeech: [{path: a}, {path: b}]\nunet: {layers_per_block: 1, out_channels: 16}\n")
    return path


def test_a_config_has_what_it_extends_except_where_it_differs(base, tmp_path):
    (tmp_path / "deep").mkdir()
    path = tmp_path / "deep" / "changed.yaml"
    path.write_text("extends: ../base.yaml\nspeech: [{path: c}]\nunet: {layers_per_block: 2}\nname: x\n")
    changed = {"seed": 0, "speech": [{"path": "c"}], "unet": {"layers_per_block": 2, "out_channels": 16}, "name": "x"}
    assert read_yaml(path) == changed
    (tmp_path / "more.yaml").write_text("extends: deep/changed.yaml\nseed: 1\n")
    assert read_yaml(tmp_path / "more.yaml") == changed | {"seed": 1}
    whole = whole_config(path, tmp_path / "deep")  # what is published stands alone
    assert yaml.safe_load(whole.read_text()) == changed
    assert whole_config(base, tmp_path) == base


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("extends: b.yaml\n", "expected a file that does not extend this one"),
        ("extends: 3\n", "extends: expected the path of a file, got 3"),
        ("extends: list.yaml\n", "expected a mapping"),
    ],
)
def test_what_cannot_be_extended_is_refused(tmp_path, content, message):
    (tmp_path / "a.yaml").write_text(content)
    (tmp_path / "b.yaml").write_text("extends: a.yaml\n")
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(ValueError, match=message):
        read_yaml(tmp_path / "a.yaml")


def test_a_word_that_yaml_takes_for_false_is_named(tmp_path):
    (tmp_path / "a.yaml").write_text("output_dir: runs/a\nmixed_precision: no\n")
    with pytest.raises(ValueError, match="mixed_precision: expected str, got False; put no, yes, on and off in quotes"):
        load_config(tmp_path / "a.yaml")
