"""Ways from the generated mel back to sound, on noisy/clean pairs: what each setting of the gain, refinement of the
magnitude and Griffin-Lim rounds are worth at the accuracy that the mel has.

    python training/compare_reconstruction.py --output training/results/reconstruction

The mels are generated once. Writes OUTPUT.json (every file) and OUTPUT.md (the table).
"""

import argparse
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

if not __package__:  # run as a script: the repository, not this folder with its own `evaluate.py`, is the import root
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from speech_enhance.mel import analyse, decompress, istft, mel_filters, stft
from speech_enhance.reconstruction import spectral_gain
from training.bootstrap import bootstrap_gain
from training.reports import write_report
from training.validation import add_arguments, load_measured, score_files


@dataclass(frozen=True)
class Reconstruction:
    """Settings of one way; see [`spectral_gain`] for the first three.

    Args:
        exponent, min_gain, max_gain: Of the gain.
        updates: Multiplicative updates (Lee & Seung 2001) of the magnitude towards the generated mel.
        rounds: Griffin-Lim rounds (Griffin & Lim 1984) from the noisy phase.
    """

    exponent: float = 1.0
    min_gain: float = 0.0
    max_gain: float = 1.0
    updates: int = 0
    rounds: int = 0


WAYS = [
    Reconstruction(),
    *(Reconstruction(exponent=value) for value in (0.8, 0.9, 1.1, 1.2, 1.5)),
    *(Reconstruction(min_gain=value) for value in (0.03, 0.1)),
    *(Reconstruction(max_gain=value) for value in (1.2, 1.5, 2.0)),
    *(Reconstruction(updates=value) for value in (1, 3, 5)),
    Reconstruction(updates=5, max_gain=1.5),
    *(Reconstruction(rounds=value) for value in (1, 3, 10)),
    Reconstruction(updates=3, rounds=3),
]


def reconstruct(audio: np.ndarray, clean_mel: torch.Tensor, config, way: Reconstruction) -> np.ndarray:
    """The waveform `(samples,)` that `way` makes of a recording `(samples,)` and a generated mel
    `(num_mel_bins, frames)`."""
    scale, spectrum, noisy_mel = analyse(torch.from_numpy(audio)[None], config)
    gain = spectral_gain(clean_mel[None], noisy_mel, config, way.min_gain, way.max_gain, way.exponent)
    magnitude = spectrum.abs()
    refined, limit = magnitude * gain, magnitude * way.max_gain
    filters, target = mel_filters(config), decompress(clean_mel[None], config)
    for _ in range(way.updates):
        refined = refined * (filters @ target) / (filters @ (filters.T @ refined)).clamp(min=1e-8)
        refined = torch.where(filters.sum(dim=1)[:, None] > 0, refined, magnitude * gain).minimum(limit)
    phase = spectrum / magnitude.clamp(min=1e-8)
    for _ in range(way.rounds):
        rebuilt = stft(istft(refined * phase, len(audio), config), config)
        phase = rebuilt / rebuilt.abs().clamp(min=1e-8)
    return (istft(refined * phase, len(audio), config) / scale)[0].numpy()


def markdown(results: list[dict], title: str) -> str:
    """Means of every way and its gain over the first one, paired by file."""
    forms = {"pesq": ("PESQ", ".3f"), "estoi": ("ESTOI", ".4f"), "si_sdr": ("SI-SDR (dB)", ".2f")}
    lines = [f"# {title}", "", "In brackets the 95 % interval of the gain over the first row, paired by file.", ""]
    lines += [f"| way | {' | '.join(heading for heading, _ in forms.values())} |", "|---" * (len(forms) + 1) + "|"]
    default = asdict(Reconstruction())
    for result in results:
        changes = {name: value for name, value in result["way"].items() if value != default[name]}
        cells = []
        for name, (_, form) in forms.items():
            values, first = ([row[name] for row in item["files"]] for item in (result, results[0]))
            gain = bootstrap_gain(values, first)
            interval = f" [{gain.low:+{form}}, {gain.high:+{form}}]" if changes else ""
            cells.append(f"{np.nanmean(values):{form}}{interval}")
        name = ", ".join(f"{key} {value:g}" for key, value in changes.items()) or "gain, noisy phase"
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    options = parser.parse_args(arguments)
    pairs, pipeline = load_measured(parser, options)
    rate, config = pipeline.config.sampling_rate, pipeline.mel_config
    mels = pipeline([pair.noisy for pair in pairs], rate, output_type="mel").mels
    results = []
    for way in WAYS:
        outputs = [reconstruct(pair.noisy, mel, config, way) for pair, mel in zip(pairs, mels, strict=True)]
        results.append({"way": asdict(way), "files": score_files(outputs, pairs)})
    title = f"From mel to sound, on {options.pairs} ({len(pairs)} files)"
    write_report(options.output, results, markdown(results, title))


if __name__ == "__main__":
    main()
