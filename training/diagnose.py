"""Where a checkpoint fails: whether it is better on what it was trained on, and what each part of its mel's error costs.

    python training/diagnose.py --config training/configs/base-fourth.yaml --only corpus=librispeech-resemblyzer \
        --output training/results/diagnosis

Much better on the talkers and noises of its training: more data would help. No better there: a larger network or a longer
training would. Writes OUTPUT.json (every file) and OUTPUT.md (two tables).
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

if not __package__:  # run as a script: the repository, not this folder with its own `evaluate.py`, is the import root
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from speech_enhance import SpeechEnhancementPipeline
from speech_enhance.mel import MelConfig, analyse, decompress, mel_filters, mel_spectrogram, stft
from training.bootstrap import bootstrap_gain
from training.compare_reconstruction import Reconstruction, reconstruct
from training.config import load_config
from training.mixing import MixingConfig, MixtureDataset
from training.reports import write_report
from training.sources import SourceConfig, SourceMix
from training.validation import Pair, add_arguments, load_measured, score_files

BANDS = (0, 500, 1000, 2000, 4000, 8000)
SPEECH_DB = 40
FORMS = {"pesq": ("PESQ", ".2f"), "estoi": ("ESTOI", ".3f"), "si_sdr": ("SI-SDR (dB)", ".1f")}
PLAIN = MixingConfig(
    snr_db=(-2.5, 17.5), clean_share=0.0, noise_only_share=0.0, second_noise_share=0.0, synthetic_share=0.0,
    babble_share=0.0, reverb_share=0.0, equalize_share=0.0, band_limit_share=0.0, speed_range=(1.0, 1.0),
)  # fmt: skip


def mixtures(
    speech: list[SourceConfig], noise: list[SourceConfig], number: int, sampling_rate: int, seed: int
) -> list[Pair]:
    """Pairs of one recorded noise and nothing done to the speech, mixed as in training."""
    sources = (SourceMix(configs, sampling_rate) for configs in (speech, noise))
    dataset = MixtureDataset(*sources, PLAIN, seed, number)
    mixtures = (dataset[index] for index in range(number))
    return [Pair(str(index), item["noisy"], item["clean"], info={}) for index, item in enumerate(mixtures)]


def true_mel(pair: Pair, config: MelConfig) -> tuple[torch.Tensor, torch.Tensor]:
    """The clean mel at the level of the noisy one and nowhere above it, as far as a gain of at most 1 reaches, and that
    noisy mel; `(num_mel_bins, frames)` each."""
    scale, _, noisy = analyse(torch.from_numpy(pair.noisy)[None], config)
    clean = mel_spectrogram(stft(torch.from_numpy(pair.clean)[None] * scale, config).abs(), config)
    return torch.minimum(clean, noisy)[0], noisy[0]


def mended(generated: torch.Tensor, true: torch.Tensor, config: MelConfig) -> Iterator[tuple[str, torch.Tensor]]:
    """By name, `generated` with a part of its error taken away, and `true` in coarser grids."""
    yield "as generated", generated
    centres = mel_filters(config).argmax(dim=0) * config.sampling_rate / config.n_fft
    for low, high in pairwise(BANDS):
        inside = (centres >= low) & (centres < high)
        yield f"true from {low} to {high} Hz", torch.where(inside[:, None], true, generated)
    level = decompress(true[None], config)[0].mean(dim=0)
    is_speech = level > 10 ** (-SPEECH_DB / 20) * level.max()
    yield "true where there is speech", torch.where(is_speech, true, generated)
    yield "true where there is none", torch.where(is_speech, generated, true)
    yield "no noise left over", torch.minimum(generated, true)
    yield "no speech lost", torch.maximum(generated, true)
    yield "true", true
    for size in (3, 5):
        smooth = {"kernel_size": size, "stride": 1, "padding": size // 2, "count_include_pad": False}
        yield f"true, smeared over {size} frames", F.avg_pool1d(true[None], **smooth)[0]
        yield f"true, smeared over {size} bands", F.avg_pool1d(true.T[None], **smooth)[0].T


def error_parts(pipeline: SpeechEnhancementPipeline, pairs: list[Pair]) -> dict[str, list[dict]]:
    """Scores of every file by what of its error was taken away, see [`mended`]; the first is the one-step estimate."""
    config, way = pipeline.mel_config, Reconstruction(exponent=pipeline.config.gain_exponent)
    mels = pipeline([pair.noisy for pair in pairs], config.sampling_rate, 1, num_estimates=1, output_type="mel").mels
    outputs: dict[str, list[np.ndarray]] = {}
    for pair, mel in zip(pairs, mels, strict=True):
        true, noisy = true_mel(pair, config)
        for name, item in mended(torch.minimum(mel, noisy), true, config):
            outputs.setdefault(name, []).append(reconstruct(pair.noisy, item.contiguous(), config, way))
    return {name: score_files(item, pairs) for name, item in outputs.items()}


def seen_or_not(pipeline: SpeechEnhancementPipeline, sides: dict[str, list[Pair]]) -> dict[str, dict[str, list[dict]]]:
    """Scores of every file `before` and `after`, in one step, by side."""
    rate, results = pipeline.config.sampling_rate, {}
    for name, pairs in sides.items():
        noisy = [pair.noisy for pair in pairs]
        outputs = pipeline(noisy, rate, 1, num_estimates=1).audios
        results[name] = {"before": score_files(noisy, pairs), "after": score_files(outputs, pairs)}
    return results


def values(rows: list[dict], name: str) -> np.ndarray:
    return np.array([row[name] for row in rows])


def table(heading: str, rows: dict, cell: Callable[..., str]) -> list[str]:
    """Lines of a table with a column for each metric, whose text `cell` makes of a row, the metric's name and its form."""
    lines = [
        f"| {heading} | {' | '.join(title for title, _ in FORMS.values())} |",
        "|---" * (len(FORMS) + 1) + "|",
    ]
    for label, row in rows.items():
        lines.append(f"| {label} | {' | '.join(cell(row, name, form) for name, (_, form) in FORMS.items())} |")
    return lines


