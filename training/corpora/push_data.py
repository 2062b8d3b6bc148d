"""Put prepared data on the Hub as one dataset with a card, for training by its name.

    python -m training.corpora.push_data --data data --repo user/dataset [--private]

Takes the Parquet files `KIND-train-*` and `KIND-valid-*` of a folder that `prepare_data.py` wrote (KIND is speech,
noise or pairs). Every kind becomes a configuration; `train` and `valid` become its splits `train` and `validation`.
Every row needs a licence; the card gives the sums by licence. The token is that of `hf auth login` or of HF_TOKEN.
"""

import argparse
import re
from collections import defaultdict
from pathlib import Path
from typing import Any, cast

from datasets import Dataset, load_dataset
from datasets.exceptions import DatasetsError
from huggingface_hub import DatasetCard, HfApi
from huggingface_hub.errors import HTTPError

from training.evaluation.reports import table

KINDS = ("speech", "noise", "pairs")
SPLITS = {"train": "train", "valid": "validation"}


def find_parts(folder: Path) -> dict[tuple[str, str], list[str]]:
    """The Parquet files of a folder by kind and split.

    Raises:
        ValueError: if there are none.
    """
    parts = {}
    for kind in KINDS:
        for name, split in SPLITS.items():
            files = sorted(str(path) for path in folder.glob(f"{kind}-{name}-*.parquet"))
            if files:
                parts[kind, split] = files
    if not parts:
        raise ValueError(
            f"{folder} holds no Parquet file of prepare_data.py (such as speech-train-00000-of-00001.parquet)"
        )
    return parts


def load_part(files: list[str], licence: str | None = None) -> Dataset:
    """The rows of some Parquet files. `licence` is the licence of rows without such a column.

    Raises:
        ValueError: if one of them has no licence.
    """
    dataset = load_dataset("parquet", data_files=files, split="train")
    if licence and "licence" not in dataset.column_names:
        dataset = dataset.add_column("licence", [licence] * len(dataset))
    licences = dataset["licence"] if "licence" in dataset.column_names else [None]
    if not all(licences):
        raise ValueError(f"{files[0]}: rows without a licence (column `licence`) are not published")
    return dataset


def licence_table(parts: dict[tuple[str, str], Dataset]) -> list[str]:
    """Markdown table of rows and hours by configuration, split, corpus and licence."""
    totals: dict[tuple, list[float]] = defaultdict(lambda: [0, 0.0])
    for (kind, split), dataset in parts.items():
        columns = {name: dataset[name] if name in dataset.column_names else None for name in ("corpus", "duration")}
        for index, licence in enumerate(dataset["licence"]):
            corpus = columns["corpus"][index] if columns["corpus"] else "–"
            total = totals[kind, split, corpus, licence]
            total[0] += 1
            total[1] += (columns["duration"][index] or 0.0) / 3600 if columns["duration"] else 0.0
    cells = [[*key, rows, f"{hours:.2f}"] for key, (rows, hours) in totals.items()]
    return table(["configuration", "split", "corpus", "licence", "rows", "hours"], cells)


def card_text(repo: str, parts: dict[tuple[str, str], Dataset]) -> str:
    """Body of the dataset card."""
    sources = "\n".join(
        f"{kind}: [{{path: {repo}, name: {kind}, split: train, streaming: true}}]"
        for kind in ("speech", "noise")
        if (kind, "train") in parts
    )
    lines = [
        "# Speech and noise for training speech enhancement",
        "",
        "Recordings (FLAC in Parquet) put together by `training/corpora/prepare_data.py` of `speech_enhance`. The "
        "licence of every row is",
        "in its column `licence`; the recordings keep the licences and terms of the corpora that they come from:",
        "",
        *licence_table(parts),
        "",
        "In a config of `training/train.py`, read as it goes by:",
        "",
        f"```yaml\n{sources}\n```",
        "",
    ]
    return "\n".join(lines)


def push(folder: Path, repo: str, private: bool | None, languages: list[str]) -> str:
    """Push every part, then the card; returns the dataset's address. Another push replaces the earlier one."""
    parts = {key: load_part(files) for key, files in find_parts(folder).items()}
    push_parts(parts, repo, private)
    return describe(repo, card_text(repo, parts), languages, ["speech-enhancement", "audio"])


def push_parts(parts: dict[tuple[str, str], Dataset], repo: str, private: bool | None) -> None:
    """Push the splits of every configuration."""
    for (name, split), dataset in parts.items():
        dataset.push_to_hub(repo, config_name=name, split=split, private=private, commit_message=f"{name}, {split}")


def describe(repo: str, text: str, languages: list[str], tags: list[str], files: dict[str, str] | None = None) -> str:
    """Push `files`, which are texts by their path in the repository, then the card with the body `text`. Returns the
    dataset's address."""
    api = HfApi()
    for path, content in (files or {}).items():
        api.upload_file(path_or_fileobj=content.encode(), path_in_repo=path, repo_id=repo, repo_type="dataset")
    card = DatasetCard.load(repo)  # has what datasets wrote there about configurations and columns
    data = cast(Any, card.data)  # annotated as a class that knows none of these
    data.license = "other"
    data.language = languages
    data.task_categories = ["audio-to-audio"]
    data.tags = tags
    card.text = "\n" + text
    card.push_to_hub(repo, commit_message="Card")
    return f"{api.endpoint}/datasets/{repo}"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, type=Path, help="folder that prepare_data.py wrote")
    parser.add_argument("--repo", required=True, metavar="USER/NAME")
    parser.add_argument("--private", action="store_true", default=None, help="make a new dataset private")
    parser.add_argument("--languages", nargs="+", default=["en"], help="ISO codes (default: %(default)s)")
    options = parser.parse_args(arguments)
    if not re.fullmatch(r"[\w.\-]+/[\w.\-]+", options.repo):
        parser.error(f"--repo is written user/name, got {options.repo!r}")
    try:
        print(push(options.data, options.repo, options.private, options.languages))
    except (ValueError, OSError, DatasetsError, HTTPError) as error:
        parser.error(" ".join(str(error).split()))


if __name__ == "__main__":
    main()
