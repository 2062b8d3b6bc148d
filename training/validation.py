"""Scores, sound and pictures of a pipeline on fixed noisy/clean pairs."""

import argparse
from dataclasses import dataclass

import numpy as np
import torch

from speech_enhance import DEFAULT_CHECKPOINT, SpeechEnhancementPipeline
from speech_enhance.audio.datasets import load_audio_dataset
from speech_enhance.mel.spectrogram import analyse
from speech_enhance.metrics.reference import BASIC_METRICS, mean_score

from .mixtures.loading import decode_row


@dataclass(frozen=True)
class Pair:
    """A noisy recording and its clean reference, float32 mono at the model's rate."""

    id: str
    noisy: np.ndarray
    clean: np.ndarray
    info: dict


def load_pairs(
    path: str,
    limit: int | None = None,
    sampling_rate: int = 16000,
    split: str = "test",
    columns: tuple[str, ...] = ("noisy", "clean"),
    name: str | None = None,
) -> list[Pair]:
    """Pairs of a dataset with columns `clean` and `noisy` (Parquet pattern, folder or Hub name).

    Args:
        path: Path as in [`SourceConfig`].
        limit: Number of pairs to take, evenly spread.
        sampling_rate: Rate to which the pairs are resampled.
        split: Split of a folder or Hub dataset.
        columns: Columns of the noisy and the clean recording. With one column, clean speech is its own noisy version.
        name: Configuration of a Hub dataset.
    """
    dataset = load_audio_dataset(path, split, list(columns), name)
    indices = range(len(dataset))
    if limit is not None and limit < len(dataset):
        indices = np.linspace(0, len(dataset) - 1, limit).round().astype(int)
    pairs = []
    for index in indices:
        row = dataset[int(index)]
        audio = decode_row(row, columns, sampling_rate, f"{path}, row {index}")
        noisy, clean = audio if len(columns) == 2 else (audio, audio)
        info = {name: value for name, value in row.items() if name not in columns}
        pairs.append(Pair(str(row.get("id", index)), noisy, clean, info))
    return pairs


def add_arguments(parser: argparse.ArgumentParser, limit: int | None = None) -> None:
    """Options of a script that measures a checkpoint on pairs; see [`load_measured`]."""
    parser.add_argument("--pairs", default="data/pairs-valid-*.parquet", help="dataset with columns clean and noisy")
    parser.add_argument(
        "--limit", type=int, default=limit, help="only this many pairs, evenly spread (default: %(default)s)"
    )
    parser.add_argument("--model", default=str(DEFAULT_CHECKPOINT), help="pipeline folder or Hub id")
    parser.add_argument("--output", help="path of the report without extension")


def load_measured(
    parser: argparse.ArgumentParser, options: argparse.Namespace
) -> tuple[list[Pair], SpeechEnhancementPipeline]:
    """The pairs and the pipeline that [`add_arguments`]' options name. The script ends if one cannot be loaded."""
    try:
        pairs = load_pairs(options.pairs, options.limit)
        pipeline = SpeechEnhancementPipeline.from_pretrained(options.model)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    pipeline.set_progress_bar_config(disable=True)
    return pairs, pipeline


def score_pairs(pipeline: SpeechEnhancementPipeline, pairs: list[Pair], num_inference_steps: int) -> dict[str, float]:
    """Mean of every basic metric over the pairs, as far as its package is installed; undefined values do not count."""
    noisy, rate = [pair.noisy for pair in pairs], int(pipeline.config.sampling_rate)
    outputs = pipeline(noisy, rate, num_inference_steps=num_inference_steps, num_estimates=1).audios
    scores = {}
    for name, metric in BASIC_METRICS.items():
        try:
            values = [metric(output, pair.clean) for output, pair in zip(outputs, pairs, strict=True)]
        except ImportError:
            continue
        scores[name] = mean_score(values)
    return scores


def log_example(pipeline: SpeechEnhancementPipeline, pair: Pair, writer, step: int) -> None:
    """Log to TensorBoard the sound of one pair, and the noisy, enhanced and clean mel one above the other."""
    rate = pipeline.config.sampling_rate
    enhanced = pipeline(pair.noisy, rate, num_inference_steps=1, num_estimates=1).audios
    mels = []
    for name, audio in {"noisy": pair.noisy, "enhanced": enhanced, "clean": pair.clean}.items():
        writer.add_audio(f"example/{name}", torch.from_numpy(audio)[None].clamp(-1, 1), step, sample_rate=rate)
        *_, mel = analyse(torch.from_numpy(audio)[None], pipeline.mel_config)
        mels.append(mel[0].flip(0))
    writer.add_image("example/mel (noisy, enhanced, clean)", torch.cat(mels)[None].div(2).clamp(0, 1), step)