def markdown(sides: dict, parts: dict, number: int, pairs: str) -> str:
    """Both tables."""
    first = next(iter(parts.values()))

    def side(rows: dict[str, list[dict]], name: str, form: str) -> str:
        before, after = values(rows["before"], name), values(rows["after"], name)
        gain = bootstrap_gain(after, before)
        return f"({np.nanmean(before):{form}}) {gain.mean:+{form}} [{gain.low:+{form}}, {gain.high:+{form}}]"

    def part(rows: list[dict], name: str, form: str) -> str:
        difference = np.nanmean(values(rows, name) - values(first, name))
        return f"{np.nanmean(values(rows, name)):{form}}" + (f" ({difference:+{form}})" if rows is not first else "")

    lines = [
        "# Where it fails",
        "",
        f"## On what it was trained on, and on what it was not ({number} mixtures each, one step)",
        "",
        "What enhancing gains, with the 95 % interval of a bootstrap over files; in brackets before it the noisy mixture.",
        "",
        *table("speech and noise", sides, side),
        "",
        f"## What each part of the mel's error costs, on {pairs} ({len(first)} files, one step)",
        "",
        f"Means, and the difference from the first row. Speech is where the true mel is at most {SPEECH_DB} dB below its "
        "loudest frame.",
        "",
        *table("mel", parts, part),
    ]
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="training config: its speech and noise are the seen ones")
    parser.add_argument("--speech", default="data/speech-valid-*.parquet", help="unseen talkers (default: %(default)s)")
    parser.add_argument("--noise", default="data/noise-valid-*.parquet", help="unseen noises (default: %(default)s)")
    parser.add_argument("--only", metavar="COLUMN=VALUE", help="of the seen speech, so that its talkers are of the unseen ones' kind")  # fmt: skip
    parser.add_argument("--number", type=int, default=60, help="mixtures of each kind (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    add_arguments(parser, limit=20)
    options = parser.parse_args(arguments)
    if options.number < 1:
        parser.error(f"--number must be at least 1, got {options.number}")
    column, equals, value = (options.only or "=").partition("=")
    if not equals or bool(column) != bool(options.only):
        parser.error(f"--only: expected COLUMN=VALUE, got {options.only}")
    pairs, pipeline = load_measured(parser, options)
    try:
        config = load_config(options.config)
        seen_speech = [
            replace(item, only=(item.only or {}) | {column: value}) if column else item for item in config.speech
        ]
        speech = {"seen": seen_speech, "unseen": [SourceConfig(options.speech)]}
        noise = {"seen": config.noise, "unseen": [SourceConfig(options.noise)]}
        sides = {
            f"{talkers} talkers, {noises} noises": mixtures(
                speech[talkers], noise[noises], options.number, pipeline.config.sampling_rate, options.seed
            )
            for talkers in speech
            for noises in noise
        }
    except (OSError, ValueError) as error:
        parser.error(str(error))
    sides = seen_or_not(pipeline, sides)
    parts = error_parts(pipeline, pairs)
    write_report(
        options.output, {"sides": sides, "parts": parts}, markdown(sides, parts, options.number, options.pairs)
    )


if __name__ == "__main__":
    main()
