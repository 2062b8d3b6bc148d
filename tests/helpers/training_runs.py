"""Tiny training runs."""

import yaml
from conftest import ROOT


def tiny_config(corpus, folder, **changes):
    config = yaml.safe_load((ROOT / "training" / "configs" / "tiny.yaml").read_text())
    config["output_dir"] = str(folder / "run")
    config["speech"] = [{"path": str(corpus / "speech")}]
    config["noise"] = [{"path": str(corpus / "noise-*.parquet")}]
    config.update(changes)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder / "config.yaml"
