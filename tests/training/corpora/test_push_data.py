"""Prepared data on the Hub, and a run that trains from it as it goes by."""

import json

import pytest
import yaml
from conftest import ROOT, flac, noise
from datasets import Dataset
from hub_client import command
from hub_store import front_matter

from training.corpora.push_data import card_text, find_parts, load_part


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Files as `prepare_data.py` writes them."""
    from datasets import Audio

    folder = tmp_path_factory.mktemp("prepared")
    for kind in ("speech", "noise"):
        for split in ("train", "valid"):
            rows = {
                "audio": [{"bytes": flac(noise(24000, seed=index)), "path": f"{index}.flac"} for index in range(3)],
                "corpus": ["a", "a", "b"],
                "licence": ["CC0", "CC0", "CC BY 4.0"],
                "duration": [1.5] * 3,
            }
            dataset = Dataset.from_dict(rows).cast_column("audio", Audio(sampling_rate=16000, decode=False))
            dataset.to_parquet(folder / f"{kind}-{split}-00000-of-00001.parquet")
    return folder


def test_the_card_adds_up_licences(prepared):
    parts = {key: load_part(files) for key, files in find_parts(prepared).items()}
    assert set(parts) == {(kind, split) for kind in ("speech", "noise") for split in ("train", "validation")}
    text = card_text("user/data", parts)
    assert "| speech | train | a | CC0 | 2 | 0.00 |" in text
    assert "| noise | validation | b | CC BY 4.0 | 1 | 0.00 |" in text
    sources = yaml.safe_load(text.split("```yaml\n")[1].split("```")[0])
    assert sources["speech"] == [{"path": "user/data", "name": "speech", "split": "train", "streaming": True}]


@pytest.mark.parametrize("licences", [None, ["CC0", None], ["CC0", ""]])
def test_rows_without_a_licence_are_refused(tmp_path, licences):
    rows = {"duration": [1.0, 1.0]} | ({"licence": licences} if licences else {})
    Dataset.from_dict(rows).to_parquet(tmp_path / "noise-train-0.parquet")
    with pytest.raises(ValueError, match=r"noise-train-0\.parquet: rows without a licence"):
        load_part(find_parts(tmp_path)["noise", "train"])


def test_a_folder_without_data_is_named(tmp_path):
    with pytest.raises(ValueError, match="holds no Parquet file"):
        find_parts(tmp_path)


@pytest.mark.slow
def test_pushed_and_trained_from_as_it_goes_by(hub, prepared, tmp_path):
    run = command(
        hub, tmp_path / "home", "-m", "training.corpora.push_data", "--data", prepared, "--repo", "user/sounds"
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip().splitlines()[-1] == f"{hub.url}/datasets/user/sounds"
    files = hub.repository("user/sounds", "dataset").files()
    data = front_matter(files["README.md"].content.decode())
    assert {item["config_name"] for item in data["configs"]} == {"speech", "noise"}
    assert data["license"] == "other"
    assert "| speech | train | a | CC0 | 2 |" in files["README.md"].content.decode()
    assert [path for path in files if path.startswith("speech/train-") and path.endswith(".parquet")]

    config = yaml.safe_load((ROOT / "training" / "configs" / "tiny.yaml").read_text())
    for kind in ("speech", "noise"):
        config[kind] = [{"path": "user/sounds", "name": kind, "split": "train", "streaming": True, "buffer_size": 2}]
    config["output_dir"] = str(tmp_path / "run")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    with hub.recorded() as requests:
        run = command(hub, tmp_path / "home2", "training/train.py", "--config", tmp_path / "config.yaml", token=None)
    assert run.returncode == 0, run.stderr
    assert [path for method, path in requests if method == "GET" and ".parquet" in path]
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == [1, 2]
    assert not list((tmp_path / "home2").rglob("*.parquet"))  # read, not kept
    assert (tmp_path / "run" / "pipeline" / "model_index.json").is_file()
    run = command(
        hub, tmp_path / "home", "-m", "training.corpora.push_data", "--data", prepared, "--repo", "other/sounds"
    )
    assert run.returncode == 2
    assert "Traceback" not in run.stderr
